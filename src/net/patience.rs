//! How long a connection is waited for, by the [`Timeouts`](super::Timeouts) of its server.

use std::time::Duration;

use tokio::time::Instant;

use super::connection::{Awaits, Connection};
use super::course::{Course, Leaving};
use super::timeouts::Limit;

/// Knows since when a connection has been waiting for its client, and until when it does.
#[derive(Debug, Default)]
pub(crate) struct Patience {
    waiting: Option<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    awaits: Awaits,
    /// How many requests had come: the next request's head is another wait.
    requested: u32,
    since: Instant,
    /// The time was up. What comes of it takes its course.
    over: bool,
}

impl Waiting {
    /// Whether it is still the same wait. What began like a preface may turn out to be a head.
    fn goes_on(&self, awaits: Awaits, requested: u32) -> bool {
        let head = |awaits| matches!(awaits, Awaits::Preface | Awaits::Head);
        self.requested == requested
            && (self.awaits == awaits || (head(self.awaits) && head(awaits)))
    }
}

impl Patience {
    /// Until when to wait for the client, after the connection has done what it could. `None`: without end.
    #[inline]
    pub(crate) fn due(&mut self, connection: &Connection, course: &Course) -> Option<Instant> {
        match connection.awaits() {
            Some(awaits) => self.until(awaits, connection, course.leaving(connection)),
            None => {
                self.waiting = None;
                None
            }
        }
    }

    fn until(
        &mut self,
        awaits: Awaits,
        connection: &Connection,
        leaving: Option<Leaving>,
    ) -> Option<Instant> {
        let requested = connection.requested();
        let waiting = match &mut self.waiting {
            Some(waiting) if waiting.goes_on(awaits, requested) => waiting,
            other => other.insert(Waiting {
                awaits,
                requested,
                since: Instant::now(),
                over: false,
            }),
        };
        if waiting.over {
            return None;
        }
        waiting.awaits = awaits;
        let since = waiting.since;
        let timeouts = connection.timeouts();
        match awaits {
            Awaits::Handshake | Awaits::Preface => {
                until(timeouts.handshake, since, leaving.map(|it| it.t0))
            }
            Awaits::FirstByte => until(timeouts.silent, since, leaving.map(|it| it.moment)),
            Awaits::Head => until(timeouts.head, since, leaving.map(|it| it.t0)),
            Awaits::Pong => after(since, timeouts.pong),
            Awaits::End => after(since, timeouts.lingering_close),
        }
    }

    /// Its time is up. What it has waited for in vain.
    pub(crate) fn give_up(&mut self) -> Option<Awaits> {
        let waiting = self.waiting.as_mut()?;
        waiting.over = true;
        Some(waiting.awaits)
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
