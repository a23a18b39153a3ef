//! The process as the system sees it.
//!
//! - `signal` triggers the shutdown at SIGTERM and SIGINT.
//! - `watchdog` ends the process at the hard deadline.
//! - `cgroup` knows the CPU quota, which may make that late.
//! - `termination_log` says to Kubernetes how it ended.
//! - `standard_error` says it to whoever reads that.

pub(crate) mod cgroup;
#[cfg(feature = "signal")]
pub mod signal;
pub(crate) mod standard_error;
pub(crate) mod termination_log;
#[cfg(feature = "signal")]
mod watchdog;
