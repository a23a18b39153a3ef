//! A connection's exit: what it still carries, whether it may end, and when to look at it again.
//!
//! [`Exit`] is one pure machine for each connection: it has no socket, no clock and no waker. Its inputs are what the parts of
//! the connection see: bytes, requests, frames, the client's end, and somebody's wish that it leaves. It says what to do:
//! to ask the client to leave, to end reading, to linger, to give the client up; and at which instant to look again. Nobody
//! else keeps any of this.
//!
//! Two rules decide where something is not known. What is guessed may delay an end, and never cause one. And what has been
//! written into the kernel has not been sent: it has when the client has acknowledged it.

mod interface;
mod linger;

use std::time::Duration;

use tokio::time::Instant;

use self::linger::Linger;
use crate::net::timeouts::{Limit, Timeouts};

pub(crate) use interface::{
    Act, Age, Answers, Awaits, EndReading, Leave, Look, Pong, Protocol, Receiving,
};

/// How long a GOAWAY waits for an instant without streams.
///
/// A connection that was opened a moment ago is about to be used. A GOAWAY that comes before its first request would send
/// the client away with nothing, to open the next connection, which gets the same. And hyper's client leaves an idle connection
/// at once, but on one with an open stream it fails the next request that it is given: its dispatcher does not hear of a GOAWAY
/// before. So the GOAWAY comes when the requests have been answered.
const FRESH: Duration = Duration::from_secs(1);

/// How long the second GOAWAY is kept back behind the answer to the PING. Clients write that answer before the requests that they
/// had queued, h2's in the same flight, and fail each that is above the second GOAWAY's last stream. RFC 9113, section 6.8 asks for one
/// round trip at least, which is over by then.
const QUEUED: Duration = Duration::from_millis(50);

/// How often the socket has been found dry, since it was last idle or something was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dry {
    Unseen,
    /// Once; the runtime's driver is waited for.
    Seen,
    /// Once, and the driver has been polled: if it is dry still, it is.
    Driven,
}

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Exit {
    opened: Instant,
    protocol: Protocol,
    /// Whether HTTP/2 gets its GOAWAY at its moment, or only in Close.
    goaway: bool,

    receiving: Receiving,
    /// How many requests hyper has called the service for, as far as that has been told.
    called: u32,
    /// How many have begun.
    requested: u64,
    in_flight: u32,
    /// HTTP/1: hyper may still hold a part of the last response.
    unflushed: bool,
    /// HTTP/1: that was so when the latest request began.
    behind: bool,
    /// HTTP/2: streams without the end of their response.
    unanswered: u32,
    /// HTTP/2: streams whose response has ended, and whose request has not.
    uploads: u32,
    /// How many of `unanswered` are tunnels, whose end is the application's affair. At most: which of them end is not seen.
    tunnels: u32,
    upgraded: bool,

    /// On the heap: most have none.
    age: Option<Box<Age>>,
    leave: Option<Leave>,
    /// Its moment has come: HTTP/1 responses say close.
    asked: bool,
    /// Somebody else's connection has been asked.
    told: bool,
    pong: Pong,
    /// Connections are to end, and a response that could not ask is, or was, on its way.
    busy: bool,
    /// When it ends, if it is idle by then.
    ends_at: Option<Instant>,
    /// It ends when it is idle and nothing has arrived.
    ending: bool,
    /// Its client has been waited for long enough: half a head does not hold it any more.
    given_up: bool,
    /// Somebody else's connection has been ended.
    ended: bool,
    dry: Dry,
    wait: Option<Wait>,
    closing: Closing,
    /// The driver is to look.
    wake: bool,
}

/// Since when the client has been waited for.
#[derive(Clone, Copy, Debug)]
struct Wait {
    awaits: Awaits,
    /// For how many requests hyper had called the service.
    called: u32,
    since: Instant,
    /// The time was up. What comes of it takes its course.
    over: bool,
}

impl Wait {
    /// Whether it is still the same wait. What began like a preface may turn out to be a head.
    fn goes_on(&self, awaits: Awaits, called: u32) -> bool {
        let head = |awaits| matches!(awaits, Awaits::Preface | Awaits::Head);
        match head(awaits) {
            // The next request's head is another wait. On HTTP/2 others begin meanwhile.
            true => self.called == called && head(self.awaits),
            false => self.awaits == awaits,
        }
    }
}

