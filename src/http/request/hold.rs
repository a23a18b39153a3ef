//! What is held while a request is in flight.

use http::header::CONNECTION;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Version};

use super::arrival::Arrival;
use super::ending::Fate;
use super::long::{fate, lasts};
use crate::http::context::{Counted, Known, Stake};
use crate::http::current::{Current, Entered, Heard};
use crate::http::traffic::ProbeAgents;
use crate::in_flight::{Ticket, Tracker};

/// Held from before the handler is called until the response's body is over. Dropping it ends the request.
pub trait Hold {
    /// Whether whoever polls the response's body is hyper itself, which drops it as soon as it has ended or failed.
    const IS_OUTERMOST: bool;

    /// What a handler may ask for while it runs.
    fn current(&self) -> Current;

    /// Whether the request is exempt, as far as that is known.
    fn is_exempt(&self) -> bool;

    /// Makes the request the current one, until what is returned is dropped. Layers within and servers around it learn whether
    /// it is exempt.
    #[inline]
    fn enter(&self) -> Entered {
        let entered = self.current().enter();
        if self.is_exempt() {
            Current::mark_exempt();
        }
        entered
    }

    /// The handler, or the body, has run, and has said this.
    fn ran(&mut self, heard: Option<Heard>);

    /// The body has given a frame, and does not know its size.
    #[inline]
    fn streamed(&mut self) {}

    /// The handler has answered; the head has not been sent yet. `sized` says whether the body knows its size. Gives how it
    /// ends.
    fn answered<B>(&mut self, response: &mut Response<B>, sized: bool) -> Fate;

    /// Lets Close wait for it, and not Drain. `false` when that is over.
    fn keep_for_close(&mut self) -> bool;

    /// How the response ends if it lasts. A shutdown ends what Close waits for; the connection's age ends all of it.
    #[inline]
    fn fate<B>(&mut self, response: &mut Response<B>, sized: bool) -> Fate {
        if !lasts(response, sized) {
            return Fate::Whole;
        }
        let waited_for = self.keep_for_close();
        fate(response, sized, self.current(), waited_for)
    }
}

/// What the layer holds for a request: counts it, and says `Connection: close` once the shutdown has begun.
#[derive(Debug)]
pub struct RequestGuard {
    tracker: Tracker,
    /// The request's version.
    version: Version,
    connect: bool,
    /// Where its moment lies, once that is known.
    lot: Option<u64>,
    /// What is still to be noted of its arrival.
    arrival: Arrival,
    /// Nobody waits for it.
    exempt: bool,
    counted: Counted,
}

impl RequestGuard {
    pub(super) fn new<B>(
        tracker: Tracker,
        agents: ProbeAgents,
        request: &Request<B>,
        ticket: Option<Ticket>,
    ) -> Self {
        let arrival = match ticket.is_some() && tracker.minds_arrivals() {
            true => Arrival::of(request.headers(), agents, tracker),
            false => Arrival::Nothing,
        };
        RequestGuard {
            arrival,
            tracker,
            version: request.version(),
            connect: *request.method() == Method::CONNECT,
            lot: None,
            exempt: ticket.is_none(),
            counted: Counted::Alone(Stake::new(ticket)),
        }
    }

    /// Puts a context into the request's extensions.
    #[cold]
    pub(super) fn carry<B>(&mut self, request: &mut Request<B>) {
        let known = Known {
            exempt: self.exempt,
            arrival: std::mem::take(&mut self.arrival),
            ..Known::default()
        };
        let extensions = request.extensions_mut();
        self.counted.share(self.tracker, known, extensions);
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
        self.counted.set_lot(self.lot);
        if heard.is_probe() {
            self.arrival = Arrival::Nothing;
            self.counted.mark_probe();
        }
        if heard.is_exempt() {
            self.exempt = true;
            self.counted.let_go();
        }
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
        Current::new(self.tracker, self.lot.or_else(|| self.counted.lot()))
    }

    #[inline]
    fn is_exempt(&self) -> bool {
        self.exempt || self.counted.is_exempt()
    }

    #[inline]
    fn ran(&mut self, heard: Option<Heard>) {
        self.called(heard);
        self.arrival.note(|| self.tracker);
        self.counted.polled();
    }

