//! The ages of connections, as their moments and an operator see them. Empty unless a server has set one.

use std::collections::HashMap;
use std::sync::PoisonError;

use tokio::time::Instant;

use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Mutex, MutexGuard};

/// When a connection's age is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limit {
    pub(crate) at: Instant,
    /// When what is left of it is cut, if that is ever.
    pub(crate) cut: Option<Instant>,
}

/// The connections that have an age, and what has become of others.
#[derive(Default)]
pub(crate) struct Ages {
    /// By lot. Locked when such a connection begins and ends, and when a moment is asked for.
    open: Mutex<HashMap<u64, Entry>>,
    /// How many are open: without any the lock is left alone.
    count: AtomicU64,
    over: AtomicU64,
    cut: AtomicU64,
}

struct Entry {
    limit: Limit,
    /// Somebody on it has been told, before a shutdown.
    told: bool,
}

impl Ages {
    pub(crate) fn add(&self, lot: u64, limit: Limit) {
        let told = false;
        self.open().insert(lot, Entry { limit, told });
        self.count.fetch_add(1, Ordering::Release);
    }

    /// The connection is gone.
    pub(crate) fn remove(&self, lot: u64) {
        let Some(entry) = self.open().remove(&lot) else {
            return;
        };
        self.count.fetch_sub(1, Ordering::Release);
        if entry.limit.at <= Instant::now() {
            self.over.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn limit(&self, lot: u64) -> Option<Limit> {
        if self.count.load(Ordering::Acquire) == 0 {
            return None;
        }
        self.open().get(&lot).map(|entry| entry.limit)
    }

    /// Somebody on this connection is told.
    pub(crate) fn tell(&self, lot: u64) {
        if let Some(entry) = self.open().get_mut(&lot) {
            entry.told = true;
        }
    }

    /// Whether somebody on this connection has been told because of its age.
    pub(crate) fn has_told(&self, lot: u64) -> bool {
        self.open().get(&lot).is_some_and(|entry| entry.told)
    }

    /// One was cut.
    pub(crate) fn count_cut(&self) {
        self.cut.fetch_add(1, Ordering::Relaxed);
    }

    /// How many connections have ended behind their age, and how many were cut.
    #[cfg(feature = "metrics")]
    pub(crate) fn counts(&self) -> (u64, u64) {
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
        (load(&self.over), load(&self.cut))
    }

    fn open(&self) -> MutexGuard<'_, HashMap<u64, Entry>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