/// How far the end of the connection has come.
#[derive(Clone, Copy, Debug)]
enum Closing {
    Open,
    /// We ended it when it was idle, or the client ended its side.
    Ended,
    /// Our side is closed, and what we sent may not have arrived.
    Lingering(Linger),
    Over,
}

impl Exit {
    pub(crate) fn new(opened: Instant) -> Self {
        Exit {
            opened,
            protocol: Protocol::Unseen,
            goaway: true,
            receiving: Receiving::Nothing,
            called: 0,
            requested: 0,
            in_flight: 0,
            unflushed: false,
            behind: false,
            unanswered: 0,
            uploads: 0,
            tunnels: 0,
            upgraded: false,
            age: None,
            leave: None,
            asked: false,
            told: false,
            pong: Pong::NotAsked,
            busy: false,
            ends_at: None,
            ending: false,
            given_up: false,
            ended: false,
            dry: Dry::Unseen,
            wait: None,
            closing: Closing::Open,
            wake: false,
        }
    }

    /// Limits for how long it is used in normal service.
    pub(crate) fn with_age(mut self, age: Option<Age>) -> Self {
        self.age = age.map(Box::new);
        self
    }
}

/// What is asked by others.
impl Exit {
    pub(crate) const fn protocol(&self) -> Protocol {
        self.protocol
    }

    pub(crate) const fn in_flight(&self) -> u32 {
        self.in_flight
    }

    pub(crate) const fn tunnels(&self) -> u32 {
        self.tunnels
    }

    /// How many other protocols it carries: itself, on HTTP/1.
    pub(crate) const fn upgraded(&self) -> u32 {
        self.upgraded as u32 + self.tunnels
    }

    pub(crate) const fn is_upgraded(&self) -> bool {
        self.upgraded
    }

    pub(crate) const fn pong(&self) -> Pong {
        self.pong
    }

    /// How many streams of HTTP/2 have not got the end of their response.
    #[inline]
    pub(crate) const fn unanswered(&self) -> u32 {
        self.unanswered
    }

    /// The responses of HTTP/2, as far as their writing goes.
    pub(crate) fn answers(&self) -> Answers {
        let running = self.in_flight + self.not_begun();
        Answers {
            ready: self.unanswered.saturating_sub(running + self.tunnels),
            running,
        }
    }

    /// Whether HTTP/1 responses say close.
    #[inline]
    pub(crate) const fn says_close(&self) -> bool {
        self.asked || self.given_up
    }

    /// Whether it ends when it is idle and nothing has arrived.
    #[inline]
    pub(crate) const fn is_ending(&self) -> bool {
        self.ending || self.given_up
    }

    /// Whether anything is different from normal service.
    #[inline]
    pub(crate) const fn is_disturbed(&self) -> bool {
        self.leave.is_some() || self.given_up
    }

    /// Whether its driver has to look when an age is over.
    #[inline]
    pub(crate) const fn has_age(&self) -> bool {
        self.age.is_some()
    }

    /// Whether our side is closed, and the client's is waited for.
    #[inline]
    pub(crate) const fn is_lingering(&self) -> bool {
        matches!(self.closing, Closing::Lingering(_))
    }

    /// What it waits for from its client, if it does not wait for that without end.
    #[inline]
    pub(crate) fn awaits(&self) -> Option<Awaits> {
        match self.protocol {
            // As each request leaves it.
            Protocol::Http1 if self.requested > 0 && self.receiving != Receiving::Head => {
                self.is_lingering().then_some(Awaits::End)
            }
            // Until it is asked to leave hyper waits for anything without end, and so do we.
            Protocol::Http2 if self.pong == Pong::NotAsked => {
                self.is_lingering().then_some(Awaits::End)
            }
            _ => self.awaits_otherwise(),
        }
    }

