//! A transport inside the process, and clients that cost next to nothing: what is counted shall be the server.

pub mod client;
mod listener;

pub use client::Version;
pub use listener::{Connector, Listener, connector};
