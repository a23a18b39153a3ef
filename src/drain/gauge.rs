//! The gauge: sharded counters with two generations.
//!
//! Tickets are taken on the hot path of every request, so nothing that two threads share is written there: each thread
//! counts on a shard of its own, and a ticket is a pointer to the counter that it raised. There is no `Arc` to clone:
//! shards live for ever, and a gauge that nobody uses any more is handed to the next coordinator.

#[cfg(feature = "tower")]
use std::any::Any;
use std::cell::Cell;
use std::fmt;
use std::future::poll_fn;
#[cfg(feature = "tower")]
use std::sync::{Arc, Weak};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll};

use tokio::time::Instant;

use super::arrivals::Arrivals;
use crate::sync::AtomicWaker;
use crate::sync::atomic::{AtomicU64, Ordering};

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

/// Where the process stands, as one number that a request can read with one load.
pub(crate) type Stage = u8;

/// No shutdown has begun.
pub(crate) const SERVING: Stage = 0;
/// The last phase is over, or the coordinator is gone.
pub(crate) const FINISHED: Stage = 6;
/// Beside the stage, in normal service: arrivals are counted. Above what fits into a [`Stage`].
const COUNTING: u64 = 1 << Stage::BITS;

// A counter's word: the count, two flags, and above them the epoch of the gauge's owner. The flag that refuses is beside the
// epoch, so that both are looked at in one comparison.
const COUNT: u64 = WATCHED - 1;
const WATCHED: u64 = CLOSED >> 1;
const CLOSED: u64 = EPOCH >> 1;
const EPOCH: u64 = 1 << 32;
const EPOCHS: u64 = !(EPOCH - 1);

#[cfg(not(lameduck_loom))]
const SHARDS: usize = 64;
#[cfg(lameduck_loom)]
const SHARDS: usize = 2;

const COUNTS: usize = 8;

/// A gauge's counters, wherever they are needed: by the layer, by a connection, by the handle. Copying it costs nothing.
///
/// A tracker that outlives its coordinator is harmless: its epoch is over, so it is refused everything.
#[derive(Clone, Copy)]
pub(crate) struct Tracker {
    gauge: &'static Gauge,
    epoch: u64,
}

impl Tracker {
    /// Counts one more, or `None` when that is over.
    #[inline]
    pub(crate) fn take(self, class: Class) -> Option<Ticket> {
        // Not by way of `take_dated`: the generation would be made, and looked at.
        let shard = self.gauge.shard(home());
        match shard.counter((class, Generation::Early)).take(self.epoch) {
            None => self.take_late(shard, class).map(|(ticket, _)| ticket),
            taken => taken,
        }
    }

    /// Like [`take`](Tracker::take), and says in which generation.
    #[inline]
    pub(crate) fn take_dated(self, class: Class) -> Option<(Ticket, Generation)> {
        self.take_on(home(), class)
    }

    #[inline]
    pub(super) fn take_on(self, home: usize, class: Class) -> Option<(Ticket, Generation)> {
        let shard = self.gauge.shard(home);
        match shard.counter((class, Generation::Early)).take(self.epoch) {
            Some(ticket) => Some((ticket, Generation::Early)),
            None => self.take_late(shard, class),
        }
    }

    #[cold]
    fn take_late(self, shard: &'static Shard, class: Class) -> Option<(Ticket, Generation)> {
        let ticket = shard.counter((class, Generation::Late)).take(self.epoch)?;
        Some((ticket, Generation::Late))
    }

    /// Where the process stands: one load.
    #[inline]
    pub(crate) fn stage(self) -> Stage {
        let stage = self.gauge.stage.load(Ordering::Acquire);
        if stage & EPOCHS == self.epoch {
            (stage & !EPOCHS) as Stage
        } else {
            FINISHED
        }
    }

    /// Whether somebody wants to know who arrives: the shutdown has begun, or arrivals are counted before it. One load.
    #[cfg(feature = "tower")]
    #[inline]
    pub(crate) fn minds_arrivals(self) -> bool {
        self.gauge.stage.load(Ordering::Acquire) != self.epoch
    }

    /// What the owner has given for those who only have a tracker; `None` when it is gone. Takes a lock.
    #[cfg(feature = "tower")]
    pub(crate) fn owner(self) -> Option<Arc<dyn Any + Send + Sync>> {
        let owner = self.gauge.owner();
        owner.epoch.filter(|&epoch| epoch == self.epoch)?;
        owner.what.as_ref()?.upgrade()
    }

    /// Notes that work arrived and was passed on. In normal service that is one counter of the thread's own; the lock is
    /// for what comes after the shutdown has begun.
    #[cfg(feature = "tower")]
    pub(crate) fn arrived(self) {
        match self.stage() {
            SERVING => {
                let arrivals = &self.gauge.shard(home()).arrivals;
                arrivals.fetch_add(1, Ordering::Relaxed);
            }
            FINISHED => {}
            _ => self.gauge.arrivals().served(Instant::now()),
        }
    }

