//! The counters of one thread, and which thread counts where.

use std::cell::Cell;
use std::sync::OnceLock;

use super::counter::Counter;
use crate::sync::AtomicWaker;
use crate::sync::atomic::AtomicU64;

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// Requests, tasks and the application's own guards: what Drain waits for.
    Work,
    /// Connections: what Close waits for.
    Connection,
    /// What turned out to last: event streams, calls that stream, guards for the like. Close waits for them, Drain does not.
    Long,
    /// Listeners of ours that are still open.
    Listener,
}

/// When it began. The first generation is closed when the phase that waits for it begins, so that its zero can be
/// believed while traffic goes on; whoever comes later is counted in the second, which is closed when Release begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Generation {
    Early,
    Late,
}

/// One of the counts of a gauge.
pub(crate) type Count = (Class, Generation);

#[cfg(not(lameduck_loom))]
pub(super) const SHARDS: usize = 64;
#[cfg(lameduck_loom)]
pub(super) const SHARDS: usize = 2;

const COUNTS: usize = 8;

/// One thread's counters, on cache lines of their own (two: processors fetch them in pairs).
#[repr(align(128))]
pub(super) struct Shard {
    pub(super) counters: [Counter; COUNTS],
    /// What has arrived in normal service, if that is counted.
    pub(super) arrivals: AtomicU64,
}

impl Shard {
    pub(super) fn new(waker: &'static AtomicWaker) -> Self {
        Shard {
            counters: std::array::from_fn(|_| Counter::new(waker)),
            arrivals: AtomicU64::new(0),
        }
    }

    #[inline]
    pub(super) fn counter(&self, (class, generation): Count) -> &Counter {
        &self.counters[class as usize * 2 + generation as usize]
    }
}

/// How many shards are in use: one for each core, rounded up to a power of two.
pub(crate) fn in_use() -> usize {
    // Asked once: a machine, or a container, may be given more cores, and a scan must see every shard that anybody counts on.
    static IN_USE: OnceLock<usize> = OnceLock::new();
    *IN_USE.get_or_init(|| {
        if cfg!(lameduck_loom) {
            return SHARDS;
        }
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        cores.next_power_of_two().min(SHARDS)
    })
}

/// This thread's shard.
#[inline]
pub(crate) fn home() -> usize {
    thread_local! { static HOME: Cell<usize> = const { Cell::new(usize::MAX) } }

    #[cold]
    fn settle(home: &Cell<usize>) -> usize {
        static NEXT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
        let next = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        home.set(next % in_use());
        home.get()
    }

    // A thread that is being torn down has none any more; any will do.
    HOME.try_with(|home| match home.get() {
        usize::MAX => settle(home),
        home => home,
    })
    .unwrap_or(0)
}

#[cfg(all(test, not(lameduck_loom)))]
mod tests {
    use std::collections::HashSet;
    use std::thread;

    use super::*;

    #[test]
    fn threads_are_spread_over_the_shards_in_use_and_stay_there() {
        let mut homes = HashSet::new();
        // One after the other; the tests that run meanwhile have threads, too.
        for _ in 0..100 * SHARDS {
            let [first, again] = thread::spawn(|| [home(), home()]).join().unwrap();
            assert_eq!(first, again);
            homes.insert(first);
            if homes.len() == in_use() {
                break;
            }
        }

        assert_eq!(homes, HashSet::from_iter(0..in_use()));
    }
}
