//! The gauge: sharded counters with two generations.
//!
//! Tickets are taken on the hot path of every request, so nothing that two threads share is written there: each thread
//! counts on a shard of its own, and a ticket is a pointer to the counter that it raised. There is no `Arc` to clone:
//! shards live for ever, and a gauge that nobody uses any more is handed to the next coordinator.

#[cfg(feature = "tower")]
use std::any::Any;
use std::fmt;
use std::future::poll_fn;
#[cfg(feature = "tower")]
use std::sync::{Arc, Weak};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use tokio::time::Instant;

use super::arrivals::Arrivals;
use super::counter::{CLOSED, EPOCH, EPOCHS, Ticket, WATCHED};
use super::shard::{Class, Count, Generation, SHARDS, Shard, home, in_use};
use crate::sync::AtomicWaker;
use crate::sync::atomic::{AtomicU64, Ordering};

/// Where the process stands, as one number that a request can read with one load.
pub(crate) type Stage = u8;

/// The last phase is over, or the coordinator is gone.
pub(crate) const FINISHED: Stage = 6;
/// Beside the stage, in normal service: arrivals are counted. Above what fits into a [`Stage`].
const COUNTING: u64 = 1 << Stage::BITS;
/// Beside the stage, in normal service: nothing has arrived yet.
const UNREACHED: u64 = COUNTING << 1;

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

    /// The tracker for the guards of applications, which is refused everything when the coordinator is gone.
    ///
    /// For those who keep the gauge's owner: as long as they do, the gauge has no other.
    #[inline]
    pub(crate) fn for_guards(self) -> Self {
        let epoch = self.gauge.guards.load(Ordering::Relaxed);
        debug_assert!(epoch == self.epoch || epoch == EPOCHS);
        Tracker { epoch, ..self }
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

    /// Whether all of `counts` are zero: the truth once they are closed, until then a hint.
    pub(crate) fn is_empty(self, counts: &[Count]) -> bool {
        counts.iter().all(|&count| self.count(count) == 0)
    }

    fn count(self, count: Count) -> u64 {
        self.shards()
            .map(|shard| shard.counter(count).count())
            .sum()
    }

    fn shards(self) -> impl Iterator<Item = &'static Shard> {
        self.gauge.shards[..in_use()].iter()
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

    /// Whether no shutdown has begun: one load.
    #[inline]
    pub(crate) fn is_serving(self) -> bool {
        let stage = self.gauge.stage.load(Ordering::Acquire);
        (stage ^ self.epoch) & !(COUNTING | UNREACHED) == 0
    }

    /// Whether somebody wants to know who arrives: the shutdown has begun, nothing has arrived before, or arrivals are counted
    /// in normal service, too. One load.
    #[cfg(any(feature = "tower", feature = "net"))]
    #[inline]
    pub(crate) fn minds_arrivals(self) -> bool {
        self.gauge.stage.load(Ordering::Acquire) != self.epoch
    }

    /// What the owner has given for those who only have a tracker; `None` when it is gone. Takes a lock that all threads share.
    #[cfg(feature = "tower")]
    pub(crate) fn owner(self) -> Option<Arc<dyn Any + Send + Sync>> {
        let owner = self.gauge.owner();
        owner.epoch.filter(|&epoch| epoch == self.epoch)?;
        owner.what.as_ref()?.upgrade()
    }

    /// Notes that work was passed on that arrived in normal service: on a counter of the thread's own.
    #[cfg(any(feature = "tower", feature = "net"))]
    pub(crate) fn arrived_in_service(self) {
        let arrivals = &self.gauge.shard(home()).arrivals;
        arrivals.fetch_add(1, Ordering::Relaxed);
        self.reached();
    }

    /// Notes that work was passed on that arrived after the shutdown had begun.
    #[cfg(any(feature = "tower", feature = "net"))]
    pub(crate) fn arrived(self) {
        self.arrived_at(Instant::now());
    }

    /// The same, of work that arrived then.
    #[cfg(any(feature = "tower", feature = "net"))]
    pub(crate) fn arrived_at(self, at: Instant) {
        if self.stage() != FINISHED {
            self.gauge.arrivals().served(at);
        }
    }

    /// Notes that work has arrived of which nobody can say yet whether it is traffic. `false` when nobody would ask: traffic
    /// has come before, and no shutdown has begun. Otherwise [`decided`](Tracker::decided) has to follow, before the work's
    /// ticket is dropped.
    #[cfg(feature = "tower")]
    pub(crate) fn begin_undecided(self, now: Instant) -> bool {
        let unreached = self.gauge.stage.load(Ordering::Relaxed) & UNREACHED != 0;
        let asks = unreached || !self.is_serving();
        if asks {
            self.gauge.arrivals().begin_undecided(now);
        }
        asks
    }

    /// It is known now what that work was.
    #[cfg(feature = "tower")]
    pub(crate) fn decided(self) {
        self.gauge.arrivals().undecided -= 1;
    }

    /// Something has arrived in normal service, be it somebody else's probe.
    #[cfg(any(feature = "tower", feature = "net"))]
    pub(crate) fn reached(self) {
        let stage = &self.gauge.stage;
        let seen = stage.load(Ordering::Relaxed);
        if seen & EPOCHS == self.epoch && seen & UNREACHED != 0 {
            // If it fails, the stage has moved, or another one arrived in the same moment.
            let _ = stage.compare_exchange(
                seen,
                seen & !UNREACHED,
                Ordering::Release,
                Ordering::Relaxed,
            );
        }
    }

    /// Notes that work was refused.
    #[cfg(any(feature = "tower", feature = "net"))]
    pub(crate) fn refused(self) {
        if self.stage() != FINISHED {
            self.gauge.arrivals().refused(Instant::now());
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
        gauge.guards.store(epoch, Ordering::Relaxed);
        gauge.stage.store(epoch | UNREACHED, Ordering::Release);
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

    /// From now on the guards of applications are refused: the coordinator is gone.
    pub(crate) fn revoke_guards(&self) {
        // An epoch that no gauge lives to see.
        self.0.gauge.guards.store(EPOCHS, Ordering::Relaxed);
    }

    /// Counts what arrives in normal service from now on.
    pub(crate) fn count_arrivals(&self) {
        self.0.gauge.stage.fetch_or(COUNTING, Ordering::AcqRel);
    }

    /// Whether anything has arrived in normal service, or may have. Exact only before the stage has moved.
    pub(crate) fn was_reached(&self) -> bool {
        let reached = self.0.gauge.stage.load(Ordering::Acquire) & UNREACHED == 0;
        reached || self.0.gauge.arrivals().undecided > 0
    }

    /// How many have arrived in normal service, since some time in the past.
    pub(crate) fn arrived(&self) -> u64 {
        let arrived = |shard: &Shard| shard.arrivals.load(Ordering::Relaxed);
        self.shards().map(arrived).fold(0, u64::wrapping_add)
    }

    /// The one who moves the stage.
    pub(crate) fn stage_writer(&self) -> StageWriter {
        StageWriter(self.0)
    }

    /// From now on nobody is counted there, and its zero can be believed.
    pub(crate) fn close(&self, count: Count) {
        self.raise(count, CLOSED | WATCHED);
    }

    /// Waits until all of `counts` are zero. For a count that is not closed this is a hint: somebody may come the moment after.
    ///
    /// Cancel safe: nobody is woken for it any more.
    pub(crate) async fn empty(&self, counts: &[Count]) {
        for &count in counts {
            self.raise(count, WATCHED);
        }
        let _forgotten = ForgetWaker(self);
        poll_fn(|cx| self.poll_empty(cx, counts)).await;
    }

    fn poll_empty(&self, cx: &mut Context<'_>, counts: &[Count]) -> Poll<()> {
        // Registered before the scan: whoever leaves after it was looked at wakes this task.
        self.0.gauge.waker.register(cx.waker());
        if self.0.is_empty(counts) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }

    fn forget_waker(&self) {
        drop(self.0.gauge.waker.take());
    }

    /// How many are counted there. Exact only when nobody comes or goes.
    pub(crate) fn count(&self, count: Count) -> u64 {
        self.0.count(count)
    }

    /// What has arrived since the shutdown began.
    pub(crate) fn arrivals(&self) -> Arrivals {
        self.0.gauge.arrivals().clone()
    }

    /// When the last of them arrived, served, refused or undecided.
    pub(crate) fn last_arrival(&self) -> Option<Instant> {
        self.0.gauge.arrivals().last()
    }

    /// The seconds of [`Arrivals`] count from here.
    pub(crate) fn begin(&self, t0: Option<Instant>) {
        self.0.gauge.arrivals().since = t0;
    }

    fn raise(&self, count: Count, flags: u64) {
        for shard in self.shards() {
            shard.counter(count).raise(flags);
        }
    }

    fn shards(&self) -> impl Iterator<Item = &'static Shard> {
        self.0.shards()
    }
}

/// Moves the stage. It is of no use when the gauge has another owner.
pub(crate) struct StageWriter(Tracker);

impl StageWriter {
    /// Moves the stage from normal service to the first one. Later it changes nothing.
    pub(crate) fn begin(&self) {
        let Tracker { gauge, epoch } = self.0;
        let _ = gauge
            .stage
            .fetch_update(Ordering::Release, Ordering::Relaxed, |seen| {
                (seen & !(COUNTING | UNREACHED) == epoch).then_some(epoch | 1)
            });
    }

    /// Moves the stage, as seen by [`Tracker::stage`].
    pub(crate) fn set(&self, stage: Stage) {
        let Tracker { gauge, epoch } = self.0;
        gauge
            .stage
            .store(epoch | u64::from(stage), Ordering::Release);
    }
}

/// The task that waited may be gone for long before somebody else waits.
struct ForgetWaker<'a>(&'a GaugeOwner);