    #[inline(never)]
    fn awaits_otherwise(&self) -> Option<Awaits> {
        if self.upgraded {
            return None;
        }
        if self.is_lingering() {
            return Some(Awaits::End);
        }
        let in_head = self.receiving == Receiving::Head;
        match self.protocol {
            Protocol::Handshake => Some(Awaits::Handshake),
            Protocol::Unknown if in_head => Some(Awaits::Preface),
            Protocol::Unknown => Some(Awaits::FirstByte),
            Protocol::Http1 if self.in_flight > 0 || self.unflushed => None,
            Protocol::Http1 if in_head => Some(Awaits::Head),
            // Empty lines are no request (RFC 9112, section 2.2).
            Protocol::Http1 if self.requested == 0 => Some(Awaits::FirstByte),
            Protocol::Http2 if self.pong == Pong::Awaited => Some(Awaits::Pong),
            Protocol::Http2 if self.pong == Pong::Kept => Some(Awaits::Queued),
            Protocol::Http2 if in_head => Some(Awaits::Head),
            // In normal service a client may take any time.
            Protocol::Session if self.in_flight > 0 || self.leave.is_none() => None,
            Protocol::Session if in_head => Some(Awaits::Head),
            Protocol::Http1 | Protocol::Http2 => None,
            Protocol::Unseen | Protocol::Raw | Protocol::Session => None,
        }
    }

    /// How many messages are not over, though nothing is in flight for them: responses that have not been sent whole, requests
    /// that are still being received behind their response.
    pub(crate) fn unfinished(&self) -> u32 {
        if self.upgraded {
            return 0;
        }
        let unacknowledged = u32::from(self.unacknowledged() > 0);
        match self.protocol {
            Protocol::Http2 => {
                let held = self.in_flight + self.tunnels;
                let sending = self.unanswered.saturating_sub(held) + self.uploads;
                sending.max(unacknowledged)
            }
            _ if self.in_flight > 0 => 0,
            _ => u32::from(self.unflushed || self.is_receiving_body()).max(unacknowledged),
        }
    }

    /// Whether a response of HTTP/1 may not have been written whole that is before the one of the request in flight.
    pub(crate) const fn is_behind(&self) -> bool {
        self.behind && self.in_flight > 0
    }

    /// How many bytes of ours the client has not acknowledged since we closed our side, as far as that is known.
    pub(crate) fn unacknowledged(&self) -> u32 {
        match &self.closing {
            Closing::Lingering(linger) => linger.unacknowledged(),
            _ => 0,
        }
    }

    /// Whether a request's body is still on its way, and wanted.
    pub(crate) const fn is_receiving_body(&self) -> bool {
        matches!(
            (self.receiving, &self.closing),
            (Receiving::Body, Closing::Open)
        ) || self.uploads > 0
    }

    pub(crate) fn is_mid_head(&self) -> bool {
        self.receiving == Receiving::Head
    }

    /// Whether every request on it is over, and has got the whole of its response.
    #[inline]
    fn is_idle(&self) -> bool {
        self.in_flight == 0 && self.unfinished() == 0 && !self.is_called()
    }

    /// Whether hyper has called the service for a request that has not begun.
    fn is_called(&self) -> bool {
        self.not_begun() > 0
    }

    /// For how many requests hyper has called the service that have not begun.
    fn not_begun(&self) -> u32 {
        // The numbers go round, and the one that was told may be old.
        let ahead = self.called.wrapping_sub(self.requested as u32) as i32;
        ahead.max(0) as u32
    }

    /// Whether a message of HTTP/1 is not over. HTTP/2 is ended by GOAWAY, which lets them finish.
    fn is_busy(&self) -> bool {
        self.protocol != Protocol::Http2 && !self.upgraded && !self.is_idle()
    }
}

/// What its parts tell it.
impl Exit {
    pub(crate) fn set_protocol(&mut self, protocol: Protocol) {
        self.protocol = protocol;
        if protocol == Protocol::Http2 {
            self.receiving = Receiving::Nothing;
        }
    }

    /// Whether HTTP/2 gets its GOAWAY at its moment, or only in Close.
    pub(crate) fn set_goaway(&mut self, goaway: bool) {
        self.goaway = goaway;
    }

