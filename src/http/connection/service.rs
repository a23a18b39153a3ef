//! The service of one connection: counts each request, then calls the application.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use pin_project_lite::pin_project;

use super::in_flight::InFlight;
use crate::http::request::{DrainBody, ResponseFuture};
use crate::http::server::Insert;
use crate::net::connection::Connection;

/// Passes the requests of one connection on to the application's service.
pub(crate) struct ConnectionService<S, X> {
    pub(crate) inner: S,
    pub(crate) extension: X,
    pub(crate) state: Arc<Connection>,
}

impl<S, X, B> hyper::service::Service<Request<Incoming>> for ConnectionService<S, X>
where
    S: tower_service::Service<Request<Incoming>, Response = Response<B>> + Clone,
    X: Insert,
    B: Body,
{
    type Response = Response<DrainBody<B, InFlight>>;
    type Error = S::Error;
    type Future = Call<S>;

    // Nothing here looks at the request, calls anybody, or loads or stores an atomic (adding is no harm): so the compiler moves
    // the request once, to where hyper keeps the future. It is large.
    #[inline(always)]
    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        self.extension.insert(request.extensions_mut());
        let in_flight = InFlight::new(&self.state);
        let inner = Oneshot::new(self.inner.clone(), request);
        Call {
            answer: ResponseFuture::open(inner, in_flight),
        }
    }
}

pin_project! {
    /// The future of one request. It is counted when this is polled for the first time: on HTTP/1 hyper does that at once, on
    /// HTTP/2 in a task that it has just spawned. Until then the connection is in flight, and does not close without it.
    pub(crate) struct Call<S: tower_service::Service<Request<Incoming>>> {
        #[pin]
        answer: ResponseFuture<Oneshot<S, Request<Incoming>>, InFlight>,
    }
}

impl<S, B> Future for Call<S>
where
    S: tower_service::Service<Request<Incoming>, Response = Response<B>>,
    B: Body,
{
    type Output = Result<Response<DrainBody<B, InFlight>>, S::Error>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut answer = self.project().answer;
        if let Some((oneshot, in_flight)) = answer.as_mut().parts() {
            let late = oneshot.request().is_some_and(|it| !in_flight.admit(it));
            if late {
                let refusal = in_flight.refuse();
                answer.set(ResponseFuture::refused(refusal));
            }
        }
        answer.poll(cx)
    }
}

pin_project! {
    /// Calls a service once, when it is ready.
    #[project = OneshotProj]
    pub(crate) enum Oneshot<S: tower_service::Service<R>, R> {
        Waiting {
            service: S,
            request: Option<R>,
        },
        Called {
            #[pin]
            future: S::Future,
        },
    }
}

impl<S: tower_service::Service<R>, R> Oneshot<S, R> {
    #[inline(always)]
    fn new(service: S, request: R) -> Self {
        Oneshot::Waiting {
            service,
            request: Some(request),
        }
    }

    /// The request, for as long as it has not been passed on.
    #[inline]
    fn request(self: Pin<&mut Self>) -> Option<&mut R> {
        match self.project() {
            OneshotProj::Waiting { request, .. } => request.as_mut(),
            OneshotProj::Called { .. } => None,
        }
    }
}

impl<S: tower_service::Service<R>, R> Future for Oneshot<S, R> {
    type Output = Result<S::Response, S::Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            let future = match self.as_mut().project() {
                OneshotProj::Called { future } => return future.poll(cx),
                OneshotProj::Waiting { service, request } => {
                    ready!(service.poll_ready(cx))?;
                    service.call(request.take().expect("polled after it was ready"))
                }
            };
            self.set(Oneshot::Called { future });
        }
    }
}
