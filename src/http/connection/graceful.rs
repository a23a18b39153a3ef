//! What hyper's connections make of being asked to close.

use std::error::Error;
use std::pin::Pin;

use http::Request;
use hyper::body::{Body, Incoming};
use hyper::rt::bounds::Http2ServerConnExec;
use hyper::rt::{Read, Write};
use hyper::server::conn::{http1, http2};
use hyper::service::{HttpService, Service};
use hyper_util::server::conn::auto;

use crate::net::graceful::{GracefulConnection, sealed::Token};

type BoxError = Box<dyn Error + Send + Sync>;

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
