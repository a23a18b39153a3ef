//! Which requests are counted, and what those get that come too late.

use std::time::Duration;

use http::header::RETRY_AFTER;
use http::{HeaderValue, Response, StatusCode};

use crate::http::traffic::{ProbeAgents, RequestHead};
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
    pub(super) agents: ProbeAgents,
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
