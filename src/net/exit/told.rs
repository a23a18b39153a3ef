//! What the parts of a connection tell its exit.

use tokio::time::Instant;

use super::{Awaits, Closing, Dry, Exit, Leave, Linger, Pong, Protocol, Receiving};
use crate::net::timeouts::Timeouts;

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
    pub(super) fn shutdown_since(&self) -> Option<Instant> {
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
