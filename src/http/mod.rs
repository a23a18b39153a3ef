//! HTTP: a request, a connection, a server.
//!
//! - `request` is one request in flight, the tower side.
//! - `connection` is one connection, the hyper side.
//! - `server` accepts connections and serves them.
//! - `probe` answers whoever asks how the process is.
//! - `traffic` says which requests are traffic.
//! - `current` is the request that is being handled, for handlers that ask; `context` is what such a request carries in its
//!   extensions, where it was asked for.

#[cfg(feature = "hyper")]
pub(crate) mod connection;
pub(crate) mod context;
pub(crate) mod current;
pub(crate) mod probe;
pub(crate) mod request;
#[cfg(feature = "hyper")]
pub(crate) mod server;
pub(crate) mod traffic;
