//! Graceful shutdown for Rust services on Kubernetes.
//!
//! At SIGTERM a process goes on serving until traffic has moved away, drains what is in flight, closes its listener when its
//! connections have ended, then its pools, and is gone before SIGKILL. It does so in five [`Phase`]s, each with a deadline that
//! counts from T0, the moment of the trigger.
//!
//! # A service
//!
//! A process has one [`ShutdownCoordinator`], which runs the shutdown. Everything else gets a [`ShutdownHandle`]: it asks about
//! the shutdown, triggers it, and registers what has to happen. This service answers HTTP, imports orders from a broker in a
//! background task, closes its database pool at the end, and leaves by itself when it has lost the broker:
//!
//! ```no_run
//! # #[cfg(all(feature = "hyper", feature = "signal"))]
//! # mod example {
//! use std::error::Error;
//! use std::process::ExitCode;
//! use std::time::Duration;
//!
//! use axum::{Router, routing::get};
//! use lameduck::{Phase, Plan, Reason, ShutdownCoordinator, ShutdownHandle, TaskContext};
//! use tokio::sync::mpsc;
//!
//! #[tokio::main]
//! async fn main() -> Result<ExitCode, Box<dyn Error>> {
//!     tracing_subscriber::fmt().init();
//!     let shutdown = ShutdownCoordinator::new(Plan::from_env()?);
//!     let handle = shutdown.handle();
//!     lameduck::signal::listen(&handle)?; // SIGTERM and SIGINT; before slow start-up
//!
//!     start(&handle, subscribe())?;
//!     let app = Router::new()
//!         .route("/", get(async || "hello\n"))
//!         .route_service("/livez", lameduck::liveness(&handle))
//!         .route_service("/readyz", lameduck::readiness(&handle));
//!     let listener = lameduck::bind("0.0.0.0:3000").await?;
//!     lameduck::serve(listener, app, &handle);
//!
//!     Ok(shutdown.run().await.exit_code())
//! }
//!
//! /// What the service does beside answering requests. Its tests start it, too.
//! fn start(handle: &ShutdownHandle, orders: mpsc::Receiver<String>) -> Result<(), Box<dyn Error>> {
//!     let pool = Pool;
//!     handle.task("importer", {
//!         let pool = pool.clone();
//!         |cx| import(cx, orders, pool)
//!     })?;
//!     // No request, task or connection is left by then.
//!     handle.hook(Phase::Release, "pool", async move || pool.close().await)?;
//!     Ok(())
//! }
//!
//! async fn import(cx: TaskContext, mut orders: mpsc::Receiver<String>, pool: Pool) {
//!     loop {
//!         tokio::select! {
//!             order = orders.recv() => match order {
//!                 Some(order) => pool.insert(order).await,
//!                 None => {
//!                     // A failure: the report is not clean, and the exit code is 3.
//!                     cx.handle().shutdown(Reason::failed("broker", "it closed the subscription"));
//!                     return;
//!                 }
//!             },
//!             () = cx.stop_requested() => return, // SIGTERM: takes no more orders; another replica does
//!         }
//!     }
//! }
//!
//! /// In place of a broker's client.
//! fn subscribe() -> mpsc::Receiver<String> {
//!     let (broker, orders) = mpsc::channel(100);
//!     tokio::spawn(async move {
//!         while broker.send("an order".to_owned()).await.is_ok() {
//!             tokio::time::sleep(Duration::from_secs(1)).await;
//!         }
//!     });
//!     orders
//! }
//!
//! /// In place of a database.
//! #[derive(Clone)]
//! struct Pool;
//!
//! impl Pool {
//!     async fn insert(&self, _order: String) {}
//!     async fn close(&self) {}
//! }
//! # }
//! ```
//!
//! ```console
//! $ cargo add lameduck axum tracing-subscriber
//! $ cargo add tokio --features macros,rt-multi-thread,time
//! ```
//!
//! A process cannot read its pod's `terminationGracePeriodSeconds`, so the manifest repeats the number in an environment variable
//! ([`PlanBuilder::env`]):
//!
//! ```yaml
//! terminationGracePeriodSeconds: 30
//! containers:
//!   - name: shop
//!     env: [{ name: TERMINATION_GRACE_PERIOD_SECONDS, value: "30" }]
//! ```
//!
//! - **Hooks** run in their phase, once, each in a task of its own. [`ShutdownHandle::hook`] takes a closure that makes a future;
//!   [`try_hook`](ShutdownHandle::try_hook) takes one that can fail, [`blocking_hook`](ShutdownHandle::blocking_hook) one that
//!   blocks. [`Phase::after`] orders them, [`Phase::timeout`] bounds them.
//! - **Tasks** are told to stop at the trigger, and waited for. A panic in one, or an error of a
//!   [`try_task`](ShutdownHandle::try_task), triggers the shutdown.
//! - **Guards** keep the shutdown waiting for any other work until they are dropped: `let guard = handle.guard();`, which is `None`
//!   when it is too late to begin ([`ShutdownHandle::guard`]).
//! - **Requests** that come through [`serve`] or [`DrainLayer`] are counted automatically.
//! - **Readiness** is 503 while start-up holds a `handle.not_ready("the cache is cold")`, and 200 while the listener is open, also after
//!   SIGTERM: Kubernetes removes a terminating pod's endpoint whatever
//!   readiness says, and sends traffic to it as a last resort when no other pod is left. For a balancer that probes by
//!   itself mount [`balancer`], which fails at T0.
//! - **A trigger before `run`** is remembered, and its deadlines count: the phases begin when `run` is polled.
//!
//! What goes wrong during the shutdown goes into the [`Report`], and the other hooks run all the same. A later SIGTERM changes nothing.
//!
//! | exit code | |
//! |---|---|
//! | 0 | clean |
//! | 3 | something was cut, failed or overran, or a failure was the reason ([`Report::exit_code`]) |
//! | 4 | the watchdog ended the process |
//! | 130 | a second Ctrl-C at a terminal ended it at once |
//!
//! # The phases
//!
//! | phase | what happens | ends when | at the latest, with 30 s from SIGTERM to SIGKILL |
//! |---|---|---|---|
//! | [`LameDuck`](Phase::LameDuck) | everything is served while routing moves away; connections are asked to close, one by one; tasks are told | its time is up; at once where nothing can have been routed | 10 s |
//! | [`Drain`](Phase::Drain) | requests, tasks and guards that began before it are waited for | none of them is left; at its deadline they may still go on, until the end of Close | 16.5 s |
//! | [`Close`](Phase::Close) | connections end, then the listener closes | no connection is left | 23 s, or 28 s if no hook of Release needs the time; what is left is cut |
//! | [`Release`](Phase::Release) | hooks close pools, brokers, caches | they have returned | 28 s |
//! | [`Exit`](Phase::Exit) | hooks flush telemetry | they have returned | 29 s |
//!
//! A phase also waits for its own hooks. A phase with nothing to wait for ends at once. [`Plan`] derives the deadlines from the
//! grace period, and `println!("{plan}")` shows them. Outside Kubernetes, where no variable says how much time there is, the plan is
//! [`Plan::local`]: 9 s in all and no LameDuck, so that Ctrl-C feels right. If the process is still there 0.5 s before SIGKILL, a thread that
//! [`signal::listen`] has started ends it with exit code 4.
//!
//! # A test
//!
//! A test starts what the service starts, triggers a shutdown, and judges its report. [`Plan::immediate`] has no fixed waits. It still
//! waits for work that is in flight; on tokio's paused clock (`cargo add --dev tokio --features test-util`) that takes no real time.
//! No signal is needed: do not call [`signal::listen`] in a test, because its watchdog would end the test's process.
//!
//! ```
//! # use std::error::Error;
//! # use lameduck::{Reason, ShutdownHandle, TaskContext};
//! # fn start(handle: &ShutdownHandle, orders: mpsc::Receiver<String>) -> Result<(), Box<dyn Error>> {
//! #     handle.task("importer", |cx| import(cx, orders))?;
//! #     handle.hook(Phase::Release, "pool", async || {})?;
//! #     Ok(())
//! # }
//! # async fn import(cx: TaskContext, mut orders: mpsc::Receiver<String>) {
//! #     loop {
//! #         tokio::select! {
//! #             order = orders.recv() => match order {
//! #                 Some(_) => {}
//! #                 None => {
//! #                     cx.handle().shutdown(Reason::failed("broker", "it closed the subscription"));
//! #                     return;
//! #                 }
//! #             },
//! #             () = cx.stop_requested() => return,
//! #         }
//! #     }
//! # }
//! use lameduck::report::Outcome;
//! use lameduck::{Phase, Plan, ShutdownCoordinator};
//! use tokio::sync::mpsc;
//!
//! # /*
//! #[tokio::test(start_paused = true)]
//! # */
//! # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() {
//! #     service_leaves_clean().await;
//! #     service_that_loses_its_broker_leaves_with_a_failure().await;
//! # }
//! async fn service_leaves_clean() {
//!     let shutdown = ShutdownCoordinator::new(Plan::immediate());
//!     let (_broker, orders) = mpsc::channel(1);
//!     start(&shutdown, orders).unwrap(); // a coordinator is a handle, too
//!
//!     shutdown.shutdown("the test says so");
//!     let report = shutdown.run().await;
//!
//!     assert!(report.is_clean(), "{report}");
//!     assert_eq!(report.cut, 0); // requests, tasks and guards; `report.traffic` has the requests that came after T0
//!     let release = report.phase(Phase::Release).unwrap();
//!     assert_eq!(release.hooks[0].name, "pool");
//!     assert_eq!(release.hooks[0].outcome, Outcome::Done);
//!     assert_eq!(report.tasks[0].name, "importer");
//! }
//!
//! # /*
//! #[tokio::test(start_paused = true)]
//! # */
//! async fn service_that_loses_its_broker_leaves_with_a_failure() {
//!     let shutdown = ShutdownCoordinator::new(Plan::immediate());
//!     let (broker, orders) = mpsc::channel(1);
//!     start(&shutdown, orders).unwrap();
//!
//!     drop(broker); // the only trigger
//!     let report = shutdown.run().await;
//!
//!     assert!(!report.is_clean());
//!     assert_eq!(report.reason.to_string(), "`broker` failed: it closed the subscription");
//!     assert!(report.hooks().all(|hook| hook.outcome.is_done()), "{report}");
//! }
//! ```
//!
//! - `run` gives an `Arc<Report>`. A [`Report`] has no constructor; code that judges one is tested with a changed copy:
//!   `let mut report = Report::clone(&report); report.cut = 3;` The [`Outcome`](report::Outcome) of a hook or a task is `Done`,
//!   `Failed`, `Panicked`, `Overran` or `NotStarted`, and can be set in it as well.
//! - [`ShutdownHandle::moment`] gives a [`Moment`] without a connection, and it resolves to its [`Told`] in such a run.
//! - A test that opens a socket uses the real clock, or reads in a task of its own: a paused clock jumps to the deadline while an answer is
//!   still in the kernel, and the connection counts as cut. [`Timeouts`] shows a test whose client runs outside the runtime.
//!
//! # The log
//!
//! Events have the target `lameduck`: the plan at the start, each phase, a hook that failed, what was left behind, and the report as
//! one event with a field for each number. They are at `info`; what went wrong, and a report that is not clean, at `warn`. A filter that names crates has to name this one, too:
//! `my_crate=debug,tower_http=debug,lameduck=info`. When the process ends and nobody hears the log, because there is no subscriber
//! or because the filter hides even errors, the report's summary is written to standard error: one line, if [`signal::listen`] was
//! called. `println!("{report}")` prints a timeline:
//!
//! ```text
//! left in 1.557 s of 9.000 s, clean: SIGTERM
//!   LameDuck T0+0.002 s to T0+0.003 s  completed
//!   Drain    T0+0.003 s to T0+1.556 s  completed
//!   Close    T0+1.556 s to T0+1.557 s  completed
//!   Release  T0+1.557 s to T0+1.557 s  completed
//!     hook `pool` done after 0.000 s
//!   Exit     T0+1.557 s to T0+1.557 s  completed
//!   task `importer` done
//!   requests after T0: 0 served, 0 refused; last arrival none
//!   cut at the end of Close: 0 requests, tasks and guards
//!   connections after T0: 1 closed, 0 cut
//! ```
//!
//! While a shutdown runs, [`ShutdownHandle::progress`] follows it: its phases, and how much is in flight.
//!
//! # Other shapes of `main`
//!
//! - `run` may stand in a `tokio::select!` beside something else. The shutdown goes on when another branch is ready first; wait for
//!   [`ShutdownHandle::finished`] before `main` returns. [`ShutdownCoordinator::run`] has an example.
//! - Keep the coordinator until it is run. `let handle = ShutdownCoordinator::new(plan).handle();` drops it, and its handles refuse
//!   hooks, tasks, guards and signals.
//! - A server that is not [`serve`]'s gets a [`DrainLayer`], and [`ShutdownHandle::reached`] as its shutdown signal:
//!   `axum::serve(listener, app.layer(DrainLayer::new(&handle))).with_graceful_shutdown(handle.reached(Phase::Drain))`.
//!
//! # What to use for what
//!
//! | you want to | use |
//! |---|---|
//! | run the shutdown | [`ShutdownCoordinator`] |
//! | ask, trigger, wait for a phase, from anywhere | [`ShutdownHandle`], [`Reached`] |
//! | say why | [`Reason`]; a failure of your own: [`Reason::failed`] |
//! | follow a shutdown, in a status line or a metric | [`ShutdownHandle::progress`]; with curl: the answer of a [`Probe`](probe::Probe) |
//! | say how long each phase may take | [`Plan`], [`PlanBuilder`] |
//! | run elsewhere than on Kubernetes: Docker, ECS, Cloud Run, Fly.io, Nomad, Heroku, systemd | [`Plan::on`], [`Platform`] |
//! | trigger at SIGTERM and SIGINT, and have a hard deadline | [`signal::listen`] |
//! | trigger at other signals, or leave at once at a second one | [`signal::Listener`] |
//! | serve HTTP/1 and HTTP/2 | [`bind`] and [`serve`]; [`Server`] has the settings |
//! | keep somebody else's server | [`DrainLayer`] |
//! | keep your own accept loop | [`ConnectionGroup`], [`Accepting`], [`Watched`] in [`server`] |
//! | serve TLS, or another kind of listener | [`Server::handshake`], [`Accept`], [`accept_fn`](server::accept_fn) |
//! | keep metrics and health checks out of all this | [`Server::exempt`], [`DrainLayer::exempt`], [`ShutdownCoordinator::probe_user_agents`] |
//! | give requests their client's address, certificate or credentials | [`Server::request_extension`] |
//! | know the client behind a proxy that sends the PROXY protocol | `Server::proxy_protocol` |
//! | bound slow clients | [`Timeouts`] |
//! | have clients connect anew now and then, so that they spread over the replicas | [`Server::max_connection_age`] |
//! | limit the connections | [`Server::max_connections`] |
//! | serve one version of HTTP only | [`Server::http1_only`], [`Server::http2_only`] |
//! | set TCP options | [`Server::tcp_nodelay`], [`Server::tcp_keepalive`] |
//! | write each HTTP/2 response by itself | [`Server::gather_responses`] |
//! | answer probes | [`liveness`], [`readiness`], [`balancer`]; all three: [`probes`] with [`serve_admin`]; over gRPC: [`grpc::health`] |
//! | say that start-up is not over | [`ShutdownHandle::not_ready`] |
//! | do something in a phase | [`ShutdownHandle::hook`], [`try_hook`](ShutdownHandle::try_hook), [`blocking_hook`](ShutdownHandle::blocking_hook), [`try_blocking_hook`](ShutdownHandle::try_blocking_hook); [`When`] |
//! | take a hook back | [`ShutdownHandle::remove_hook`] |
//! | run work in the background | [`ShutdownHandle::task`], [`try_task`](ShutdownHandle::try_task), [`TaskContext`] |
//! | keep the shutdown waiting | [`ShutdownHandle::guard`], [`DrainGuard`] |
//! | refuse new requests while the listener is open | [`Server::refuse_from`], [`DrainLayer::refuse_from`] |
//! | ask for the shutdown in a handler | [`ShutdownHandle::of`], [`Moment::of`]; where a middleware spawns handlers, with [`Server::context_in_extensions`] |
//! | end WebSockets, event streams, calls that stream | [`Moment`], [`close_websocket`], [`close_websocket_sink`], [`EventStreams`], [`LongLived`] |
//! | proxy CONNECT, WebSockets or TCP | [`server::tunnel`] |
//! | serve a protocol of your own | of requests and answers: [`ConnectionGroup::watch_session`]; any other: [`ConnectionGroup::watch_raw`], [`ShutdownHandle::long_guard`] |
//! | know how it went | [`Report`], [`Report::exit_code`]; its parts are in [`report`] |
//! | set the exit codes | [`ExitPolicy`](report::ExitPolicy) |
//! | run under systemd: ready, stop timeout, watchdog, sockets by name | `systemd::notify`, `systemd::Listeners` |
//! | replace the program without losing a connection, on one host | `restart::Restart`; under systemd a socket unit, with `systemd::Listeners` |
//!
//! # Features
//!
//! `tower`, `net`, `hyper` and `signal` are on by default. Without them there is the core: coordinator, plan, hooks, tasks, guards, moments, report.
//!
//! | feature | adds |
//! |---|---|
//! | `tower` | the layer and the probes |
//! | `net` | listeners and connections of any protocol: [`bind`], [`ConnectionGroup`]; no HTTP |
//! | `hyper` | the HTTP server; includes `tower` and `net` |
//! | `proxy-protocol` | `Server::proxy_protocol`; includes `hyper` |
//! | `signal` | signals and the watchdog, on Unix |
//! | `axum` | [`Moment`] and [`ShutdownHandle`] as arguments of axum's handlers |
//! | `metrics` | phase, in flight, refused, cut and more, for the recorder of the crate `metrics` |
//! | `serde` | `serde::Serialize` for [`Report`], all that is in it, and [`Plan`]; `Deserialize` for [`Phase`] and [`Signal`] |
//! | `systemd` | what a service manager is told, and the listeners that it passes; on Unix; includes `net` |
//! | `restart` | `restart::Restart`: a successor that takes over the listeners; on Unix; includes `systemd` |
//! | `tonic` | `grpc::health`, gRPC's health service; needs Rust 1.88 |
//!
//! # More
//!
//! The repository has pages beside this documentation. `README.md` compares the layer with the server, and says what goes into
//! the manifest. `docs/phases.md` has each phase in detail, and what bad input gets. `docs/kubernetes.md` has what a cluster does
//! meanwhile, and what to set for it. `docs/platforms.md` has a recipe for each other platform, and `docs/systemd.md` has systemd's
//! units and messages, and a restart on one host. `docs/migrating.md` has what to write instead of `axum::serve`, axum-server,
//! tonic's `Server` and others. `docs/guarantees.md` lists what is promised, and the command that shows it.
//! `docs/architecture.md` says how the crate is built. `examples/` is a course of twelve, and a rolling update to watch.
//!
//! [`ConnectionGroup`]: server::ConnectionGroup
//! [`ConnectionGroup::watch_raw`]: server::ConnectionGroup::watch_raw
//! [`ConnectionGroup::watch_session`]: server::ConnectionGroup::watch_session
//! [`Accepting`]: server::Accepting
//! [`Watched`]: server::Watched
//! [`Accept`]: server::Accept
//! [`Timeouts`]: server::Timeouts
#![cfg_attr(docsrs, feature(doc_cfg))]
// Links to what a feature adds lead nowhere without it.
#![cfg_attr(
    not(all(feature = "hyper", feature = "signal")),
    allow(rustdoc::broken_intra_doc_links)
)]

