//! One connection, whatever its protocol: counted before its task is spawned, asked to close at its own moment of the spread,
//! and cut at Close's deadline.
//!
//! - `listener` is what a server accepts from, `syn_filter` what comes before its close.
//! - `group` keeps the connections of one server; `connection` is what the parts of one connection share, `asked`
//!   what it is to do.
//! - `watched` tells a connection when its time has come, by the steps of its `course`, or `cut`s it; `graceful` says what
//!   each kind of connection makes of it.
//! - `patience` says how long it waits for its client, by the `timeouts` among its server's `terms`.
//! - the `tally` counts and `requests` names what it carries, `peer` its client, and `report` says what it was doing.
//! - `raw` is a connection of an accept loop of the user's that is not HTTP.

mod asked;
pub(crate) mod connection;
mod course;
mod cut;
pub(crate) mod graceful;
pub(crate) mod group;
pub(crate) mod listener;
#[cfg(all(test, lameduck_loom))]
mod model;
mod patience;
mod peer;
mod raw;
mod report;
pub(crate) mod requests;
#[cfg(target_os = "linux")]
mod syn_filter;
mod tally;
pub(crate) mod terms;
pub(crate) mod timeouts;
pub(crate) mod watched;

pub use graceful::GracefulConnection;
pub use group::ConnectionGroup;
pub use listener::{Accept, bind};
pub use raw::Raw;
pub use terms::RequestNames;
pub use timeouts::Timeouts;
pub use watched::Watched;
