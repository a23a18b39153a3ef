//! A limit of a server's connections.

use std::task::{Context, Poll};

use crate::sync::AtomicWaker;
use crate::sync::atomic::{AtomicUsize, Ordering};

/// Counts the open connections of a server that has a limit. One task waits for room: its accept loop.
pub(super) struct Room {
    limit: usize,
    open: AtomicUsize,
    accepts: AtomicWaker,
}

impl Room {
    pub(super) fn new(limit: usize) -> Self {
        Room {
            limit,
            open: AtomicUsize::new(0),
            accepts: AtomicWaker::new(),
        }
    }

    pub(super) const fn limit(&self) -> usize {
        self.limit
    }

    /// A connection begins. What was in the queue of a listener that closes may go beyond the limit.
    pub(super) fn enter(&self) {
        self.open.fetch_add(1, Ordering::Relaxed);
    }

    /// A connection is gone.
    pub(super) fn leave(&self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
        // After the count: whoever is woken, or registers meanwhile, sees it.
        self.accepts.wake();
    }

    pub(super) fn is_left(&self) -> bool {
        self.open.load(Ordering::Relaxed) < self.limit
    }

    /// Ready when there is room for one more.
    pub(super) fn poll(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.accepts.register(cx.waker());
        match self.is_left() {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    }
}
