//! What tells HTTP/1 from HTTP/2: the first bytes, which hyper gets afterwards.

use tokio::io::ReadBuf;

use crate::net::exit::Protocol;

/// What an HTTP/2 client sends first (RFC 9113, section 3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The first bytes of a connection: at most as many as HTTP/2's preface has.
#[derive(Default)]
pub(crate) struct Sniffed {
    bytes: [u8; PREFACE.len()],
    filled: u8,
    given: u8,
}

impl Sniffed {
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.filled)]
    }

    /// The version, as soon as it is known.
    pub(crate) fn protocol(&self) -> Option<Protocol> {
        let bytes = self.bytes();
        if *bytes != PREFACE[..bytes.len()] {
            return Some(Protocol::Http1);
        }
        (bytes.len() == PREFACE.len()).then_some(Protocol::Http2)
    }

    /// Where the next bytes go.
    pub(crate) fn free(&mut self) -> ReadBuf<'_> {
        ReadBuf::new(&mut self.bytes[usize::from(self.filled)..])
    }

    pub(crate) fn fill(&mut self, read: usize) {
        self.filled += read as u8;
    }

    /// Whether there was no room for more.
    pub(crate) const fn is_full(&self) -> bool {
        self.filled as usize == PREFACE.len()
    }

    /// Whether there is something to give back: for the first read.
    #[inline]
    pub(crate) const fn is_left(&self) -> bool {
        self.given < self.filled
    }

    /// Gives back what has been read. `false` when all of it has been.
    pub(crate) fn give(&mut self, buf: &mut ReadBuf<'_>) -> bool {
        let left = &self.bytes[usize::from(self.given)..usize::from(self.filled)];
        let giving = left.len().min(buf.remaining());
        buf.put_slice(&left[..giving]);
        self.given += giving as u8;
        giving > 0
    }
}
