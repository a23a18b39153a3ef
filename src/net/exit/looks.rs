//! What an exit says: what is to be done now, or when to look again.

use std::time::Duration;

use tokio::time::Instant;

use super::{
    Act, Awaits, Closing, Dry, EndReading, Exit, FRESH, Look, Pong, Protocol, QUEUED, Receiving,
    Wait,
};
use crate::net::timeouts::{Limit, Timeouts};

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
pub(super) fn after(since: Instant, limit: Duration) -> Option<Instant> {
    since.checked_add(limit)
}
