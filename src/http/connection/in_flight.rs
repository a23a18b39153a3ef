//! What is held while a request of a connection is in flight.

use std::sync::Arc;

use http::{Method, Request, Response, Version};
use hyper::body::Body;

use super::{stream_task, upgrades};
use crate::http::context::{Counted, Known, Namer, Stake};
use crate::http::current::{Current, Heard};
use crate::http::request::{
    Arrival, Fate, Hold, is_http1, leaves_http, retry_after, say_close, unavailable,
};
use crate::in_flight::{Class, Generation};
use crate::net::connection::Connection;
use crate::net::exit::Exit;
use crate::net::requests::{Framing, Head, Named, Place};
use crate::net::terms::RequestNames;

/// Held from a request's head to the end of its response's body.
pub(crate) struct InFlight {
    place: Option<Place>,
    /// The request's version, once the connection has the request: it is counted, or refused.
    version: Option<Version>,
    connect: bool,
    /// What is still to be noted of its arrival.
    arrival: Arrival,
    /// Nobody waits for it.
    exempt: bool,
    state: Arc<Connection>,
    counted: Counted,
}

impl InFlight {
    /// A request whose head is complete, and which nobody has looked at.
    #[inline]
    pub(crate) fn new(state: &Arc<Connection>) -> Self {
        state.call();
        InFlight {
            place: None,
            version: None,
            connect: false,
            arrival: Arrival::Nothing,
            exempt: false,
            state: Arc::clone(state),
            counted: Counted::Alone(Stake::new(None)),
        }
    }

    /// Counts and names it, before it is passed on. `false` when it comes too late.
    #[inline]
    pub(crate) fn admit<B: Body>(&mut self, request: &mut Request<B>) -> bool {
        self.version.is_some() || self.admit_now(request)
    }

    #[inline(always)]
    fn admit_now<B: Body>(&mut self, request: &mut Request<B>) -> bool {
        self.connect = *request.method() == Method::CONNECT;
        if let Some(rule) = &self.state.exempt {
            // It may panic: until the request has begun, its end has to begin it.
            if rule.exempts(request) {
                self.admit_exempt(request);
                return true;
            }
        }
        let generation = self.count(request);
        let named = match (generation, self.state.names) {
            (None, _) | (_, RequestNames::Off) => None,
            // Made before the lock is taken: on HTTP/2 others begin and end meanwhile.
            (Some(generation), names) => Some(Named::new(request, generation, names)),
        };
        self.place = self.state.begin(named, self.framing(request));
        self.version = Some(request.version());
        if self.state.context && generation.is_some() {
            self.carry(request);
        }
        generation.is_some()
    }

    #[cold]
    fn admit_exempt<B: Body>(&mut self, request: &mut Request<B>) {
        self.exempt = true;
        self.state.begin_exempt(self.framing(request));
        self.version = Some(request.version());
        if self.state.context {
            self.carry(request);
        }
    }

    /// It was dropped before anybody had looked at it, or while the exempt rule did.
    #[cold]
    fn begin_unseen(&self) {
        self.state.begin(None, Framing::Empty);
    }

    /// HTTP/2 tells its requests apart, and h2 would take a lock to answer.
    #[inline(always)]
    fn framing<B: Body>(&self, request: &Request<B>) -> Framing {
        match self.state.is_http2() {
            true => Framing::Empty,
            false => request.framing(),
        }
    }

    /// Puts a context into the request's extensions.
    #[cold]
    fn carry<B>(&mut self, request: &mut Request<B>) {
        let state = &self.state;
        let tracker = state.handle.tracker;
        let namer: Arc<dyn Namer> = Arc::clone(state) as _;
        let known = Known {
            lot: Some(state.lot),
            namer: Some((namer, self.place)),
            exempt: self.exempt,
            arrival: std::mem::take(&mut self.arrival),
        };
        self.counted.share(tracker, known, request.extensions_mut());
    }

    /// Takes its ticket. `None` when it comes too late.
    #[inline(always)]
    fn count<B>(&mut self, request: &Request<B>) -> Option<Generation> {
        if !self.state.is_counted() {
            return Some(Generation::Early);
        }
        let tracker = self.state.handle.tracker;
        let (ticket, generation) = tracker.take_dated(Class::Work)?;
        self.counted = Counted::Alone(Stake::new(Some(ticket)));
        if tracker.minds_arrivals() {
            self.arrival = Arrival::of(request.headers(), self.state.probe_agents(), tracker);
            let is_upgrade = || upgrades::is_asked_for(request);
            if self.state.refusals.refuse(tracker.stage(), is_upgrade) {
                return None;
            }
        }
        Some(generation)
    }

