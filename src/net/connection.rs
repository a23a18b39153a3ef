//! What the parts of one connection share: its IO, its service, its requests, and whoever watches it.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::Request;
use hyper::body::Body;
use tokio::time::Instant;

use super::asked::Asked;
use super::cut::Cut;
use super::peer::Peer;
use super::requests::{Named, Place, Requests};
use super::tally::Tally;
use super::terms::RefuseUpgrades;
use super::terms::RequestNames;
use super::terms::Terms;
use super::timeouts::Timeouts;
use crate::drain::{Generation, Ticket};
use crate::handle::ShutdownHandle;
use crate::shared::Source;

/// What a connection belongs to.
pub(crate) trait Home: Source {
    fn terms(&self) -> &Terms;
}

/// One connection. It is counted for as long as anybody holds this: an upgraded connection's IO does.
pub(crate) struct Connection {
    // Dropped before the handle: if that is the last one, the gauge is free for the next coordinator.
    ticket: Option<Ticket>,
    pub(crate) handle: ShutdownHandle,
    /// The list in which the coordinator finds this connection: it lives as long as one of its connections does.
    home: Arc<dyn Home>,
    pub(crate) since: Instant,
    /// Where in the spread its moment lies.
    pub(crate) lot: u64,
    protocol: AtomicU8,
    pub(crate) asked: Asked,
    pub(crate) cut: Cut,
    tally: Tally,
    /// The latest request had a body: what arrives after its response may be the rest of that.
    after_body: AtomicBool,
    /// Bytes have arrived that no request was made of yet: half a head.
    mid_head: AtomicBool,
    /// hyper may still hold a part of the last response.
    unflushed: AtomicBool,
    /// How many streams of HTTP/2 have not got the end of their response.
    unanswered: AtomicU32,
    /// How many of them are tunnels, whose end is the application's affair. At most: which of them end is not seen.
    tunnels: AtomicU32,
    /// What has become of the PING behind an HTTP/2 connection's first GOAWAY.
    pong: AtomicU8,
    /// Half-closed: the client has yet to end its side.
    lingering: AtomicBool,
    /// The requests in flight. Locked by this connection, and by the report.
    requests: Mutex<Requests>,
    pub(crate) peer: Peer,
    names: RequestNames,
    pub(crate) upgrades: RefuseUpgrades,
}

/// What is known of a connection's protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Protocol {
    /// Somebody else's connection, or one that is not followed byte by byte.
    Unseen,
    /// It is not HTTP yet: the TLS handshake is not over.
    Handshake,
    Unknown,
    Http1,
    Http2,
    /// Somebody else's, and no HTTP.
    Raw,
}

/// The PING behind the first GOAWAY.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Pong {
    NotAsked,
    Awaited,
    /// It did not come in time, and is not waited for any more.
    Overdue,
    Come,
}

/// What a connection waits for from its client, and does not wait for without end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Awaits {
    /// The end of the TLS handshake.
    Handshake,
    /// The first byte.
    FirstByte,
    /// The rest of what begins like HTTP/2's preface.
    Preface,
    /// The rest of a request's head.
    Head,
    /// The answer to the PING behind the first GOAWAY.
    Pong,
    /// The end of the client's side, after the end of ours.
    End,
}

impl Connection {
    /// A connection without a ticket is not counted, told or refused: an admin server's.
    #[inline]
    pub(crate) fn new(
        handle: ShutdownHandle,
        home: Arc<dyn Home>,
        ticket: Option<Ticket>,
        lot: u64,
        peer: Peer,
    ) -> Self {
        // Copied: a request would have to ask for them.
        let Terms {
            names, upgrades, ..
        } = *home.terms();
        Connection {
            ticket,
            handle,
            home,
            since: Instant::now(),
            lot,
            protocol: AtomicU8::new(Protocol::Unseen as u8),
            asked: Asked::default(),
            cut: Cut::new(),
            tally: Tally::default(),
            after_body: AtomicBool::new(false),
            mid_head: AtomicBool::new(false),
            unflushed: AtomicBool::new(false),
            unanswered: AtomicU32::new(0),
            tunnels: AtomicU32::new(0),
            pong: AtomicU8::new(Pong::NotAsked as u8),
            lingering: AtomicBool::new(false),
            requests: Mutex::default(),
            peer,
            names,
            upgrades,
        }
    }
}

impl Connection {
    #[inline]
    pub(crate) const fn is_counted(&self) -> bool {
        self.ticket.is_some()
    }

    /// Whether no shutdown has begun.
    #[inline]
    pub(crate) fn is_serving(&self) -> bool {
        self.handle.shared.tracker().is_serving()
    }

    #[inline]
    pub(crate) fn timeouts(&self) -> &Timeouts {
        &self.home.terms().timeouts
    }

