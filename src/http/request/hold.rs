//! What is held while a request is in flight.

use http::header::CONNECTION;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version};

use super::ending::Fate;
use super::long::{fate, keep_for_close, lasts};
use super::rules::is_probe;
use crate::current::{Current, Heard};
use crate::drain::{Ticket, Tracker};

/// Held from before the handler is called until the response's body is over. Dropping it ends the request.
pub trait Hold {
    /// Whether whoever polls the response's body is hyper itself, which drops it as soon as it has ended or failed.
    const IS_OUTERMOST: bool;

    /// What a handler may ask for while it runs.
    fn current(&self) -> Current;

    /// The handler, or the body, has run, and has said this.
    fn ran(&mut self, heard: Option<Heard>);

    /// The handler has answered; the head has not been sent yet. `sized` says whether the body knows its size. Gives how it
    /// ends.
    fn answered<B>(&mut self, response: &mut Response<B>, sized: bool) -> Fate;

    /// Lets Close wait for it, and not Drain. `false` when that is over.
    fn keep_for_close(&mut self) -> bool;

    /// How the response ends if it lasts.
    #[inline]
    fn fate<B>(&mut self, response: &mut Response<B>, sized: bool) -> Fate {
        match lasts(response, sized) && self.keep_for_close() {
            true => fate(response, sized, self.current()),
            false => Fate::Whole,
        }
    }
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
    /// Whether its arrival is still to be noted: if it turns out to be no probe.
    arrives: bool,
    /// Whether `ticket` is one that Close waits for.
    lasts: bool,
    /// `None` for an exempt request.
    ticket: Option<Ticket>,
}

impl RequestGuard {
    pub(super) fn new<B>(tracker: Tracker, request: &Request<B>, ticket: Option<Ticket>) -> Self {
        RequestGuard {
            arrives: ticket.is_some() && tracker.minds_arrivals() && !is_probe(request.headers()),
            tracker,
            http1: is_http1(request.version()),
            connect: *request.method() == Method::CONNECT,
            lot: None,
            lasts: false,
            ticket,
        }
    }

    /// The service has been called, and has said this; its future has not been polled.
    #[inline]
    pub(super) fn called(&mut self, heard: Option<Heard>) {
        if let Some(heard) = heard {
            self.heard(heard);
        }
    }

    #[cold]
    fn heard(&mut self, heard: Heard) {
        self.lot = heard.lot();
        self.arrives &= !heard.is_probe();
        if heard.lasts() {
            self.keep_for_close();
        }
    }
}

impl Hold for RequestGuard {
    // Somebody else's layer may keep a body that has ended.
    const IS_OUTERMOST: bool = false;

    #[inline]
    fn current(&self) -> Current {
        Current::new(self.tracker, self.lot)
    }

    #[inline]
    fn ran(&mut self, heard: Option<Heard>) {
        self.called(heard);
        if std::mem::take(&mut self.arrives) {
            self.tracker.arrived();
        }
    }

    #[inline]
    fn answered<B>(&mut self, response: &mut Response<B>, sized: bool) -> Fate {
        if self.http1 && !self.tracker.is_serving() && !leaves_http(self.connect, response.status())
        {
            say_close(response.headers_mut());
        }
        self.fate(response, sized)
    }

    fn keep_for_close(&mut self) -> bool {
        if !self.lasts {
            self.lasts = keep_for_close(self.tracker, &mut self.ticket);
        }
        self.lasts
    }
}

/// Decided by the request's version: the response's says HTTP/1.1 until hyper writes it.
pub(crate) fn is_http1(version: Version) -> bool {
    version < Version::HTTP_2
}

/// Whether an HTTP/1 connection is an upgraded one or a tunnel after this answer (RFC 9110, sections 7.8 and 9.3.6). There is
/// no next request on it, and an upgrade has a `Connection` header of its own.
#[inline]
pub(crate) fn leaves_http(connect: bool, status: StatusCode) -> bool {
    status == StatusCode::SWITCHING_PROTOCOLS || (connect && status.is_success())
}

/// Asks the client to leave (RFC 9112, section 9.6).
pub(crate) fn say_close(headers: &mut HeaderMap) {
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
}
