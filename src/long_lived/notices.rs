//! Being told to end: what is said, and to how many it has been said.

use std::collections::HashSet;
use std::sync::PoisonError;
use std::time::Duration;

use tokio::time::Instant;

use super::spread;
use crate::reason::Reason;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicU64, Ordering};

/// What a [`Moment`](crate::Moment) says when it has come: why, and how much time is left.
#[derive(Clone, Debug)]
pub struct Told {
    pub(crate) reason: Reason,
    pub(crate) deadline: Instant,
}

impl Told {
    /// Why the process is leaving, or [`Reason::ConnectionAge`] if it stays and the connection's age is over.
    #[must_use]
    pub const fn reason(&self) -> &Reason {
        &self.reason
    }

    /// When what is still open is cut: at Close's deadline, or when the
    /// [grace](crate::Server::max_connection_age_grace) behind the connection's age is over. Decades from now if it is told
    /// because of its age, and there is no grace.
    #[must_use]
    pub const fn deadline(&self) -> Instant {
        self.deadline
    }

    /// How long it is until then; zero when it is past.
    #[must_use]
    pub fn remaining(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// A time for the client to wait before it comes back, to be handed to it: 1 to 3 s, drawn anew each time, so that those
    /// who were told together do not come back together.
    #[must_use]
    pub fn retry_after(&self) -> Duration {
        spread::between(RETRY_AFTER.0, RETRY_AFTER.1)
    }
}

/// The shortest and the longest time after which a client is asked to come back.
pub(crate) const RETRY_AFTER: (Duration, Duration) =
    (Duration::from_secs(1), Duration::from_secs(3));

/// Who has been told.
#[derive(Default)]
pub(crate) struct Notices {
    told: AtomicU64,
    /// How many of them have been logged.
    logged: AtomicU64,
    /// The lots of those whose moment has come, by which a connection is known.
    lots: Mutex<HashSet<u64>>,
}

impl Notices {
    pub(crate) fn tell(&self, lot: u64) {
        self.told.fetch_add(1, Ordering::Relaxed);
        let mut lots = self.lots.lock().unwrap_or_else(PoisonError::into_inner);
        lots.insert(lot);
    }

    pub(crate) fn told(&self) -> u64 {
        self.told.load(Ordering::Relaxed)
    }

    /// Whether somebody who belongs to this lot has been told.
    #[cfg(feature = "net")]
    pub(crate) fn knows(&self, lot: u64) -> bool {
        let lots = self.lots.lock().unwrap_or_else(PoisonError::into_inner);
        lots.contains(&lot)
    }

    /// How many have been told since this was asked last.
    pub(crate) fn batch(&self) -> u64 {
        let told = self.told();
        told - self.logged.swap(told, Ordering::Relaxed)
    }
}
