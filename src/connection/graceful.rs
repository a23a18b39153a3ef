//! What a connection makes of being asked to close.

use std::error::Error;
use std::pin::Pin;

use http::Request;
use hyper::body::{Body, Incoming};
use hyper::rt::bounds::Http2ServerConnExec;
use hyper::rt::{Read, Write};
use hyper::server::conn::{http1, http2};
use hyper::service::{HttpService, Service};
use hyper_util::server::conn::auto;

use sealed::Token;

type BoxError = Box<dyn Error + Send + Sync>;

/// A connection that can be asked to close. Sealed: implemented for the connections of hyper and hyper-util.
///
/// | connection | asked at its moment | when Close has begun and it has lingered |
/// |---|---|---|
/// | `http1` | the layer says `Connection: close` | closes when idle |
/// | `http2` | GOAWAY | – |
/// | hyper-util's `auto` | as hyper-util sees fit: HTTP/1 closes when idle | – |
pub trait GracefulConnection: Future {
    /// Its moment in the spread has come.
    #[doc(hidden)]
    fn ask(self: Pin<&mut Self>, _: Token);

    /// Close has begun, and it has lingered.
    #[doc(hidden)]
    fn end(self: Pin<&mut Self>, _: Token);
}

pub(super) mod sealed {
    /// Nobody else can name it, so nobody else can call, or implement, what takes it.
    #[derive(Debug)]
    pub struct Token;
}

/// Passes one of the two on to hyper's `graceful_shutdown`, which does not mind being called for a connection that has ended.
macro_rules! graceful {
    ($connection:ty, [$($generics:tt)*], [$($bounds:tt)*], $ask:expr, $end:expr) => {
        impl<$($generics)*> GracefulConnection for $connection
        where
            S::Error: Into<BoxError>,
            I: Read + Write + Unpin + 'static,
            B: Body + 'static,
            B::Error: Into<BoxError>,
            $($bounds)*
        {
            fn ask(self: Pin<&mut Self>, _: Token) {
                if $ask {
                    self.graceful_shutdown();
                }
            }

            fn end(self: Pin<&mut Self>, _: Token) {
                if $end {
                    self.graceful_shutdown();
                }
            }
        }
    };
}

graceful!(
    http1::Connection<I, S>,
    [I, S, B],
    [S: HttpService<Incoming, ResBody = B>],
    false,
    true
);
graceful!(
    http1::UpgradeableConnection<I, S>,
    [I, S, B],
    [S: HttpService<Incoming, ResBody = B>, I: Send, B: Send],
    false,
    true
);
graceful!(
    http2::Connection<I, S, E>,
    [I, S, B, E],
    [S: HttpService<Incoming, ResBody = B>, E: Http2ServerConnExec<S::Future, B>],
    true,
    false
);
graceful!(
    auto::Connection<'_, I, S, E>,
    [I, S, B, E],
    [
        S: Service<Request<Incoming>, Response = http::Response<B>>,
        S::Future: 'static,
        E: Http2ServerConnExec<S::Future, B>
    ],
    true,
    false
);
graceful!(
    auto::UpgradeableConnection<'_, I, S, E>,
    [I, S, B, E],
    [
        S: Service<Request<Incoming>, Response = http::Response<B>>,
        S::Future: 'static,
        I: Send,
        E: Http2ServerConnExec<S::Future, B>
    ],
    true,
    false
);
