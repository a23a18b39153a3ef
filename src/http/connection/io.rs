//! The IO of one connection: sniffs, follows what arrives and what is sent, and ends when it is time.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::frames::{Frames, Seen};
use super::gathered::Gathered;
use super::late_cut::LateCut;
use super::messages::{Messages, ends_head};
use super::sniff::Sniffed;
use crate::net::connection::Connection;
use crate::net::exit::{Exit, Protocol, Receiving};
use crate::net::lingering;

/// The IO of a connection that [`serve`](crate::serve) accepted.
///
/// It is what an upgraded connection gives when it is downcast:
/// `hyper::upgrade::Upgraded::downcast::<TokioIo<lameduck::server::Io<TcpStream>>>()`. The connection counts as open until this is
/// dropped; after Close's deadline reads end and writes fail.
pub struct Io<I> {
    inner: I,
    /// Until it has been given to hyper.
    sniffed: Sniffed,
    follow: Follow,
    state: Arc<Connection>,
}

/// What follows the bytes, once the version is known.
// With a tag of its own: each read and write looks at it.
#[repr(u8)]
enum Follow {
    Nothing,
    /// The version is known, and what told it has not been followed.
    Http1Begins,
    Http1(Messages),
    Http2(Box<Http2>),
    /// No HTTP any more. Nobody drives it, so its age cuts it from here.
    Upgraded {
        _late_cut: Option<LateCut>,
    },
}

#[derive(Default)]
struct Http2 {
    frames: Frames,
    gathered: Gathered,
}

impl<I> Io<I> {
    pub(crate) fn new(inner: I, state: Arc<Connection>) -> Self {
        Io {
            inner,
            sniffed: Sniffed::default(),
            follow: Follow::Nothing,
            state,
        }
    }

    /// The IO that the listener gave, or the handshake made of it.
    pub fn get_ref(&self) -> &I {
        &self.inner
    }

    /// The socket has just said that it is dry. Whether to end the connection for it.
    #[inline]
    fn poll_end(&mut self) -> Poll<()> {
        match self.state.ends() {
            true => self.poll_end_now(),
            false => Poll::Pending,
        }
    }

    #[cold]
    fn poll_end_now(&mut self) -> Poll<()> {
        ready!(lingering::poll_end(&self.state));
        self.state.tell(Exit::reading_ended);
        Poll::Ready(())
    }

    /// A connection that left HTTP is not followed any more.
    #[cold]
    fn leave_http(&mut self) {
        if self.state.cut.is_upgraded() && !matches!(self.follow, Follow::Upgraded { .. }) {
            let late_cut = LateCut::of(&self.state);
            self.follow = Follow::Upgraded {
                _late_cut: late_cut,
            };
        }
    }

    #[cold]
    fn ends_reads(&mut self, cx: &mut Context<'_>) -> bool {
        self.leave_http();
        self.state.cut.ends_reads(cx.waker())
    }

    #[cold]
    fn ends_writes(&mut self, cx: &mut Context<'_>) -> bool {
        self.leave_http();
        self.state.cut.ends_writes(cx.waker())
    }

    /// Looks at what the client has sent; nothing is its end.
    #[inline]
    fn received(&mut self, bytes: &mut [u8]) {
        if bytes.is_empty() {
            self.state.tell(Exit::client_ended);
            return;
        }
        if self.state.ends() {
            self.state.tell(Exit::received);
        }
        match &mut self.follow {
            Follow::Http1(messages) => {
                let state = &self.state;
                let latest = || state.life().requests.latest;
                if messages.read(bytes, state.has_body(), latest) {
                    let receiving = messages.receiving();
                    state.tell(|exit| exit.receiving(receiving));
                }
            }
            Follow::Http2(_) => self.received_frames(bytes),
            Follow::Http1Begins => self.received_first(bytes),
            Follow::Nothing | Follow::Upgraded { .. } => {}
        }
    }