#[cfg(test)]
mod cases;
mod handle;
mod hook;
#[cfg(feature = "tower")]
mod http;
mod in_flight;
mod integrations;
mod lease;
mod long_lived;
#[cfg(all(test, lameduck_loom))]
mod model;
#[cfg(feature = "net")]
#[cfg_attr(
    not(feature = "hyper"),
    allow(
        dead_code,
        unreachable_pub,
        reason = "what only HTTP asks of a connection"
    )
)]
mod net;
mod panic;
mod phase;
// Without a server there are no names from outside; the report still asks what is plain.
#[cfg_attr(not(feature = "hyper"), allow(dead_code))]
mod plain;
mod plan;
mod process;
mod progress;
mod random;
mod reason;
pub mod report;
mod routing;
mod run;
mod shared;
mod sync;
mod task;

pub use handle::{NotReady, Reached, ShutdownHandle};
pub use hook::{HookError, When};
pub use in_flight::DrainGuard;
#[cfg(feature = "tonic")]
#[cfg_attr(docsrs, doc(cfg(feature = "tonic")))]
pub use integrations::grpc;
#[cfg(feature = "tower")]
#[cfg_attr(docsrs, doc(cfg(feature = "tower")))]
pub use long_lived::{EventStreams, close_websocket, close_websocket_sink};
pub use long_lived::{Moment, Told};
pub use phase::Phase;
pub use plan::{LeaveEarly, Plan, PlanBuilder, PlanError, Platform};
#[cfg(all(unix, feature = "restart"))]
#[cfg_attr(docsrs, doc(cfg(feature = "restart")))]
pub use process::restart;
#[cfg(feature = "signal")]
#[cfg_attr(docsrs, doc(cfg(feature = "signal")))]
pub use process::signal;
pub use progress::{ProgressWatch, Snapshot};
pub use reason::{Reason, Signal};
pub use run::{Run, ShutdownCoordinator};
pub use task::{TaskContext, TaskError};

