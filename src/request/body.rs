//! The response body: holds the guard to the last frame.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::hold::RequestGuard;

pin_project! {
    /// The response body of [`DrainService`](crate::DrainService): the request is in flight until it has ended, has failed,
    /// or is dropped.
    pub struct DrainBody<B, H = RequestGuard> {
        // Above the guard: dropped with what it owns before the guard is.
        #[pin]
        inner: Option<B>,
        hold: Option<H>,
    }
}

impl<B, H> DrainBody<B, H> {
    pub(super) fn open(inner: B, hold: H) -> Self {
        DrainBody {
            inner: Some(inner),
            hold: Some(hold),
        }
    }

    pub(super) fn empty() -> Self {
        DrainBody {
            inner: None,
            hold: None,
        }
    }
}

impl<B: Body, H> Body for DrainBody<B, H> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let mut this = self.project();
        let Some(inner) = this.inner.as_mut().as_pin_mut() else {
            return Poll::Ready(None);
        };
        let frame = ready!(inner.poll_frame(cx));
        if !matches!(frame, Some(Ok(_))) {
            // In this order: a connection to the database may be in it.
            this.inner.set(None);
            *this.hold = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.inner
            .as_ref()
            .map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

/// The empty body.
impl<B, H> Default for DrainBody<B, H> {
    fn default() -> Self {
        DrainBody::empty()
    }
}

impl<B, H> fmt::Debug for DrainBody<B, H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DrainBody")
            .field("in_flight", &self.hold.is_some())
            .finish_non_exhaustive()
    }
}
