//! A layer that marks requests that last.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::{Request, Response};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use super::long::LongLived;
use super::rules::Exempt;
use crate::http::context::mark_lasting;
use crate::http::traffic::RequestHead;

/// Marks the requests of a route as [`LongLived`], from their beginning: a [`tower_layer::Layer`] for where the handler is
/// somebody else's.
///
/// ```
/// # use axum::{Router, routing::get};
/// use lameduck::LongLived;
/// use lameduck::layer::LongLivedLayer;
///
/// let app: Router = Router::new()
///     .route("/download", get(|| async { "much" }))
///     .layer(LongLivedLayer::new(LongLived::new()));
///
/// // Only some of a service's methods: those of gRPC that stream.
/// let streams = LongLivedLayer::new(LongLived::new().end_at_moment())
///     .when(|head| head.uri.path().ends_with("/Watch"));
/// ```
#[derive(Clone)]
pub struct LongLivedLayer<W = Exempt> {
    mark: LongLived,
    when: W,
}

impl LongLivedLayer {
    /// Marks every request that passes.
    #[must_use]
    pub const fn new(mark: LongLived) -> Self {
        LongLivedLayer {
            mark,
            when: |_| true,
        }
    }
}

impl<W> LongLivedLayer<W> {
    /// Marks only these requests.
    #[must_use]
    pub fn when<F>(self, when: F) -> LongLivedLayer<F>
    where
        F: Fn(RequestHead<'_>) -> bool + Clone,
    {
        LongLivedLayer {
            mark: self.mark,
            when,
        }
    }
}

impl<S, W: Clone> Layer<S> for LongLivedLayer<W> {
    type Service = LongLivedService<S, W>;

    fn layer(&self, inner: S) -> Self::Service {
        LongLivedService {
            inner,
            layer: self.clone(),
        }
    }
}

impl<W> fmt::Debug for LongLivedLayer<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LongLivedLayer")
            .field("mark", &self.mark)
            .finish_non_exhaustive()
    }
}

/// Marks requests that last. Made by [`LongLivedLayer`].
#[derive(Clone)]
pub struct LongLivedService<S, W = Exempt> {
    inner: S,
    layer: LongLivedLayer<W>,
}

impl<S, W, ReqBody, ResBody> Service<Request<ReqBody>> for LongLivedService<S, W>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
    W: Fn(RequestHead<'_>) -> bool,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = LongLivedFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        let marked = (self.layer.when)(RequestHead::from(&request));
        if marked {
            // From its beginning: the response of a call whose client streams comes at its end.
            mark_lasting(request.extensions());
        }
        LongLivedFuture {
            mark: marked.then_some(self.layer.mark),
            inner: self.inner.call(request),
        }
    }
}

impl<S: fmt::Debug, W> fmt::Debug for LongLivedService<S, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LongLivedService")
            .field("inner", &self.inner)
            .finish_non_exhaustive()
    }
}

pin_project! {
    /// The future of [`LongLivedService`].
    #[derive(Debug)]
    pub struct LongLivedFuture<F> {
        mark: Option<LongLived>,
        #[pin]
        inner: F,
    }
}

impl<F, B, E> Future for LongLivedFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut response = ready!(this.inner.poll(cx))?;
        if let Some(mark) = *this.mark {
            response.extensions_mut().insert(mark);
        }
        Poll::Ready(Ok(response))
    }
}
