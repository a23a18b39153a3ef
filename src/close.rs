//! What Close waits for: what stood before it ends, then the listeners close, then what they accepted last ends.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use tokio::time::Instant;

use crate::deadline::within;
use crate::drain::{Class, Count, Generation};
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

/// Ready when nobody is left. `t0` is when the shutdown began.
pub(crate) async fn closed(shared: &Arc<Shared>, t0: Instant) {
    let gauge = &shared.gauge;
    let tail = last_served(shared.plan.duration(Phase::Close));
    let latest = t0 + shared.plan.deadline(Phase::Close);
    let latest = latest.checked_sub(tail).unwrap_or(t0);

    within(latest, last_out(shared, gauge.empty(&EARLY_TRAFFIC))).await;
    shared.close_listeners.cancel();
    gauge.empty(&LISTENERS).await;
    let all: Vec<Count> = EARLY_TRAFFIC.into_iter().chain(LATE_TRAFFIC).collect();
    gauge.empty(&all).await;
}

/// The part of Close that is kept for what the listeners accept last.
fn last_served(close: Duration) -> Duration {
    (close / 5).min(Duration::from_secs(1))
}

/// Waits until all have left, and has the last of them close the listeners on the way out: the coordinator wakes on another
/// thread as a rule, and would only wake the listeners' tasks on this one.
async fn last_out(shared: &Arc<Shared>, left: impl Future<Output = ()>) {
    let mut left = pin!(left);
    poll_fn(|cx| {
        let waker = Waker::from(Arc::new(LastOut {
            // The gauge keeps it, and belongs to this.
            shared: Arc::downgrade(shared),
            coordinator: cx.waker().clone(),
        }));
        left.as_mut().poll(&mut Context::from_waker(&waker))
    })
    .await;
}

/// Is woken by whoever leaves.
struct LastOut {
    shared: Weak<Shared>,
    coordinator: Waker,
}

impl Wake for LastOut {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if let Some(shared) = self.shared.upgrade() {
            // They have been closed for others, so their zero can be believed.
            if EARLY_TRAFFIC.iter().all(|&count| shared.count(count) == 0) {
                shared.close_listeners.cancel();
            }
        }
        self.coordinator.wake_by_ref();
    }
}

#[cfg(test)]
mod tests {
    use tokio_test::{assert_pending, assert_ready, task};

    use super::*;
    use crate::plan::Plan;
    use crate::{ShutdownCoordinator, ShutdownHandle};

    #[tokio::test(start_paused = true)]
    async fn whoever_leaves_last_closes_the_listeners_before_the_coordinator_has_woken() {
        let shutdown = ShutdownCoordinator::new(Plan::local());
        let ShutdownHandle { shared } = shutdown.handle();
        let take = |class| shared.tracker().take(class).expect("it serves");
        let connections = [take(Class::Connection), take(Class::Connection)];
        let listener = take(Class::Listener);
        let mut closing = task::spawn(shared.close_listeners.cancelled());
        let mut run = task::spawn(shutdown.run());
        shared.trigger("the test says so".into());
        while run.poll().is_pending() && run.is_woken() {}
        assert_pending!(closing.poll());

        let [first, last] = connections;
        drop(first);
        assert_pending!(closing.poll());
        drop(last);

        assert!(closing.is_woken());
        assert_ready!(closing.poll());
        drop(listener);
        assert!(run.is_woken());
        assert!(assert_ready!(run.poll()).is_clean());
    }
}
