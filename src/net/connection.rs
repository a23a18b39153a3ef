//! What the parts of one connection share: its IO, its service, its requests, and whoever drives it.

use std::net::SocketAddr;
use std::sync::{Arc, PoisonError};
use std::task::Wake;

use tokio::time::Instant;

use super::carries::Carries;
use super::cut::Cut;
use super::delivery;
use super::exit::{Age, Answers, EndReading, Exit, Leave, Look, Pong, Protocol};
use super::gathering::Gathering;
use super::peer::Peer;
use super::requests::{Framing, Named, Place, Requests};
use super::terms::{Exempt, Refusals, RequestNames, Terms};
use super::timeouts::Timeouts;
use crate::handle::ShutdownHandle;
#[cfg(feature = "hyper")]
use crate::http::traffic::ProbeAgents;
use crate::in_flight::Ticket;
use crate::long_lived::ages::Limit;
use crate::long_lived::spread;
use crate::phase::Phase;
use crate::shared::ServerControl;
use crate::sync::atomic::{AtomicU16, AtomicU32, Ordering};
use crate::sync::{Mutex, MutexGuard};

/// What a connection belongs to.
pub(crate) trait Home: ServerControl {
    fn terms(&self) -> &Terms;
    /// A connection is gone, its IO included.
    fn left(&self);
}

/// One connection. It is counted for as long as anybody holds this: an upgraded connection's IO does.
pub(crate) struct Connection {
    // Its ticket is dropped before the handle: if that is the last one, the gauge is free for the next coordinator.
    life: Mutex<Life>,
    counted: bool,
    pub(crate) handle: ShutdownHandle,
    /// The list in which the coordinator finds this connection: it lives as long as one of its connections does.
    home: Arc<dyn Home>,
    pub(crate) since: Instant,
    /// Where in the spread its moment lies.
    pub(crate) lot: u64,
    pub(crate) cut: Cut,
    /// What [`Life`] comes to, for whoever need not lock it: written under its lock.
    hints: AtomicU16,
    /// How many requests hyper has called the service for.
    called: AtomicU32,
    /// The two ends of its socket, where Linux can be asked about it.
    ends: Option<[SocketAddr; 2]>,
    /// Its clock was paused when it was opened, and its client is outside the runtime.
    paused: bool,
    pub(crate) names: RequestNames,
    pub(crate) refusals: Refusals,
    /// Whether a request's context is put into its extensions.
    pub(crate) context: bool,
    /// Which of its requests are exempt, if any are.
    pub(crate) exempt: Option<Exempt>,
    /// Whether HTTP/2's responses that are ready together leave together.
    gathers: bool,
    pub(crate) gathering: Gathering,
}

/// What changes in a connection's life. Locked by the connection's own task, by its requests where they run in other tasks, by
/// the coordinator and the report.
pub(crate) struct Life {
    pub(crate) exit: Exit,
    pub(crate) requests: Requests,
    /// How many of those in flight have lost their task: they are lost with the connection.
    abandoned: u32,
    pub(super) carries: Carries,
    pub(crate) peer: Peer,
}

/// Something is different from normal service.
const DISTURBED: u16 = 1;
/// It waits for its client, and not without end, or it has an age.
const WAITS: u16 = 2;
/// HTTP/1 responses say close.
const SAYS_CLOSE: u16 = 4;
/// A dry socket may be answered with the end of the stream.
const ENDS: u16 = 8;
/// The PING is to be answered in the client's place.
const OWES_PONG: u16 = 16;
/// HTTP/1: the last response is over, and hyper may still hold a part of it.
const UNFLUSHED: u16 = 32;
const HTTP2: u16 = 64;
/// HTTP/2: more than one stream has not got the end of its response.
const SEVERAL: u16 = 128;
/// HTTP/1: the latest request has a body.
const BODY: u16 = 256;

