//! The IO of one connection: sniffs, follows what arrives, and ends when it is time.

use std::fmt;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::frames::Frames;
use super::sniff::Sniffed;
use super::state::{Connection, Pong, Protocol};

/// How much of what is discarded is read at once.
const DISCARD: usize = 4096;

/// The IO of a connection that [`serve`](crate::serve) accepted.
///
/// It is what an upgraded connection gives when it is downcast:
/// `hyper::upgrade::Upgraded::downcast::<TokioIo<lameduck::Io<TcpStream>>>()`. The connection counts as open until this is
/// dropped; after Close's deadline reads end and writes fail.
pub struct Io<I> {
    inner: I,
    /// Until it has been given to hyper.
    sniffed: Sniffed,
    /// On HTTP/2.
    frames: Option<Box<Frames>>,
    /// There while the socket looks dry and the connection is about to end for it.
    second_look: Option<Pin<Box<dyn Future<Output = ()> + Send + Sync>>>,
    closing: Closing,
    state: Arc<Connection>,
}

/// How far the end of the connection has come.
#[derive(Clone, Copy, Debug)]
enum Closing {
    Open,
    /// The client has ended its side, or there is nothing of ours that it might not have got: no need to linger.
    Ended,
    /// Our side is closed. What the client still sends is read and discarded.
    Lingering {
        discarded: usize,
    },
    Over,
}

impl<I> Io<I> {
    pub(super) fn new(inner: I, state: Arc<Connection>) -> Self {
        Io {
            inner,
            sniffed: Sniffed::default(),
            frames: None,
            second_look: None,
            closing: Closing::Open,
            state,
        }
    }

    /// The IO that the listener gave, or the handshake made of it.
    pub fn get_ref(&self) -> &I {
        &self.inner
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
        self.closing = Closing::Ended;
        Poll::Ready(())
    }

    /// Looks at what the client has sent; nothing is its end.
    fn received(&mut self, bytes: &[u8]) {
        self.second_look = None;
        if bytes.is_empty() {
            self.closing = Closing::Ended;
            return;
        }
        self.state.received(bytes);
        if let Some(frames) = &mut self.frames {
            if frames.read(bytes) {
                self.state.set_pong(Pong::Come);
            }
            self.state.set_unanswered(frames.unanswered());
        }
    }

    /// Looks at what has been sent to the client.
    fn sent<'a>(&mut self, bufs: impl IntoIterator<Item = &'a [u8]>, mut left: usize) {
        let Some(frames) = &mut self.frames else {
            return;
        };
        for buf in bufs {
            let part = left.min(buf.len());
            frames.written(&buf[..part]);
            left -= part;
        }
        self.state.set_unanswered(frames.unanswered());
    }

    /// Gives what was not read just now: what the sniffing has read, or an answer in the client's place.
    fn give(&mut self, buf: &mut ReadBuf<'_>) -> bool {
        if self.sniffed.give(buf) {
            return true;
        }
        let Some(frames) = &mut self.frames else {
            return false;
        };
        if self.state.pong() == Pong::Overdue && frames.answer() {
            self.state.set_pong(Pong::Come);
        }
        frames.give(buf)
    }
}

impl<I: AsyncRead + Unpin> Io<I> {
    /// Reads until the version is known. `None` when the connection ended before that.
    pub(super) fn poll_sniff(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<Option<Protocol>>> {
        loop {
            if let Some(protocol) = self.sniffed.protocol() {
                if protocol == Protocol::Http2 {
                    self.frames = Some(Box::default());
                }
                self.state.set_protocol(protocol);
                return Poll::Ready(Ok(Some(protocol)));
            }
            let mut buf = self.sniffed.free();
            match Pin::new(&mut self.inner).poll_read(cx, &mut buf) {
                Poll::Ready(read) => read?,
                Poll::Pending => return self.poll_end(cx).map(|()| Ok(None)),
            }
            let read = buf.filled().len();
            self.second_look = None;
            if read == 0 {
                self.closing = Closing::Ended;
                if self.sniffed.bytes().is_empty() {
                    return Poll::Ready(Ok(None));
                }
                // Half a preface is no HTTP/1 either; hyper answers what is left over.
                self.state.set_protocol(Protocol::Http1);
                return Poll::Ready(Ok(Some(Protocol::Http1)));
            }
            self.sniffed.fill(read);
            self.state.received(self.sniffed.bytes());
        }
    }

    /// Reads and discards what the client still sends, until it ends, or enough of it has come. Until when to do that is
    /// known to whoever drives the connection.
    fn poll_discard(&mut self, cx: &mut Context<'_>, mut discarded: usize) -> Poll<()> {
        let mut scratch = [MaybeUninit::uninit(); DISCARD];
        while discarded < self.state.timeouts().discarded {
            let mut buf = ReadBuf::uninit(&mut scratch);
            match Pin::new(&mut self.inner).poll_read(cx, &mut buf) {
                Poll::Ready(Ok(())) if !buf.filled().is_empty() => discarded += buf.filled().len(),
                // Its end, or a reset: there is nothing left to be destroyed.
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => {
                    self.closing = Closing::Lingering { discarded };
                    return Poll::Pending;
                }
            }
        }
        Poll::Ready(())
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Io<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.state.cut.ends_reads(cx.waker()) {
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
        if buf.capacity() > before {
            self.received(&buf.filled()[before..]);
        }
        Poll::Ready(Ok(()))
    }
}

impl<I: AsyncWrite + Unpin> Io<I> {
    fn writable(&self, cx: &mut Context<'_>) -> io::Result<()> {
        if self.state.cut.ends_writes(cx.waker()) {
            return Err(io::Error::new(
                io::ErrorKind::ConnectionAborted,
                "cut at the end of the shutdown's Close phase",
            ));
        }
        Ok(())
    }
}

impl<I: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Io<I> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.writable(cx)?;
        let written = ready!(Pin::new(&mut self.inner).poll_write(cx, buf))?;
        self.sent([buf], written);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.writable(cx)?;
        ready!(Pin::new(&mut self.inner).poll_flush(cx))?;
        self.state.flushed();
        Poll::Ready(Ok(()))
    }

    /// A lingering close (RFC 9112, section 9.6): ends our side, then waits for the client's. An upgraded connection has its
    /// own way to end, and only our side is closed.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.writable(cx)?;
        if self.state.is_upgraded() {
            return Pin::new(&mut self.inner).poll_shutdown(cx);
        }
        if let Closing::Open | Closing::Ended = self.closing {
            ready!(Pin::new(&mut self.inner).poll_shutdown(cx))?;
            self.closing = match self.closing {
                Closing::Open => {
                    self.state.linger();
                    Closing::Lingering { discarded: 0 }
                }
                _ => Closing::Over,
            };
        }
        if let Closing::Lingering { discarded } = self.closing {
            ready!(self.poll_discard(cx, discarded));
            self.closing = Closing::Over;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.writable(cx)?;
        let written = ready!(Pin::new(&mut self.inner).poll_write_vectored(cx, bufs))?;
        self.sent(bufs.iter().map(|buf| &**buf), written);
        Poll::Ready(Ok(written))
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