    /// The answer to a request that comes too late.
    #[cold]
    pub(crate) fn refuse(&self) -> Response<()> {
        self.arrival.refused(self.state.handle.tracker);
        let mut response = unavailable(retry_after());
        self.say_close(&mut response);
        response
    }

    #[cold]
    fn say_close<B>(&self, response: &mut Response<B>) {
        let version = self.version.expect("its request has been looked at");
        if is_http1(version) {
            say_close(response, version);
        }
    }

    #[cold]
    fn heard(&mut self, heard: Heard) {
        if heard.is_probe() {
            self.arrival = Arrival::Nothing;
            self.counted.mark_probe();
        }
        if heard.is_exempt() {
            self.becomes_exempt();
        }
        if heard.lasts() {
            self.keep_for_close();
        }
    }

    /// A layer within says so, or a probe of ours that answers.
    fn becomes_exempt(&mut self) {
        if self.exempt {
            return;
        }
        self.counted.let_go();
        if let Counted::Alone(_) = self.counted {
            self.exempt = true;
            self.state.becomes_exempt(self.place.take());
        }
    }
}

impl Hold for InFlight {
    const IS_OUTERMOST: bool = true;

    #[inline]
    fn current(&self) -> Current {
        let tracker = self.state.handle.tracker;
        Current::new(tracker, Some(self.state.lot))
    }

    #[inline]
    fn is_exempt(&self) -> bool {
        self.exempt || self.counted.is_exempt()
    }

    #[inline]
    fn ran(&mut self, heard: Option<Heard>) {
        if let Some(heard) = heard {
            self.heard(heard);
        }
        let state = &self.state;
        self.arrival.note(|| state.handle.tracker);
        self.counted.polled();
    }

    #[inline]
    fn streamed(&mut self) {
        self.state.gathering.streamed();
    }

    #[inline]
    fn answered<B>(&mut self, response: &mut Response<B>, sized: bool) -> Fate {
        self.counted.answered();
        if leaves_http(self.connect, response.status()) {
            if self.is_exempt() {
                self.state.leaves_exempt();
            }
            match self.state.is_http2() {
                true => self.state.tell(Exit::open_tunnel),
                false => self.state.upgrade(),
            }
            return Fate::Whole;
        }
        if self.state.says_close() {
            self.say_close(response);
        }
        self.fate(response, sized)
    }

    fn keep_for_close(&mut self) -> bool {
        if self.is_exempt() {
            return false;
        }
        if let Counted::Alone(_) = self.counted {
            self.state.lasts(self.place);
        }
        let tracker = self.state.handle.tracker;
        self.counted.keep_for_close(tracker)
    }
}

impl Namer for Connection {
    fn lasts(&self, request: Place) {
        Connection::lasts(self, Some(request));
    }

    fn becomes_exempt(&self, request: Option<Place>) {
        Connection::becomes_exempt(self, request);
    }
}

impl Drop for InFlight {
    #[inline]
    fn drop(&mut self) {
        if self.version.is_none() {
            self.begin_unseen();
        }
        let exempt = self.counted.unname();
        match self.exempt || exempt {
            true => self.state.finish_exempt(),
            false if stream_task::is_dropped() => self.state.abandon_request(),
            false => self.state.finish(self.place),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handle::ShutdownHandle;
    use crate::net::group::Group;
    use crate::net::terms::Terms;
    use crate::plan::Plan;

    // Its service may say again and again that it is not ready.
    #[test]
    fn request_that_is_polled_again_before_it_is_passed_on_is_counted_and_named_once() {
        let handle = ShutdownHandle::new(Plan::immediate());
        let group = Group::new(&handle, true, Terms::default());
        let state = group.open("peer").unwrap();
        let seen = || (handle.in_flight(), state.life().requests.iter().count());
        let mut request = Request::new(String::new());

        let mut in_flight = InFlight::new(&state);
        assert!(in_flight.admit(&mut request));
        assert!(in_flight.admit(&mut request));
        assert_eq!(seen(), (1, 1));

        drop(in_flight);
        assert_eq!(seen(), (0, 0));
    }
}
