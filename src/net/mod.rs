//! One connection, whatever its protocol: counted before its task is spawned, asked to close at its own moment of the spread,
//! and cut at Close's deadline.
//!
//! - `listener` is what a server accepts from, `accept_fn` one made of a function, `accept` the loop that does, `room` a limit of what it accepts,
//!   `shortage` what is logged when it cannot, `socket` what is set on what it accepts, `syn_filter` what comes before its
//!   close, `holders` who else has it.
//! - `group` keeps the connections of one server; `connection` is what the parts of one connection share.
//! - `exit` is the machine that decides how a connection ends, by the `timeouts` among its server's `terms`; `delivery` asks
//!   the kernel what the client has acknowledged.
//! - `age` draws for how long a connection may be used, where its server limits that.
//! - `watched` drives a connection by what its `exit` says, or `cut`s it; `graceful` says what each kind of connection makes
//!   of being asked.
//! - `gathering` is what the driver of an HTTP/2 connection and its IO say to each other about responses that leave together.
//! - `carries` says whether what a connection carries is waited for, `requests` names it, `peer` its client, and `report` says what it
//!   was doing.
//! - `raw` is a connection of an accept loop of the user's that is not HTTP, `session` its requests and answers.
//! - `passed` has the listeners that a service manager passed.
//! - `lingering` is how the IO of a connection ends.

pub(crate) mod accept;
mod accept_fn;
pub(crate) mod age;
mod carries;
pub(crate) mod connection;
mod cut;
mod delivery;
pub(crate) mod exit;
pub(crate) mod gathering;
pub(crate) mod graceful;
pub(crate) mod group;
#[cfg(target_os = "linux")]
mod holders;
pub(crate) mod lingering;
pub(crate) mod listener;
#[cfg(all(test, lameduck_loom))]
mod model;
#[cfg(all(unix, feature = "systemd"))]
mod passed;
mod peer;
mod raw;
mod report;
pub(crate) mod requests;
mod room;
mod session;
mod shortage;
pub(crate) mod socket;
#[cfg(target_os = "linux")]
mod syn_filter;
pub(crate) mod terms;
pub(crate) mod timeouts;
pub(crate) mod watched;

pub use accept::Accepting;
pub use accept_fn::accept_fn;
pub use graceful::GracefulConnection;
pub use group::ConnectionGroup;
pub use listener::{Accept, bind};
#[cfg(all(unix, feature = "systemd"))]
pub use passed::Listeners;
pub use raw::Raw;
pub use session::Session;
pub use socket::TcpKeepalive;
pub use watched::Watched;
