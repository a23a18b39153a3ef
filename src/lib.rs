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
//! | keep your own accept loop | [`ConnectionGroup`], [`Accepting`], [`Watched`] |
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
//! # More
//!
//! `README.md` compares the layer with the server, and says what goes into the manifest. `docs/phases.md` tells each phase
//! in detail, and what bad input gets; `docs/kubernetes.md` what a cluster does meanwhile, and what to set for it;
//! `docs/architecture.md` says how the crate is built. `examples/` is a course of ten, and a rolling update to watch.
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
mod report;
mod routing;
mod run;
mod shared;
mod sync;
mod task;

#[cfg(feature = "tower")]
#[cfg_attr(docsrs, doc(cfg(feature = "tower")))]
pub use crate::http::probe::{
    Probe, ProbeBody, Probes, ReadinessPolicy, balancer, liveness, probes, readiness,
};
#[cfg(feature = "tower")]
#[cfg_attr(docsrs, doc(cfg(feature = "tower")))]
pub use crate::http::request::{
    DrainBody, DrainLayer, DrainService, LongLived, LongLivedFuture, LongLivedLayer,
    LongLivedService, RequestGuard, RequestHead, ResponseFuture,
};
#[cfg(feature = "hyper")]
#[cfg_attr(docsrs, doc(cfg(feature = "hyper")))]
pub use crate::http::{
    connection::io::Io,
    server::{Server, Serving, serve, serve_admin},
};
#[cfg(feature = "net")]
#[cfg_attr(docsrs, doc(cfg(feature = "net")))]
pub use crate::net::{Accept, Accepting, ConnectionGroup, GracefulConnection, Raw, Watched, bind};
#[cfg(feature = "hyper")]
#[cfg_attr(docsrs, doc(cfg(feature = "hyper")))]
pub use crate::net::{terms::RequestNames, timeouts::Timeouts};
pub use handle::{NotReady, Reached, ShutdownHandle};
pub use hook::{HookError, When};
pub use in_flight::DrainGuard;
#[cfg(feature = "axum")]
#[cfg_attr(docsrs, doc(cfg(feature = "axum")))]
pub use integrations::axum::NotServed;
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
pub use report::{
    ConnectionCounts, ExitPolicy, HookReport, Kind, LeftBehind, LongCounts, Outcome, PhaseOutcome,
    PhaseReport, Report, TaskReport, Traffic,
};
pub use run::{Run, ShutdownCoordinator};
pub use task::{TaskContext, TaskError};

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
