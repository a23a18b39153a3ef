//! Runs a future until a deadline.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

use tokio::time::{Instant, sleep_until};

/// Runs `work` until `deadline`. `None` when that came first.
pub(crate) async fn within<F: Future>(deadline: Instant, work: F) -> Option<F::Output> {
    // What was spawned for the phase starts before its time is looked at: no time means at once, not never.
    let mut work = pin!(work);
    let mut late = pin!(sleep_until(deadline));
    let mut yielded = false;
    poll_fn(|cx| {
        if let Poll::Ready(output) = work.as_mut().poll(cx) {
            return Poll::Ready(Some(output));
        }
        if !yielded && Instant::now() >= deadline {
            yielded = true;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if Instant::now() >= deadline {
            return Poll::Ready(None);
        }
        late.as_mut().poll(cx).map(|()| None)
    })
    .await
}