    pub(crate) fn set_protocol(&self, protocol: Protocol) {
        self.protocol.store(protocol as u8, Ordering::Relaxed);
        if protocol == Protocol::Http2 {
            self.mid_head.store(false, Ordering::Relaxed);
        }
    }

    #[inline]
    pub(crate) fn protocol(&self) -> Protocol {
        const ALL: [Protocol; 6] = [
            Protocol::Unseen,
            Protocol::Handshake,
            Protocol::Unknown,
            Protocol::Http1,
            Protocol::Http2,
            Protocol::Raw,
        ];
        ALL[usize::from(self.protocol.load(Ordering::Relaxed))]
    }

    #[inline]
    fn is(&self, protocol: Protocol) -> bool {
        self.protocol.load(Ordering::Relaxed) == protocol as u8
    }

    #[inline]
    pub(crate) fn is_http2(&self) -> bool {
        self.is(Protocol::Http2)
    }

    /// How many requests have come on it.
    #[inline]
    pub(crate) fn requested(&self) -> u32 {
        self.tally.come()
    }

    /// Whether to answer a dry socket with the end of the stream: asked to end, idle, and no head is on its way. Never on
    /// HTTP/2, which GOAWAY ends.
    pub(crate) fn should_end(&self) -> bool {
        self.asked.is_ending()
            && !self.is_http2()
            && self.is_idle()
            && (!self.is_mid_head() || self.asked.is_given_up())
            && !self.is_upgraded()
    }

    /// The same, of a connection whose IO can answer: its bytes are followed.
    pub(crate) fn should_end_by_io(&self) -> bool {
        let followed = self.is(Protocol::Http1) || self.is(Protocol::Unknown);
        followed && self.should_end()
    }

    /// What it waits for from its client, if it does not wait for that without end.
    #[inline]
    pub(crate) fn awaits(&self) -> Option<Awaits> {
        // An idle connection of HTTP/1, as each request leaves it: asked first, and quickly.
        if self.is(Protocol::Http1) && !self.is_mid_head() && !self.is_lingering() {
            return None;
        }
        self.awaits_something()
    }

    #[inline(never)]
    fn awaits_something(&self) -> Option<Awaits> {
        if self.is_upgraded() {
            return None;
        }
        if self.is_lingering() {
            return Some(Awaits::End);
        }
        match self.protocol() {
            Protocol::Handshake => Some(Awaits::Handshake),
            Protocol::Unknown if self.is_mid_head() => Some(Awaits::Preface),
            Protocol::Unknown => Some(Awaits::FirstByte),
            Protocol::Http1 => self.awaits_head().then_some(Awaits::Head),
            Protocol::Http2 => (self.pong() == Pong::Awaited).then_some(Awaits::Pong),
            Protocol::Unseen | Protocol::Raw => None,
        }
    }

    /// Whether our side is closed, and the client's is waited for.
    #[inline]
    pub(crate) fn is_lingering(&self) -> bool {
        self.lingering.load(Ordering::Relaxed)
    }

    /// Whether it waits for the rest of a head, as far as that can be known: what comes after a request with a body may
    /// belong to the body still. In normal service nobody is closed on a guess.
    fn awaits_head(&self) -> bool {
        let known = || !self.after_body.load(Ordering::Relaxed) || !self.is_serving();
        self.is_mid_head() && self.in_flight() == 0 && known()
    }

    #[inline]
    pub(crate) fn is_mid_head(&self) -> bool {
        self.mid_head.load(Ordering::Relaxed)
    }

    /// How many requests are in flight.
    #[inline]
    pub(crate) fn in_flight(&self) -> u32 {
        self.tally.in_flight()
    }

    /// How many responses have not been sent whole, though their handlers and bodies are done.
    pub(crate) fn sending(&self) -> u32 {
        if self.is_upgraded() {
            return 0;
        }
        if self.is_http2() {
            let unanswered = self.unanswered.load(Ordering::Relaxed);
            return unanswered.saturating_sub(self.in_flight() + self.tunnels());
        }
        u32::from(self.in_flight() == 0 && self.unflushed.load(Ordering::Relaxed))
    }

    #[inline]
    pub(crate) fn set_unanswered(&self, streams: usize) {
        let streams = streams as u32;
        let before = self.unanswered.swap(streams, Ordering::Relaxed);
        if streams < self.tunnels() {
            self.tunnels.store(streams, Ordering::Relaxed);
        }
        if before > 0 && streams == 0 {
            self.became_idle();
        }
    }

    /// Whether a response of HTTP/1 is not over. HTTP/2 is ended by GOAWAY, which lets responses finish.
    pub(crate) fn owes_response(&self) -> bool {
        !self.is_http2() && !self.is_upgraded() && !self.is_idle()
    }

