//! What lasts: WebSockets, event streams, calls that stream. Each is told to end at a moment of its own.
//!
//! - `moment` is when that is; `spread` draws it.
//! - `notices` is what is said then, and to how many it has been said.
//! - `ages` knows which connections have an age, at which they are told in normal service.
//! - `event_streams`, `websocket` and `tunnel` are how three of them end.

// Without a server no connection has an age.
#[cfg_attr(not(feature = "net"), allow(dead_code))]
pub(crate) mod ages;
#[cfg(feature = "tower")]
pub(crate) mod event_streams;
mod moment;
pub(crate) mod notices;
pub(crate) mod spread;
#[cfg(feature = "net")]
pub(crate) mod tunnel;
#[cfg(feature = "tower")]
mod websocket;

#[cfg(feature = "tower")]
pub use event_streams::EventStreams;
pub use moment::Moment;
pub use notices::Told;
#[cfg(feature = "tower")]
pub use websocket::{close_websocket, close_websocket_sink};
