//! One connection: the hyper side.
//!
//! hyper gives a wish (`graceful_shutdown`), not an end, and on HTTP/1 its wish throws away what the client has already
//! sent. So a connection is driven from outside: it is counted before its task is spawned, asked to close at its own moment
//! of the spread, and cut at Close's deadline.
//!
//! - `server` is what a user sets, `serve` the accept loop, `listener` what it accepts from, `last_call` what comes before
//!   its close.
//! - `group` keeps the connections of one server; `state` is what the parts of one connection share, `asked`
//!   what it is to do.
//! - `watched` tells a connection when its time has come, by the steps of its `course`, or `cut`s it; `graceful` says what
//!   each kind of connection makes of it.
//! - `patience` says how long it waits for its client, by the `timeouts` among its server's `terms`.
//! - `http` is our own kind: after the `handshake` it `sniff`s the version, then hyper serves it, over `io` and with
//!   `service`. `frames` follows HTTP/2 where it has to be ended, `in_flight` is held for each request, the `tally` counts
//!   and `requests` names them, `peer` its client, and `account` says what the connection was doing; `upgrades` are the
//!   requests that leave HTTP.
//! - `raw` is a connection that is none of this, of an accept loop of the user's.

mod account;
mod asked;
mod course;
mod cut;
mod frames;
mod graceful;
mod group;
mod handshake;
mod http;
mod in_flight;
mod io;
#[cfg(target_os = "linux")]
mod last_call;
mod listener;
#[cfg(all(test, lameduck_loom))]
mod model;
mod names;
mod patience;
mod peer;
mod raw;
mod requests;
mod serve;
mod server;
mod service;
mod sniff;
mod state;
mod tally;
mod terms;
mod timeouts;
mod upgrades;
mod watched;

pub use graceful::GracefulConnection;
pub use group::ConnectionGroup;
pub use io::Io;
pub use listener::{Accept, bind};
pub use names::RequestNames;
pub use raw::Raw;
pub use serve::{Serving, serve, serve_admin};
pub use server::Server;
pub use timeouts::Timeouts;
pub use watched::Watched;