    #[cold]
    fn received_first(&mut self, bytes: &[u8]) {
        let mut messages = Messages::default();
        messages.read_first(self.sniffed.bytes(), bytes);
        let receiving = messages.receiving();
        self.follow = Follow::Http1(messages);
        self.state.tell(|exit| exit.receiving(receiving));
    }

    #[inline(never)]
    fn received_frames(&mut self, bytes: &mut [u8]) {
        let Follow::Http2(http2) = &mut self.follow else {
            return;
        };
        let before = http2.frames.seen();
        if http2.frames.read(bytes) {
            self.state.tell(Exit::pong_taken);
        }
        self.tell_frames(before);
    }

    #[inline]
    fn is_http2(&self) -> bool {
        matches!(self.follow, Follow::Http2(_))
    }

    /// Whether it holds what h2 has written.
    #[inline]
    fn holds(&self) -> bool {
        matches!(&self.follow, Follow::Http2(http2) if !http2.gathered.is_empty())
    }

    /// So much has been sent to the client, of what was held and of `bufs` behind it. Returns how much of `bufs` that was.
    fn sent_frames(&mut self, bufs: &[io::IoSlice<'_>], mut sent: usize) -> usize {
        let Follow::Http2(http2) = &mut self.follow else {
            return sent;
        };
        let before = http2.frames.seen();
        if !http2.gathered.is_empty() {
            sent -= http2.sent_held(sent);
            if http2.gathered.is_empty() {
                self.state.gathering.set_holds(false);
            }
        }
        let mut left = sent;
        for buf in bufs {
            let part = left.min(buf.len());
            http2.frames.written(&buf[..part]);
            left -= part;
        }
        self.tell_frames(before);
        if self.state.owes_pong() {
            // The PING may have left only now: its answer is given when h2 reads again.
            self.state.cut.wake();
        }
        sent
    }

    /// Tells what has changed in the frames.
    #[inline(always)]
    fn tell_frames(&self, before: Seen) {
        let Follow::Http2(http2) = &self.follow else {
            return;
        };
        let seen = http2.frames.seen();
        if seen != before {
            self.tell_seen(before, seen);
        }
    }

    fn tell_seen(&self, before: Seen, seen: Seen) {
        self.state.tell(|exit| {
            if seen.in_head != before.in_head {
                exit.receiving(match seen.in_head {
                    true => Receiving::Head,
                    false => Receiving::Nothing,
                });
            }
            exit.set_streams(seen.unanswered, seen.uploads);
        });
    }

    /// Gives what was not read just now: what the sniffing has read, or an answer in the client's place.
    #[inline]
    fn give(&mut self, buf: &mut ReadBuf<'_>) -> bool {
        match &self.follow {
            Follow::Http2(http2) if http2.frames.is_answering() || self.state.owes_pong() => {
                self.give_now(buf)
            }
            _ if self.sniffed.is_left() => self.give_now(buf),
            _ => false,
        }
    }

    #[inline(never)]
    fn give_now(&mut self, buf: &mut ReadBuf<'_>) -> bool {
        if self.sniffed.is_left() && self.sniffed.give(buf) {
            return true;
        }
        let Follow::Http2(http2) = &mut self.follow else {
            return false;
        };
        if self.state.owes_pong() && http2.frames.answer() {
            self.state.tell(Exit::set_ponged);
        }
        http2.frames.give(buf)
    }
}

impl Http2 {
    /// Of what was held, at most so much has been sent. Returns how much.
    fn sent_held(&mut self, at_most: usize) -> usize {
        let Http2 { frames, gathered } = self;
        let held = gathered.held();
        let sent = &held[..held.len().min(at_most)];
        frames.written(sent);
        let sent = sent.len();
        gathered.advance(sent);
        sent
    }
}

impl<I: AsyncRead + Unpin> Io<I> {
    /// Reads until the version is known, which is `only`, if there is just one. `None` when the connection ended before that.
    pub(crate) fn poll_sniff(
        &mut self,
        only: Option<Protocol>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<Option<Protocol>>> {
        loop {
            if let Some(protocol) = self.sniffed.protocol() {
                return Poll::Ready(Ok(Some(self.speak(only.unwrap_or(protocol)))));
            }
            let mut buf = self.sniffed.free();
            match Pin::new(&mut self.inner).poll_read(cx, &mut buf) {
                Poll::Ready(read) => read?,
                Poll::Pending => {
                    if !self.sniffed.bytes().is_empty() {
                        self.state.tell(|exit| exit.receiving(Receiving::Head));
                    }
                    return self.poll_end().map(|()| Ok(None));
                }
            }
            let read = buf.filled().len();
            if read == 0 {
                self.state.tell(Exit::client_ended);
                if self.sniffed.bytes().is_empty() {
                    return Poll::Ready(Ok(None));
                }
                // Half a preface is no HTTP/1 either; hyper answers what is left over.
                return Poll::Ready(Ok(Some(self.speak(only.unwrap_or(Protocol::Http1)))));
            }
            self.sniffed.fill(read);
            if self.state.ends() {
                self.state.tell(Exit::received);
            }
        }
    }

    /// The version is known.
    fn speak(&mut self, protocol: Protocol) -> Protocol {
        let mut receiving = Receiving::Nothing;
        self.follow = match protocol {
            // The preface is its own affair.
            Protocol::Http2 => Follow::Http2(Box::default()),
            // More than was sniffed has to come.
            _ if self.sniffed.is_full() && !ends_head(self.sniffed.bytes()) => {
                receiving = Receiving::Head;
                Follow::Http1Begins
            }
            _ => {
                let mut messages = Messages::default();
                messages.read_first(self.sniffed.bytes(), &[]);
                receiving = messages.receiving();
                Follow::Http1(messages)
            }
        };
        self.state.tell(|exit| {
            exit.set_protocol(protocol);
            exit.receiving(receiving);
        });
        protocol
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Io<I> {
    #[inline]
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.state.cut.is_any() && self.ends_reads(cx) {
            return Poll::Ready(Ok(()));
        }
        if self.give(buf) {
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        match Pin::new(&mut self.inner).poll_read(cx, buf) {
            Poll::Pending => return self.poll_end().map(Ok),
            Poll::Ready(read) => read?,
        }
        if buf.capacity() > before {
            self.received(&mut buf.filled_mut()[before..]);
        }
        Poll::Ready(Ok(()))
    }
}

impl<I: AsyncWrite + Unpin> Io<I> {
    #[inline]
    fn writable(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        match self.state.cut.is_any() && self.ends_writes(cx) {
            true => Err(cut_off()),
            false => Ok(()),
        }
    }
}

impl<I: AsyncWrite + Unpin> Io<I> {
    /// h2 writes: what is gathered is held, everything else leaves behind what is held.
    #[inline(never)]
    fn poll_write_frames(
        &mut self,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.state.is_gathering() {
            if let Some(taken) = self.gather(bufs) {
                return Poll::Ready(Ok(taken));
            }
        }
        loop {
            let held = self.holds();
            let sent = ready!(self.poll_send(cx, bufs))?;
            let sent = self.sent_frames(bufs, sent);
            // Without a byte of `bufs` nothing has been written, for whoever writes.
            if sent > 0 || !held {
                return Poll::Ready(Ok(sent));
            }
        }
    }

    fn gather(&mut self, bufs: &[io::IoSlice<'_>]) -> Option<usize> {
        match &mut self.follow {
            Follow::Http2(http2) => http2.gathered.take(bufs),
            _ => None,
        }
    }

    /// Gives what is held, and `bufs` behind it, to the inner IO. Returns how much of both that has accepted.
    fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let inner = Pin::new(&mut self.inner);
        let Follow::Http2(http2) = &self.follow else {
            return inner.poll_write_vectored(cx, bufs);
        };
        if http2.gathered.is_empty() {
            return inner.poll_write_vectored(cx, bufs);
        }
        match ready!(http2.gathered.poll_write(inner, cx, bufs))? {
            0 => Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            sent => Poll::Ready(Ok(sent)),
        }
    }

    /// Sends what is held. It is lost when that fails, as is all that comes behind it.
    fn poll_write_held(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Whoever waits for the inner IO from here on is woken by it.
        self.state.gathering.set_holds(false);
        while self.holds() {
            let sent = ready!(self.poll_send(cx, &[]))?;
            self.sent_frames(&[], sent);
        }
        Poll::Ready(Ok(()))
    }

    /// Sends what is held, or keeps it for now, because h2 flushes once more.
    #[inline(never)]
    fn poll_flush_held(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let defers = match &mut self.follow {
            Follow::Http2(http2) => http2.gathered.defers_flush(),
            _ => false,
        };
        if defers {
            self.state.gathering.set_holds(true);
            return Poll::Ready(Ok(()));
        }
        ready!(self.poll_write_held(cx))?;
        Pin::new(&mut self.inner).poll_flush(cx)
    }
}

#[cold]
fn cut_off() -> io::Error {
    io::Error::new(
        io::ErrorKind::ConnectionAborted,
        "cut: the shutdown's Close phase is over, or the grace behind the connection's age",
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
        match self.is_http2() {
            true => self.poll_write_frames(cx, &[io::IoSlice::new(buf)]),
            false => Pin::new(&mut self.inner).poll_write(cx, buf),
        }
    }

    #[inline]
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.writable(cx)?;
        if self.holds() {
            return self.poll_flush_held(cx);
        }
        ready!(Pin::new(&mut self.inner).poll_flush(cx))?;
        self.state.flushed();
        Poll::Ready(Ok(()))
    }

    /// A lingering close. An upgraded connection has its own way to end, and only our side is closed.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.writable(cx)?;
        ready!(self.poll_write_held(cx))?;
        if self.state.cut.is_upgraded() {
            return Pin::new(&mut self.inner).poll_shutdown(cx);
        }
        let Io { inner, state, .. } = &mut *self;
        lingering::poll_close(inner, state, cx)
    }

    #[inline]
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.writable(cx)?;
        match self.is_http2() {
            true => self.poll_write_frames(cx, bufs),
            false => Pin::new(&mut self.inner).poll_write_vectored(cx, bufs),
        }
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
    use std::time::Duration;

    use proptest::prelude::*;
    use tokio::time::Instant;
    use tokio_test::task;

    use super::*;
    use crate::cases;
    use crate::handle::ShutdownHandle;
    use crate::net::exit::Leave;
    use crate::net::group::Group;
    use crate::net::requests::Framing;
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
        match io.poll_sniff(None, &mut Context::from_waker(Waker::noop())) {
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

    /// Brings it to where it ends as soon as it is idle.
    fn end(state: &Connection) {
        let now = Instant::now();
        let leave = Leave {
            since: Some(now),
            moment: now,
            end: Some(now),
            linger: Duration::ZERO,
        };
        state.tell(|exit| {
            exit.set_protocol(Protocol::Http1);
            exit.set_leave(Some(leave), now);
            exit.look(state.timeouts(), now);
        });
        assert!(state.ends());
    }

    #[test]
    fn dry_socket_is_looked_at_once_more_whenever_it_has_become_idle() {
        let reads = [None, Some(b"1".as_slice()), None, Some(b"2"), None, None];
        let handle = ShutdownHandle::new(Plan::immediate());
        let group = Group::new(&handle, true, Terms::default());
        let state = group.open("peer").unwrap();
        end(&state);
        let mut task = task::spawn(Io::new(Socket(reads.into()), Arc::clone(&state)));
        let mut read = || {
            let mut space = [0; 8];
            let mut buf = ReadBuf::new(&mut space);
            let read = task.enter(|cx, io| {
                state.cut.register(cx.waker());
                io.poll_read(cx, &mut buf)
            });
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
            state.begin(None, Framing::Empty);
            state.finish(None);
            state.flushed();
        }
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
}
