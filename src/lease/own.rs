//! A thread's own lease: how a handler finds [`Shared`] without a write to what other threads write to.
//!
//! The coordinator owns a lease for each shard. A thread remembers its own weakly, so it keeps nothing. When the coordinator is
//! gone, a thread makes a lease whenever it asks, for as long as others keep [`Shared`].

use std::cell::RefCell;
use std::sync::{Arc, OnceLock, Weak};

use super::{Counted, Lease};
use crate::in_flight::{Tracker, home, in_use};
use crate::shared::Shared;

thread_local! {
    /// The last lease that this thread looked for, and who counts with it.
    static LAST: RefCell<Option<(Tracker, Weak<Counted>)>> = const { RefCell::new(None) };
}

/// A coordinator's leases, one for each shard. A lease is made when a thread of its shard first asks.
///
/// Owned by the coordinator alone: leases keep [`Shared`], so [`Shared`] must not keep them.
pub(crate) struct Leases(Box<[OnceLock<Lease>]>);

impl Leases {
    pub(crate) fn new(shared: &Shared) -> Arc<Self> {
        let leases = Arc::new(Leases((0..in_use()).map(|_| OnceLock::new()).collect()));
        let _ = shared.leases.set(Arc::downgrade(&leases) as _);
        leases
    }

    /// The leases of the coordinator; `None` when it is gone.
    fn find(shared: &Shared) -> Option<Arc<Self>> {
        shared.leases.get()?.upgrade()?.downcast().ok()
    }

    /// The lease of this thread's shard.
    fn own(&self, shared: &Arc<Shared>) -> &Lease {
        self.0[home()].get_or_init(|| Lease::new(Arc::clone(shared)))
    }
}

impl Lease {
    /// A clone of this thread's own lease of what `tracker` counts for. `None` when nobody keeps that any more.
    #[inline]
    pub(crate) fn own(tracker: Tracker) -> Option<Self> {
        Lease::last(tracker).or_else(|| Lease::find(tracker))
    }

    #[inline]
    fn last(tracker: Tracker) -> Option<Self> {
        let last = |last: &RefCell<Option<(Tracker, Weak<Counted>)>>| match &*last.borrow() {
            Some((of, lease)) if *of == tracker => lease.upgrade().map(Lease),
            _ => None,
        };
        // A thread that is being torn down remembers nothing.
        LAST.try_with(last).ok().flatten()
    }

    /// Takes locks that other threads take: once for each thread, unless it serves several coordinators.
    #[cold]
    fn find(tracker: Tracker) -> Option<Self> {
        let shared: Arc<Shared> = tracker.owner()?.downcast().ok()?;
        let Some(leases) = Leases::find(&shared) else {
            return Some(Lease::new(shared));
        };
        let lease = leases.own(&shared).clone();
        let _ = LAST.try_with(|last| last.replace(Some((tracker, Arc::downgrade(&lease.0)))));
        Some(lease)
    }
}

#[cfg(all(test, not(lameduck_loom)))]
mod tests {
    use std::thread;

    use super::*;
    use crate::http::current::Current;
    use crate::{Phase, Plan, ShutdownCoordinator, ShutdownHandle};

    fn coordinator() -> ShutdownCoordinator {
        ShutdownCoordinator::new(Plan::immediate())
    }

    /// What a handler gets whose request is counted for this coordinator.
    fn ask(of: &ShutdownHandle) -> ShutdownHandle {
        let _running = Current::new(of.tracker, None).enter();
        ShutdownHandle::current().expect("a request is handled")
    }

    fn is_same(one: &ShutdownHandle, other: &ShutdownHandle) -> bool {
        Arc::ptr_eq(&one.shared.0, &other.shared.0)
    }

    #[test]
    fn asking_does_not_write_to_the_count_that_all_threads_share() {
        let shutdown = coordinator();
        let first = ask(&shutdown);
        let before = Arc::strong_count(&shutdown.shared);

        let more: Vec<_> = (0..100).map(|_| ask(&shutdown)).collect();

        assert_eq!(Arc::strong_count(&shutdown.shared), before);
        assert!(more.iter().all(|asked| is_same(asked, &first)));
    }

    #[test]
    fn threads_of_different_shards_share_no_lease() {
        let shutdown = coordinator();
        let asked = || thread::scope(|scope| scope.spawn(|| (home(), ask(&shutdown))).join());
        let (home, first) = asked().unwrap();

        // One after the other; the tests that run meanwhile have threads, too.
        for _ in 0..100 * in_use() {
            let (of, other) = asked().unwrap();
            assert_eq!(of == home, is_same(&first, &other));
            assert!(!is_same(&other, &shutdown));
        }
    }

    #[test]
    fn thread_that_has_asked_keeps_nothing() {
        let shutdown = coordinator();
        let shared = Arc::downgrade(&shutdown.shared);

        drop(ask(&shutdown));
        drop(shutdown);

        assert_eq!(shared.strong_count(), 0);
    }

    #[test]
    fn handle_that_was_asked_for_outlives_the_coordinator_and_other_handles() {
        let shutdown = coordinator();

        let asked = ask(&shutdown);
        drop(shutdown);

        assert!(asked.guard().is_none());
        assert!(asked.shutdown("the test says so"));
        assert_eq!(asked.phase(), Some(Phase::LameDuck));
        // What asks now finds no lease of the coordinator's.
        let again = ask(&asked);
        drop(asked);
        assert_eq!(again.phase(), Some(Phase::LameDuck));
        let shared = Arc::downgrade(&again.shared);
        drop(again);
        assert_eq!(shared.strong_count(), 0);
    }

    #[test]
    fn thread_that_serves_two_coordinators_tells_them_apart() {
        let [one, other] = [(); 2].map(|()| coordinator());
        one.shutdown("the test says so");

        for _ in 0..2 {
            assert!(ask(&one).is_shutting_down());
            assert!(!ask(&other).is_shutting_down());
        }
    }

    #[test]
    fn request_of_a_coordinator_that_is_gone_finds_no_handle() {
        let shutdown = coordinator();
        let tracker = shutdown.tracker;
        drop(ask(&shutdown));
        drop(shutdown);

        let _running = Current::new(tracker, None).enter();
        assert!(ShutdownHandle::current().is_none());
    }
}
