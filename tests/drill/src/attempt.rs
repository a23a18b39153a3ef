//! One attempt: one request, sent once, counted once, whatever becomes of it.
//!
//! There is no pool and no retry: these would hide a loss.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use tokio::time::Instant;

/// What became of a request, or of a long connection, as its client saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Fate {
    /// The whole answer came. A long connection ended as its protocol has it.
    Answered,
    /// The protocol says that the request was not processed, so that a client repeats it without harm: it was pipelined behind an
    /// answer with `Connection: close` (RFC 9112, section 9.6), above the last stream of a GOAWAY (RFC 9113, section 6.8), in a
    /// stream that was reset with REFUSED_STREAM (section 8.7), or only half sent.
    Repeatable,
    /// Nobody listened, because the server had left. The cluster routed to it all the same, for ever: no server can avoid that.
    Gone,
    /// Nobody listened.
    Refused,
    /// The connection was reset before the answer began.
    Reset,
    /// The connection was closed before the answer began.
    Closed,
    /// The connection ended in the middle of the answer. A long connection ended without its protocol's farewell.
    Cut,
    /// No answer within the client's patience.
    Hung,
    /// An answer with another status than in normal service.
    Rejected,
    /// The answer was no HTTP.
    Garbled,
    /// The usual answer came, but no handler had been entered.
    Unhandled,
}

impl Fate {
    pub(crate) const ALL: [Fate; 11] = [
        Fate::Answered,
        Fate::Repeatable,
        Fate::Gone,
        Fate::Refused,
        Fate::Reset,
        Fate::Closed,
        Fate::Cut,
        Fate::Hung,
        Fate::Rejected,
        Fate::Garbled,
        Fate::Unhandled,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Fate::Answered => "answered",
            Fate::Repeatable => "repeatable without harm",
            Fate::Gone => "refused when it had left",
            Fate::Refused => "refused",
            Fate::Reset => "reset",
            Fate::Closed => "closed without an answer",
            Fate::Cut => "cut",
            Fate::Hung => "hung",
            Fate::Rejected => "rejected",
            Fate::Garbled => "garbled",
            Fate::Unhandled => "answered without its handler",
        }
    }

    /// Whether the request is lost: its client could neither avoid it nor repeat the request without harm.
    pub const fn is_loss(self) -> bool {
        !matches!(self, Fate::Answered | Fate::Repeatable | Fate::Gone)
    }
}

impl fmt::Display for Fate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// How a request was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Way {
    /// On an HTTP/1 connection that is used again.
    KeepAlive,
    /// On an HTTP/1 connection of its own.
    OneShot,
    /// Two requests at once on an HTTP/1 connection.
    Pipelined,
    /// In a stream of an HTTP/2 connection.
    Http2,
    /// On a connection of its own, one of many at the same time.
    Burst,
    /// Half a head before the signal, the rest later.
    HalfHead,
    /// Half a body before the signal, the rest later.
    HalfBody,
    /// The answer is read slowly.
    SlowReader,
    /// A WebSocket.
    WebSocket,
    /// An event stream.
    Events,
}

impl Way {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Way::KeepAlive => "by a client that keeps its connection",
            Way::OneShot => "by a client with a new connection",
            Way::Pipelined => "pipelined",
            Way::Http2 => "in an HTTP/2 stream",
            Way::Burst => "by one of many new clients",
            Way::HalfHead => "with half a head before the signal",
            Way::HalfBody => "with half a body before the signal",
            Way::SlowReader => "with a slow reader",
            Way::WebSocket => "a WebSocket",
            Way::Events => "an event stream",
        }
    }

    /// Whether what ends is a connection, not a request.
    pub(crate) const fn is_long(self) -> bool {
        matches!(self, Way::WebSocket | Way::Events)
    }

    pub(crate) const fn is_slow(self) -> bool {
        matches!(self, Way::HalfHead | Way::HalfBody | Way::SlowReader)
    }
}

/// Why there is no whole answer.
pub(crate) type Lost = (Fate, String);

/// An attempt that is over.
#[derive(Clone, Debug)]
pub(crate) struct Attempt {
    /// What the request said in its header: no other of the same server has it.
    pub(crate) number: u64,
    pub(crate) way: Way,
    pub(crate) fate: Fate,
    /// Its connection had carried a request before.
    pub(crate) reused: bool,
    /// Before its connection was asked for, or just before it was sent on one that stood.
    pub(crate) began: Instant,
    pub(crate) ended: Instant,
    pub(crate) why: String,
}

/// An attempt that is under way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Begun {
    pub(crate) number: u64,
    way: Way,
    began: Instant,
    pub(crate) reused: bool,
}

/// All attempts of one run.
#[derive(Debug, Default)]
pub(crate) struct Log {
    next: AtomicU64,
    book: Mutex<Book>,
}

/// What a log has by the end of a run.
#[derive(Debug, Default)]
pub(crate) struct Book {
    pub(crate) attempts: Vec<Attempt>,
    /// How often a server told a client, in the protocol's words, not to use the connection again.
    pub(crate) told: u64,
    /// What kept a client from its work, and was not the server.
    pub(crate) trouble: Option<String>,
}

impl Log {
    pub(crate) fn begin(&self, way: Way) -> Begun {
        Begun {
            number: self.next.fetch_add(1, Ordering::Relaxed) + 1,
            way,
            began: Instant::now(),
            reused: false,
        }
    }

    pub(crate) fn end(&self, begun: Begun, end: Result<(), Lost>) -> Fate {
        let (fate, why) = end.err().unwrap_or((Fate::Answered, String::new()));
        self.book().attempts.push(Attempt {
            number: begun.number,
            way: begun.way,
            fate,
            reused: begun.reused,
            began: begun.began,
            ended: Instant::now(),
            why,
        });
        fate
    }

    pub(crate) fn told(&self) {
        self.book().told += 1;
    }

    pub(crate) fn trouble(&self, what: String) {
        self.book().trouble.get_or_insert(what);
    }

    /// Requests so far, and how many of them look lost.
    pub(crate) fn so_far(&self) -> (usize, usize) {
        let book = self.book();
        let lost = book.attempts.iter().filter(|one| one.fate.is_loss());
        (book.attempts.len(), lost.count())
    }

    /// What is in it. It is empty afterwards.
    pub(crate) fn take(&self) -> Book {
        std::mem::take(&mut self.book())
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