impl Life {
    #[inline]
    fn hints(&self) -> u16 {
        let exit = &self.exit;
        let mut hints = 0;
        if exit.is_disturbed() {
            hints |= DISTURBED;
            if exit.says_close() {
                hints |= SAYS_CLOSE;
            }
            if exit.is_ending() {
                hints |= ENDS;
            }
            if exit.pong() == Pong::Overdue {
                hints |= OWES_PONG;
            }
        }
        if exit.awaits().is_some() || exit.has_age() {
            hints |= WAITS;
        }
        if exit.is_unflushed() {
            hints |= UNFLUSHED;
        }
        if exit.protocol() == Protocol::Http2 {
            hints |= HTTP2;
            if exit.unanswered() > 1 {
                hints |= SEVERAL;
            }
        }
        if self.requests.latest.is_some() {
            hints |= BODY;
        }
        hints
    }
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
        ends: Option<[SocketAddr; 2]>,
    ) -> Self {
        // Copied: a request would have to ask for them.
        let Terms {
            names,
            refusals,
            context,
            max_age,
            gathers,
            ref exempt,
            ..
        } = *home.terms();
        let exempt = exempt.clone();
        let since = Instant::now();
        let shared = &handle.shared;
        let paused = ends.is_some() && is_paused(since);
        // A paused clock would jump there.
        let age = max_age.draw(since, lot).filter(|_| !paused);
        if let Some(Age { at, cut, .. }) = age {
            shared.ages.add(lot, Limit { at, cut });
        }
        let counted = ticket.is_some();
        Connection {
            life: Mutex::new(Life {
                exit: Exit::new(since).with_age(age),
                requests: Requests::default(),
                abandoned: 0,
                carries: Carries::new(ticket),
                peer,
            }),
            counted,
            handle,
            home,
            since,
            lot,
            cut: Cut::new(),
            hints: AtomicU16::new(0),
            called: AtomicU32::new(0),
            paused,
            ends,
            names,
            refusals,
            context,
            exempt,
            gathers,
            gathering: Gathering::new(),
        }
    }

    #[inline]
    pub(crate) const fn is_counted(&self) -> bool {
        self.counted
    }

    /// Whether no shutdown has begun.
    #[inline]
    pub(crate) fn is_serving(&self) -> bool {
        self.handle.tracker.is_serving()
    }

    #[inline]
    pub(crate) fn timeouts(&self) -> &Timeouts {
        &self.home.terms().timeouts
    }

    #[inline]
    pub(crate) fn life(&self) -> MutexGuard<'_, Life> {
        self.life.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes its life, and wakes its driver if that is to look for it.
    #[inline]
    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut Life) -> T) -> T {
        let mut life = self.life();
        let changed = change(&mut life);
        let wake = life.exit.take_wake();
        self.set_hints(&life);
        drop(life);
        if wake {
            self.cut.wake();
        }
        changed
    }

    #[inline]
    fn set_hints(&self, life: &Life) {
        let hints = life.hints();
        if self.hints.load(Ordering::Relaxed) != hints {
            self.hints.store(hints, Ordering::Relaxed);
        }
    }

    #[inline]
    pub(crate) fn tell<T>(&self, tell: impl FnOnce(&mut Exit) -> T) -> T {
        self.change(|life| tell(&mut life.exit))
    }

    #[inline]
    fn hints(&self, any: u16) -> bool {
        self.hints.load(Ordering::Relaxed) & any != 0
    }

    /// Whether its driver has nothing to do but to poll it.
    #[inline]
    pub(crate) fn is_disturbed(&self) -> bool {
        self.hints(DISTURBED)
    }

    /// Whether its driver has to wait for more than what wakes the connection: its client, and not without end, or its age.
    #[inline]
    pub(crate) fn waits(&self) -> bool {
        self.hints(WAITS | DISTURBED)
    }

    #[inline]
    pub(crate) fn says_close(&self) -> bool {
        self.hints(SAYS_CLOSE)
    }

    /// Whether a dry socket may be answered with the end of the stream.
    #[inline]
    pub(crate) fn ends(&self) -> bool {
        self.hints(ENDS)
    }

    #[inline]
    pub(crate) fn owes_pong(&self) -> bool {
        self.hints(OWES_PONG)
    }

    /// hyper holds nothing that is still to be written: it flushes its IO only then.
    #[inline]
    pub(crate) fn flushed(&self) {
        if self.hints(UNFLUSHED) {
            self.tell(Exit::flushed);
        }
    }

    #[inline]
    pub(crate) fn is_http2(&self) -> bool {
        self.hints(HTTP2)
    }

    /// Whether there are several responses of HTTP/2 that could be gathered.
    #[inline]
    pub(crate) fn has_several(&self) -> bool {
        self.hints(SEVERAL) && self.gathers
    }

    pub(crate) fn answers(&self) -> Answers {
        self.ask(|exit| exit.answers())
    }

    /// Whether the IO gathers what is written.
    #[inline]
    pub(crate) fn is_gathering(&self) -> bool {
        self.hints(SEVERAL) && self.gathering.is_on()
    }

    /// HTTP/1: whether the latest request has a body.
    #[inline]
    pub(crate) fn has_body(&self) -> bool {
        self.hints(BODY)
    }

    /// What its driver is to do now, or when to look again.
    pub(crate) fn look(&self) -> Look {
        let leave = self.leave();
        let now = Instant::now();
        let limits = match leave {
            None if self.paused => self.timeouts().without_end(),
            _ => *self.timeouts(),
        };
        let look = self.ask(|exit| {
            exit.set_leave(leave, now);
            exit.look(&limits, now)
        });
        if leave.is_some_and(|leave| leave.end.is_some()) {
            self.let_go();
        }
        look
    }

    /// Asks what is to be done: by its own task, which hyper calls the service in.
    fn ask<T>(&self, ask: impl FnOnce(&mut Exit) -> T) -> T {
        let called = self.called.load(Ordering::Relaxed);
        self.tell(|exit| {
            exit.set_called(called);
            ask(exit)
        })
    }

    /// Whether to answer a dry socket with the end of the stream.
    pub(crate) fn end_reading(&self) -> EndReading {
        self.ask(Exit::end_reading)
    }

    /// Its client is another one than its socket's peer: a proxy has passed it on.
    #[cfg(feature = "hyper")]
    pub(crate) fn set_client(&self, client: SocketAddr) {
        // Dropped behind the lock.
        let _peer = std::mem::replace(&mut self.life().peer, Peer::new(client));
    }

    /// What the shutdown wants of it.
    fn leave(&self) -> Option<Leave> {
        if !self.is_counted() || self.is_serving() {
            return None;
        }
        let shared = &self.handle.shared;
        let since = shared.progress.t0()?;
        let plan = &shared.plan;
        let closes = self.handle.phase() >= Some(Phase::Close);
        let begun = closes
            .then(|| shared.progress.begun_at(Phase::Close))
            .flatten();
        // An idle connection's own moment in the linger: otherwise all of them would end at once.
        let end = |begun| begun + spread::moment(plan.linger(), self.lot);
        Some(Leave {
            since: Some(since),
            // From the whole window, however late it came. Those that come after theirs are asked at once.
            moment: since + spread::moment(plan.spread(), self.lot),
            end: begun.map(end),
            linger: plan.linger(),
        })
    }

    /// How many bytes of ours the client has not acknowledged, as far as the kernel tells.
    pub(crate) fn unacknowledged(&self) -> Option<u32> {
        self.ends.and_then(delivery::unacknowledged)
    }

    /// Finds out what the client has not acknowledged.
    #[cold]
    pub(crate) fn ask_socket(&self) {
        let unacknowledged = self.unacknowledged();
        let now = Instant::now();
        self.tell(|exit| exit.delivered(unacknowledged, now));
    }

    /// Our side is about to be closed. What the client has not acknowledged, if that decides whether to linger.
    pub(crate) fn undelivered(&self) -> Option<u32> {
        let asks = {
            let exit = &self.life().exit;
            exit.minds_delivery() && exit.closes_idle()
        };
        asks.then(|| self.unacknowledged()).flatten()
    }

    /// Our side is closed.
    pub(crate) fn shut(&self, undelivered: Option<u32>) {
        let now = Instant::now();
        self.tell(|exit| exit.shut(undelivered, now));
    }

    /// The connection leaves HTTP. Its next owner is seen from its first poll on.
    pub(crate) fn upgrade(&self) {
        self.tell(Exit::upgrade);
        self.cut.upgrade();
    }

    /// Which user agents are probes, beside those that are known.
    #[cfg(feature = "hyper")]
    pub(crate) fn probe_agents(&self) -> ProbeAgents {
        self.home.terms().agents
    }

    /// How many requests are in flight that count.
    pub(crate) fn in_flight(&self) -> u32 {
        self.life().in_flight()
    }

    /// hyper has called the service for a request: in the connection's own task, so nothing has to be ordered.
    #[inline]
    pub(crate) fn call(&self) {
        self.called.fetch_add(1, Ordering::Relaxed);
    }

    /// Names a request that is in flight, or has it without a name.
    #[inline]
    pub(crate) fn begin(&self, request: Option<Named>, body: Framing) -> Option<Place> {
        let mut life = self.life();
        life.carries_counted(&self.handle);
        life.exit.begin();
        life.requests.latest = body;
        let place = request.map(|request| life.requests.add(request));
        // Of the hints it may end these and begin the last, and it wakes nobody.
        if body.is_some() || self.hints(WAITS | UNFLUSHED | BODY) {
            self.set_hints(&life);
        }
        place
    }

    /// A request is over.
    #[inline]
    pub(crate) fn finish(&self, place: Option<Place>) {
        self.finish_with(place, |_| {});
    }

    /// A request is over, of which something else is noted as well.
    #[inline]
    pub(super) fn finish_with(&self, place: Option<Place>, note: impl FnOnce(&mut Life)) {
        if std::thread::panicking() {
            self.panicked(place);
        }
        // Dropped behind the lock.
        let _removed = self.change(|life| {
            let removed = place.and_then(|place| life.requests.remove(place));
            note(life);
            life.exit.finish();
            removed
        });
    }

    #[cold]
    fn panicked(&self, place: Option<Place>) {
        let request = place.and_then(|place| self.life().requests.name(place));
        tracing::error!(target: "lameduck", request, "a request's handler or body panicked");
    }

    /// A request turned out to last.
    pub(crate) fn lasts(&self, place: Option<Place>) {
        if let Some(place) = place {
            self.life().requests.lasts(place);
        }
    }

    /// The task of a request was dropped before it was over: the runtime goes away, and the connection with it. The request stays in
    /// flight until then: whatever is still sent on the connection, its answer is not.
    #[cfg(feature = "hyper")]
    #[cold]
    pub(crate) fn abandon_request(&self) {
        self.life().abandoned += 1;
    }

    /// The task that drove it, or that of one of its requests, was dropped before it was over: its runtime went away.
    #[cold]
    pub(crate) fn abandoned(&self) {
        let lost = {
            let life = self.life();
            if life.exit.is_upgraded() || !self.is_counted() {
                return;
            }
            life.in_flight() + life.unfinished() > 0
        };
        if lost {
            let connection = self.name();
            tracing::warn!(target: "lameduck", connection, "its task was dropped: what was in flight on it is cut");
        }
        if lost || !self.is_serving() {
            self.end_now(true);
        }
    }

    /// Whether polling it could only end its reading, and not yet: it is polled when the runtime's driver has been.
    #[cold]
    pub(crate) fn is_to_look_again(&self) -> bool {
        self.ask(Exit::is_to_look_again)
    }

    /// The grace behind its age is over: what it carries is cut.
    #[cold]
    pub(crate) fn outlived(&self) {
        let connection = self.name();
        tracing::debug!(target: "lameduck", connection, "cut: the grace behind its age is over");
        self.handle.shared.ages.count_cut();
    }

    /// The same for one that nobody drives.
    #[cfg(feature = "hyper")]
    pub(crate) fn cut_aged(&self) {
        if self.cut.cut() {
            self.outlived();
        }
    }

    /// When it is cut because of its age, if that is ever.
    #[cfg(feature = "hyper")]
    #[cold]
    pub(crate) fn age_cut(&self) -> Option<Instant> {
        self.handle.shared.ages.limit(self.lot)?.cut
    }

    /// Ends it from outside, at Close's deadline or when its task was dropped. What was lost by that is counted.
    pub(crate) fn end_now(&self, in_flight_too: bool) {
        if self.life().exit.is_lingering() {
            self.ask_socket();
        }
        let (lost, upgraded) = {
            let life = self.life();
            let in_flight = match in_flight_too {
                true => life.in_flight(),
                // Those that are not abandoned are counted by their tickets.
                false => life.abandoned,
            };
            (life.unfinished() + in_flight, life.exit.upgraded())
        };
        if self.cut.cut() {
            let counts = &self.handle.shared.connections;
            counts.cut.fetch_add(1, Ordering::Relaxed);
            counts
                .cut_upgraded
                .fetch_add(u64::from(upgraded), Ordering::Relaxed);
            counts
                .cut_unfinished
                .fetch_add(u64::from(lost), Ordering::Relaxed);
        }
    }
}

