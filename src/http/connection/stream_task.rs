//! The task of one HTTP/2 stream, which knows whether its runtime drops it before it is over.
//!
//! A runtime that goes away drops its tasks in any order, and polls some while it drops others. hyper resets the stream of a
//! task that is dropped, and a connection that is polled once more sends that: then nothing on it tells that an answer was lost.

use std::cell::Cell;
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

thread_local! {
    /// Whether this thread drops a task that is not over.
    static DROPS: Cell<bool> = const { Cell::new(false) };
}

/// Whether what is being dropped on this thread goes with a stream's task that is not over.
#[inline]
pub(super) fn is_dropped() -> bool {
    DROPS.get()
}

pin_project! {
    /// What hyper does for one stream.
    pub(super) struct StreamTask<F> {
        // `None` when it is over.
        #[pin]
        work: Option<F>,
    }

    impl<F> PinnedDrop for StreamTask<F> {
        fn drop(this: Pin<&mut Self>) {
            // A handler's panic is its own affair.
            if this.work.is_some() && !std::thread::panicking() {
                let _dropping = Dropping::begin();
                this.project().work.set(None);
            }
        }
    }
}

impl<F> StreamTask<F> {
    #[inline]
    pub(super) const fn new(work: F) -> Self {
        StreamTask { work: Some(work) }
    }
}

impl<F: Future> Future for StreamTask<F> {
    type Output = F::Output;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let mut work = self.project().work;
        let running = work.as_mut().as_pin_mut();
        let polled = running.expect("it is not polled when it is over").poll(cx);
        if polled.is_ready() {
            work.set(None);
        }
        polled
    }
}

/// Ends what it says also when something panics that is dropped.
struct Dropping {
    outer: bool,
}

impl Dropping {
    fn begin() -> Self {
        Dropping {
            outer: DROPS.replace(true),
        }
    }
}

impl Drop for Dropping {
    fn drop(&mut self) {
        DROPS.set(self.outer);
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, poll_fn};
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio_test::{assert_pending, assert_ready, task};

    use super::*;

    const OVER: usize = 1;
    const DROPPED: usize = 2;

    /// Notes how it is dropped.
    struct Witness(Arc<AtomicUsize>);

    impl Drop for Witness {
        fn drop(&mut self) {
            let how = if is_dropped() { DROPPED } else { OVER };
            self.0.store(how, Ordering::Relaxed);
        }
    }

    fn witness() -> (Witness, Arc<AtomicUsize>) {
        let seen = Arc::<AtomicUsize>::default();
        (Witness(Arc::clone(&seen)), seen)
    }

    #[test]
    fn what_a_task_owns_is_dropped_with_it_only_before_its_end() {
        let (over, seen_over) = witness();
        let mut ends = task::spawn(StreamTask::new(async move { drop(over) }));
        let (left, seen_left) = witness();
        let mut stays = task::spawn(StreamTask::new(async move {
            let _left = left;
            pending::<()>().await;
        }));

        assert_ready!(ends.poll());
        assert_pending!(stays.poll());
        drop((ends, stays));

        assert_eq!(seen_over.load(Ordering::Relaxed), OVER);
        assert_eq!(seen_left.load(Ordering::Relaxed), DROPPED);
        assert!(!is_dropped());
    }

    #[test]
    fn what_a_task_owns_that_panics_is_not_dropped_with_it() {
        let (owned, seen) = witness();
        let work = poll_fn(move |_| -> Poll<()> {
            let _owned = &owned;
            panic!("as a handler may")
        });
        let polled = catch_unwind(AssertUnwindSafe(|| {
            // As tokio does: dropped while the panic unwinds.
            let _ = task::spawn(StreamTask::new(work)).poll();
        }));

        assert!(polled.is_err());
        assert_eq!(seen.load(Ordering::Relaxed), OVER);
    }

    #[test]
    fn panic_in_a_drop_leaves_nothing_said() {
        struct Grenade;
        impl Drop for Grenade {
            fn drop(&mut self) {
                panic!("dropped");
            }
        }
        let held = Grenade;
        let task = StreamTask::new(async move {
            let _held = held;
        });

        let dropped = catch_unwind(AssertUnwindSafe(|| drop(task)));

        assert!(dropped.is_err());
        assert!(!is_dropped());
    }
}