    /// What the client is sending, from now on.
    pub(crate) fn receiving(&mut self, receiving: Receiving) {
        let was_busy = self.is_receiving_body();
        self.receiving = receiving;
        if was_busy {
            self.became_idle();
        }
    }

    /// Something has been read while reading is to end. More may be behind it, of which the runtime does not know before its
    /// driver has been polled.
    #[cold]
    pub(crate) fn received(&mut self) {
        self.dry = Dry::Unseen;
    }

    /// The runtime's driver has been polled, since [`EndReading::LookAgain`] was said.
    pub(crate) fn driver_polled(&mut self) {
        if self.dry == Dry::Seen {
            self.dry = Dry::Driven;
        }
        // Also if something was read meanwhile: then it looks once more.
        self.wake = true;
    }

    /// How many requests hyper has called the service for. Each begins when its future is polled for the first time, and
    /// hyper may read before that.
    #[inline]
    pub(crate) fn set_called(&mut self, called: u32) {
        self.called = called;
    }

    /// A request is about to be passed on.
    #[inline]
    pub(crate) fn begin(&mut self) {
        self.in_flight += 1;
        self.requested += 1;
        self.behind = self.unflushed;
        self.unflushed = self.protocol == Protocol::Http1;
    }

    /// A request of a session is about to be passed on. Another one may follow its answer, and is waited for anew.
    pub(crate) fn begin_in_session(&mut self) {
        self.begin();
        self.busy = true;
        self.ends_at = None;
        self.ending = false;
    }

    /// A session ends as soon as it is idle and nothing has arrived: it has waited for its client to pause for long enough.
    pub(crate) fn end_session(&mut self) {
        self.ending = self.leave.is_some();
    }

    /// A request is over: its response's body has been given to hyper, or dropped.
    #[inline]
    pub(crate) fn finish(&mut self) {
        self.in_flight -= 1;
        self.became_idle();
    }

    /// hyper holds nothing that is still to be written: it flushes its IO only then.
    #[inline]
    pub(crate) fn flushed(&mut self) {
        if self.is_unflushed() {
            self.unflushed = false;
            self.became_idle();
        }
    }

    /// Whether the last response is over, and hyper may still hold a part of it.
    #[inline]
    pub(crate) const fn is_unflushed(&self) -> bool {
        self.unflushed && self.in_flight == 0
    }

    /// HTTP/2's streams: without the end of their response, and with it but without the end of their request.
    #[inline]
    pub(crate) fn set_streams(&mut self, unanswered: u32, uploads: u32) {
        let before = self.unanswered + self.uploads;
        (self.unanswered, self.uploads) = (unanswered, uploads);
        self.tunnels = self.tunnels.min(unanswered);
        if before > 0 && unanswered + uploads == 0 {
            self.became_idle();
        }
    }

    /// A stream of HTTP/2 carries another protocol from now on.
    pub(crate) fn open_tunnel(&mut self) {
        self.tunnels += 1;
    }

    /// The connection leaves HTTP.
    pub(crate) fn upgrade(&mut self) {
        self.upgraded = true;
    }

    /// The answer to the PING has come, and h2 has not seen it.
    pub(crate) fn pong_taken(&mut self) {
        if self.pong == Pong::Awaited {
            self.pong = Pong::Kept;
            self.wake = true;
        }
    }

    /// h2 has the answer to the PING: the client's, or the one that was given in its place.
    pub(crate) fn set_ponged(&mut self) {
        self.pong = Pong::Come;
    }

    /// What a shutdown wants of it; `None` when there is none. What its age wants is added.
    pub(crate) fn set_leave(&mut self, shutdown: Option<Leave>, now: Instant) {
        let age = self.age.as_ref().filter(|age| age.is_over(now));
        let aged = age.is_some();
        let leave = age.map_or(shutdown, |age| Some(age.join(shutdown)));
        match self.leave {
            Some(before) if !before.goes_on(leave, aged) => self.stay(),
            // The driver takes this for normal service, and has polled the connection before it looked.
            None if aged => self.wake = true,
            _ => {}
        }
        if self.busy {
            self.relinger(leave);
        } else if self.leave.and_then(|it| it.end) != leave.and_then(|it| it.end) {
            self.ends_at = None;
        }
        self.leave = leave;
    }

