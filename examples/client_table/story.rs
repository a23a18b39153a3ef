//! What a client saw of its connection and its requests.

use std::io;
use std::net::SocketAddr;

use tokio::time::Instant;

/// One client's connection.
#[derive(Debug)]
pub(crate) struct Story {
    /// As the server knows it.
    pub(crate) peer: Option<SocketAddr>,
    pub(crate) requests: Vec<Asked>,
    pub(crate) end: End,
    /// When it ended.
    pub(crate) over: Option<Instant>,
    /// How many bytes came when the server's process was gone already.
    pub(crate) after_exit: usize,
    /// The error that HTTP/2's last GOAWAY gave, if it gave one.
    pub(crate) error: Option<u32>,
    /// The connection ended unannounced while it had to be served on.
    pub(crate) early: bool,
}

/// One request.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) path: String,
    pub(crate) demand: Demand,
    /// The body of its response.
    pub(crate) expected: Vec<u8>,
    /// How much of the response's body came.
    pub(crate) received: usize,
    pub(crate) response: Response,
    /// When all of the response was there.
    pub(crate) done: Option<Instant>,
    /// How much of its body the handler has to read behind the response.
    pub(crate) behind: Option<Behind>,
}

/// What became of a response.
#[derive(Debug)]
pub(crate) enum Response {
    Incomplete,
    Whole,
    /// Another one than was expected, or no response but a reset of its stream.
    Other(String),
}

/// What of a body was sent behind the response.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Behind {
    Part,
    Whole(usize),
}

/// What has to become of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Demand {
    Whole,
    /// Whole, or its handler is never called: the connection may have ended before it.
    WholeOrUnbegun,
    /// The client never sends all of its head.
    Unbegun,
    /// The client can never get or send all of it: it is cut, and the report names it.
    Named,
    /// The client gives it up.
    Anything,
}

/// How a connection ended, as its client saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// It did not.
    Open,
    /// Nobody listened.
    Refused,
    /// The client ended it.
    ByClient,
    Closed,
    /// TCP's end came without TLS's.
    Torn,
    Reset,
    Other(String),
}

impl Default for Story {
    fn default() -> Self {
        Story {
            peer: None,
            requests: Vec::new(),
            end: End::Open,
            over: None,
            after_exit: 0,
            error: None,
            early: false,
        }
    }
}

impl Asked {
    pub(crate) fn new(path: String, demand: Demand, expected: impl Into<Vec<u8>>) -> Self {
        Asked {
            path,
            demand,
            expected: expected.into(),
            received: 0,
            response: Response::Incomplete,
            done: None,
            behind: None,
        }
    }

    /// Compares what came with what was expected.
    pub(crate) fn complete(&mut self, body: &[u8]) {
        self.received = body.len();
        self.done = Some(Instant::now());
        self.response = match body == self.expected {
            true => Response::Whole,
            false => Response::Other(excerpt(body)),
        };
    }

    pub(crate) fn is_over(&self) -> bool {
        !matches!(self.response, Response::Incomplete)
    }
}

impl From<io::Error> for End {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionRefused => End::Refused,
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => End::Reset,
            io::ErrorKind::UnexpectedEof => End::Torn,
            _ => End::Other(error.to_string()),
        }
    }
}

fn excerpt(body: &[u8]) -> String {
    const LENGTH: usize = 40;
    let text = String::from_utf8_lossy(&body[..body.len().min(LENGTH)]);
    format!("{} bytes: {text:?}", body.len())
}