/// Whether tokio's clock is paused, by a test: real time moves on, and `now` is still what it says.
///
/// Such a clock jumps to the next timer as soon as the runtime has nothing else to do, and knows nothing of what a client
/// outside the runtime is about to send.
#[cold]
fn is_paused(now: Instant) -> bool {
    let real = std::time::Instant::now();
    // A clock that runs reads the same twice only where it is coarse, and then `real` is the same, too.
    now == Instant::now() && now.into_std() != real
}

/// Who waits for the runtime's driver is woken as this.
impl Wake for Connection {
    fn wake(self: Arc<Self>) {
        self.tell(Exit::driver_polled);
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let shared = &self.handle.shared;
        let life = self.life.get_mut();
        let life = life.unwrap_or_else(PoisonError::into_inner);
        let ticket = life.carries.take_ticket();
        let abandoned = life.abandoned > 0;
        if life.exit.has_age() {
            shared.ages.remove(self.lot);
        }
        // Its own task may have come to its end, though not those of its requests.
        if abandoned && !self.cut.is_cut() {
            self.abandoned();
        }
        if self.cut.end() && self.is_counted() && !self.handle.tracker.is_serving() {
            shared.connections.closed.fetch_add(1, Ordering::Relaxed);
        }
        // First, so that no more are counted than the limit allows.
        drop(ticket);
        self.home.left();
    }
}
