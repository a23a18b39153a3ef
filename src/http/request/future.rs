//! The response future: carries the guard from the call to the body.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::Response;
use http_body::Body;
use pin_project_lite::pin_project;

use super::body::DrainBody;
use super::ending::Fate;
use super::hold::{Hold, RequestGuard};

pin_project! {
    /// The future of [`DrainService`](crate::layer::DrainService).
    pub struct ResponseFuture<F, H = RequestGuard> {
        #[pin]
        state: State<F, H>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<F, H> {
        Open {
            // Above the guard: dropped with the work in it before the guard is.
            #[pin]
            inner: F,
            hold: Option<H>,
        },
        Refused {
            response: Option<Response<()>>,
        },
    }
}

impl<F, H> ResponseFuture<F, H> {
    #[inline(always)]
    pub(crate) fn open(inner: F, hold: H) -> Self {
        ResponseFuture {
            state: State::Open {
                inner,
                hold: Some(hold),
            },
        }
    }

    /// What it answers with and what it holds, unless it was refused.
    #[cfg(feature = "hyper")]
    #[inline]
    pub(crate) fn parts(self: Pin<&mut Self>) -> Option<(Pin<&mut F>, &mut H)> {
        match self.project().state.project() {
            StateProj::Open { inner, hold } => Some((inner, hold.as_mut()?)),
            StateProj::Refused { .. } => None,
        }
    }

    pub(crate) fn refused(response: Response<()>) -> Self {
        ResponseFuture {
            state: State::Refused {
                response: Some(response),
            },
        }
    }
}

impl<F, H, B, E> Future for ResponseFuture<F, H>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: Body,
    H: Hold,
{
    type Output = Result<Response<DrainBody<B, H>>, E>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().state.project() {
            StateProj::Open { inner, hold } => {
                let running = hold.as_mut().expect("polled after it was ready");
                let entered = running.enter();
                let mut answer = inner.poll(cx);
                running.ran(entered.heard());
                // Looked at where it lies, and moved once: it is large.
                let mut fate = Fate::Whole;
                let mut sized = true;
                if let Poll::Ready(Ok(response)) = &mut answer {
                    sized = response.body().size_hint().exact().is_some();
                    fate = running.answered(response, sized);
                }
                if answer.is_pending() {
                    return Poll::Pending;
                }
                let hold = hold.take();
                match fate {
                    Fate::Whole => answer.map_ok(|response| {
                        response.map(|body| DrainBody::open(body, hold, !sized))
                    }),
                    fate => answer.map_ok(|response| {
                        response.map(|body| DrainBody::open(body, hold, !sized).end_by(fate))
                    }),
                }
            }
            StateProj::Refused { response } => {
                let response = response.take().expect("polled after it was ready");
                Poll::Ready(Ok(response.map(|()| DrainBody::empty())))
            }
        }
    }
}

impl<F, H> fmt::Debug for ResponseFuture<F, H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
