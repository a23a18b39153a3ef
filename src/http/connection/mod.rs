//! One HTTP connection: the hyper side.
//!
//! hyper gives a wish (`graceful_shutdown`), not an end, and on HTTP/1 its wish throws away what the client has already
//! sent. So `net` drives it from outside.
//!
//! - `drive` is the connection itself: after the handshake it `sniff`s the version, then hyper serves it, over `io` and with
//!   `service`. `frames` follows HTTP/2 where it has to be ended, `gathered` are frames that leave in one write, `in_flight` is
//!   held for each request; `stream_task` is the task of an HTTP/2 stream; `upgrades` are the requests that leave HTTP.
//! - `graceful` says what hyper's own connections make of being asked to close.

pub(crate) mod drive;
mod frames;
mod gathered;
mod graceful;
mod in_flight;
pub(crate) mod io;
mod late_cut;
mod messages;
pub(crate) mod service;
mod sniff;
mod stream_task;
mod upgrades;
