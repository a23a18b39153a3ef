//! Which requests are counted, and what those get that come too late.

use std::time::Duration;

use http::header::RETRY_AFTER;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri};

use crate::drain::Tracker;
use crate::random;

/// What the layer's services share. Small and without an `Arc`: servers clone it for every request.
#[derive(Clone)]
pub(super) struct Rules<E, R> {
    pub(super) tracker: Tracker,
    pub(super) exempt: E,
    pub(super) reject: R,
}

/// What the rule of [`DrainLayer::exempt`](crate::DrainLayer::exempt) sees of a request.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct RequestHead<'a> {
    /// The method.
    pub method: &'a Method,
    /// The target.
    pub uri: &'a Uri,
    /// The headers.
    pub headers: &'a HeaderMap,
}

impl<'a, B> From<&'a Request<B>> for RequestHead<'a> {
    fn from(request: &'a Request<B>) -> Self {
        RequestHead {
            method: request.method(),
            uri: request.uri(),
            headers: request.headers(),
        }
    }
}

/// 503, and when to try again.
pub(crate) fn unavailable(retry_after: Duration) -> Response<()> {
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    response
        .headers_mut()
        .insert(RETRY_AFTER, HeaderValue::from(retry_after.as_secs()));
    response
}

/// 1, 2 or 3 s: whole seconds, because the header has no finer ones, and not the same for all, so that they do not come
/// back together.
pub(crate) fn retry_after() -> Duration {
    Duration::from_secs(1 + random::number() % 3)
}