// What most programs name has its home in a module, and is here as well.
#[cfg(feature = "tower")]
#[cfg_attr(docsrs, doc(cfg(feature = "tower")))]
#[doc(inline)]
pub use layer::{DrainLayer, LongLived};
#[cfg(feature = "tower")]
#[cfg_attr(docsrs, doc(cfg(feature = "tower")))]
#[doc(inline)]
pub use probe::{balancer, liveness, probes, readiness};
#[doc(inline)]
pub use report::Report;
#[cfg(feature = "net")]
#[cfg_attr(docsrs, doc(cfg(feature = "net")))]
#[doc(inline)]
pub use server::bind;
#[cfg(feature = "hyper")]
#[cfg_attr(docsrs, doc(cfg(feature = "hyper")))]
#[doc(inline)]
pub use server::{Server, serve, serve_admin};

#[cfg(feature = "tower")]
#[cfg_attr(docsrs, doc(cfg(feature = "tower")))]
pub mod layer {
    //! The layer for a server that you keep, and the marks for what lasts.
    //!
    //! [`DrainLayer`] counts the requests of any server that takes tower's layers; [`LongLivedLayer`] marks routes of which
    //! responses last, on any server. The other types are what these two make.

    pub use crate::http::request::{
        DrainBody, DrainLayer, DrainService, LongLived, LongLivedFuture, LongLivedLayer,
        LongLivedService, RequestGuard, RequestHead, ResponseFuture,
    };
    #[cfg(feature = "axum")]
    #[cfg_attr(docsrs, doc(cfg(feature = "axum")))]
    pub use crate::integrations::axum::NotServed;
}

