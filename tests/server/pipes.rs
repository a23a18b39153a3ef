//! Connections in memory: no kernel is between the two ends, so a paused clock is exact to the millisecond.

use std::io;
use std::task::{Context, Poll};
use std::time::Duration;

use lameduck::server::Accept;
use lameduck::{Plan, ShutdownCoordinator, ShutdownHandle};
use tokio::io::{DuplexStream, duplex};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::frames::Raw;
use crate::support::Client;

/// How much one direction of a connection holds.
pub(crate) const PIPE: usize = 64 * 1024;

/// A listener, and the door that leads to it.
pub(crate) fn pipes() -> (Door, Pipes) {
    let (sender, receiver) = unbounded_channel();
    (Door(sender), Pipes(receiver))
}

/// Where clients come in.
pub(crate) struct Door(UnboundedSender<DuplexStream>);

impl Door {
    pub(crate) fn stream(&self) -> DuplexStream {
        let (client, server) = duplex(PIPE);
        self.0.send(server).expect("the listener is open");
        client
    }

    /// Whether the listener has closed.
    #[cfg(feature = "tonic")]
    pub(crate) fn is_shut(&self) -> bool {
        self.0.is_closed()
    }

    pub(crate) fn connect(&self) -> Client<DuplexStream> {
        Client::new(self.stream())
    }

    pub(crate) async fn http2(&self) -> Raw<DuplexStream> {
        Raw::new(self.connect()).await
    }
}

/// Where the server accepts them.
pub(crate) struct Pipes(UnboundedReceiver<DuplexStream>);

impl Accept for Pipes {
    type Io = DuplexStream;
    type Peer = &'static str;

    fn poll_accept(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<(DuplexStream, Self::Peer)>> {
        match self.0.poll_recv(cx) {
            Poll::Ready(Some(stream)) => Poll::Ready(Ok((stream, "pipe"))),
            // Nobody will come any more, and that is no failure.
            Poll::Ready(None) | Poll::Pending => Poll::Pending,
        }
    }

    fn close(mut self) -> Vec<(DuplexStream, Self::Peer)> {
        self.0.close();
        std::iter::from_fn(|| self.0.try_recv().ok())
            .map(|stream| (stream, "pipe"))
            .collect()
    }
}

/// A coordinator whose clock may jump: nothing here is on its way through a kernel.
pub(crate) fn exact(plan: Plan) -> (ShutdownCoordinator, ShutdownHandle) {
    let shutdown = ShutdownCoordinator::new(plan).termination_log("/nonexistent");
    let handle = shutdown.handle();
    (shutdown, handle)
}

/// Whether something took as long as it should, to the millisecond that timers have.
#[track_caller]
pub(crate) fn assert_took(took: Duration, expected: Duration) {
    const TICK: Duration = Duration::from_millis(2);
    assert!(
        took.abs_diff(expected) <= TICK,
        "{took:?}, not {expected:?}"
    );
}
