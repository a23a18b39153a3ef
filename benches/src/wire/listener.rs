//! A listener whose connections are pipes in memory.

use std::io;
use std::task::{Context, Poll};

use lameduck::server::Accept;
use tokio::io::DuplexStream;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

const BUFFER: usize = 64 * 1024;

/// Accepts what its [`Connector`] connects.
pub struct Listener {
    connections: UnboundedReceiver<DuplexStream>,
}

/// Connects to its [`Listener`].
#[derive(Clone)]
pub struct Connector {
    connections: UnboundedSender<DuplexStream>,
}

pub fn connector() -> (Connector, Listener) {
    let (sender, receiver) = unbounded_channel();
    let connector = Connector {
        connections: sender,
    };
    (
        connector,
        Listener {
            connections: receiver,
        },
    )
}

impl Connector {
    pub fn connect(&self) -> DuplexStream {
        let (ours, theirs) = tokio::io::duplex(BUFFER);
        self.connections.send(theirs).expect("the server listens");
        ours
    }
}

impl Listener {
    /// `None` when nobody can connect any more.
    pub async fn next(&mut self) -> Option<DuplexStream> {
        self.connections.recv().await
    }
}

impl Accept for Listener {
    type Io = DuplexStream;
    type Peer = ();

    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<(DuplexStream, ())>> {
        match self.connections.poll_recv(cx) {
            Poll::Ready(Some(io)) => Poll::Ready(Ok((io, ()))),
            // A listener has no end; the runtime is about to.
            Poll::Ready(None) | Poll::Pending => Poll::Pending,
        }
    }

    fn close(mut self) -> Vec<(DuplexStream, ())> {
        std::iter::from_fn(|| self.connections.try_recv().ok())
            .map(|io| (io, ()))
            .collect()
    }
}

impl axum::serve::Listener for Listener {
    type Io = DuplexStream;
    type Addr = ();

    async fn accept(&mut self) -> (DuplexStream, ()) {
        match self.next().await {
            Some(io) => (io, ()),
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<()> {
        Ok(())
    }
}
