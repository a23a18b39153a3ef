//! The service: takes the guard, then calls.

use std::fmt;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

use super::arrival::Arrival;
use super::body::DrainBody;
use super::future::ResponseFuture;
use super::hold::{Hold, RequestGuard, is_http1, say_close};
use super::rules::{Exempt, Reject, Rules, retry_after};
use crate::http::context;
use crate::http::current::Current;
use crate::http::traffic::RequestHead;
use crate::in_flight::Class;

/// Counts the requests that pass. Made by [`DrainLayer`](crate::DrainLayer).
#[derive(Clone)]
pub struct DrainService<S, E = Exempt, R = Reject> {
    inner: S,
    rules: Rules<E, R>,
}

impl<S, E, R> DrainService<S, E, R> {
    pub(super) fn new(inner: S, rules: Rules<E, R>) -> Self {
        DrainService { inner, rules }
    }
}

impl<S, E: Fn(RequestHead<'_>) -> bool, R> DrainService<S, E, R> {
    #[inline]
    fn is_exempt<B>(&self, request: &Request<B>) -> bool {
        let tracker = self.rules.tracker;
        if (self.rules.exempt)(RequestHead::from(request)) {
            context::exempt_around(request.extensions(), tracker);
            return true;
        }
        Current::is_exempt(tracker)
            || (self.rules.carry && context::is_exempt_around(request.extensions(), tracker))
    }
}

impl<S, E, R, ReqBody, ResBody> Service<Request<ReqBody>> for DrainService<S, E, R>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
    E: Fn(RequestHead<'_>) -> bool,
    R: Fn(RequestHead<'_>, Duration) -> Response<()>,
    ResBody: Body,
{
    type Response = Response<DrainBody<ResBody>>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<ReqBody>) -> Self::Future {
        let tracker = self.rules.tracker;
        let exempt = self.is_exempt(&request);
        // Taken before the inner call: a service that does work in `call` is already in flight.
        let ticket = if exempt {
            None
        } else {
            let ticket = match self.rules.refuse() {
                true => None,
                false => tracker.take(Class::Work),
            };
            if ticket.is_none() {
                Arrival::of(request.headers(), self.rules.agents, tracker).refused(tracker);
                let head = RequestHead::from(&request);
                let mut response = (self.rules.reject)(head, retry_after());
                if is_http1(request.version()) {
                    say_close(&mut response, request.version());
                }
                return ResponseFuture::refused(response);
            }
            ticket
        };
        let mut guard = RequestGuard::new(tracker, self.rules.agents, &request, ticket);
        if self.rules.carry {
            guard.carry(&mut request);
        }
        // A service may ask in `call` already.
        let entered = guard.enter();
        let response = self.inner.call(request);
        guard.called(entered.heard());
        ResponseFuture::open(response, guard)
    }
}

impl<S: fmt::Debug, E, R> fmt::Debug for DrainService<S, E, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DrainService")
            .field("inner", &self.inner)
            .finish_non_exhaustive()
    }
}
