//! What happens on a connection before HTTP does: TLS.

use std::fmt;
use std::future::{Ready, ready};
use std::io;

use tokio::io::{AsyncRead, AsyncWrite};

/// Makes of the IO that a listener gives the one that HTTP runs on. Closed: nothing, or what
/// [`Server::handshake`](crate::Server::handshake) was given.
pub trait Handshake<I>: Clone + Send + Sync + 'static {
    /// What HTTP runs on.
    #[doc(hidden)]
    type Io: AsyncRead + AsyncWrite + Unpin + Send + 'static;
    #[doc(hidden)]
    type Future: Future<Output = io::Result<Self::Io>> + Send + 'static;

    #[doc(hidden)]
    fn start(&self, io: I) -> Self::Future;
}

impl<I: AsyncRead + AsyncWrite + Unpin + Send + 'static> Handshake<I> for () {
    type Io = I;
    type Future = Ready<io::Result<I>>;

    fn start(&self, io: I) -> Self::Future {
        ready(Ok(io))
    }
}

/// What [`Server::handshake`](crate::Server::handshake) was given.
#[derive(Clone)]
pub struct HandshakeFn<F>(pub(crate) F);

impl<F, Fut, I, T> Handshake<I> for HandshakeFn<F>
where
    F: Fn(I) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = io::Result<T>> + Send + 'static,
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    type Io = T;
    type Future = Fut;

    fn start(&self, io: I) -> Fut {
        (self.0)(io)
    }
}

impl<F> fmt::Debug for HandshakeFn<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HandshakeFn").finish_non_exhaustive()
    }
}
