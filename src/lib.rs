//! Graceful shutdown for Rust services on Kubernetes.
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(feature = "hyper")]
mod connection;
mod coordinator;
mod drain;
mod handle;
mod hook;
mod panic;
mod phase;
mod plan;
#[cfg(feature = "tower")]
mod probe;
#[cfg(feature = "tower")]
mod random;
mod reason;
mod report;
#[cfg(feature = "tower")]
mod request;
mod sequence;
mod shared;
#[cfg(all(feature = "signal", unix))]
#[cfg_attr(docsrs, doc(cfg(feature = "signal")))]
pub mod signal;
mod task;
#[cfg(all(feature = "signal", unix))]
mod watchdog;

#[cfg(feature = "hyper")]
#[cfg_attr(docsrs, doc(cfg(feature = "hyper")))]
pub use connection::{
    Accept, ConnectionGroup, GracefulConnection, Io, RequestNames, Server, Serving, Watched, bind,
    serve, serve_admin,
};
pub use coordinator::ShutdownCoordinator;
pub use drain::DrainGuard;
pub use handle::{NotReady, Reached, ShutdownHandle};
pub use hook::{HookError, When};
pub use phase::Phase;
pub use plan::{Plan, PlanBuilder, PlanError};
#[cfg(feature = "tower")]
#[cfg_attr(docsrs, doc(cfg(feature = "tower")))]
pub use probe::{Probe, ProbeBody, Probes, ReadinessPolicy, balancer, liveness, probes, readiness};
pub use reason::{Reason, Signal};
pub use report::{
    ConnectionCounts, HookReport, Kind, LeftBehind, Outcome, PhaseOutcome, PhaseReport, Report,
    TaskReport, Traffic,
};
#[cfg(feature = "tower")]
#[cfg_attr(docsrs, doc(cfg(feature = "tower")))]
pub use request::{DrainBody, DrainLayer, DrainService, RequestGuard, RequestHead, ResponseFuture};
pub use task::{TaskContext, TaskError};
