//! How a connection's IO ends: a dry socket may be its end, and its close lingers.

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::connection::Connection;
use super::exit::{EndReading, Exit};
use super::watched::look_again;

/// How much of what is discarded is read at once.
const DISCARD: usize = 4096;

/// The socket has just said that it is dry. Whether the connection ends for it.
#[cold]
pub(crate) fn poll_end(state: &Arc<Connection>) -> Poll<()> {
    match state.end_reading() {
        EndReading::No => Poll::Pending,
        EndReading::LookAgain => {
            look_again(state);
            Poll::Pending
        }
        EndReading::Yes => Poll::Ready(()),
    }
}

/// A lingering close (RFC 9112, section 9.6): ends our side, then waits for the client's.
pub(crate) fn poll_close<I>(
    io: &mut I,
    state: &Connection,
    cx: &mut Context<'_>,
) -> Poll<io::Result<()>>
where
    I: AsyncRead + AsyncWrite + Unpin,
{
    if !state.life().exit.is_shut() {
        // Before our end is among it.
        let undelivered = state.undelivered();
        ready!(Pin::new(&mut *io).poll_shutdown(cx))?;
        state.shut(undelivered);
    }
    if !state.life().exit.is_over() {
        ready!(poll_discard(io, state, cx));
        state.tell(Exit::over);
    }
    Poll::Ready(Ok(()))
}

/// Reads and discards what the client still sends, until it ends, or enough of it has come. Until when to do that is known to
/// whoever drives the connection.
fn poll_discard<I>(io: &mut I, state: &Connection, cx: &mut Context<'_>) -> Poll<()>
where
    I: AsyncRead + Unpin,
{
    let mut scratch = [MaybeUninit::uninit(); DISCARD];
    let mut read = 0;
    loop {
        let (now, limits) = (Instant::now(), state.timeouts());
        if state.tell(|exit| exit.discarded(read, limits, now)) {
            return Poll::Ready(());
        }
        let mut buf = ReadBuf::uninit(&mut scratch);
        match ready!(Pin::new(&mut *io).poll_read(cx, &mut buf)) {
            Ok(()) if !buf.filled().is_empty() => read = buf.filled().len(),
            // Its end: nothing comes that could be answered with a reset.
            Ok(()) if state.tell(Exit::awaits_delivery_behind_end) => return Poll::Pending,
            // And a reset leaves nothing that could be destroyed.
            _ => return Poll::Ready(()),
        }
    }
}
