//! What keeps a server from accepting for a while, and what is logged of it.

use std::io;
use std::time::Duration;

use tokio::time::Instant;

/// A shortage is over when it has not been met for so long: near a limit, accepting works and fails by turns.
const OVER: Duration = Duration::from_secs(1);

/// Each is logged when it begins, and when it is over.
#[derive(Default)]
pub(super) struct Shortages {
    /// The process is out of file descriptors or memory.
    resources: Option<Shortage>,
    /// As many connections are open as the server may have.
    room: Option<Shortage>,
}

#[derive(Clone, Copy)]
struct Shortage {
    since: Instant,
    last: Instant,
    met: u64,
}

impl Shortages {
    /// Accepting failed for want of resources.
    pub(super) fn no_resources(&mut self, server: &str, error: &io::Error, now: Instant) {
        let log =
            || tracing::warn!(target: "lameduck", %server, %error, "cannot accept for the moment");
        meet(&mut self.resources, now, log);
    }

    /// No more connections are accepted, or some are again: as many as `limit` are or were open.
    pub(super) fn no_room(&mut self, server: &str, limit: usize, now: Instant) {
        let log = || tracing::warn!(target: "lameduck", %server, limit, "as many connections are open as the limit allows: no more are accepted for the moment");
        meet(&mut self.room, now, log);
    }

    /// Whether there is any that is not over.
    #[inline]
    pub(super) const fn is_any(&self) -> bool {
        self.resources.is_some() || self.room.is_some()
    }

    /// When the next one is over, if it is not met again.
    pub(super) fn next_end(&self) -> Option<Instant> {
        let each = [self.resources, self.room].into_iter().flatten();
        each.map(|shortage| shortage.last + OVER).min()
    }

    /// Says of each that is over by now how long it lasted.
    pub(super) fn end(&mut self, server: &str, now: Instant) {
        self.end_if(server, |shortage| now >= shortage.last + OVER);
    }

    /// The same, of all.
    pub(super) fn end_all(&mut self, server: &str) {
        self.end_if(server, |_| true);
    }

    fn end_if(&mut self, server: &str, over: impl Fn(&mut Shortage) -> bool) {
        if let Some(shortage) = self.resources.take_if(&over) {
            let (failures, took_ms) = (shortage.met, shortage.took_ms());
            tracing::warn!(target: "lameduck", %server, failures, took_ms, "accepting failed for a while");
        }
        if let Some(shortage) = self.room.take_if(&over) {
            let took_ms = shortage.took_ms();
            tracing::warn!(target: "lameduck", %server, took_ms, "the limit of connections held new ones up for a while");
        }
    }
}

fn meet(shortage: &mut Option<Shortage>, now: Instant, log: impl FnOnce()) {
    let shortage = shortage.get_or_insert_with(|| {
        log();
        Shortage {
            since: now,
            last: now,
            met: 0,
        }
    });
    shortage.met += 1;
    shortage.last = now;
}

impl Shortage {
    fn took_ms(self) -> u64 {
        (self.last - self.since).as_millis() as u64
    }
}