    /// A linger behind a response, which began under one wish, is as long as the other says.
    fn relinger(&mut self, leave: Option<Leave>) {
        let lingers = self.leave.zip(leave).zip(self.ends_at);
        if let Some(((before, after), ends_at)) = lingers {
            self.ends_at = (ends_at + after.linger).checked_sub(before.linger);
        }
    }

    /// Nobody wants it to leave any more, or somebody does anew.
    #[cold]
    fn stay(&mut self) {
        self.asked = false;
        self.ending = false;
        self.busy = false;
        self.dry = Dry::Unseen;
        // The longer bounds of normal service count again.
        self.given_up = false;
        if let Some(wait) = &mut self.wait {
            wait.over &= matches!(wait.awaits, Awaits::Pong | Awaits::Queued);
        }
    }

    /// The client has ended its side, or its side is broken.
    pub(crate) fn client_ended(&mut self) {
        match &mut self.closing {
            Closing::Open => self.closing = Closing::Ended,
            Closing::Lingering(linger) => self.wake |= linger.client_ended(),
            Closing::Ended | Closing::Over => {}
        }
    }

    /// The end of the stream has been given to whoever reads.
    pub(crate) fn reading_ended(&mut self) {
        if let Closing::Open = self.closing {
            self.closing = Closing::Ended;
        }
    }

    /// Whether what the client has not acknowledged is waited for. While the process stays it is not: the kernel goes on
    /// sending when the socket is closed.
    pub(crate) fn minds_delivery(&self) -> bool {
        self.shutdown_since().is_some()
    }

    /// Since when a shutdown wants it to leave.
    fn shutdown_since(&self) -> Option<Instant> {
        self.leave.and_then(|leave| leave.since)
    }

    /// Whether it closes idle, or behind the client's end: then it lingers only for what has not been acknowledged.
    pub(crate) fn closes_idle(&self) -> bool {
        matches!(self.closing, Closing::Ended)
    }

    /// The client has ended its side, after ours. Whether something of ours may still be on its way, and is waited for.
    pub(crate) fn awaits_delivery_behind_end(&mut self) -> bool {
        self.client_ended();
        self.minds_delivery()
    }

    /// Our side is closed. `unacknowledged` is what the client has not acknowledged, where that is known.
    pub(crate) fn shut(&mut self, unacknowledged: Option<u32>, now: Instant) {
        let delivers_only = match self.closing {
            Closing::Open => false,
            // It is over, unless something of ours is on its way.
            Closing::Ended if unacknowledged.is_some_and(|bytes| bytes > 0) => true,
            Closing::Ended => {
                self.closing = Closing::Over;
                return;
            }
            Closing::Lingering(_) | Closing::Over => return,
        };
        self.closing = Closing::Lingering(Linger::new(delivers_only, unacknowledged, now));
        self.wake = true;
    }

    /// So many bytes of the client have been discarded behind our end. Returns whether it was enough.
    pub(crate) fn discarded(&mut self, bytes: usize, limits: &Timeouts, now: Instant) -> bool {
        match &mut self.closing {
            Closing::Lingering(linger) => linger.discarded(bytes, now) >= limits.discarded,
            _ => true,
        }
    }

    /// What the client has not acknowledged, where that is known.
    pub(crate) fn delivered(&mut self, unacknowledged: Option<u32>, now: Instant) {
        if let Closing::Lingering(linger) = &mut self.closing {
            linger.delivered(unacknowledged, now);
        }
    }

    /// Whether our side has been closed.
    pub(crate) fn is_shut(&self) -> bool {
        matches!(self.closing, Closing::Lingering(_) | Closing::Over)
    }

    /// Nothing of it is left to be waited for: the socket may be closed.
    pub(crate) fn is_over(&self) -> bool {
        matches!(self.closing, Closing::Over)
    }

    /// The lingering is over.
    pub(crate) fn over(&mut self) {
        self.closing = Closing::Over;
    }

    /// What it waited for may have come.
    #[inline]
    fn became_idle(&mut self) {
        if self.is_disturbed() {
            self.dry = Dry::Unseen;
            self.wake |= self.is_idle();
        }
    }

