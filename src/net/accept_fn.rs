//! A listener made of a function: for listeners that accept in a future, as axum's do.

use std::any::Any;
use std::fmt::Debug;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};

use super::listener::Accept;

/// A listener that accepts with a function, which gets `state` and gives it back with the connection.
///
/// With a listener of axum's:
///
/// ```no_run
/// # use axum::Router;
/// # use axum::serve::{Listener, ListenerExt};
/// # use lameduck::{ShutdownHandle, server};
/// # async fn example(app: Router, handle: ShutdownHandle) -> std::io::Result<()> {
/// let listener = lameduck::bind("0.0.0.0:3000").await?.tap_io(|tcp| println!("{tcp:?}"));
/// let listener = server::accept_fn(listener, async |mut listener| {
///     let accepted = Listener::accept(&mut listener).await;
///     (Ok(accepted), listener)
/// });
/// lameduck::serve(listener, app, &handle);
/// # Ok(())
/// # }
/// ```
///
/// Errors are what [`Accept::poll_accept`] says of them: one of the operating system that leaves the listener usable is waited out, any
/// other ends the server. One connection is accepted after the other, so do a handshake with
/// [`Server::handshake`](crate::Server::handshake), not here.
///
/// What [`bind`](crate::bind)'s listener does at its close cannot be done through a function: new handshakes are not kept out, and the
/// operating system is not asked for what its queue holds. So the server goes on accepting for 20 ms before it closes such a
/// listener, and a connection that is completed in the moment of the close is reset. Whether others hold the
/// listener is not found out: say [`Server::shared`](crate::Server::shared).
///
/// # Cancel safety
///
/// The function need not be cancel safe: its future is kept until it is ready, or the listener closes.
pub fn accept_fn<S, F, Fut, I, P>(state: S, mut accept: F) -> impl Accept<Io = I, Peer = P>
where
    S: Send + 'static,
    F: FnMut(S) -> Fut + Send + 'static,
    Fut: Future<Output = (io::Result<(I, P)>, S)> + Send + 'static,
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    P: Clone + Debug + Send + Sync + 'static,
{
    let accepting = Box::pin(accept(state));
    AcceptFn { accept, accepting }
}

struct AcceptFn<F, Fut> {
    accept: F,
    /// What is being accepted. The next future takes its place.
    accepting: Pin<Box<Fut>>,
}

impl<S, F, Fut, I, P> Accept for AcceptFn<F, Fut>
where
    S: Send + 'static,
    F: FnMut(S) -> Fut + Send + 'static,
    Fut: Future<Output = (io::Result<(I, P)>, S)> + Send + 'static,
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    P: Clone + Debug + Send + Sync + 'static,
{
    type Io = I;
    type Peer = P;

    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<(I, P)>> {
        let (accepted, state) = ready!(self.accepting.as_mut().poll(cx));
        self.accepting.set((self.accept)(state));
        Poll::Ready(accepted)
    }

    fn ends(io: &I) -> Option<[SocketAddr; 2]> {
        let stream: &TcpStream = (io as &dyn Any).downcast_ref()?;
        TcpListener::ends(stream)
    }

    fn close_empties(&self) -> bool {
        false
    }

    fn close(mut self) -> Vec<(I, P)> {
        let mut accepted = Vec::new();
        let mut cx = Context::from_waker(Waker::noop());
        while let Poll::Ready(Ok(connection)) = self.poll_accept(&mut cx) {
            accepted.push(connection);
        }
        accepted
    }
}
