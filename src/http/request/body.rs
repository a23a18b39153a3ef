//! The response body: holds the guard to the last frame, and ends what lasts at its moment.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::ending::{Ending, Fate};
use super::hold::{Hold, RequestGuard};

pin_project! {
    /// The response body of [`DrainService`](crate::layer::DrainService): the request is in flight until it has ended, has failed,
    /// or is dropped.
    pub struct DrainBody<B, H = RequestGuard> {
        // Above the guard: dropped with what it owns before the guard is.
        #[pin]
        inner: Option<B>,
        // If it lasts, and is ended at its moment.
        ending: Option<Box<Ending>>,
        // Whether it may ask for its moment. One that knows its size is made already.
        asks: bool,
        hold: Option<H>,
    }
}

impl<B, H> DrainBody<B, H> {
    #[inline]
    pub(super) fn open(inner: B, hold: Option<H>, asks: bool) -> Self {
        DrainBody {
            inner: Some(inner),
            ending: None,
            asks,
            hold,
        }
    }

    #[cold]
    pub(super) fn end_by(mut self, fate: Fate) -> Self {
        match fate {
            Fate::Whole => {}
            Fate::Ended(ending) => self.ending = Some(ending),
            Fate::Over => self.inner = None,
        }
        self
    }

    pub(super) fn empty() -> Self {
        DrainBody {
            inner: None,
            ending: None,
            asks: false,
            hold: None,
        }
    }
}

/// Asks a body for its next frame while its request is the one that is running.
fn poll_running<B: Body>(body: Pin<&mut B>, hold: &mut impl Hold, cx: &mut Context<'_>) -> Next<B> {
    let entered = hold.enter();
    let polled = body.poll_frame(cx);
    let heard = entered.heard();
    drop(entered);
    hold.ran(heard);
    if let Poll::Ready(Some(Ok(_))) = &polled {
        hold.streamed();
    }
    polled
}

/// What a body says when it is asked for its next frame.
type Next<B> = Poll<Option<Result<Frame<<B as Body>::Data>, <B as Body>::Error>>>;

impl<B: Body + 'static, H: Hold> DrainBody<B, H> {
    /// Asks the body for its next frame.
    #[inline(always)]
    fn poll_inner(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Next<B> {
        let mut this = self.project();
        let polled = match (this.inner.as_mut().as_pin_mut(), &mut *this.hold) {
            (Some(inner), Some(hold)) if *this.asks => poll_running(inner, hold, cx),
            (Some(inner), _) => inner.poll_frame(cx),
            (None, _) => Poll::Ready(None),
        };
        if let Poll::Ready(None | Some(Err(_))) = polled {
            // In this order: a connection to the database may be in it.
            this.inner.set(None);
            *this.ending = None;
            *this.hold = None;
        }
        polled
    }

    /// The next frame of a body that is ended at its moment.
    #[cold]
    fn poll_ended(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Next<B> {
        if self.inner.is_some() && self.ending.as_ref().is_some_and(|it| it.is_leaving()) {
            // Before the body is asked: one that always has something to send must be ended, too.
            let _ = self.as_mut().poll_end(cx);
        }
        if self.inner.is_some() {
            match self.as_mut().poll_inner(cx) {
                Poll::Ready(polled) => {
                    if let (Some(Ok(frame)), Some(ending)) = (&polled, self.project().ending) {
                        ending.passed(frame);
                    }
                    return Poll::Ready(polled);
                }
                Poll::Pending => ready!(self.as_mut().poll_end(cx)),
            }
        }
        let this = self.project();
        if let Some(frame) = this.ending.as_mut().and_then(|ending| ending.last_frame()) {
            return Poll::Ready(Some(Ok(frame)));
        }
        *this.ending = None;
        *this.hold = None;
        Poll::Ready(None)
    }

    /// Ends the body, if its moment has come.
    fn poll_end(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut this = self.project();
        let Some(ending) = this.ending else {
            return Poll::Pending;
        };
        ready!(ending.poll_due(cx));
        this.inner.set(None);
        Poll::Ready(())
    }
}

impl<B: Body + 'static, H: Hold> Body for DrainBody<B, H> {
    type Data = B::Data;
    type Error = B::Error;

    #[inline]
    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        match self.ending {
            // Nothing is looked at, so a frame is not moved here: it is large.
            None if H::IS_OUTERMOST && !self.asks => match self.project().inner.as_pin_mut() {
                Some(inner) => inner.poll_frame(cx),
                None => Poll::Ready(None),
            },
            None => self.poll_inner(cx),
            Some(_) => self.poll_ended(cx),
        }
    }

    #[inline]
    fn is_end_stream(&self) -> bool {
        match &self.inner {
            Some(inner) => inner.is_end_stream(),
            // What it ends with may still have to be sent.
            None => self.ending.is_none(),
        }
    }

    #[inline]
    fn size_hint(&self) -> SizeHint {
        match &self.inner {
            // Its end is not its own.
            _ if self.ending.is_some() => SizeHint::default(),
            Some(inner) => inner.size_hint(),
            None => SizeHint::with_exact(0),
        }
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