    /// Whether the driver is to look, since this was last asked.
    #[inline]
    pub(crate) fn take_wake(&mut self) -> bool {
        std::mem::take(&mut self.wake)
    }
}

/// What it says.
impl Exit {
    /// Whether to answer a dry socket with the end of the stream: it is to end, idle, and no head is on its way.
    pub(crate) fn end_reading(&mut self) -> EndReading {
        if !self.may_end_reading() {
            return EndReading::No;
        }
        match self.dry {
            Dry::Unseen => {
                self.dry = Dry::Seen;
                EndReading::LookAgain
            }
            // Whatever woke the task meanwhile.
            Dry::Seen => EndReading::No,
            Dry::Driven => EndReading::Yes,
        }
    }

    /// Whether polling the connection could only end its reading, and not yet.
    pub(crate) fn is_to_look_again(&mut self) -> bool {
        self.is_ending() && self.end_reading() == EndReading::LookAgain
    }

    fn may_end_reading(&self) -> bool {
        let can = match self.protocol {
            Protocol::Unknown | Protocol::Http1 | Protocol::Session => true,
            // GOAWAY ends it, but for a head that does not come.
            Protocol::Http2 => {
                self.given_up && self.receiving == Receiving::Head && self.tunnels == 0
            }
            Protocol::Unseen | Protocol::Handshake | Protocol::Raw => false,
        };
        can && self.is_ending()
            && self.is_idle()
            && (self.receiving != Receiving::Head || self.given_up)
            && !self.upgraded
            && matches!(self.closing, Closing::Open)
    }

    /// What is to be done now, or when to look again.
    pub(crate) fn look(&mut self, limits: &Timeouts, now: Instant) -> Look {
        let age = self.age_due(now);
        if age.is_some_and(|due| now >= due) {
            return Look::Do(Act::Cut);
        }
        match self.look_until(limits, now) {
            Look::Until(due) => Look::Until(due.into_iter().chain(age).min()),
            act => act,
        }
    }

    /// When its age is over; from then on, when it is cut.
    fn age_due(&self, now: Instant) -> Option<Instant> {
        let age = self.age.as_ref()?;
        match age.is_over(now) {
            true => age.cut,
            false => Some(age.at),
        }
    }

    /// The same, without the instants of its age.
    fn look_until(&mut self, limits: &Timeouts, now: Instant) -> Look {
        self.move_on(now);
        if self.owes_ask(now) {
            self.told = true;
            if self.protocol == Protocol::Http2 {
                self.pong = Pong::Awaited;
            }
            return Look::Do(Act::Ask);
        }
        if self.protocol == Protocol::Unseen && self.ending && !self.ended {
            self.ended = true;
            return Look::Do(Act::End);
        }
        match self.closing {
            Closing::Lingering(linger) => {
                linger.look(self.minds_delivery(), limits.lingering_close, now)
            }
            _ => self.look_waiting(limits, now),
        }
    }

    /// Takes the steps whose time has come.
    fn move_on(&mut self, now: Instant) {
        let Some(leave) = self.leave else {
            return;
        };
        self.asked |= now >= leave.moment || leave.end.is_some();
        let end = match self.protocol {
            // Its answers cannot ask the client to leave, so it ends when the client pauses.
            Protocol::Session if self.asked => Some(leave.moment),
            _ => leave.end,
        };
        let Some(end) = end else {
            return;
        };
        if self.ending {
            return;
        }
        if self.is_busy() {
            // If its end does not close the connection, because its head left before the moment had come, the client may
            // have its next request on the way.
            self.busy = true;
            self.ends_at = None;
            return;
        }
        let ends_at = match (self.busy, self.requested) {
            (true, _) => self.ends_at.unwrap_or(now + leave.linger),
            // A new one is about to be used.
            (false, 0) => end.max(self.opened + leave.linger),
            (false, _) => end,
        };
        self.ends_at = Some(ends_at);
        self.ending = now >= ends_at;
    }