impl Drop for ForgetWaker<'_> {
    fn drop(&mut self) {
        self.0.forget_waker();
    }
}

impl Drop for GaugeOwner {
    fn drop(&mut self) {
        self.forget_waker();
        #[cfg(feature = "tower")]
        drop(std::mem::take(&mut *self.0.gauge.owner()));
        let all = || self.shards().flat_map(|shard| &shard.counters);
        for counter in all() {
            counter.raise(CLOSED);
        }
        // A guard that outlives its coordinator keeps the whole gauge: it will still count down here.
        if all().any(|counter| counter.count() != 0) {
            return;
        }
        // They are closed and zero, and trackers of this epoch are refused for good.
        let next = self.0.epoch.wrapping_add(EPOCH);
        for counter in all() {
            counter.open(next);
        }
        self.0.gauge.stage.store(next, Ordering::Release);
        pool().push(self.0.gauge);
    }
}

/// The counters. Leaked once, used by one owner after the other.
struct Gauge {
    /// The stage in its low bits and the owner's epoch in its high ones. Read by every request, written a few times in a life.
    stage: Padded<AtomicU64>,
    /// The owner's epoch, for as long as applications are given guards.
    guards: Padded<AtomicU64>,
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
            guards: Padded(AtomicU64::new(0)),
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
}
