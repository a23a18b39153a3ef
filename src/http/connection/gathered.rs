//! Small frames of HTTP/2 that leave in one write.
//!
//! h2 collects frames in a buffer of its own. But it does not copy a payload of 256 bytes or more: it writes such a frame with what
//! is in its buffer, and flushes. So ten responses of 1 kB are ten writes, each a system call and, with TCP_NODELAY, a packet. Where
//! several responses are ready, the IO copies such writes, and writes them when h2 flushes at the end of its poll.
//!
//! What is held here has not been sent: nobody follows it as sent before the inner IO has accepted it.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::AsyncWrite;

/// The largest write that is copied. The system call for one of this size costs some ten times as much as the copy.
const SMALL: usize = 4 * 1024;
/// How much is held at most: as much as h2's own buffer.
const ROOM: usize = 16 * 1024;
/// How many slices leave in one write.
const SLICES: usize = 8;

#[derive(Default)]
pub(super) struct Gathered {
    bytes: Vec<u8>,
    /// How many of them have been written.
    written: usize,
    /// The flush that follows belongs to a write that was taken. h2 flushes once more at the end of its poll.
    defers: bool,
}

impl Gathered {
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub(super) fn held(&self) -> &[u8] {
        &self.bytes[self.written..]
    }

    /// Takes what h2 writes, if it is a small frame whose payload h2 has not copied, and there is room. Returns how much that was.
    pub(super) fn take(&mut self, bufs: &[IoSlice<'_>]) -> Option<usize> {
        // A write of one slice is h2's buffer alone: no other one follows in this poll.
        let is_frame = bufs.iter().filter(|buf| !buf.is_empty()).nth(1).is_some();
        let length = bufs.iter().map(|buf| buf.len()).sum();
        if !is_frame || length > SMALL || self.bytes.len() + length > ROOM {
            return None;
        }
        if self.bytes.capacity() == 0 {
            self.bytes.reserve_exact(ROOM);
        }
        for buf in bufs {
            self.bytes.extend_from_slice(buf);
        }
        self.defers = true;
        Some(length)
    }

    /// Whether this flush is answered without one, because another one follows.
    pub(super) fn defers_flush(&mut self) -> bool {
        std::mem::take(&mut self.defers)
    }

    /// Writes what is held, and `bufs` behind it. Returns how much of both was written.
    pub(super) fn poll_write<I: AsyncWrite>(
        &self,
        io: Pin<&mut I>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut together = [IoSlice::new(self.held()); SLICES];
        let behind = &bufs[..bufs.len().min(SLICES - 1)];
        together[1..=behind.len()].copy_from_slice(behind);
        io.poll_write_vectored(cx, &together[..=behind.len()])
    }

    /// So much of what is held has been written. The buffer goes when all of it has.
    pub(super) fn advance(&mut self, written: usize) {
        self.written += written;
        if self.written == self.bytes.len() {
            *self = Gathered::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::{Arc, Mutex, MutexGuard};
    use std::task::Waker;

    use proptest::prelude::*;
    use tokio::io::{AsyncRead, ReadBuf};

    use super::super::io::Io;
    use super::*;
    use crate::cases;
    use crate::handle::ShutdownHandle;
    use crate::net::connection::Connection;
    use crate::net::exit::Protocol;
    use crate::net::group::Group;
    use crate::net::terms::Terms;
    use crate::plan::Plan;

    /// What the inner IO makes of a write.
    #[derive(Clone, Copy, Debug)]
    enum Write {
        Accepts(usize),
        IsPending,
        Fails,
    }

    /// A socket that follows a script, and accepts everything once that is over.
    #[derive(Default)]
    struct Script {
        client: Vec<u8>,
        writes: VecDeque<Write>,
        sent: Vec<u8>,
        /// How much was sent when it was last flushed.
        flushed: usize,
        failed: bool,
        /// Whoever has written is woken when it can go on.
        wakes: bool,
    }

    #[derive(Clone)]
    struct Scripted(Arc<Mutex<Script>>);

    impl Scripted {
        fn new(writes: Vec<Write>) -> Self {
            let heads = [1, 3, 5].map(|stream| [0, 0, 0, 1, 5, 0, 0, 0, stream]);
            let script = Script {
                client: [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", heads.as_flattened()].concat(),
                writes: writes.into(),
                ..Script::default()
            };
            Scripted(Arc::new(Mutex::new(script)))
        }

        fn get(&self) -> MutexGuard<'_, Script> {
            self.0.lock().unwrap()
        }
    }

    /// A client that opens three streams, which nobody answers.
    impl AsyncRead for Scripted {
        fn poll_read(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buf: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            let mut script = self.get();
            let read = script.client.len().min(buf.remaining());
            buf.put_slice(&script.client[..read]);
            script.client.drain(..read);
            Poll::Ready(Ok(()))
        }
    }

    impl AsyncWrite for Scripted {
        fn poll_write(
            self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            buf: &[u8],
        ) -> Poll<io::Result<usize>> {
            self.poll_write_vectored(cx, &[IoSlice::new(buf)])
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            let mut script = self.get();
            script.flushed = script.sent.len();
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_write_vectored(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bufs: &[IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            let mut script = self.get();
            let accepts = match script.writes.pop_front() {
                None => usize::MAX,
                Some(Write::Accepts(bytes)) => bytes,
                Some(Write::IsPending) => {
                    script.wakes = true;
                    return Poll::Pending;
                }
                Some(Write::Fails) => {
                    script.failed = true;
                    return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
                }
            };
            let bytes: Vec<u8> = bufs.iter().flat_map(|buf| buf.iter().copied()).collect();
            let accepted = accepts.min(bytes.len());
            script.sent.extend_from_slice(&bytes[..accepted]);
            Poll::Ready(Ok(accepted))
        }

        fn is_write_vectored(&self) -> bool {
            true
        }
    }

    /// A connection of HTTP/2 with three streams open, of which several are ready to be written.
    fn connection(socket: Scripted) -> (Io<Scripted>, Arc<Connection>) {
        let handle = ShutdownHandle::new(Plan::immediate());
        let group = Group::new(&handle, true, Terms::default());
        let state = group.open("peer").unwrap();
        let mut io = Io::new(socket, Arc::clone(&state));
        let cx = &mut Context::from_waker(Waker::noop());
        let sniffed = io.poll_sniff(None, cx);
        assert!(matches!(sniffed, Poll::Ready(Ok(Some(Protocol::Http2)))));
        let mut space = [0; 64];
        for _ in 0..2 {
            let read = Pin::new(&mut io).poll_read(cx, &mut ReadBuf::new(&mut space));
            assert!(read.is_ready());
        }
        state.gathering.set_on(true);
        assert!(state.is_gathering());
        (io, state)
    }

    /// A write of slices of these lengths, and whether it is flushed.
    #[derive(Clone, Debug)]
    struct Step {
        lengths: Vec<usize>,
        flushed: bool,
    }

    /// What h2 does in one poll of the connection. It flushes at the end.
    #[derive(Clone, Debug)]
    struct Turn {
        several: bool,
        steps: Vec<Step>,
    }

    fn turn() -> impl Strategy<Value = Turn> {
        let length = prop_oneof![8 => 0..600_usize, 1 => Just(SMALL)];
        let lengths = prop_oneof![
            6 => prop::collection::vec(length.clone(), 2..=2),
            1 => prop::collection::vec(length, 1..12),
            1 => Just(vec![9, ROOM]),
        ];
        let step =
            (lengths, any::<bool>()).prop_map(|(lengths, flushed)| Step { lengths, flushed });
        let several = prop_oneof![3 => Just(true), 1 => Just(false)];
        let steps = prop::collection::vec(step, 0..6);
        (several, steps).prop_map(|(several, steps)| Turn { several, steps })
    }

    fn script() -> impl Strategy<Value = Vec<Write>> {
        let write = prop_oneof![
            6 => (1..3_000_usize).prop_map(Write::Accepts),
            3 => Just(Write::IsPending),
            1 => Just(Write::Fails),
        ];
        prop::collection::vec(write, 0..12)
    }

    /// DATA frames of a stream that is not open: they may be cut anywhere, and mean nothing.
    fn bytes() -> Vec<u8> {
        let frame = |number: usize| {
            let payload = [number as u8; 0xff];
            [&[0, 0, 0xff, 0, 0, 0, 0, 0, 9][..], &payload].concat()
        };
        (0..6_000).flat_map(frame).collect()
    }

    /// Whoever writes.
    struct Writer<'a> {
        socket: Scripted,
        io: Io<Scripted>,
        state: Arc<Connection>,
        bytes: &'a [u8],
        written: usize,
        /// How much of what was sent has been looked at.
        checked: usize,
    }

    /// A poll that is over before its end.
    enum Stopped {
        Waits,
        Failed,
    }

    impl Writer<'_> {
        fn write(&mut self, lengths: &[usize]) -> Result<(), Stopped> {
            let mut left = &self.bytes[self.written..][..lengths.iter().sum()];
            let end = self.written + left.len();
            let mut bufs = Vec::new();
            for length in lengths {
                let (buf, behind) = left.split_at(*length);
                bufs.push(IoSlice::new(buf));
                left = behind;
            }
            let mut bufs = &mut bufs[..];
            while self.written < end {
                let cx = &mut Context::from_waker(Waker::noop());
                let polled = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
                let failed = matches!(polled, Poll::Ready(Err(_)));
                assert_eq!(failed, self.socket.get().failed);
                match polled {
                    Poll::Ready(Ok(count)) => {
                        assert!(count > 0);
                        self.written += count;
                        IoSlice::advance_slices(&mut bufs, count);
                    }
                    Poll::Ready(Err(_)) => return Err(Stopped::Failed),
                    Poll::Pending => return Err(Stopped::Waits),
                }
            }
            Ok(())
        }

        fn flush(&mut self) -> Result<(), Stopped> {
            let cx = &mut Context::from_waker(Waker::noop());
            let polled = Pin::new(&mut self.io).poll_flush(cx);
            let failed = matches!(polled, Poll::Ready(Err(_)));
            assert_eq!(failed, self.socket.get().failed);
            match polled {
                Poll::Ready(Ok(())) => Ok(()),
                Poll::Ready(Err(_)) => Err(Stopped::Failed),
                Poll::Pending => Err(Stopped::Waits),
            }
        }

        fn turn(&mut self, turn: &Turn) -> Result<(), Stopped> {
            self.state.gathering.set_on(turn.several);
            self.socket.get().wakes = false;
            for step in &turn.steps {
                self.write(&step.lengths)?;
                if step.flushed {
                    self.flush()?;
                }
            }
            self.flush()
        }

        /// What was written is what is sent, in its order; and if something is held, somebody comes back for it.
        fn check(&mut self) {
            let socket = self.socket.get();
            let sent = self.checked..socket.sent.len();
            assert!(self.bytes[sent.clone()] == socket.sent[sent]);
            self.checked = socket.sent.len();
            let held = self.written - socket.sent.len();
            let comes_back = socket.wakes || self.state.gathering.holds();
            assert!(held == 0 || comes_back, "{held} bytes are held");
        }
    }

    fn writer(socket: Scripted, bytes: &[u8]) -> Writer<'_> {
        let (io, state) = connection(socket.clone());
        Writer {
            socket,
            io,
            state,
            bytes,
            written: 0,
            checked: 0,
        }
    }

    // PING, SETTINGS and GOAWAY are among it.
    #[test]
    fn what_h2_writes_from_its_buffer_leaves_at_once_behind_what_is_held() {
        let bytes = bytes();
        let mut writer = writer(Scripted::new(Vec::new()), &bytes);

        assert!(writer.write(&[9, 500]).is_ok() && writer.flush().is_ok());
        assert_eq!(writer.socket.get().sent.len(), 0);
        assert!(writer.write(&[17]).is_ok());

        assert_eq!(writer.socket.get().sent.len(), 9 + 500 + 17);
        assert!(!writer.state.gathering.holds());
    }

    #[test]
    fn nothing_is_gathered_where_one_response_is_ready() {
        let bytes = bytes();
        let mut writer = writer(Scripted::new(Vec::new()), &bytes);
        writer.state.gathering.set_on(false);

        assert!(writer.write(&[9, 500]).is_ok());

        assert_eq!(writer.socket.get().sent.len(), 9 + 500);
    }

    #[test]
    fn shutdown_sends_what_is_held_first() {
        let bytes = bytes();
        let mut writer = writer(Scripted::new(Vec::new()), &bytes);
        assert!(writer.write(&[9, 500]).is_ok());

        let cx = &mut Context::from_waker(Waker::noop());
        let shut = Pin::new(&mut writer.io).poll_shutdown(cx);

        assert!(!matches!(shut, Poll::Ready(Err(_))));
        assert_eq!(writer.socket.get().sent.len(), 9 + 500);
    }

    #[test]
    fn buffer_is_freed_when_it_has_been_sent() {
        let mut gathered = Gathered::default();
        let frame = [IoSlice::new(&[0; 9]), IoSlice::new(&[0; 500])];

        let taken = gathered.take(&frame).unwrap();
        gathered.advance(taken - 1);
        let before = gathered.bytes.capacity();
        gathered.advance(1);

        assert_eq!((before, gathered.bytes.capacity()), (ROOM, 0));
    }

    // Whatever is written, by h2 or by another.
    #[test]
    fn nothing_is_held_with_nobody_to_send_it() {
        let bytes = bytes();
        let inputs = (script(), prop::collection::vec(turn(), 0..6));
        cases::check(500, inputs, |(script, turns)| {
            let mut writer = writer(Scripted::new(script), &bytes);
            for turn in &turns {
                if let Err(Stopped::Failed) = writer.turn(turn) {
                    return;
                }
                writer.check();
            }
            // The driver polls once more, or the socket wakes it.
            while writer.state.gathering.holds() || writer.socket.get().wakes {
                writer.socket.get().wakes = false;
                if let Err(Stopped::Failed) = writer.flush() {
                    return;
                }
            }

            writer.check();
            let socket = writer.socket.get();
            assert_eq!(socket.sent.len(), writer.written);
            assert_eq!(socket.flushed, writer.written);
        });
    }
}
