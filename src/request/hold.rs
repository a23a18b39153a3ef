//! What is held while a request is in flight.

use http::header::CONNECTION;
use http::{HeaderValue, Response, StatusCode, Version};

use crate::drain::{SERVING, Ticket, Tracker};

/// Held from before the handler is called until the response's body is over. Dropping it ends the request.
pub trait Hold {
    /// The handler has answered; the head has not been sent yet.
    fn answered<B>(&mut self, response: &mut Response<B>);
}

/// What the layer holds while a request is in flight: counts it, and says `Connection: close` once the shutdown has begun.
#[derive(Debug)]
pub struct RequestGuard {
    tracker: Tracker,
    /// HTTP/1: the only protocol in which a header can ask the client to leave.
    http1: bool,
    /// `None` for an exempt request.
    _ticket: Option<Ticket>,
}

impl RequestGuard {
    pub(super) fn new(tracker: Tracker, version: Version, ticket: Option<Ticket>) -> Self {
        RequestGuard {
            tracker,
            http1: is_http1(version),
            _ticket: ticket,
        }
    }
}

impl Hold for RequestGuard {
    #[inline]
    fn answered<B>(&mut self, response: &mut Response<B>) {
        if self.http1 && self.tracker.stage() != SERVING {
            say_close(response);
        }
    }
}

/// Decided by the request's version: the response's says HTTP/1.1 until hyper writes it.
pub(crate) fn is_http1(version: Version) -> bool {
    version < Version::HTTP_2
}

/// Asks the client to leave (RFC 9112, section 9.6). An upgrade has a `Connection` header of its own, and no next request.
pub(crate) fn say_close<B>(response: &mut Response<B>) {
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        let close = HeaderValue::from_static("close");
        response.headers_mut().insert(CONNECTION, close);
    }
}
