//! A counter, and the tickets that it gives.

use std::fmt;

use crate::sync::AtomicWaker;
use crate::sync::atomic::{AtomicU64, Ordering};

// A counter's word: the count, two flags, and above them the epoch of the gauge's owner. The flag that refuses is beside the
// epoch, so that both are looked at in one comparison.
const COUNT: u64 = WATCHED - 1;
pub(super) const WATCHED: u64 = CLOSED >> 1;
pub(super) const CLOSED: u64 = EPOCH >> 1;
pub(super) const EPOCH: u64 = 1 << 32;
pub(super) const EPOCHS: u64 = !(EPOCH - 1);

/// One thing counted. Dropping it counts it down.
pub(crate) struct Ticket {
    counter: &'static Counter,
}

impl Clone for Ticket {
    fn clone(&self) -> Self {
        // On the same counter, not the thread's own: a scan that has passed that one already would miss it.
        // The count is above zero because `self` holds it up, so no flag has to be looked at.
        self.counter.word.fetch_add(1, Ordering::Relaxed);
        Ticket {
            counter: self.counter,
        }
    }
}

impl Drop for Ticket {
    #[inline]
    fn drop(&mut self) {
        self.counter.put();
    }
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticket").finish_non_exhaustive()
    }
}

/// Invariant: the count in `word` is the number of tickets that point here; whoever is refused has not changed it.
/// Every change is a read-modify-write, and whoever brings the count to zero under a flag wakes the owner.
pub(super) struct Counter {
    word: AtomicU64,
    waker: &'static AtomicWaker,
}

impl Counter {
    pub(super) fn new(waker: &'static AtomicWaker) -> Self {
        Counter {
            word: AtomicU64::new(0),
            waker,
        }
    }

    /// How many tickets point here. Exact only when nobody comes or goes.
    pub(super) fn count(&self) -> u64 {
        self.word.load(Ordering::Acquire) & COUNT
    }

    /// Raises flags: [`WATCHED`], [`CLOSED`].
    pub(super) fn raise(&self, flags: u64) {
        self.word.fetch_or(flags, Ordering::AcqRel);
    }

    /// Opens it for the next owner. Only when it is closed and zero: nobody else writes to it then.
    pub(super) fn open(&self, epoch: u64) {
        self.word.store(epoch, Ordering::Release);
    }

    #[inline]
    pub(super) fn take(&'static self, epoch: u64) -> Option<Ticket> {
        // A thread has its counter to itself, as a rule, so the first try is the last.
        let seen = self.word.load(Ordering::Relaxed);
        if is_open(seen, epoch) {
            let taken =
                self.word
                    .compare_exchange(seen, seen + 1, Ordering::Acquire, Ordering::Relaxed);
            if taken.is_ok() {
                return Some(Ticket { counter: self });
            }
        }
        self.take_again(epoch)
    }

    #[cold]
    fn take_again(&'static self, epoch: u64) -> Option<Ticket> {
        let open = |word| is_open(word, epoch).then_some(word + 1);
        // Acquire: whoever is refused sees what the owner did before it closed this.
        self.word
            .fetch_update(Ordering::Acquire, Ordering::Acquire, open)
            .ok()
            .map(|_| Ticket { counter: self })
    }

    #[inline]
    fn put(&self) {
        // Release: whoever believes the zero sees everything that was done under this ticket.
        let seen = self.word.fetch_sub(1, Ordering::Release);
        if seen & (CLOSED | WATCHED) != 0 {
            self.put_watched(seen);
        }
    }

    #[cold]
    fn put_watched(&self, seen: u64) {
        if seen & COUNT == 1 {
            self.waker.wake();
        }
    }
}

/// Whether a counter with this word takes for this epoch: all above the count and its flag is the same.
#[inline]
fn is_open(word: u64, epoch: u64) -> bool {
    word ^ epoch < CLOSED
}
