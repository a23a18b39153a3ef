//! The protocols that clients speak.

use std::fmt;

/// A version of HTTP, over TCP or over TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Http1,
    Http2,
    Http1Tls,
    Http2Tls,
}

impl Protocol {
    pub(crate) const ALL: [Protocol; 4] = [
        Protocol::Http1,
        Protocol::Http2,
        Protocol::Http1Tls,
        Protocol::Http2Tls,
    ];

    pub(crate) const fn key(self) -> &'static str {
        match self {
            Protocol::Http1 => "HTTP/1.1",
            Protocol::Http2 => "HTTP/2",
            Protocol::Http1Tls => "HTTP/1.1+TLS",
            Protocol::Http2Tls => "HTTP/2+TLS",
        }
    }

    pub(crate) fn parse(key: &str) -> Option<Self> {
        Protocol::ALL
            .into_iter()
            .find(|protocol| protocol.key() == key)
    }

    pub(crate) const fn is_http2(self) -> bool {
        matches!(self, Protocol::Http2 | Protocol::Http2Tls)
    }

    pub(crate) const fn is_tls(self) -> bool {
        matches!(self, Protocol::Http1Tls | Protocol::Http2Tls)
    }

    /// What TLS's ALPN calls it (RFC 7301).
    pub(crate) const fn alpn(self) -> &'static [u8] {
        match self.is_http2() {
            true => b"h2",
            false => b"http/1.1",
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.key())
    }
}
