//! What is held while a request is in flight.

use http::header::CONNECTION;
use http::{HeaderValue, Method, Request, Response, StatusCode, Version};
use http_body::Body;

use super::ending::Ending;
use super::long::{keep_for_close, lasts};
use crate::current::Current;
use crate::drain::{SERVING, Ticket, Tracker};

/// Held from before the handler is called until the response's body is over. Dropping it ends the request.
pub trait Hold {
    /// What a handler may ask for while it runs.
    fn current(&self) -> Current;

    /// The handler has run, and this is what was current then.
    fn ran(&mut self, current: Option<Current>);

    /// The handler has answered; the head has not been sent yet. Gives how the body is to be ended, if that is to be done.
    fn answered<B: Body>(&mut self, response: &mut Response<B>) -> Option<Box<Ending>>;
}

/// What the layer holds for a request: counts it, and says `Connection: close` once the shutdown has begun.
#[derive(Debug)]
pub struct RequestGuard {
    tracker: Tracker,
    /// HTTP/1: the only protocol in which a header can ask the client to leave.
    http1: bool,
    connect: bool,
    /// Where its moment lies, once that is known.
    lot: Option<u64>,
    /// `None` for an exempt request.
    ticket: Option<Ticket>,
}

impl RequestGuard {
    pub(super) fn new<B>(tracker: Tracker, request: &Request<B>, ticket: Option<Ticket>) -> Self {
        RequestGuard {
            tracker,
            http1: is_http1(request.version()),
            connect: *request.method() == Method::CONNECT,
            lot: None,
            ticket,
        }
    }
}

impl Hold for RequestGuard {
    #[inline]
    fn current(&self) -> Current {
        Current::new(self.tracker, self.lot)
    }

    #[inline]
    fn ran(&mut self, current: Option<Current>) {
        self.lot = current.and_then(Current::lot);
    }

    #[inline]
    fn answered<B: Body>(&mut self, response: &mut Response<B>) -> Option<Box<Ending>> {
        if self.http1
            && self.tracker.stage() != SERVING
            && !leaves_http(self.connect, response.status())
        {
            say_close(response);
        }
        if !lasts(response) {
            return None;
        }
        keep_for_close(response, self.current(), &mut self.ticket)
    }
}

/// Decided by the request's version: the response's says HTTP/1.1 until hyper writes it.
pub(crate) fn is_http1(version: Version) -> bool {
    version < Version::HTTP_2
}

/// Whether an HTTP/1 connection is an upgraded one or a tunnel after this answer (RFC 9110, sections 7.8 and 9.3.6). There is
/// no next request on it, and an upgrade has a `Connection` header of its own.
pub(crate) fn leaves_http(connect: bool, status: StatusCode) -> bool {
    status == StatusCode::SWITCHING_PROTOCOLS || (connect && status.is_success())
}

/// Asks the client to leave (RFC 9112, section 9.6).
pub(crate) fn say_close<B>(response: &mut Response<B>) {
    let close = HeaderValue::from_static("close");
    response.headers_mut().insert(CONNECTION, close);
}
