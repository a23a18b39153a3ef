//! A connection that is not HTTP: whatever serves it.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

use super::graceful::{GracefulConnection, sealed::Token};

pin_project! {
    /// What serves a connection of a protocol of your own. Made by [`ConnectionGroup::watch_raw`](crate::server::ConnectionGroup::watch_raw).
    pub struct Raw<F> {
        #[pin]
        work: F,
    }
}

impl<F> Raw<F> {
    pub(crate) const fn new(work: F) -> Self {
        Raw { work }
    }
}

impl<F: Future> Future for Raw<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        self.project().work.poll(cx)
    }
}

/// It is told by its moment, and cut like every other.
impl<F: Future> GracefulConnection for Raw<F> {
    fn ask(self: Pin<&mut Self>, _: Token) {}

    fn end(self: Pin<&mut Self>, _: Token) {}
}

impl<F> fmt::Debug for Raw<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Raw").finish_non_exhaustive()
    }
}
