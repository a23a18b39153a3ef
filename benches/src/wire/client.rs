//! Clients that send fixed bytes and read as little as can be.

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// The version of HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    Http1,
    Http2,
}

/// The path that is asked for, with a query as many have.
pub const PATH: &str = "/orders/17";

/// What every server answers.
pub const ANSWER: &str = "hello";

pub const REQUEST: &[u8] =
    b"GET /orders/17?token=secret HTTP/1.1\r\nhost: shop.example\r\nuser-agent: suite\r\naccept: */*\r\n\r\n";

/// A connection of either version.
pub enum Client<I> {
    Http1(Http1<I>),
    Http2(Http2<I>),
}

impl<I: AsyncRead + AsyncWrite + Unpin> Client<I> {
    pub async fn open(io: I, version: Version) -> Self {
        match version {
            Version::Http1 => Client::Http1(Http1 {
                io,
                response: Vec::new(),
            }),
            Version::Http2 => Client::Http2(Http2::open(io).await),
        }
    }

    pub async fn request(&mut self) {
        match self {
            Client::Http1(client) => client.request().await,
            Client::Http2(client) => client.request().await,
        }
    }

    /// Waits for the server to end the connection, and does what the protocol asks for meanwhile.
    pub async fn ended(self) {
        match self {
            Client::Http1(mut client) => {
                let mut rest = [0; 64];
                while client.io.read(&mut rest).await.is_ok_and(|read| read > 0) {}
            }
            Client::Http2(mut client) => {
                client.may_leave = true;
                while !client.gone {
                    client.answered(0).await;
                }
            }
        }
    }

    /// Ends our side and waits for the server's end.
    pub async fn close(self) {
        let mut io = match self {
            Client::Http1(client) => client.io,
            Client::Http2(client) => client.io,
        };
        io.shutdown().await.expect("our side is open");
        let mut rest = [0; 256];
        while io.read(&mut rest).await.is_ok_and(|read| read > 0) {}
    }
}

/// A connection of HTTP/1.
pub struct Http1<I> {
    pub io: I,
    /// As long as a response is, once that is known. All have the same length.
    response: Vec<u8>,
}

impl<I: AsyncRead + AsyncWrite + Unpin> Http1<I> {
    async fn request(&mut self) {
        self.io.write_all(REQUEST).await.expect("it is open");
        if self.response.is_empty() {
            self.first_response().await;
        } else {
            let read = self.io.read_exact(&mut self.response).await;
            read.expect("a whole response");
        }
        assert!(self.response.starts_with(b"HTTP/1.1 200"));
        assert!(self.response.ends_with(ANSWER.as_bytes()));
    }

    async fn first_response(&mut self) {
        while !self.response.ends_with(ANSWER.as_bytes()) {
            let read = self.io.read_buf(&mut self.response).await;
            assert!(read.expect("it is open") > 0, "the server closed");
        }
    }
}

/// A connection of HTTP/2: frames as RFC 9113 has them, heads as RFC 7541 has them without a table or Huffman's code.
pub struct Http2<I> {
    io: I,
    next: u32,
    received: usize,
    buffer: Vec<u8>,
    may_leave: bool,
    gone: bool,
}

const HEAD: usize = 9;
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;

/// The receiver's window is given back when so much of it is used.
const WINDOW: usize = 32 * 1024;

impl<I: AsyncRead + AsyncWrite + Unpin> Http2<I> {
    async fn open(mut io: I) -> Self {
        let mut hello = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        hello.extend(frame(SETTINGS, 0, 0, &[]));
        io.write_all(&hello).await.expect("it is open");
        Http2 {
            io,
            next: 1,
            received: 0,
            buffer: Vec::with_capacity(256),
            may_leave: false,
            gone: false,
        }
    }

    async fn request(&mut self) {
        let stream = self.next;
        self.next += 2;
        let mut head = vec![0x82, 0x86];
        literal(&mut head, 4, b"/orders/17?token=secret");
        literal(&mut head, 1, b"shop.example");
        let request = frame(HEADERS, END_STREAM | END_HEADERS, stream, &head);
        self.io.write_all(&request).await.expect("it is open");
        while !self.answered(stream).await {}
    }

    /// Takes what has come; whether that stream is over.
    async fn answered(&mut self, stream: u32) -> bool {
        let read = self.io.read_buf(&mut self.buffer).await;
        if !read.is_ok_and(|read| read > 0) {
            assert!(self.may_leave, "the server closed");
            self.gone = true;
            return false;
        }
        let mut over = false;
        let mut at = 0;
        let mut replies = Vec::new();
        while let Some(head) = self.buffer.get(at..at + HEAD) {
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
            let (kind, flags) = (head[3], head[4]);
            let id = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
            let Some(payload) = self.buffer.get(at + HEAD..at + HEAD + length) else {
                break;
            };
            match kind {
                DATA => {
                    self.received += length;
                    over |= id == stream && flags & END_STREAM != 0;
                }
                HEADERS => assert_eq!(payload[0], 0x88, ":status 200"),
                SETTINGS if flags & ACK == 0 => replies.extend(frame(SETTINGS, ACK, 0, &[])),
                PING if flags & ACK == 0 => replies.extend(frame(PING, ACK, 0, payload)),
                GOAWAY => assert!(self.may_leave, "the server leaves"),
                _ => {}
            }
            at += HEAD + length;
        }
        self.buffer.drain(..at);
        if self.received > WINDOW {
            let received = (self.received as u32).to_be_bytes();
            replies.extend(frame(WINDOW_UPDATE, 0, 0, &received));
            self.received = 0;
        }
        if !replies.is_empty() && self.io.write_all(&replies).await.is_err() {
            assert!(self.may_leave, "the server closed");
        }
        over
    }
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(HEAD + payload.len());
    frame.extend_from_slice(&(payload.len() as u32).to_be_bytes()[1..]);
    frame.extend_from_slice(&[kind, flags]);
    frame.extend_from_slice(&stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

/// A field without indexing, whose name is in the static table.
fn literal(head: &mut Vec<u8>, name: u8, value: &[u8]) {
    head.push(name);
    head.push(value.len() as u8);
    head.extend_from_slice(value);
}
