//! A client that speaks HTTP/2 frame by frame.

use std::net::SocketAddr;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use crate::support::*;

pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
pub(crate) const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];
pub(crate) const SETTINGS_ACK: &[u8] = &[0, 0, 0, 4, 1, 0, 0, 0, 0];
/// `GET http://test/` on stream 1, whole.
pub(crate) const GET: &[u8] = b"\0\0\x09\x01\x05\0\0\0\x01\x82\x86\x84\x41\x04test";

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;

/// Speaks HTTP/2 frame by frame.
pub(crate) struct Raw<S = TcpStream>(pub(crate) Client<S>);

impl Raw {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        Raw::new(Client::connect(address).await).await
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Raw<S> {
    /// Begins HTTP/2 on a connection.
    pub(crate) async fn new(mut client: Client<S>) -> Self {
        client
            .send([PREFACE, SETTINGS, SETTINGS_ACK].concat())
            .await;
        settle().await;
        Raw(client)
    }

    /// The next frame of this kind; those of the connection's set-up are passed over.
    pub(crate) async fn frame_of(&mut self, kind: u8) -> Frame {
        const SETTINGS: u8 = 4;
        const WINDOW_UPDATE: u8 = 8;
        loop {
            let head = self.0.exactly(9).await;
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            let payload = self.0.exactly(length as usize).await;
            if head[3] == kind {
                return Frame { payload };
            }
            // A GOAWAY is not passed over when another is looked for: there are two, and no more.
            let expected = match head[3] {
                SETTINGS | WINDOW_UPDATE | HEADERS | DATA => true,
                GOAWAY => matches!(kind, PING | DATA),
                _ => false,
            };
            assert!(expected, "frame {} before {kind}", head[3]);
        }
    }
}

/// A WINDOW_UPDATE of 1 MB for a stream, or for the connection, which is 0.
pub(crate) fn wider(stream: u8) -> [u8; 13] {
    [0, 0, 4, 8, 0, 0, 0, 0, stream, 0, 0x10, 0, 0]
}

pub(crate) struct Frame {
    pub(crate) payload: Vec<u8>,
}

impl Frame {
    /// The answer to a PING.
    pub(crate) fn answer(&self) -> Vec<u8> {
        [&[0, 0, 8, PING, 1, 0, 0, 0, 0], &*self.payload].concat()
    }
}

/// Any frame.
pub(crate) fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let [_, length @ ..] = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[..], &[kind, flags, 0, 0, 0, stream], payload].concat()
}

/// A frame that the server has sent.
#[derive(Debug)]
pub(crate) struct Sent {
    pub(crate) kind: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

/// The frames in what the server has sent, as far as they are whole.
pub(crate) fn frames(mut bytes: &[u8]) -> Vec<Sent> {
    let mut frames = Vec::new();
    while let Some((head, rest)) = bytes.split_at_checked(9) {
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let Some((payload, rest)) = rest.split_at_checked(length as usize) else {
            break;
        };
        frames.push(Sent {
            kind: head[3],
            stream: u32::from_be_bytes([head[5] & 0x7f, head[6], head[7], head[8]]),
            payload: payload.to_vec(),
        });
        bytes = rest;
    }
    frames
}
