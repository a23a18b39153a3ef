//! Our own connection: the handshake, if there is one; then it sniffs the version, and hyper serves it.

use std::error::Error;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http_body::Body;
use hyper::body::Incoming;
use hyper::rt;
use hyper::server::conn::{http1, http2};
use hyper::service::HttpService;
use hyper_util::rt::{TokioIo, TokioTimer};
use pin_project_lite::pin_project;
use tokio::io::{AsyncRead, AsyncWrite};

use super::io::Io;
use super::stream_task::StreamTask;
use crate::net::connection::Connection;
use crate::net::exit::Protocol;
use crate::net::graceful::{GracefulConnection, sealed::Token};

pub(crate) type BoxError = Box<dyn Error + Send + Sync>;

/// Spawns what HTTP/2 connections need on tokio: it stands in the type of hyper's settings, see [`Server::http2`].
///
/// [`Server::http2`]: crate::Server::http2
// Not hyper-util's: that crate's next version would change the signature.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Executor;

impl<F> rt::Executor<F> for Executor
where
    F: Future<Output: Send> + Send + 'static,
{
    fn execute(&self, future: F) {
        tokio::spawn(StreamTask::new(future));
    }
}

/// hyper's settings, one set for each version.
#[derive(Clone)]
pub(crate) struct Builders {
    pub(crate) http1: http1::Builder,
    pub(crate) http2: http2::Builder<Executor>,
    /// The version, if it is not the client's to choose.
    pub(crate) only: Option<Protocol>,
}

impl Default for Builders {
    fn default() -> Self {
        let mut http1 = http1::Builder::new();
        // hyper's header timer is its keep-alive limit, too: it would close idle connections in normal service.
        http1.header_read_timeout(None);
        // The settings that need a timer panic without one.
        http1.timer(TokioTimer::new());
        let mut http2 = http2::Builder::new(Executor);
        http2.timer(TokioTimer::new());
        // WebSockets over HTTP/2 (RFC 8441): `axum::serve` offers them, too.
        http2.enable_connect_protocol();
        Builders {
            http1,
            http2,
            only: None,
        }
    }
}

pin_project! {
    /// A connection of `serve`, with the service `V`. `F` is its handshake, which makes the parts.
    pub(crate) struct HttpConnection<F, I, V>
    where
        V: HttpService<Incoming>,
    {
        #[pin]
        stage: Stage<F, I, V>,
        state: Arc<Connection>,
    }
}

pin_project! {
    #[project = StageProj]
    enum Stage<F, I, V>
    where
        V: HttpService<Incoming>,
    {
        // The parts lie in the stages that come before hyper has them: not beside what hyper makes of them.
        Handshaking {
            #[pin]
            handshake: F,
        },
        Sniffing {
            sniffing: Option<(Io<I>, Parts<V>)>,
        },
        // Nothing came on it.
        Ending {
            io: Io<I>,
        },
        Http1 {
            #[pin]
            inner: http1::UpgradeableConnection<TokioIo<Io<I>>, V>,
        },
        // On the heap: it is twice as large as all the rest, and idle connections are HTTP/1's as a rule.
        Http2 {
            inner: Pin<Box<http2::Connection<TokioIo<Io<I>>, V, Executor>>>,
            // Whether the tasks that were ready have run since it was woken.
            waited: bool,
        },
    }
}

const POLLED_AGAIN: &str = "polled after it was over";

/// What hyper needs, beside the IO.
pub(crate) struct Parts<V> {
    pub(crate) service: V,
    pub(crate) builders: Arc<Builders>,
}

impl<F, I, V: HttpService<Incoming>> HttpConnection<F, I, V> {
    pub(crate) fn new(handshake: F, goaway: bool, state: Arc<Connection>) -> Self {
        state.tell(|exit| {
            exit.set_protocol(Protocol::Handshake);
            exit.set_goaway(goaway);
        });
        HttpConnection {
            stage: Stage::Handshaking { handshake },
            state,
        }
    }
}

impl<F, I, V, B> Future for HttpConnection<F, I, V>
where
    F: Future<Output = io::Result<(I, Parts<V>)>>,
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    V: HttpService<Incoming, ResBody = B>,
    V::Error: Into<BoxError>,
    V::Future: Send + 'static,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    type Output = Result<(), BoxError>;

    // Straight, without a loop: every request of HTTP/1 passes here.
    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if !self.is_http1() {
            ready!(self.as_mut().poll_begin(cx))?;
            if !self.is_http1() {
                return self.poll_other(cx);
            }
        }
        match self.project().stage.project() {
            StageProj::Http1 { inner } => inner.poll(cx).map_err(Into::into),
            _ => unreachable!("the others are polled elsewhere"),
        }
    }
}