    /// Notes that work was refused.
    #[cfg(feature = "tower")]
    pub(crate) fn refused(self) {
        if self.stage() != FINISHED {
            self.gauge.arrivals().refused += 1;
        }
    }
}

#[cfg(feature = "tower")]
impl PartialEq for Tracker {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self.gauge, other.gauge) && self.epoch == other.epoch
    }
}

impl fmt::Debug for Tracker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tracker").finish_non_exhaustive()
    }
}

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

/// The gauge as its coordinator sees it: the one who may close generations, wait for zero and move the stage.
pub(crate) struct GaugeOwner(Tracker);

impl GaugeOwner {
    pub(crate) fn new() -> Self {
        // Not under the model checker: its objects belong to one execution.
        let idle = if cfg!(lameduck_loom) {
            None
        } else {
            pool().pop()
        };
        GaugeOwner::of(idle.unwrap_or_else(Gauge::leak))
    }

    fn of(gauge: &'static Gauge) -> Self {
        let epoch = gauge.stage.load(Ordering::Acquire) & EPOCHS;
        *gauge.arrivals() = Arrivals::default();
        GaugeOwner(Tracker { gauge, epoch })
    }

    /// What the pool does elsewhere: gives the gauge to the next owner, if nobody holds a ticket.
    #[cfg(all(test, lameduck_loom))]
    pub(super) fn hand_on(self) -> Option<Self> {
        let Tracker { gauge, epoch } = self.0;
        drop(self);
        let recycled = gauge.stage.load(Ordering::Acquire) & EPOCHS != epoch;
        recycled.then(|| GaugeOwner::of(gauge))
    }

    #[inline]
    pub(crate) fn tracker(&self) -> Tracker {
        self.0
    }

    /// Sets what [`Tracker::owner`] gives.
    #[cfg(feature = "tower")]
    pub(crate) fn set_owner(&self, what: Weak<dyn Any + Send + Sync>) {
        *self.0.gauge.owner() = Owner {
            epoch: Some(self.0.epoch),
            what: Some(what),
        };
    }

    /// Counts what arrives in normal service from now on.
    pub(crate) fn count_arrivals(&self) {
        let stage = &self.0.gauge.stage;
        stage.store(self.0.epoch | COUNTING, Ordering::Release);
    }

    /// How many have arrived in normal service, since some time in the past.
    pub(crate) fn arrived(&self) -> u64 {
        let arrived = |shard: &Shard| shard.arrivals.load(Ordering::Relaxed);
        self.shards().map(arrived).fold(0, u64::wrapping_add)
    }

    /// Moves the stage, as seen by [`Tracker::stage`].
    pub(crate) fn set_stage(&self, stage: Stage) {
        self.0
            .gauge
            .stage
            .store(self.0.epoch | u64::from(stage), Ordering::Release);
    }

    /// From now on nobody is counted there, and its zero can be believed.
    pub(crate) fn close(&self, count: Count) {
        self.raise(count, CLOSED | WATCHED);
    }

    /// Waits until all of `counts` are zero. For a count that is not closed this is a hint: somebody may come the moment after.
    pub(crate) async fn empty(&self, counts: &[Count]) {
        for &count in counts {
            self.raise(count, WATCHED);
        }
        poll_fn(|cx| self.poll_empty(cx, counts)).await;
        self.forget_waker();
    }

    fn poll_empty(&self, cx: &mut Context<'_>, counts: &[Count]) -> Poll<()> {
        // Registered before the scan: whoever leaves after it was looked at wakes this task.
        self.0.gauge.waker.register(cx.waker());
        if counts.iter().all(|&count| self.count(count) == 0) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }

    /// The task that waited may be gone for long before somebody else waits.
    fn forget_waker(&self) {
        drop(self.0.gauge.waker.take());
    }

    /// How many are counted there. Exact only when nobody comes or goes.
    pub(crate) fn count(&self, count: Count) -> u64 {
        self.shards()
            .map(|shard| {
                let word = shard.counter(count).word.load(Ordering::Acquire);
                word & COUNT
            })
            .sum()
    }

    /// What has arrived since the shutdown began.
    pub(crate) fn arrivals(&self) -> Arrivals {
        self.0.gauge.arrivals().clone()
    }

    /// When the last of them arrived.
    pub(crate) fn last_arrival(&self) -> Option<Instant> {
        self.0.gauge.arrivals().last
    }

    /// The seconds of [`Arrivals`] count from here.
    pub(crate) fn begin(&self, t0: Instant) {
        self.0.gauge.arrivals().since = Some(t0);
    }

    fn raise(&self, count: Count, flags: u64) {
        for shard in self.shards() {
            shard.counter(count).word.fetch_or(flags, Ordering::AcqRel);
        }
    }

    fn shards(&self) -> impl Iterator<Item = &'static Shard> {
        self.0.gauge.shards[..in_use()].iter()
    }
}

