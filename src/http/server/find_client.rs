//! Where a connection comes from: its socket's peer, or the client that a proxy names.

use std::future::ready;
use std::io;
use std::net::SocketAddr;

use tokio::io::AsyncRead;

/// Finds a connection's client. Closed: the peer that the listener gives, or what `Server::proxy_protocol` was given.
pub trait FindClient<P>: Clone + Send + Sync + 'static {
    /// What [`Server::request_extension`](crate::Server::request_extension) is given.
    #[doc(hidden)]
    type Peer: Send + Sync + 'static;

    /// Runs before the handshake, and reads nothing that belongs to it.
    #[doc(hidden)]
    fn find<I>(&self, io: &mut I, peer: P) -> impl Future<Output = io::Result<Self::Peer>> + Send
    where
        I: AsyncRead + Unpin + Send;

    /// The client, where it is not the listener's peer.
    #[doc(hidden)]
    fn client(peer: &Self::Peer) -> Option<SocketAddr>;
}

impl<P: Send + Sync + 'static> FindClient<P> for () {
    type Peer = P;

    fn find<I>(&self, _: &mut I, peer: P) -> impl Future<Output = io::Result<P>> + Send
    where
        I: AsyncRead + Unpin + Send,
    {
        ready(Ok(peer))
    }

    fn client(_: &P) -> Option<SocketAddr> {
        None
    }
}