    /// Whether it is time to ask the client to leave.
    fn owes_ask(&self, now: Instant) -> bool {
        match self.protocol {
            Protocol::Http2 if self.pong == Pong::NotAsked => {
                (self.asked && self.goaway && self.asked_not_before(now).is_none())
                    || (self.ending && self.is_idle())
            }
            Protocol::Unseen => self.asked && !self.told && self.asked_not_before(now).is_none(),
            _ => false,
        }
    }

    /// Until when it is not asked, though its moment may have come: it is fresh, or HTTP/2 with open streams.
    fn asked_not_before(&self, now: Instant) -> Option<Instant> {
        let fresh = self.leave.map_or(FRESH, |leave| FRESH.min(leave.linger));
        let waits_since = match self.leave {
            Some(leave) if self.protocol == Protocol::Http2 && self.requested > 0 => {
                self.opened.max(leave.moment)
            }
            _ => self.opened,
        };
        let until = waits_since + fresh;
        let used = self.requested > 0 && self.is_idle();
        (now < until && !used).then_some(until)
    }

    /// When the next step is due.
    fn next_step(&self, now: Instant) -> Option<Instant> {
        let leave = self.leave?;
        if !self.asked {
            return Some(leave.moment);
        }
        let asks = match self.protocol {
            Protocol::Http2 => self.pong == Pong::NotAsked && self.goaway,
            Protocol::Unseen => !self.told,
            _ => false,
        };
        let fresh = self.asked_not_before(now).filter(|_| asks);
        let end = self.ends_at.filter(|_| !self.ending);
        fresh.into_iter().chain(end).min()
    }

    /// Waits for the next step, or for the client.
    fn look_waiting(&mut self, limits: &Timeouts, now: Instant) -> Look {
        let client = self.client_due(limits, now);
        if client.is_some_and(|due| now >= due) {
            return self.give_up();
        }
        let step = self.next_step(now);
        Look::Until(step.into_iter().chain(client).min())
    }

    /// Until when to wait for the client. `None`: without end.
    fn client_due(&mut self, limits: &Timeouts, now: Instant) -> Option<Instant> {
        let Some(awaits) = self.awaits() else {
            self.wait = None;
            return None;
        };
        let called = self.called;
        let wait = match &mut self.wait {
            Some(wait) if wait.goes_on(awaits, called) => wait,
            other => other.insert(Wait {
                awaits,
                called,
                since: now,
                over: false,
            }),
        };
        if wait.over {
            return None;
        }
        wait.awaits = awaits;
        let since = wait.since;
        // While the process stays there is no hurry.
        let leaving = self.shutdown_since();
        match awaits {
            Awaits::Handshake | Awaits::Preface => until(limits.handshake, since, leaving),
            Awaits::FirstByte => {
                let moment = self.leave.map(|leave| leave.moment);
                let leaving = leaving.zip(moment).map(|(since, moment)| since.max(moment));
                until(limits.silent, since, leaving)
            }
            Awaits::Head => until(limits.head, since, leaving),
            Awaits::Pong => after(since, limits.pong),
            Awaits::Queued => after(since, QUEUED),
            // Lingering is looked at elsewhere.
            Awaits::End => None,
        }
    }

    /// The client has been waited for long enough.
    fn give_up(&mut self) -> Look {
        let Some(wait) = &mut self.wait else {
            return Look::Until(None);
        };
        wait.over = true;
        match wait.awaits {
            Awaits::Handshake => return Look::Do(Act::Drop),
            Awaits::FirstByte | Awaits::Preface | Awaits::Head => {
                self.given_up = true;
                self.dry = Dry::Unseen;
            }
            Awaits::Pong | Awaits::Queued => self.pong = Pong::Overdue,
            Awaits::End => {}
        }
        Look::Do(Act::Poll)
    }
}

/// The limit that is reached first: that of normal service, or, from `leaving` on, the other.
fn until(limit: Limit, since: Instant, leaving: Option<Instant>) -> Option<Instant> {
    let serving = after(since, limit.serving);
    let leaving = leaving.and_then(|leaving| after(since.max(leaving), limit.leaving));
    serving.into_iter().chain(leaving).min()
}

/// `None` when that is never.
fn after(since: Instant, limit: Duration) -> Option<Instant> {
    since.checked_add(limit)
}

#[cfg(test)]
mod tests;
