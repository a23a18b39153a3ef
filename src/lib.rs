//! Graceful shutdown for Rust services on Kubernetes.
//!
//! At SIGTERM a process goes on serving until traffic has moved away, drains what is in flight, closes its listener last,
//! then its pools, and is gone before SIGKILL. It does so in five [`Phase`]s, each with a deadline that counts from the
//! trigger.
//!
//! ```no_run
//! # #[cfg(all(feature = "hyper", feature = "signal"))]
//! # mod example {
//! use std::error::Error;
//! use std::process::ExitCode;
//!
//! use axum::{Router, routing::get};
//! use lameduck::{Phase, Plan, ShutdownCoordinator};
//!
//! #[tokio::main]
//! async fn main() -> Result<ExitCode, Box<dyn Error>> {
//!     let shutdown = ShutdownCoordinator::new(Plan::from_env()?);
//!     let handle = shutdown.handle();
//!     lameduck::signal::listen(&handle)?; // SIGTERM and SIGINT; before slow start-up
//!
//!     shutdown.hook(Phase::Release, "pool", async || { /* pool.close().await */ })?;
//!     let app = Router::new().route("/", get(|| async { "hello" }));
//!     let listener = lameduck::bind("0.0.0.0:3000").await?;
//!     lameduck::serve(listener, app, &handle);
//!
//!     Ok(shutdown.run().await.exit_code())
//! }
//! # }
//! ```
//!
//! # The log
//!
//! Events have the target `lameduck`: a phase, a hook that failed, what was left behind, and the report as one event with fields. A
//! filter that names crates has to name this one, too: `my_crate=debug,tower_http=debug,lameduck=info`. When the process ends and
//! nobody hears the log, because there is no subscriber or because the filter hides even errors, the report's summary is written to
//! standard error: one line, if [`signal::listen`] was called.
//!
//! # What to use for what
//!
//! | you want to | use |
//! |---|---|
//! | run the shutdown | [`ShutdownCoordinator`] |
//! | ask, trigger, wait for a phase, from anywhere | [`ShutdownHandle`], [`Reached`] |
//! | say how long each phase may take | [`Plan`], [`PlanBuilder`] |
//! | trigger at SIGTERM and SIGINT, and have a hard deadline | [`signal::listen`] |
//! | serve HTTP/1 and HTTP/2 | [`bind`] and [`serve`]; [`Server`] has the settings |
//! | keep somebody else's server | [`DrainLayer`] |
//! | keep your own accept loop | [`ConnectionGroup`], [`Accepting`], [`Watched`] in [`server`] |
//! | serve TLS, or another kind of listener | [`Server::handshake`], [`Accept`] |
//! | bound slow clients | [`Timeouts`] |
//! | answer probes | [`liveness`], [`readiness`], [`balancer`]; all three: [`probes`] with [`serve_admin`] |
//! | say that start-up is not over | [`ShutdownHandle::not_ready`] |
//! | do something in a phase | [`ShutdownHandle::hook`] and its three sisters, [`When`] |
//! | run work in the background | [`ShutdownHandle::task`], [`TaskContext`] |
//! | keep the shutdown waiting | [`ShutdownHandle::guard`], [`DrainGuard`] |
//! | end WebSockets, event streams, calls that stream | [`Moment`], [`close_websocket`], [`EventStreams`], [`LongLived`] |
//! | serve a protocol of your own | [`ConnectionGroup::watch_raw`], [`ShutdownHandle::long_guard`] |
//! | know how it went | [`Report`], [`Report::exit_code`] |
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
//! | `signal` | signals and the watchdog, on Unix |
//! | `axum` | [`Moment`] and [`ShutdownHandle`] as arguments of axum's handlers |
//! | `metrics` | phase, in flight, refused, cut and more, for the recorder of the crate `metrics` |
//! | `serde` | `serde::Serialize` for [`Report`], all that is in it, and [`Plan`]; `Deserialize` for [`Phase`] and [`Signal`] |
//! | `tonic` | `grpc::health`, gRPC's health service; needs Rust 1.88 |
//!
//! # In tests
//!
//! A test of your own hooks, tasks and guards runs a whole shutdown: [`Plan::immediate`] waits for nothing but work that is really
//! there, and on tokio's paused clock not even for that. It needs no signals, so do not call [`signal::listen`].
//!
//! ```
//! use lameduck::{Plan, ShutdownCoordinator, TaskContext};
//!
//! async fn import(cx: TaskContext) {
//!     while !cx.is_stop_requested() {
//!         # tokio::time::sleep(std::time::Duration::from_secs(1)).await;
//!         // Take a message, work on it, commit it.
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // In a test: #[tokio::test(start_paused = true)]
//! let shutdown = ShutdownCoordinator::new(Plan::immediate());
//! shutdown.task("importer", import)?;
//!
//! shutdown.handle().shutdown("test");
//! let report = shutdown.run().await;
//!
//! assert!(report.is_clean(), "{report}");
//! # Ok(())
//! # }
//! ```
//!
//! [`ShutdownHandle::moment`] gives a [`Moment`] without a connection, and it resolves to its [`Told`] in such a run.
//! [`report`] shows how to get a report for code that judges one.
//!
//! # More
//!
//! `README.md` compares the layer with the server, and says what goes into the manifest. `docs/phases.md` tells each phase
//! in detail, and what bad input gets; `docs/kubernetes.md` what a cluster does meanwhile, and what to set for it;
//! `docs/architecture.md` says how the crate is built. `examples/` is a course of ten, and a rolling update to watch.
//!
//! [`ConnectionGroup`]: server::ConnectionGroup
//! [`ConnectionGroup::watch_raw`]: server::ConnectionGroup::watch_raw
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
#[cfg(feature = "tower")]
mod current;
mod handle;
mod hook;
#[cfg(feature = "tower")]
mod http;
mod in_flight;
mod integrations;
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
pub use long_lived::{EventStreams, close_websocket};
pub use long_lived::{Moment, Told};
pub use phase::Phase;
pub use plan::{LeaveEarly, Plan, PlanBuilder, PlanError};
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
    //! The parameters of a [`Server`] are what its settings were given: a [`PeerExtension`] by [`Server::request_extension`],
    //! a [`HandshakeFn`] by [`Server::handshake`]. [`RequestExtension`] and [`Handshake`] are closed traits: they are here to
    //! be named in bounds.

    #[cfg(feature = "hyper")]
    #[cfg_attr(docsrs, doc(cfg(feature = "hyper")))]
    pub use crate::http::{
        connection::{drive::Executor, io::Io},
        server::{
            Handshake, HandshakeFn, PeerExtension, RequestExtension, Server, Serving, serve,
            serve_admin,
        },
    };
    pub use crate::net::{
        Accept, Accepting, ConnectionGroup, GracefulConnection, Raw, Watched, bind,
    };
    #[cfg(feature = "hyper")]
    #[cfg_attr(docsrs, doc(cfg(feature = "hyper")))]
    pub use crate::net::{terms::RequestNames, timeouts::Timeouts};
}

/// The examples of the pages compile.
#[cfg(all(doctest, feature = "hyper", feature = "signal"))]
mod pages {
    #[doc = include_str!("../README.md")]
    mod readme {}
    #[doc = include_str!("../docs/phases.md")]
    mod phases {}
    #[doc = include_str!("../docs/kubernetes.md")]
    mod kubernetes {}
}