#[cfg(feature = "tower")]
#[cfg_attr(docsrs, doc(cfg(feature = "tower")))]
pub mod probe {
    //! Probes: what the kubelet and balancers ask.

    pub use crate::http::probe::{
        Probe, ProbeBody, Probes, ReadinessPolicy, balancer, liveness, probes, readiness,
    };
}

#[cfg(feature = "net")]
#[cfg_attr(docsrs, doc(cfg(feature = "net")))]
pub mod server {
    //! Servers: listeners, connections and, with the feature `hyper`, HTTP/1 and HTTP/2.
    //!
    //! [`bind`] and [`serve`] are what most services need, [`Server`] has the settings. A [`ConnectionGroup`] is for an accept
    //! loop of your own, or a protocol that is not HTTP.
    //!
    //! The parameters of a [`Server`] are what its settings were given: a [`ConnectionExtension`] by [`Server::request_extension`],
    //! a [`HandshakeFn`] by [`Server::handshake`], a `ProxyProtocolFn` by `Server::proxy_protocol`. [`RequestExtension`],
    //! [`Handshake`] and [`FindClient`] are closed traits: they are here to be named in bounds.

    #[cfg(feature = "proxy-protocol")]
    #[cfg_attr(docsrs, doc(cfg(feature = "proxy-protocol")))]
    pub use crate::http::server::{Proxied, ProxyProtocolFn};
    #[cfg(feature = "hyper")]
    #[cfg_attr(docsrs, doc(cfg(feature = "hyper")))]
    pub use crate::http::{
        connection::{drive::Executor, io::Io},
        server::{
            ConnectionExtension, FindClient, Handshake, HandshakeFn, RequestExtension, Server,
            Serving, serve, serve_admin,
        },
    };
    pub use crate::long_lived::tunnel::tunnel;
    pub use crate::net::{
        Accept, Accepting, ConnectionGroup, GracefulConnection, Raw, Session, TcpKeepalive,
        Watched, accept_fn, bind,
    };
    #[cfg(feature = "hyper")]
    #[cfg_attr(docsrs, doc(cfg(feature = "hyper")))]
    pub use crate::net::{terms::RequestNames, timeouts::Timeouts};
}

