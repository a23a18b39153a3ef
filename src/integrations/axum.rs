//! axum's extractors: what [`ShutdownHandle::of`] and [`Moment::of`] give, as arguments of a handler.

use std::convert::Infallible;
use std::error::Error;
use std::fmt;

use axum_core::extract::{FromRequestParts, OptionalFromRequestParts};
use axum_core::response::{IntoResponse, Response};
use http::StatusCode;
use http::request::Parts;

use crate::handle::ShutdownHandle;
use crate::long_lived::Moment;

/// Gives [`Moment::of`] the request. `Option<Moment>` is for a handler that is also used under a server that knows nothing of the
/// shutdown.
impl<S: Sync> FromRequestParts<S> for Moment {
    type Rejection = NotServed;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, NotServed> {
        Moment::of(&parts.extensions).ok_or(NotServed(()))
    }
}

impl<S: Sync> OptionalFromRequestParts<S> for Moment {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, Infallible> {
        Ok(Moment::of(&parts.extensions))
    }
}

/// Gives [`ShutdownHandle::of`] the request. `Option<ShutdownHandle>` is for a handler that is also used under a server that knows
/// nothing of the shutdown.
impl<S: Sync> FromRequestParts<S> for ShutdownHandle {
    type Rejection = NotServed;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, NotServed> {
        ShutdownHandle::of(&parts.extensions).ok_or(NotServed(()))
    }
}

impl<S: Sync> OptionalFromRequestParts<S> for ShutdownHandle {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, Infallible> {
        Ok(ShutdownHandle::of(&parts.extensions))
    }
}

/// Nothing is known of the request: 500, because that is a mistake in the service.
///
/// - The request came neither through a server of ours nor through a [`DrainLayer`](crate::DrainLayer), or
/// - its handler runs in a task of its own, which a middleware has spawned, say: then set `context_in_extensions` on the
///   server or the layer ([`Server`](crate::Server::context_in_extensions),
///   [`DrainLayer`](crate::DrainLayer::context_in_extensions)), or
/// - the coordinator is gone.
#[derive(Debug)]
pub struct NotServed(());

impl fmt::Display for NotServed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "lameduck does not know this request: either it came neither through a server of lameduck nor through its layer, \
             or its handler runs in another task; for that, set `context_in_extensions` on the server or the layer",
        )
    }
}

impl Error for NotServed {}

impl IntoResponse for NotServed {
    fn into_response(self) -> Response {
        (StatusCode::INTERNAL_SERVER_ERROR, self.to_string()).into_response()
    }
}
