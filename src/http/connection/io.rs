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
use crate::net::connection::{Connection, Pong, Protocol};

/// How much of what is discarded is read at once.
const DISCARD: usize = 4096;

/// The IO of a connection that [`serve`](crate::serve) accepted.
///
/// It is what an upgraded connection gives when it is downcast:
/// `hyper::upgrade::Upgraded::downcast::<TokioIo<lameduck::Io<TcpStream>>>()`. The connection counts as open until this is
/// dropped; after Close's deadline reads end and writes fail.
pub struct Io<I> {
    inner: I,
    /// HTTP/1 when all that was sniffed has been given: so a read has one thing to ask.
    plain: bool,
    /// Until it has been given to hyper.
    sniffed: Sniffed,
    /// On HTTP/2.
    frames: Option<Box<Frames>>,
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
    pub(crate) fn new(inner: I, state: Arc<Connection>) -> Self {
        Io {
            inner,
            plain: false,
            sniffed: Sniffed::default(),
            frames: None,
            closing: Closing::Open,
            state,
        }
    }

    /// The IO that the listener gave, or the handshake made of it.
    pub fn get_ref(&self) -> &I {
        &self.inner
    }

    /// The socket has just said that it is dry. Whether to end the connection for it.
    #[inline]
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self.state.asked.is_ending() {
            true => self.poll_end_now(cx),
            false => Poll::Pending,
        }
    }

    #[cold]
    fn poll_end_now(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.state.should_end() {
            return Poll::Pending;
        }
        ready!(self.state.asked.poll_driven(cx));
        self.closing = Closing::Ended;
        Poll::Ready(())
    }

    /// Looks at what the client has sent; nothing is its end.
    #[inline]
    fn received(&mut self, bytes: &[u8]) {
        match self.plain && !bytes.is_empty() {
            true => self.state.received(bytes),
            false => self.received_otherwise(bytes),
        }
    }

    #[inline(never)]
    fn received_otherwise(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            self.closing = Closing::Ended;
            return;
        }
        match &mut self.frames {
            None => self.state.received(bytes),
            Some(frames) => {
                if frames.read(bytes) {
                    self.state.set_pong(Pong::Come);
                }
                self.state.set_unanswered(frames.unanswered());
            }
        }
        self.plain = self.frames.is_none() && !self.sniffed.is_left();
    }

    /// Looks at what has been sent to the client.
    #[inline]
    fn sent<'a>(&mut self, bufs: impl IntoIterator<Item = &'a [u8]>, left: usize) {
        if self.frames.is_some() {
            self.sent_frames(bufs, left);
        }
    }

    #[inline(never)]
    fn sent_frames<'a>(&mut self, bufs: impl IntoIterator<Item = &'a [u8]>, mut left: usize) {
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
    #[inline(never)]
    fn give(&mut self, buf: &mut ReadBuf<'_>) -> bool {
        if self.sniffed.is_left() && self.sniffed.give(buf) {
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
    pub(crate) fn poll_sniff(
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
    #[inline]
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.state.cut.ends_reads(cx.waker()) {
            return Poll::Ready(Ok(()));
        }
        if !self.plain && self.give(buf) {
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
    #[inline]
    fn writable(&self, cx: &mut Context<'_>) -> io::Result<()> {
        match self.state.cut.ends_writes(cx.waker()) {
            true => Err(cut_off()),
            false => Ok(()),
        }
    }
}

#[cold]
fn cut_off() -> io::Error {
    io::Error::new(
        io::ErrorKind::ConnectionAborted,
        "cut at the end of the shutdown's Close phase",
    )
}

impl<I: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Io<I> {
    #[inline]
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

    #[inline]
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

    #[inline]
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

    #[inline]
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

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::task::Waker;

    use http::Request;
    use proptest::prelude::*;
    use tokio_test::task;

    use super::*;
    use crate::cases;
    use crate::drain::Generation;
    use crate::handle::ShutdownHandle;
    use crate::net::group::Group;
    use crate::net::terms::Terms;
    use crate::plan::Plan;

    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

    /// A client that sends these parts, one a read, and ends.
    struct Client(VecDeque<Vec<u8>>);

    impl AsyncRead for Client {
        fn poll_read(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buf: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            let Some(part) = self.0.front_mut() else {
                return Poll::Ready(Ok(()));
            };
            let taken = part.len().min(buf.remaining());
            buf.put_slice(&part[..taken]);
            part.drain(..taken);
            if part.is_empty() {
                self.0.pop_front();
            }
            Poll::Ready(Ok(()))
        }
    }

    fn accept(bytes: &[u8], places: &[usize]) -> Io<Client> {
        let parts = cases::cut(bytes, places).into_iter();
        // A read of nothing would be the end.
        let parts = parts.filter(|part| !part.is_empty()).map(<[u8]>::to_vec);
        let handle = ShutdownHandle::new(Plan::immediate());
        let group = Group::new(&handle, true, Terms::default());
        let state = group.open("peer").unwrap();
        Io::new(Client(parts.collect()), state)
    }

    fn sniff(io: &mut Io<Client>) -> Option<Protocol> {
        match io.poll_sniff(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(sniffed) => sniffed.unwrap(),
            Poll::Pending => panic!("the client is never late"),
        }
    }

    /// One read; empty is the end.
    fn read(io: &mut Io<Client>, size: usize) -> Vec<u8> {
        let mut space = vec![0; size];
        let mut buf = ReadBuf::new(&mut space);
        match Pin::new(io).poll_read(&mut Context::from_waker(Waker::noop()), &mut buf) {
            Poll::Ready(read) => read.unwrap(),
            Poll::Pending => panic!("the client is never late"),
        }
        buf.filled().to_vec()
    }

    /// A socket as tokio sees it: each read gives this, or looks dry.
    struct Socket(VecDeque<Option<&'static [u8]>>);

    impl AsyncRead for Socket {
        fn poll_read(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buf: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            match self.0.pop_front().flatten() {
                None => Poll::Pending,
                Some(bytes) => {
                    buf.put_slice(bytes);
                    Poll::Ready(Ok(()))
                }
            }
        }
    }

    #[test]
    fn dry_socket_is_looked_at_once_more_whenever_it_has_become_idle() {
        let reads = [None, Some(b"1".as_slice()), None, Some(b"2"), None, None];
        let handle = ShutdownHandle::new(Plan::immediate());
        let group = Group::new(&handle, true, Terms::default());
        let state = group.open("peer").unwrap();
        state.set_protocol(Protocol::Http1);
        state.asked.end();
        let mut task = task::spawn(Io::new(Socket(reads.into()), Arc::clone(&state)));
        let mut read = || {
            let mut space = [0; 8];
            let mut buf = ReadBuf::new(&mut space);
            let read = task.enter(|cx, io| io.poll_read(cx, &mut buf));
            let read = read.map(|read| {
                read.unwrap();
                buf.filled().to_vec()
            });
            (read, task.is_woken())
        };

        for request in [b"1", b"2"] {
            assert_eq!(read(), (Poll::Pending, true));
            assert_eq!(read().0, Poll::Ready(request.to_vec()));
            // It is answered.
            state.begin();
            state.admit(&Request::new(String::new()), Generation::Early);
            state.finish(None);
            state.flushed();
        }
        assert_eq!(read(), (Poll::Pending, true));
        // It was waited for long enough, and looks dry still: once more.
        state.asked.give_up();
        assert_eq!(read(), (Poll::Pending, true));
        assert_eq!(read().0, Poll::Ready(Vec::new()));
    }

    /// What begins like the preface, and may go on otherwise.
    fn beginnings() -> impl Strategy<Value = Vec<u8>> {
        let rest = prop::collection::vec(any::<u8>(), 0..40);
        (0..=PREFACE.len(), rest).prop_map(|(like, rest)| [&PREFACE[..like], &rest].concat())
    }

    fn places() -> impl Strategy<Value = Vec<usize>> {
        prop::collection::vec(0..30_usize, 0..8)
    }

    #[test]
    fn sniffing_loses_and_invents_nothing_however_the_bytes_are_cut() {
        let sizes = prop::collection::vec(1..40_usize, 1..5);
        let inputs = (beginnings(), places(), sizes);
        cases::check(500, inputs, |(bytes, places, sizes)| {
            let mut io = accept(&bytes, &places);

            let sniffed = sniff(&mut io);
            let mut got = Vec::new();
            for size in sizes.iter().cycle() {
                let part = read(&mut io, *size);
                if part.is_empty() {
                    break;
                }
                got.extend(part);
            }

            let expected = match bytes.as_slice() {
                [] => None,
                bytes if bytes.starts_with(PREFACE) => Some(Protocol::Http2),
                _ => Some(Protocol::Http1),
            };
            assert_eq!(sniffed, expected);
            assert_eq!(got, bytes);
        });
    }

    #[test]
    fn half_a_head_is_seen_however_the_bytes_are_cut() {
        let byte = prop_oneof![3 => Just(b'\r'), 3 => Just(b'\n'), 1 => any::<u8>()];
        let inputs = (prop::collection::vec(byte, 1..20), places(), 1..20_usize);
        cases::check(500, inputs, |(bytes, places, size)| {
            let mut io = accept(&bytes, &places);
            sniff(&mut io);

            let mut given = 0;
            loop {
                // What was sniffed has arrived, and is given afterwards.
                let arrived = &bytes[..given.max(io.sniffed.bytes().len())];
                let begun = arrived.iter().any(|byte| !matches!(byte, b'\r' | b'\n'));
                assert_eq!(io.state.is_mid_head(), begun, "{arrived:?}");
                match read(&mut io, size).len() {
                    0 => break,
                    more => given += more,
                }
            }
            assert_eq!(given, bytes.len());
        });
    }
}
