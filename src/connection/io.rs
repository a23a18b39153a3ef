//! The IO of one connection: sniffs, follows what arrives, and ends when it is time.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::state::{Connection, Protocol};

/// What an HTTP/2 client sends first (RFC 9113, section 3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The IO of a connection that [`serve`](crate::serve) accepted.
///
/// It is what an upgraded connection gives when it is downcast:
/// `hyper::upgrade::Upgraded::downcast::<TokioIo<lameduck::Io<TcpStream>>>()`. The connection counts as open until this is
/// dropped; after Close's deadline reads end and writes fail.
pub struct Io<I> {
    inner: I,
    /// What the sniffing has read, until it is given to hyper.
    sniffed: [u8; PREFACE.len()],
    filled: u8,
    given: u8,
    /// There while the socket looks dry and the connection is about to end for it.
    second_look: Option<Pin<Box<dyn Future<Output = ()> + Send + Sync>>>,
    state: Arc<Connection>,
}

impl<I> Io<I> {
    pub(super) fn new(inner: I, state: Arc<Connection>) -> Self {
        Io {
            inner,
            sniffed: [0; PREFACE.len()],
            filled: 0,
            given: 0,
            second_look: None,
            state,
        }
    }

    /// The IO that the listener gave.
    pub fn get_ref(&self) -> &I {
        &self.inner
    }

    pub(super) fn state(&self) -> &Arc<Connection> {
        &self.state
    }

    /// The socket has just said that it is dry. Whether to end the connection for it.
    ///
    /// tokio says so from what it remembers, and asks the operating system only after an event. What has arrived since the
    /// last one, or before a socket was registered, is seen when the driver has been polled: that is what `yield_now` waits
    /// for. So the answer is no at first, and the caller looks once more.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.state.should_end() {
            return Poll::Pending;
        }
        let second_look = self
            .second_look
            .get_or_insert_with(|| Box::pin(tokio::task::yield_now()));
        ready!(second_look.as_mut().poll(cx));
        self.second_look = None;
        Poll::Ready(())
    }
}

impl<I: AsyncRead + Unpin> Io<I> {
    /// Reads until the version is known. `None` when the connection ended before that.
    pub(super) fn poll_sniff(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<Option<Protocol>>> {
        loop {
            let filled = usize::from(self.filled);
            if self.sniffed[..filled] != PREFACE[..filled] {
                return Poll::Ready(Ok(Some(Protocol::Http1)));
            }
            if filled == PREFACE.len() {
                return Poll::Ready(Ok(Some(Protocol::Http2)));
            }
            let mut buf = ReadBuf::new(&mut self.sniffed[filled..]);
            match Pin::new(&mut self.inner).poll_read(cx, &mut buf) {
                Poll::Ready(read) => read?,
                Poll::Pending => return self.poll_end(cx).map(|()| Ok(None)),
            }
            let read = buf.filled().len();
            self.second_look = None;
            match read {
                // Half a preface is no HTTP/1 either; hyper answers what is left over.
                0 if filled == 0 => return Poll::Ready(Ok(None)),
                0 => return Poll::Ready(Ok(Some(Protocol::Http1))),
                read => self.filled += read as u8,
            }
            self.state.received();
        }
    }

    /// Gives back what the sniffing has read.
    fn give(&mut self, buf: &mut ReadBuf<'_>) -> bool {
        let left = &self.sniffed[usize::from(self.given)..usize::from(self.filled)];
        let giving = left.len().min(buf.remaining());
        buf.put_slice(&left[..giving]);
        self.given += giving as u8;
        giving > 0
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Io<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.state.is_upgraded() {
            // Another task than the connection's own reads now. Registered before the look at `cut`.
            self.state.reader().register(cx.waker());
        }
        if self.state.is_cut() {
            return Poll::Ready(Ok(()));
        }
        if self.give(buf) {
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        match Pin::new(&mut self.inner).poll_read(cx, buf) {
            Poll::Pending => return self.poll_end(cx).map(Ok),
            Poll::Ready(read) => read?,
        }
        self.second_look = None;
        if buf.filled().len() > before {
            self.state.received();
        }
        Poll::Ready(Ok(()))
    }
}

impl<I: AsyncWrite + Unpin> Io<I> {
    fn writable(&self, cx: &mut Context<'_>) -> io::Result<()> {
        if self.state.is_upgraded() {
            self.state.writer().register(cx.waker());
        }
        if self.state.is_cut() {
            return Err(io::Error::new(
                io::ErrorKind::ConnectionAborted,
                "cut at the end of the shutdown's Close phase",
            ));
        }
        Ok(())
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Io<I> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.writable(cx)?;
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.writable(cx)?;
        ready!(Pin::new(&mut self.inner).poll_flush(cx))?;
        self.state.flushed();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.writable(cx)?;
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.writable(cx)?;
        Pin::new(&mut self.inner).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}

impl<I: fmt::Debug> fmt::Debug for Io<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Io")
            .field("inner", &self.inner)
            .finish_non_exhaustive()
    }
}
