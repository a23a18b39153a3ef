//! One request in flight: the tower side.
//!
//! [`DrainLayer`] counts a request from before the inner service is called to the last frame of the response's body. What
//! turns out to last is moved to another count, and ended at its moment.

mod arrival;
mod body;
mod ending;
mod future;
mod hold;
mod layer;
mod long;
mod mark;
mod rules;
mod service;

pub use body::DrainBody;
pub use future::ResponseFuture;
pub use hold::RequestGuard;
pub use layer::DrainLayer;
pub use long::LongLived;
pub use mark::{LongLivedFuture, LongLivedLayer, LongLivedService};
pub use service::DrainService;

pub use crate::http::traffic::RequestHead;

pub(crate) use arrival::{Arrival, Undecided};
#[cfg(feature = "hyper")]
pub(crate) use rules::{retry_after, unavailable};
#[cfg(feature = "hyper")]
pub(crate) use {
    ending::Fate,
    hold::{Hold, is_http1, leaves_http, say_close},
};
