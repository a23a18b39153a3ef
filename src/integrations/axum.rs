//! axum's extractors: what [`ShutdownHandle::current`] and [`Moment::current`] give, as arguments of a handler.

use std::convert::Infallible;
use std::error::Error;
use std::fmt;

use axum_core::extract::{FromRequestParts, OptionalFromRequestParts};
use axum_core::response::{IntoResponse, Response};
use http::StatusCode;
use http::request::Parts;

use crate::handle::ShutdownHandle;
use crate::long_lived::Moment;

/// Gives [`Moment::current`]. `Option<Moment>` is for a handler that is also used under a server that knows nothing of the
/// shutdown.
impl<S: Sync> FromRequestParts<S> for Moment {
    type Rejection = NotServed;

    async fn from_request_parts(_: &mut Parts, _: &S) -> Result<Self, NotServed> {
        Moment::current().ok_or(NotServed(()))
    }
}

impl<S: Sync> OptionalFromRequestParts<S> for Moment {
    type Rejection = Infallible;

    async fn from_request_parts(_: &mut Parts, _: &S) -> Result<Option<Self>, Infallible> {
        Ok(Moment::current())
    }
}

/// Gives [`ShutdownHandle::current`]. `Option<ShutdownHandle>` is for a handler that is also used under a server that knows
/// nothing of the shutdown.
impl<S: Sync> FromRequestParts<S> for ShutdownHandle {
    type Rejection = NotServed;

    async fn from_request_parts(_: &mut Parts, _: &S) -> Result<Self, NotServed> {
        ShutdownHandle::current().ok_or(NotServed(()))
    }
}

impl<S: Sync> OptionalFromRequestParts<S> for ShutdownHandle {
    type Rejection = Infallible;

    async fn from_request_parts(_: &mut Parts, _: &S) -> Result<Option<Self>, Infallible> {
        Ok(ShutdownHandle::current())
    }
}

/// The request came neither through a server of ours nor through a [`DrainLayer`](crate::DrainLayer), or its coordinator is
/// gone: 500, because that is a mistake in the service.
#[derive(Debug)]
pub struct NotServed(());

impl fmt::Display for NotServed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("this request came neither through a server of lameduck nor through its layer")
    }
}

impl Error for NotServed {}

impl IntoResponse for NotServed {
    fn into_response(self) -> Response {
        (StatusCode::INTERNAL_SERVER_ERROR, self.to_string()).into_response()
    }
}
