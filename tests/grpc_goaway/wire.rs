//! The client's socket, and which frames passed through it (RFC 9113, section 4.1).

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};
use std::time::Instant;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::book::Book;

const HEAD: usize = 9;
const HEADERS: u8 = 1;
const GOAWAY: u8 = 7;

/// What one connection's frames said.
#[derive(Default)]
pub(crate) struct Seen {
    /// How many requests have been sent, and the stream of the last one.
    pub(crate) sent: u64,
    pub(crate) highest: u32,
    /// When each GOAWAY was read, and its last stream.
    pub(crate) goaways: Vec<(Instant, u32)>,
}

pub(crate) struct Wire {
    stream: TcpStream,
    seen: Arc<Mutex<Seen>>,
    book: Arc<Book>,
    read: Frames,
    written: Frames,
}

impl Wire {
    pub(crate) fn new(stream: TcpStream, seen: Arc<Mutex<Seen>>, book: Arc<Book>) -> Self {
        const PREFACE: usize = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".len();
        Wire {
            stream,
            seen,
            book,
            read: Frames::default(),
            written: Frames {
                skips: PREFACE,
                ..Frames::default()
            },
        }
    }

    fn wrote(&mut self, bytes: &[u8]) {
        let seen = &self.seen;
        self.written.follow(bytes, |kind, stream, _| {
            if kind == HEADERS {
                let mut seen = seen.lock().unwrap();
                seen.sent += 1;
                seen.highest = seen.highest.max(stream);
            }
        });
    }
}

/// One direction.
#[derive(Default)]
struct Frames {
    skips: usize,
    frame: Vec<u8>,
}

impl Frames {
    /// Calls `seen` with each frame's type, stream and payload.
    fn follow(&mut self, bytes: &[u8], mut seen: impl FnMut(u8, u32, &[u8])) {
        let skipped = self.skips.min(bytes.len());
        self.skips -= skipped;
        self.frame.extend(&bytes[skipped..]);
        loop {
            let Some(head) = self.frame.first_chunk::<HEAD>() else {
                return;
            };
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
            let (kind, stream) = (head[3], number(&head[5..]));
            if self.frame.len() < HEAD + length {
                return;
            }
            seen(kind, stream, &self.frame[HEAD..][..length]);
            self.frame.drain(..HEAD + length);
        }
    }
}

/// A number of 31 bits.
fn number(bytes: &[u8]) -> u32 {
    let first = bytes.first_chunk().expect("four bytes");
    u32::from_be_bytes(*first) & (u32::MAX >> 1)
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        let Wire {
            read, seen, book, ..
        } = &mut *self;
        read.follow(&buf.filled()[before..], |kind, _, payload| {
            if kind == GOAWAY {
                let goaways = &mut seen.lock().unwrap().goaways;
                if goaways.is_empty() {
                    book.goaway();
                }
                goaways.push((Instant::now(), number(payload)));
            }
        });
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write(cx, buf))?;
        self.wrote(&buf[..written]);
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, bufs))?;
        let all: Vec<u8> = bufs.iter().flat_map(|buf| buf.iter().copied()).collect();
        self.wrote(&all[..written]);
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