    /// Wakes its task, if that has waited for this.
    #[inline]
    fn became_idle(&self) {
        if self.asked.is_any() {
            self.became_idle_asked();
        }
    }

    #[cold]
    fn became_idle_asked(&self) {
        self.asked.forget_driven();
        // HTTP/1 lingers from now on, if it was to; HTTP/2 may have waited for this with its GOAWAY.
        let asked = || self.asked.says_close() && self.pong() == Pong::NotAsked && self.is_idle();
        if self.asked.is_ending() || asked() {
            self.cut.wake();
        }
    }

    /// Whether every request on it has got the whole of its response.
    #[inline]
    pub(crate) fn is_idle(&self) -> bool {
        self.in_flight() == 0 && self.sending() == 0
    }

    /// A stream of HTTP/2 carries another protocol from now on.
    pub(crate) fn open_tunnel(&self) {
        self.tunnels.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn tunnels(&self) -> u32 {
        self.tunnels.load(Ordering::Relaxed)
    }

    /// How many other protocols it carries: itself, on HTTP/1.
    pub(crate) fn upgraded(&self) -> u32 {
        u32::from(self.is_upgraded()) + self.tunnels()
    }

    #[inline]
    pub(crate) fn is_upgraded(&self) -> bool {
        self.cut.is_upgraded()
    }

    #[inline]
    pub(crate) fn pong(&self) -> Pong {
        const ALL: [Pong; 4] = [Pong::NotAsked, Pong::Awaited, Pong::Overdue, Pong::Come];
        ALL[usize::from(self.pong.load(Ordering::Relaxed))]
    }

    pub(crate) fn set_pong(&self, pong: Pong) {
        self.pong.store(pong as u8, Ordering::Relaxed);
    }

    /// Our side is closed; the client's is read until it ends.
    pub(crate) fn linger(&self) {
        self.lingering.store(true, Ordering::Relaxed);
    }

    /// Bytes have come in that are not HTTP/2's.
    #[inline]
    pub(crate) fn received(&self, bytes: &[u8]) {
        if self.in_flight() == 0 && !self.is_mid_head() {
            // Empty lines between two requests are no head (RFC 9112, section 2.2).
            let begun = bytes.iter().any(|byte| !matches!(byte, b'\r' | b'\n'));
            self.mid_head.store(begun, Ordering::Relaxed);
        }
    }

    /// hyper holds nothing that is still to be written: it flushes its IO only then.
    #[inline]
    pub(crate) fn flushed(&self) {
        if self.in_flight() == 0 && self.unflushed.load(Ordering::Relaxed) {
            self.unflushed.store(false, Ordering::Relaxed);
            self.became_idle();
        }
    }

    /// A request's head is complete.
    #[inline]
    pub(crate) fn begin(&self) {
        self.tally.begin();
    }

    /// A request is about to be passed on. Returns the place under which it is named.
    #[inline]
    pub(crate) fn admit<B: Body>(
        &self,
        request: &Request<B>,
        generation: Generation,
    ) -> Option<Place> {
        // HTTP/2 tells its requests apart, and h2 would take a lock to answer.
        if !self.is_http2() {
            self.mid_head.store(false, Ordering::Relaxed);
            self.unflushed.store(true, Ordering::Relaxed);
            let has_body = !request.body().is_end_stream();
            self.after_body.store(has_body, Ordering::Relaxed);
        }
        match self.names {
            RequestNames::Off => None,
            names => Some(self.name_request(request, generation, names)),
        }
    }

    #[inline(never)]
    fn name_request<B>(
        &self,
        request: &Request<B>,
        generation: Generation,
        names: RequestNames,
    ) -> Place {
        // Made before the lock is taken: on HTTP/2 others begin and end meanwhile.
        let request = Named::new(request, generation, names);
        self.requests().add(request)
    }

    /// A request is over.
    #[inline]
    pub(crate) fn finish(&self, place: Option<Place>) {
        if let Some(place) = place {
            if std::thread::panicking() {
                self.panicked(place);
            }
            self.requests().remove(place);
        }
        self.tally.finish();
        self.became_idle();
    }

    #[cold]
    fn panicked(&self, place: Place) {
        let request = self.requests().name(place);
        tracing::error!(target: "lameduck", request, "a request's handler or body panicked");
    }

    /// A request turned out to last.
    pub(crate) fn lasts(&self, place: Option<Place>) {
        if let Some(place) = place {
            self.requests().lasts(place);
        }
    }

    #[inline]
    pub(crate) fn requests(&self) -> MutexGuard<'_, Requests> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let shared = &self.handle.shared;
        if self.cut.end() && self.is_counted() && !shared.tracker().is_serving() {
            shared.connections.closed.fetch_add(1, Ordering::Relaxed);
        }
    }
}
