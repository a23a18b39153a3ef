//! The process as the system sees it.
//!
//! - `signal` triggers the shutdown at SIGTERM and SIGINT.
//! - `watchdog` ends the process at the hard deadline.
//! - `cgroup` knows the CPU quota, which may make that late.
//! - `termination_log` says to Kubernetes how it ended.
//! - `standard_error` says it to whoever reads that.
//! - `systemd` tells a service manager how the service is doing.

pub(crate) mod cgroup;
#[cfg(feature = "signal")]
pub mod signal;
pub(crate) mod standard_error;
#[cfg(all(unix, feature = "systemd"))]
pub(crate) mod systemd;
pub(crate) mod termination_log;
#[cfg(feature = "signal")]
mod watchdog;