impl<F, I, V, B> HttpConnection<F, I, V>
where
    F: Future<Output = io::Result<(I, Parts<V>)>>,
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    V: HttpService<Incoming, ResBody = B>,
    V::Error: Into<BoxError>,
    V::Future: Send + 'static,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    #[inline]
    fn is_http1(&self) -> bool {
        matches!(self.stage, Stage::Http1 { .. })
    }

    fn is_beginning(&self) -> bool {
        matches!(
            self.stage,
            Stage::Handshaking { .. } | Stage::Sniffing { .. }
        )
    }

    /// Goes on until there is HTTP, or it is clear that there will be none.
    #[cold]
    fn poll_begin(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        while self.is_beginning() {
            let next = ready!(self.as_mut().poll_next(cx))?;
            self.as_mut().project().stage.set(next);
        }
        Poll::Ready(Ok(()))
    }

    /// What comes after the handshake, or after sniffing.
    fn poll_next(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Stage<F, I, V>, BoxError>> {
        let this = self.project();
        Poll::Ready(Ok(match this.stage.project() {
            StageProj::Handshaking { handshake } => {
                let (io, parts) = ready!(handshake.poll(cx))?;
                this.state.tell(|exit| exit.set_protocol(Protocol::Unknown));
                let io = Io::new(io, Arc::clone(this.state));
                Stage::Sniffing {
                    sniffing: Some((io, parts)),
                }
            }
            StageProj::Sniffing { sniffing } => {
                let (io, parts) = sniffing.as_mut().expect(POLLED_AGAIN);
                let protocol = ready!(io.poll_sniff(parts.builders.only, cx))?;
                let (io, Parts { service, builders }) = sniffing.take().expect(POLLED_AGAIN);
                match protocol {
                    None => Stage::Ending { io },
                    Some(Protocol::Http2) => Stage::Http2 {
                        inner: Box::pin(builders.http2.serve_connection(TokioIo::new(io), service)),
                        waited: false,
                    },
                    Some(_) => Stage::Http1 {
                        inner: builders
                            .http1
                            .serve_connection(TokioIo::new(io), service)
                            .with_upgrades(),
                    },
                }
            }
            _ => unreachable!("HTTP, or the end, is the last stage"),
        }))
    }

    /// What is not HTTP/1.
    #[inline(never)]
    fn poll_other(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        let this = self.project();
        match this.stage.project() {
            StageProj::Http2 { inner, waited } => {
                *waited = awaits_others(this.state) && !*waited;
                if *waited {
                    // At the back of the scheduler's queue: the tasks that are ready run first.
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                let polled = inner.as_mut().poll(cx);
                if this.state.gathering.holds() {
                    cx.waker().wake_by_ref();
                }
                polled.map_err(Into::into)
            }
            StageProj::Ending { io } => Pin::new(io).poll_shutdown(cx).map_err(Into::into),
            _ => unreachable!("HTTP/1 is polled elsewhere, and what comes before is over"),
        }
    }
}

impl<F, I, V, B> GracefulConnection for HttpConnection<F, I, V>
where
    F: Future<Output = io::Result<(I, Parts<V>)>>,
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    V: HttpService<Incoming, ResBody = B>,
    V::Error: Into<BoxError>,
    V::Future: Send + 'static,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    /// HTTP/2 gets its GOAWAY when it is polled next. On HTTP/1 the service says `Connection: close`, and the IO says when it
    /// is dry.
    fn ask(self: Pin<&mut Self>, _: Token) {
        if let StageProj::Http2 { inner, .. } = self.project().stage.project() {
            inner.as_mut().graceful_shutdown();
        }
    }

    fn end(self: Pin<&mut Self>, _: Token) {}
}

/// Whether responses of HTTP/2, or frames of them, are ready to be written, and those of other streams may be in a moment.
///
/// The first handler that answers wakes the connection, and tokio runs what was woken last: so the connection would write this
/// response alone, and then the next one alone, while all of their handlers are ready.
#[inline]
fn awaits_others(state: &Connection) -> bool {
    state.has_several() && awaits_others_now(state)
}

#[inline(never)]
fn awaits_others_now(state: &Connection) -> bool {
    let answers = state.answers();
    let streamed = state.gathering.take_streamed();
    state.gathering.set_on(answers.ready > 1 || streamed);
    (answers.ready > 0 && answers.running > 0) || (streamed && answers.running > 1)
}
