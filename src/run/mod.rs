//! A shutdown from its trigger to its report.
//!
//! - `coordinator` waits for the trigger, `sequence` runs the phases.
//! - `future` lets it survive being dropped.
//! - `close` is what Close waits for.
//! - `silence` says whether LameDuck may be over before its time.
//! - `deadline` runs a future until a deadline.

mod close;
mod coordinator;
mod deadline;
mod future;
mod sequence;
mod silence;

pub use coordinator::ShutdownCoordinator;
pub use future::Run;
