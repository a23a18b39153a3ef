//! What Close waits for: what stood before it ends, then the listeners close, then what they accepted last ends.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::deadline::within;
use crate::in_flight::{Class, Count, Generation, Tracker};
use crate::phase::Phase;
use crate::shared::Shared;

/// What stood before Close.
pub(crate) const EARLY_TRAFFIC: [Count; 3] = traffic(Generation::Early);
pub(crate) const LATE_TRAFFIC: [Count; 3] = traffic(Generation::Late);
const LISTENERS: [Count; 1] = [(Class::Listener, Generation::Early)];

const fn traffic(generation: Generation) -> [Count; 3] {
    [
        (Class::Work, generation),
        (Class::Long, generation),
        (Class::Connection, generation),
    ]
}

/// Ready when nobody is left. `deadline` is Close's.
pub(crate) async fn closed(shared: &Shared, deadline: Instant) {
    let gauge = &shared.gauge;
    let tail = last_served(shared.plan.duration(Phase::Close));
    let latest = deadline.checked_sub(tail).unwrap_or(deadline);

    within(latest, last_out(shared, gauge.empty(&EARLY_TRAFFIC))).await;
    shared.progress.close_listeners().cancel();
    gauge.empty(&LISTENERS).await;
    let all: Vec<Count> = EARLY_TRAFFIC.into_iter().chain(LATE_TRAFFIC).collect();
    gauge.empty(&all).await;
}

/// The part of Close that is kept for what the listeners accept last.
fn last_served(close: Duration) -> Duration {
    (close / 5).min(Duration::from_secs(1))
}

/// Waits until all have left, and has the last of them close the listeners on the way out: the coordinator wakes on another
/// thread as a rule, and would only wake the listeners' tasks on this one. When two leave at the same time it may have to.
async fn last_out(shared: &Shared, left: impl Future<Output = ()>) {
    let mut left = pin!(left);
    poll_fn(|cx| {
        let waker = Waker::from(Arc::new(LastOut {
            tracker: shared.tracker(),
            close_listeners: shared.progress.close_listeners().clone(),
            coordinator: cx.waker().clone(),
        }));
        left.as_mut().poll(&mut Context::from_waker(&waker))
    })
    .await;
}

/// Is woken by whoever leaves. It owns nothing of the coordinator's, which would be dropped there.
struct LastOut {
    tracker: Tracker,
    close_listeners: CancellationToken,
    coordinator: Waker,
}

impl Wake for LastOut {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // First, so that of two tasks on this thread the one that accepts runs first: the one that was woken last.
        self.coordinator.wake_by_ref();
        // They have been closed for others, so their zero can be believed.
        if self.tracker.is_empty(&EARLY_TRAFFIC) {
            self.close_listeners.cancel();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;

    use tokio_test::{assert_pending, assert_ready, task};

    use super::*;
    use crate::ShutdownCoordinator;
    use crate::in_flight::Ticket;
    use crate::plan::Plan;
    use crate::report::Report;

    struct Scene {
        shared: Arc<Shared>,
        connections: [Ticket; 2],
        listener: Ticket,
        run: task::Spawn<Pin<Box<dyn Future<Output = Arc<Report>>>>>,
    }

    /// In Close, with two connections and a listener.
    fn in_close() -> Scene {
        let shutdown = ShutdownCoordinator::new(Plan::local());
        let shared = Arc::clone(&shutdown.shared);
        let take = |class| shared.tracker().take(class).expect("it serves");
        let connections = [take(Class::Connection), take(Class::Connection)];
        let listener = take(Class::Listener);
        let run: Pin<Box<dyn Future<Output = _>>> = Box::pin(shutdown.run());
        let mut run = task::spawn(run);
        shared.trigger("the test says so".into());
        while run.poll().is_pending() && run.is_woken() {}
        Scene {
            shared,
            connections,
            listener,
            run,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_leaves_last_closes_the_listeners_before_the_coordinator_has_woken() {
        let mut scene = in_close();
        let mut closing = task::spawn(scene.shared.progress.close_listeners().cancelled());
        assert_pending!(closing.poll());

        let [first, last] = scene.connections;
        drop(first);
        assert_pending!(closing.poll());
        drop(last);

        assert!(closing.is_woken());
        assert_ready!(closing.poll());
        drop(scene.listener);
        assert!(scene.run.is_woken());
        assert!(assert_ready!(scene.run.poll()).is_clean());
    }

    #[tokio::test(start_paused = true)]
    async fn shutdown_goes_on_when_its_future_is_dropped_in_close() {
        let scene = in_close();
        let over = scene.shared.progress.over().clone();

        drop(scene.run);
        drop(scene.connections);
        scene.shared.progress.close_listeners().cancelled().await;
        drop(scene.listener);
        over.cancelled().await;

        let report = scene.shared.progress.report().expect("it is over");
        assert!(report.is_clean(), "{report}");
    }
}
