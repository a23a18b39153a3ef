//! One request in flight: the tower side.
//!
//! [`DrainLayer`] counts a request from before the inner service is called to the last frame of the response's body.

mod body;
mod future;
mod hold;
mod layer;
mod rules;
mod service;

pub use body::DrainBody;
pub use future::ResponseFuture;
pub use hold::RequestGuard;
pub use layer::DrainLayer;
pub use rules::RequestHead;
pub use service::DrainService;

#[cfg(feature = "hyper")]
pub(crate) use hold::{Hold, is_http1, leaves_http, say_close};
#[cfg(feature = "hyper")]
pub(crate) use rules::{retry_after, unavailable};
