//! Which requests are counted, and what those get that come too late.

use std::time::Duration;

use http::header::{RETRY_AFTER, USER_AGENT};
use http::{
    Extensions, HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, Version,
};

use crate::in_flight::Tracker;
use crate::phase::Phase;
use crate::random;

/// The rule of a layer that counts every request.
pub(super) type Exempt = fn(RequestHead<'_>) -> bool;

/// The answer of a layer that refuses with 503.
pub(super) type Reject = fn(RequestHead<'_>, Duration) -> Response<()>;

/// What the layer's services share. Small and without an `Arc`: servers clone it for every request.
#[derive(Clone)]
pub(super) struct Rules<E, R> {
    pub(super) tracker: Tracker,
    /// Whether a request's context is put into its extensions.
    pub(super) carry: bool,
    /// From when on requests are refused, if not from Release on.
    pub(super) refuse_from: Option<Phase>,
    pub(super) exempt: E,
    pub(super) reject: R,
}

impl<E, R> Rules<E, R> {
    /// Whether a request that would be counted is refused.
    #[inline]
    pub(super) fn refuse(&self) -> bool {
        self.refuse_from
            .is_some_and(|phase| phase.has_begun(self.tracker.stage()))
    }
}

/// What the rule of [`DrainLayer::exempt`](crate::DrainLayer::exempt) sees of a request.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct RequestHead<'a> {
    /// The method.
    pub method: &'a Method,
    /// The target. A nested router may have stripped it.
    pub uri: &'a Uri,
    /// The protocol's version.
    pub version: Version,
    /// The headers.
    pub headers: &'a HeaderMap,
    /// What the layers before this one have left here: axum's `MatchedPath`, say.
    pub extensions: &'a Extensions,
}

impl<'a, B> From<&'a Request<B>> for RequestHead<'a> {
    fn from(request: &'a Request<B>) -> Self {
        RequestHead {
            method: request.method(),
            uri: request.uri(),
            version: request.version(),
            headers: request.headers(),
            extensions: request.extensions(),
        }
    }
}

/// Whether it is a probe of somebody who names itself so: the kubelet, AWS's and Google's balancers.
///
/// Their arrival says nothing about where traffic is routed.
#[cold]
pub(crate) fn is_probe(headers: &HeaderMap) -> bool {
    const PROBES: [&[u8]; 3] = [b"kube-probe/", b"ELB-HealthChecker/", b"GoogleHC/"];
    headers.get(USER_AGENT).is_some_and(|agent| {
        PROBES
            .iter()
            .any(|probe| agent.as_bytes().starts_with(probe))
    })
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
