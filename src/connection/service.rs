//! The service of one connection: counts each request, then calls the application.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::{Method, Request, Response, Version};
use http_body::Body;
use hyper::body::Incoming;
use pin_project_lite::pin_project;

use super::names::RequestNames;
use super::requests::Place;
use super::server::Insert;
use super::state::Connection;
use super::upgrades::{self, RefuseUpgrades};
use crate::current::{Current, Heard};
use crate::drain::{Class, Generation, Ticket};
use crate::request::{
    DrainBody, Fate, Hold, ResponseFuture, fate, is_http1, is_probe, keep_for_close, lasts,
    leaves_http, retry_after, say_close, unavailable,
};

/// Passes the requests of one connection on to the application's service.
pub(super) struct ConnectionService<S, X> {
    pub(super) inner: S,
    pub(super) extension: X,
    pub(super) names: RequestNames,
    pub(super) upgrades: RefuseUpgrades,
    pub(super) state: Arc<Connection>,
}

impl<S, X, B> hyper::service::Service<Request<Incoming>> for ConnectionService<S, X>
where
    S: tower_service::Service<Request<Incoming>, Response = Response<B>> + Clone,
    X: Insert,
    B: Body,
{
    type Response = Response<DrainBody<B, InFlight>>;
    type Error = S::Error;
    type Future = ResponseFuture<Oneshot<S, Request<Incoming>>, InFlight>;

    // Small, so that hyper makes the future where it keeps it: it is as large as the request in it.
    #[inline(always)]
    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        match self.begin(&mut request) {
            Some(in_flight) => {
                ResponseFuture::open(Oneshot::new(self.inner.clone(), request), in_flight)
            }
            None => ResponseFuture::refused(refused(request.version())),
        }
    }
}

/// The answer to a request that comes too late.
#[cold]
fn refused(version: Version) -> Response<()> {
    let mut response = unavailable(retry_after());
    if is_http1(version) {
        say_close(response.headers_mut());
    }
    response
}

impl<S, X> ConnectionService<S, X> {
    /// Counts a request; `None` when that is over.
    #[inline(never)]
    fn begin(&self, request: &mut Request<Incoming>) -> Option<InFlight>
    where
        X: Insert,
    {
        let mut arrives = false;
        let (ticket, generation) = if self.state.is_counted() {
            let tracker = self.state.handle.shared.tracker();
            let mut taken = tracker.take_dated(Class::Work);
            if tracker.minds_arrivals() {
                if self.upgrades.refuse(tracker.stage()) && upgrades::is_asked_for(request) {
                    taken = None;
                }
                arrives = !is_probe(request.headers());
            }
            if taken.is_none() {
                tracker.refused();
            }
            let (ticket, generation) = taken?;
            (Some(ticket), generation)
        } else {
            (None, Generation::Early)
        };
        self.extension.insert(request.extensions_mut());
        Some(InFlight {
            place: self.state.begin(request, generation, self.names),
            http1: is_http1(request.version()),
            connect: *request.method() == Method::CONNECT,
            arrives,
            lasts: false,
            state: Arc::clone(&self.state),
            ticket,
        })
    }
}

/// Held while a request of a connection is in flight.
pub(super) struct InFlight {
    place: Option<Place>,
    http1: bool,
    connect: bool,
    /// Whether its arrival is still to be noted: if it turns out to be no probe.
    arrives: bool,
    /// Whether `ticket` is one that Close waits for.
    lasts: bool,
    state: Arc<Connection>,
    ticket: Option<Ticket>,
}

impl InFlight {
    #[cold]
    fn heard(&mut self, heard: Heard) {
        self.arrives &= !heard.is_probe();
        if heard.lasts() {
            self.keep_for_close();
        }
    }

    fn keep_for_close(&mut self) {
        if !self.lasts {
            self.state.lasts(self.place);
            let tracker = self.state.handle.shared.tracker();
            self.lasts = keep_for_close(tracker, &mut self.ticket);
        }
    }
}

impl Hold for InFlight {
    #[inline]
    fn current(&self) -> Current {
        let tracker = self.state.handle.shared.tracker();
        Current::new(tracker, Some(self.state.lot))
    }

    #[inline]
    fn ran(&mut self, heard: Option<Heard>) {
        if let Some(heard) = heard {
            self.heard(heard);
        }
        if std::mem::take(&mut self.arrives) {
            self.state.handle.shared.tracker().arrived();
        }
    }

    #[inline]
    fn answered<B>(&mut self, response: &mut Response<B>, sized: bool) -> Fate {
        if leaves_http(self.connect, response.status()) {
            match self.http1 {
                true => self.state.cut.upgrade(),
                false => self.state.open_tunnel(),
            }
            return Fate::Whole;
        }
        if self.http1 && self.state.says_close() {
            say_close(response.headers_mut());
        }
        if !lasts(response, sized) {
            return Fate::Whole;
        }
        self.keep_for_close();
        match self.lasts {
            true => fate(response, sized, self.current()),
            false => Fate::Whole,
        }
    }
}

impl Drop for InFlight {
    #[inline]
    fn drop(&mut self) {
        self.state.finish(self.place);
    }
}

pin_project! {
    /// Calls a service once, when it is ready.
    #[project = OneshotProj]
    pub(super) enum Oneshot<S: tower_service::Service<R>, R> {
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
    fn new(service: S, request: R) -> Self {
        Oneshot::Waiting {
            service,
            request: Some(request),
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