    #[inline]
    fn answered<B>(&mut self, response: &mut Response<B>, sized: bool) -> Fate {
        self.counted.answered();
        if is_http1(self.version)
            && !self.tracker.is_serving()
            && !leaves_http(self.connect, response.status())
        {
            say_close(response, self.version);
        }
        self.fate(response, sized)
    }

    fn keep_for_close(&mut self) -> bool {
        self.counted.keep_for_close(self.tracker)
    }
}

/// The only protocol in which a header can ask the client to leave. Decided by the request's version: the response's says
/// HTTP/1.1 until hyper writes it.
pub(crate) fn is_http1(version: Version) -> bool {
    version < Version::HTTP_2
}

/// Whether an HTTP/1 connection is an upgraded one or a tunnel after this answer (RFC 9110, sections 7.8 and 9.3.6). There is
/// no next request on it, and an upgrade has a `Connection` header of its own.
#[inline]
pub(crate) fn leaves_http(connect: bool, status: StatusCode) -> bool {
    status == StatusCode::SWITCHING_PROTOCOLS || (connect && status.is_success())
}

/// Asks the client to leave (RFC 9112, section 9.6). The other options of the response's `Connection` stay: they say which
/// fields are meant for the next hop alone, and whoever sends `Upgrade` has to list it (RFC 9110, sections 7.6.1 and 7.8).
///
/// `version` is the request's. For a client of HTTP/1.0 that keeps its connections hyper adds `keep-alive` to a response of
/// HTTP/1.1, whatever else it says, and the client believes that. A response of HTTP/1.0 it leaves alone.
pub(crate) fn say_close<B>(response: &mut Response<B>, version: Version) {
    if version == Version::HTTP_10 {
        *response.version_mut() = Version::HTTP_10;
    }
    let headers = response.headers_mut();
    let close = match headers.contains_key(CONNECTION) {
        false => HeaderValue::from_static("close"),
        true => close_beside_others(headers),
    };
    headers.insert(CONNECTION, close);
}

/// The options that a response lists already, and `close`. Those that say how long to keep the connection are void.
#[cold]
fn close_beside_others(headers: &mut HeaderMap) -> HeaderValue {
    const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
    let values = headers.get_all(CONNECTION).iter();
    let options = values.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    let mut listed = Vec::new();
    for option in options.map(<[u8]>::trim_ascii) {
        let is = |name: &str| option.eq_ignore_ascii_case(name.as_bytes());
        if !option.is_empty() && !is("close") && !is(KEEP_ALIVE.as_str()) {
            listed.extend_from_slice(option);
            listed.extend_from_slice(b", ");
        }
    }
    listed.extend_from_slice(b"close");
    // A header of its own, which only that option admits.
    headers.remove(KEEP_ALIVE);
    HeaderValue::from_bytes(&listed).expect("parts of header values make one")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::cases;

    fn said(values: &[Vec<u8>]) -> Vec<HeaderValue> {
        let mut response = Response::new(());
        for value in values {
            if let Ok(value) = HeaderValue::from_bytes(value) {
                response.headers_mut().append(CONNECTION, value);
            }
        }
        say_close(&mut response, Version::HTTP_11);
        let headers = response.headers();
        headers.get_all(CONNECTION).iter().cloned().collect()
    }

    #[test]
    fn close_is_said_once_and_other_options_are_kept_in_their_order() {
        let said = |values: &[&str]| {
            let values: Vec<_> = values.iter().map(|it| it.as_bytes().to_vec()).collect();
            said(&values)
        };

        assert_eq!(said(&[]), ["close"]);
        assert_eq!(said(&[""]), ["close"]);
        assert_eq!(said(&["Close, CLOSE"]), ["close"]);
        assert_eq!(said(&["keep-alive"]), ["close"]);
        assert_eq!(said(&["upgrade, X-Hop"]), ["upgrade, X-Hop, close"]);
        assert_eq!(said(&["b ,, close", "Keep-Alive,a"]), ["b, a, close"]);
    }

    // Any bytes that a header may have, UTF-8 or not.
    #[test]
    fn close_is_said_whatever_the_header_is() {
        let value = prop::collection::vec(any::<u8>(), 0..30);
        cases::check(1_000, prop::collection::vec(value, 0..3), |values| {
            let [said] = &said(&values)[..] else {
                panic!("not one value");
            };
            assert!(said.as_bytes().ends_with(b"close"));
        });
    }
}
