//! The process as the system sees it.
//!
//! - `signal` triggers the shutdown at SIGTERM and SIGINT.
//! - `watchdog` ends the process at the hard deadline.
//! - `cgroup` knows the CPU quota, which may make that late.
//! - `termination_log` says to Kubernetes how it ended.
//! - `standard_error` says it to whoever reads that.
//! - `systemd` tells a service manager how the service is doing.
//! - `restart` starts a successor that takes over.

pub(crate) mod cgroup;
#[cfg(all(unix, feature = "restart"))]
pub mod restart;
#[cfg(feature = "signal")]
pub mod signal;
pub(crate) mod standard_error;
#[cfg(all(unix, feature = "systemd"))]
pub(crate) mod systemd;
pub(crate) mod termination_log;
#[cfg(feature = "signal")]
mod watchdog;