#[cfg(all(unix, feature = "systemd"))]
#[cfg_attr(docsrs, doc(cfg(feature = "systemd")))]
pub mod systemd {
    //! systemd, and whoever speaks its protocol: what it is told, and the listeners that it passes.
    //!
    //! [`notify`] tells the service manager when the service is ready, that it stops and for how long, and that its runtime runs.
    //! [`Listeners`] are those that it passes, by name. Neither does anything in a process that no service manager has started.
    //!
    //! ```no_run
    //! # #[cfg(all(feature = "hyper", feature = "signal"))]
    //! # async fn example(app: axum::Router) -> Result<std::process::ExitCode, Box<dyn std::error::Error>> {
    //! use lameduck::{Plan, ShutdownCoordinator};
    //!
    //! let mut passed = lameduck::systemd::Listeners::from_env()?;
    //! let shutdown = ShutdownCoordinator::new(Plan::from_env()?);
    //! let handle = shutdown.handle();
    //! lameduck::signal::listen(&handle)?;
    //! lameduck::systemd::notify(&handle)?;
    //!
    //! let listener = passed.tcp_or_bind("http", "0.0.0.0:3000").await?;
    //! lameduck::serve(listener, app, &handle);
    //! Ok(shutdown.run().await.exit_code()) // READY=1 when it begins, STOPPING=1 at the trigger
    //! # }
    //! ```
    //!
    //! `docs/systemd.md` has the unit files, and what systemd makes of what it is told.

    pub use crate::net::Listeners;
    pub use crate::process::systemd::notify;
}

/// The examples of the pages compile.
#[cfg(all(doctest, feature = "hyper", feature = "signal"))]
mod pages {
    #[doc = include_str!("../README.md")]
    mod readme {}
    #[cfg(feature = "axum")]
    #[doc = include_str!("../docs/phases.md")]
    mod phases {}
    #[doc = include_str!("../docs/kubernetes.md")]
    mod kubernetes {}
    #[doc = include_str!("../docs/platforms.md")]
    mod platforms {}
}