impl Drop for GaugeOwner {
    fn drop(&mut self) {
        self.forget_waker();
        #[cfg(feature = "tower")]
        drop(std::mem::take(&mut *self.0.gauge.owner()));
        let all = || self.shards().flat_map(|shard| &shard.counters);
        for counter in all() {
            counter.word.fetch_or(CLOSED, Ordering::AcqRel);
        }
        // A guard that outlives its coordinator keeps the whole gauge: it will still count down here.
        if all().any(|counter| counter.word.load(Ordering::Acquire) & COUNT != 0) {
            return;
        }
        // Nobody else writes to them now: they are closed and zero, and trackers of this epoch are refused for good.
        let next = self.0.epoch.wrapping_add(EPOCH);
        for counter in all() {
            counter.word.store(next, Ordering::Release);
        }
        self.0.gauge.stage.store(next, Ordering::Release);
        pool().push(self.0.gauge);
    }
}

/// The counters. Leaked once, used by one owner after the other.
struct Gauge {
    /// The stage in its low bits and the owner's epoch in its high ones. Read by every request, written a few times in a life.
    stage: Padded<AtomicU64>,
    shards: [Shard; SHARDS],
    waker: &'static AtomicWaker,
    arrivals: Mutex<Arrivals>,
    #[cfg(feature = "tower")]
    owner: Mutex<Owner>,
}

/// Who uses the gauge.
#[cfg(feature = "tower")]
#[derive(Default)]
struct Owner {
    epoch: Option<u64>,
    what: Option<Weak<dyn Any + Send + Sync>>,
}

impl Gauge {
    fn leak() -> &'static Gauge {
        let waker: &'static AtomicWaker = Box::leak(Box::new(AtomicWaker::new()));
        Box::leak(Box::new(Gauge {
            stage: Padded(AtomicU64::new(0)),
            shards: std::array::from_fn(|_| Shard::new(waker)),
            waker,
            arrivals: Mutex::default(),
            #[cfg(feature = "tower")]
            owner: Mutex::default(),
        }))
    }

    #[inline]
    fn shard(&'static self, home: usize) -> &'static Shard {
        // As many as there are, whoever chose it: so nothing is checked.
        &self.shards[home & (SHARDS - 1)]
    }

    fn arrivals(&self) -> MutexGuard<'_, Arrivals> {
        self.arrivals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(feature = "tower")]
    fn owner(&self) -> MutexGuard<'_, Owner> {
        self.owner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One thread's counters, on cache lines of their own (two: processors fetch them in pairs).
#[repr(align(128))]
struct Shard {
    counters: [Counter; COUNTS],
    /// What has arrived in normal service, if that is counted.
    arrivals: AtomicU64,
}

impl Shard {
    fn new(waker: &'static AtomicWaker) -> Self {
        Shard {
            counters: std::array::from_fn(|_| Counter {
                word: AtomicU64::new(0),
                waker,
            }),
            arrivals: AtomicU64::new(0),
        }
    }

    #[inline]
    fn counter(&self, (class, generation): Count) -> &Counter {
        &self.counters[class as usize * 2 + generation as usize]
    }
}

/// Invariant: the count in `word` is the number of tickets that point here; whoever is refused has not changed it.
/// Every change is a read-modify-write, and whoever brings the count to zero under a flag wakes the owner.
struct Counter {
    word: AtomicU64,
    waker: &'static AtomicWaker,
}

impl Counter {
    #[inline]
    fn take(&'static self, epoch: u64) -> Option<Ticket> {
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

#[repr(align(128))]
struct Padded<T>(T);

impl<T> std::ops::Deref for Padded<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

/// Gauges that nobody uses any more.
fn pool() -> MutexGuard<'static, Vec<&'static Gauge>> {
    static POOL: Mutex<Vec<&'static Gauge>> = Mutex::new(Vec::new());
    POOL.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How many shards are in use: one for each core, rounded up to a power of two.
fn in_use() -> usize {
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
fn home() -> usize {
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
    fn there_is_a_shard_for_each_core() {
        let gauge = Gauge::leak();
        let shards = |homes| -> HashSet<*const Shard> {
            (0..homes)
                .map(|home| gauge.shard(home) as *const Shard)
                .collect()
        };
        let cores = thread::available_parallelism().map_or(1, usize::from);

        assert!(in_use() >= cores.min(SHARDS));
        assert_eq!(shards(SHARDS).len(), SHARDS);
        assert_eq!(shards(2 * SHARDS), shards(SHARDS));
    }

    #[cfg(feature = "tower")]
    #[test]
    fn trackers_are_equal_that_count_for_one_owner() {
        let [one, other] = [(); 2].map(|()| GaugeOwner::of(Gauge::leak()));
        let this = one.tracker();
        let epoch = this.epoch.wrapping_add(EPOCH);
        let next = Tracker { epoch, ..this };

        assert_eq!(this, one.tracker());
        assert_ne!(this, other.tracker());
        assert_ne!(this, next);
    }

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
