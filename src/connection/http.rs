//! Our own connection: sniffs the version, then hyper serves it.

use std::error::Error;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http_body::Body;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::HttpService;
use hyper_util::rt::{TokioExecutor, TokioIo};
use pin_project_lite::pin_project;
use tokio::io::{AsyncRead, AsyncWrite};

use super::graceful::{GracefulConnection, sealed::Token};
use super::io::Io;
use super::state::Protocol;

pub(super) type BoxError = Box<dyn Error + Send + Sync>;

/// hyper's settings, one set for each version.
#[derive(Clone)]
pub(super) struct Builders {
    pub(super) http1: http1::Builder,
    pub(super) http2: http2::Builder<TokioExecutor>,
}

impl Default for Builders {
    fn default() -> Self {
        let mut http1 = http1::Builder::new();
        // hyper's header timer is its keep-alive limit, too: it would close idle connections in normal service.
        http1.header_read_timeout(None);
        Builders {
            http1,
            http2: http2::Builder::new(TokioExecutor::new()),
        }
    }
}

pin_project! {
    /// A connection of `serve`, with the service `V`.
    pub(super) struct HttpConnection<I, V>
    where
        V: HttpService<Incoming>,
    {
        // Its moment has come. Kept here because it may come while the version is not known yet.
        asked: bool,
        #[pin]
        stage: Stage<I, V>,
    }
}

pin_project! {
    #[project = StageProj]
    enum Stage<I, V>
    where
        V: HttpService<Incoming>,
    {
        Sniffing {
            parts: Option<Parts<I, V>>,
        },
        Http1 {
            #[pin]
            inner: http1::UpgradeableConnection<TokioIo<Io<I>>, V>,
        },
        Http2 {
            #[pin]
            inner: http2::Connection<TokioIo<Io<I>>, V, TokioExecutor>,
        },
    }
}

struct Parts<I, V> {
    io: Io<I>,
    service: V,
    builders: Builders,
}

impl<I, V: HttpService<Incoming>> HttpConnection<I, V> {
    pub(super) fn new(io: Io<I>, service: V, builders: Builders) -> Self {
        HttpConnection {
            asked: false,
            stage: Stage::Sniffing {
                parts: Some(Parts {
                    io,
                    service,
                    builders,
                }),
            },
        }
    }
}

impl<I, V, B> Future for HttpConnection<I, V>
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    V: HttpService<Incoming, ResBody = B>,
    V::Error: Into<BoxError>,
    V::Future: Send + 'static,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    type Output = Result<(), BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            let parts = match this.stage.as_mut().project() {
                StageProj::Http1 { inner } => return inner.poll(cx).map_err(Into::into),
                StageProj::Http2 { inner } => return inner.poll(cx).map_err(Into::into),
                StageProj::Sniffing { parts } => parts,
            };
            let io = &mut parts.as_mut().expect("polled after it was over").io;
            let Some(protocol) = ready!(io.poll_sniff(cx))? else {
                *parts = None;
                return Poll::Ready(Ok(()));
            };
            io.state().set_protocol(protocol);
            let Parts {
                io,
                service,
                builders,
            } = parts.take().expect("there a moment ago");
            let io = TokioIo::new(io);
            let next = if protocol == Protocol::Http2 {
                let mut inner = builders.http2.serve_connection(io, service);
                if *this.asked {
                    Pin::new(&mut inner).graceful_shutdown();
                }
                Stage::Http2 { inner }
            } else {
                let inner = builders.http1.serve_connection(io, service);
                Stage::Http1 {
                    inner: inner.with_upgrades(),
                }
            };
            this.stage.set(next);
        }
    }
}

impl<I, V, B> GracefulConnection for HttpConnection<I, V>
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    V: HttpService<Incoming, ResBody = B>,
    V::Error: Into<BoxError>,
    V::Future: Send + 'static,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    /// HTTP/2 gets its GOAWAY. On HTTP/1 the service says `Connection: close` from now on.
    fn ask(self: Pin<&mut Self>, _: Token) {
        let this = self.project();
        *this.asked = true;
        if let StageProj::Http2 { inner } = this.stage.project() {
            inner.graceful_shutdown();
        }
    }

    /// Nothing to do here: the IO says when it is dry.
    fn end(self: Pin<&mut Self>, _: Token) {}
}
