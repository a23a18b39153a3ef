//! Graceful shutdown for Rust services on Kubernetes.
#![cfg_attr(docsrs, feature(doc_cfg))]

mod coordinator;
mod drain;
mod handle;
mod hook;
mod panic;
mod phase;
mod plan;
mod reason;
mod report;
mod task;

pub use coordinator::ShutdownCoordinator;
pub use drain::DrainGuard;
pub use handle::{NotReady, Reached, ShutdownHandle};
pub use hook::{HookError, When};
pub use phase::Phase;
pub use plan::{Plan, PlanBuilder, PlanError};
pub use reason::{Reason, Signal};
pub use report::{
    Connections, HookReport, Kind, LeftBehind, Outcome, PhaseOutcome, PhaseReport, Report,
    TaskReport, Traffic,
};
pub use task::{TaskContext, TaskError};
