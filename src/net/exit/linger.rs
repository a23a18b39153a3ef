//! The lingering close: our side is closed, and what we sent may not have arrived.

use std::time::Duration;

use tokio::time::Instant;

use super::looks::after;
use super::{Act, Look};

/// When the kernel is asked again how much of a response the client has acknowledged: as soon as a network's round trip takes,
const FIRST_LOOK: Duration = Duration::from_millis(10);
/// and later more seldom, because each question costs some microseconds. So a client that reads is noticed in good time.
const LAST_LOOK: Duration = Duration::from_millis(250);

#[derive(Clone, Copy, Debug)]
pub(super) struct Linger {
    since: Instant,
    /// When the client was last heard of: bytes, or what it acknowledged.
    active: Instant,
    /// When the kernel was last asked.
    looked: Option<Instant>,
    /// What it said.
    unacknowledged: Option<u32>,
    /// Only what has not been acknowledged is waited for, and not the client's end: we ended it when it was idle, or the
    /// client has ended its side.
    delivers_only: bool,
    discarded: usize,
}

impl Linger {
    pub(super) fn new(delivers_only: bool, unacknowledged: Option<u32>, now: Instant) -> Self {
        Linger {
            since: now,
            active: now,
            looked: None,
            unacknowledged,
            delivers_only,
            discarded: 0,
        }
    }

    /// How many bytes the client has not acknowledged, as far as that is known.
    pub(super) fn unacknowledged(&self) -> u32 {
        self.unacknowledged.unwrap_or(0)
    }

    /// The client has ended its side. Returns whether that is news.
    pub(super) fn client_ended(&mut self) -> bool {
        if self.delivers_only {
            return false;
        }
        self.delivers_only = true;
        // So that the kernel is asked once more.
        (self.looked, self.unacknowledged) = (None, None);
        true
    }

    /// So many more bytes have been discarded. Returns how many there were in all.
    pub(super) fn discarded(&mut self, bytes: usize, now: Instant) -> usize {
        self.discarded += bytes;
        if bytes > 0 {
            self.active = now;
        }
        self.discarded
    }

    /// What the kernel has said.
    pub(super) fn delivered(&mut self, unacknowledged: Option<u32>, now: Instant) {
        if unacknowledged < self.unacknowledged && unacknowledged.is_some() {
            self.active = now;
        }
        self.looked = Some(now);
        self.unacknowledged = unacknowledged;
    }

    /// Whether to ask the kernel, or to drop the connection; `leaving`, because somebody wants it to leave, or in normal
    /// service. `time` is for how long a client may be silent.
    pub(super) fn look(&self, leaving: bool, time: Duration, now: Instant) -> Look {
        if !leaving {
            return due_at(after(self.since, time), now, Act::Drop);
        }
        let inactive = match self.delivers_only {
            true => Some(self.looked.unwrap_or(now)),
            false => after(self.active, time),
        };
        match self.unacknowledged {
            Some(1..) => due_at(self.next_look(), now, Act::AskSocket),
            // Not yet asked when it could matter.
            _ if self.looked < inactive => due_at(inactive, now, Act::AskSocket),
            _ => due_at(inactive, now, Act::Drop),
        }
    }

    /// When the kernel is to be asked again.
    fn next_look(&self) -> Option<Instant> {
        let looked = self.looked.unwrap_or(self.since);
        let lingered = looked.saturating_duration_since(self.since);
        after(looked, lingered.clamp(FIRST_LOOK, LAST_LOOK))
    }
}

/// What to do when that instant has come; `None` is never.
fn due_at(due: Option<Instant>, now: Instant, act: Act) -> Look {
    match due {
        Some(due) if now >= due => Look::Do(act),
        due => Look::Until(due),
    }
}
