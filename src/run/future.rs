//! The shutdown as a future that survives being dropped.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::runtime::Handle;

use crate::report::Report;

/// The future of [`ShutdownCoordinator::run`](crate::ShutdownCoordinator::run). Its output is the report.
///
/// Dropping it does not stop the shutdown, which goes on in a task of the same runtime.
#[must_use = "futures do nothing unless polled"]
pub struct Run {
    /// `None` when it is over.
    sequence: Option<Sequence>,
    /// The runtime in which it was made, or else was polled last.
    runtime: Option<Handle>,
}

type Sequence = Pin<Box<dyn Future<Output = Arc<Report>> + Send>>;

impl Run {
    pub(super) fn new(sequence: impl Future<Output = Arc<Report>> + Send + 'static) -> Self {
        Run {
            sequence: Some(Box::pin(sequence)),
            // A `select!` may never poll it.
            runtime: Handle::try_current().ok(),
        }
    }
}

impl Future for Run {
    type Output = Arc<Report>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Arc<Report>> {
        if let Ok(runtime) = Handle::try_current() {
            self.runtime = Some(runtime);
        }
        // Taken out: if it panics, it is not polled again.
        let mut sequence = self.sequence.take().expect("polled after it was ready");
        let polled = sequence.as_mut().poll(cx);
        if polled.is_pending() {
            self.sequence = Some(sequence);
        }
        polled
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        if let (Some(sequence), Some(runtime)) = (self.sequence.take(), &self.runtime) {
            tracing::debug!(target: "lameduck", "`run` was dropped: the shutdown goes on in a task of its own");
            runtime.spawn(sequence);
        }
    }
}

impl fmt::Debug for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Run").finish_non_exhaustive()
    }
}
