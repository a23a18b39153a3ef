//! A protocol of requests and answers that is not HTTP.

use std::fmt;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::connection::Connection;
use super::exit::{Exit, Receiving};
use super::lingering::{poll_close, poll_end};
use crate::in_flight::{Class, Ticket};
use crate::phase::Phase;

/// How much is read at once.
const PIECE: usize = 4096;

/// A connection of a protocol of requests and answers: [`next`](Session::next) gives each request, and what is written to the
/// session is its answer. Made by [`ConnectionGroup::watch_session`](crate::server::ConnectionGroup::watch_session).
///
/// A request lasts until `next` is called again, or the session is dropped. Until then it is in flight: Drain waits for it, and to
/// cut it spoils the report. It counts as an arrival (`leave_early`, [`Traffic`](crate::report::Traffic)).
///
/// # Leaving
///
/// Most such protocols have nothing that asks a client to leave, as HTTP's `Connection: close` does. So a session ends when its client
/// pauses:
///
/// | from | the session ends |
/// |---|---|
/// | its moment in the spread on ([`PlanBuilder::spread`](crate::PlanBuilder::spread)) | when it has been idle for the plan's linger, since then or its last answer |
/// | the second half of Close on | behind an answer, if nothing of another request has arrived by then |
/// | the last quarter of Close on | behind an answer; what has arrived of other requests is not begun |
/// | Close's deadline on | at once: it is cut |
///
/// It ends with a lingering close, as HTTP/1's does: our side is closed, and what still comes is discarded until the client ends its
/// side. So each request that was given is answered whole, and none that comes later is begun. A client that sends just
/// then gets no answer, and may ask again elsewhere. From the trigger on the rest of a request is waited for for 2 s. In normal service
/// nothing is closed.
///
/// A protocol that can say goodbye does so when [`is_told`](Session::is_told), and [`close`](Session::close)s.
pub struct Session<I> {
    io: I,
    /// What has been read and is no request yet.
    bytes: Vec<u8>,
    /// How much of it the parser has seen.
    parsed: usize,
    /// The request's.
    ticket: Option<Ticket>,
    state: Arc<Connection>,
}

impl<I> Session<I> {
    pub(super) fn new(io: I, state: Arc<Connection>) -> Self {
        Session {
            io,
            bytes: Vec::new(),
            parsed: 0,
            ticket: None,
            state,
        }
    }

    /// The connection's IO.
    pub fn get_ref(&self) -> &I {
        &self.io
    }

    /// Whether the connection's moment has come: the client should be asked to leave, if the protocol can.
    #[must_use]
    pub fn is_told(&self) -> bool {
        self.state.says_close()
    }

    /// Begins a request. `false` in Release, when it comes too late.
    fn begin(&mut self) -> bool {
        let tracker = self.state.handle.shared.tracker();
        self.ticket = tracker.take(Class::Work);
        if self.ticket.is_none() {
            tracker.refused();
            return false;
        }
        self.state.tell(Exit::begin_in_session);
        if tracker.minds_arrivals() {
            match tracker.is_serving() {
                true => tracker.arrived_in_service(),
                false => tracker.arrived(),
            }
        }
        true
    }

    /// The request has been answered.
    fn finish(&mut self) {
        if self.ticket.take().is_some() {
            self.state.tell(Exit::finish);
        }
    }

    /// Whether so many quarters of Close are over: a client that does not pause is not waited for without end.
    fn is_past(&self, quarters: u32) -> bool {
        if self.state.is_serving() {
            return false;
        }
        let progress = &self.state.handle.shared.progress;
        let close = progress.begun_at(Phase::Close);
        let Some((begun, deadline)) = close.zip(progress.deadline(Phase::Close)) else {
            return false;
        };
        let quarter = deadline.saturating_duration_since(begun) / 4;
        Instant::now() >= begun + quarter * quarters
    }
}

impl<I: AsyncRead + AsyncWrite + Unpin> Session<I> {
    /// The next request; ends the one before, and flushes its answer. `None` when the connection is over: then it is closed.
    ///
    /// `parse` is called with all that has been read and is no request yet, and never with nothing. It gives the request and how many
    /// bytes it has taken, or `None` if more has to come. A request that is too large is an error of its. What the client has sent of
    /// a request when it ends its side is discarded.
    ///
    /// # Errors
    ///
    /// Those of the connection and of `parse`. Drop the session then, or answer and [`close`](Session::close).
    ///
    /// # Panics
    ///
    /// When `parse` takes more bytes than there are.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: no byte is lost, and it goes on where it was.
    pub async fn next<T, P>(&mut self, mut parse: P) -> io::Result<Option<T>>
    where
        P: FnMut(&[u8]) -> io::Result<Option<(T, usize)>>,
    {
        if self.ticket.is_some() {
            poll_fn(|cx| Pin::new(&mut self.io).poll_flush(cx)).await?;
            self.finish();
        }
        // One that began now might not be over in time.
        while !self.is_past(3) {
            if self.parsed < self.bytes.len() {
                if let Some((request, taken)) = parse(&self.bytes)? {
                    self.bytes.drain(..taken);
                    self.parsed = 0;
                    self.receives();
                    if self.begin() {
                        return Ok(Some(request));
                    }
                    break;
                }
                self.parsed = self.bytes.len();
                self.receives();
            }
            if !poll_fn(|cx| self.poll_fill(cx)).await? {
                break;
            }
        }
        self.close_now().await?;
        Ok(None)
    }

    /// Ends the request, if there is one, and closes the connection: ends our side, then discards what the client still sends until it
    /// ends its own, for as long as [`Timeouts::lingering_close`](crate::server::Timeouts::lingering_close) has by default.
    ///
    /// # Errors
    ///
    /// Those of the connection.
    pub async fn close(mut self) -> io::Result<()> {
        poll_fn(|cx| Pin::new(&mut self.io).poll_flush(cx)).await?;
        self.finish();
        self.close_now().await
    }

    async fn close_now(&mut self) -> io::Result<()> {
        poll_fn(|cx| poll_close(&mut self.io, &self.state, cx)).await
    }

    /// What the client is sending.
    fn receives(&self) {
        let receiving = match self.bytes.is_empty() {
            true => Receiving::Nothing,
            false => Receiving::Head,
        };
        self.state.tell(|exit| exit.receiving(receiving));
    }

    /// Reads more. `false` when nothing will come any more, or the connection is to end.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        let mut piece = [0; PIECE];
        let mut buf = ReadBuf::new(&mut piece);
        match Pin::new(&mut self.io).poll_read(cx, &mut buf) {
            Poll::Ready(read) => read?,
            Poll::Pending => {
                if self.is_past(2) {
                    self.state.tell(Exit::end_session);
                }
                return match self.state.ends() {
                    true => poll_end(&self.state).map(|()| Ok(false)),
                    false => Poll::Pending,
                };
            }
        }
        if buf.filled().is_empty() {
            self.state.tell(Exit::client_ended);
            return Poll::Ready(Ok(false));
        }
        if self.state.ends() {
            self.state.tell(Exit::received);
        }
        self.bytes.extend_from_slice(buf.filled());
        Poll::Ready(Ok(true))
    }
}

/// Writes the answer of the request that [`next`](Session::next) gave.
impl<I: AsyncWrite + Unpin> AsyncWrite for Session<I> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    /// Ends our side alone. [`close`](Session::close) waits for the client's as well.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}

impl<I> Drop for Session<I> {
    fn drop(&mut self) {
        self.finish();
    }
}

impl<I> fmt::Debug for Session<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("in_flight", &self.ticket.is_some())
            .finish_non_exhaustive()
    }
}
