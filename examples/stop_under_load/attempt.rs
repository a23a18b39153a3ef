//! One attempt: one request, sent once, classified once, whatever becomes of it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use crate::random::Random;

/// Longer than any server is allowed to live: whoever has no answer by then gets none.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// What became of it, as its client saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Outcome {
    /// The whole answer came, and it was the answer to this request.
    Answered,
    /// Nobody was listening.
    Refused,
    /// The answer before it said close, and this one was sent on the same connection already: HTTP gives it no answer.
    Dismissed,
    /// The client reset it. hyper's does so with a request that it has just sent when a GOAWAY comes in the same instant; the
    /// server may have begun it by then, and would have answered.
    GivenUp,
    /// The connection was reset before the answer began.
    Reset,
    /// The connection ended before the answer began.
    NoAnswer,
    /// The connection ended in the middle of the answer.
    Truncated,
    TimedOut,
    /// Another status than 200, somebody else's answer, no HTTP.
    Other,
}

impl Outcome {
    pub(crate) const ALL: [Outcome; 9] = [
        Outcome::Answered,
        Outcome::Refused,
        Outcome::Dismissed,
        Outcome::GivenUp,
        Outcome::Reset,
        Outcome::NoAnswer,
        Outcome::Truncated,
        Outcome::TimedOut,
        Outcome::Other,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Outcome::Answered => "answered whole",
            Outcome::Refused => "refused",
            Outcome::Dismissed => "dismissed",
            Outcome::GivenUp => "given up",
            Outcome::Reset => "reset",
            Outcome::NoAnswer => "end without answer",
            Outcome::Truncated => "truncated",
            Outcome::TimedOut => "timed out",
            Outcome::Other => "other",
        }
    }

    /// Whether it is a loss, when the handler `ran` or not. A client may send again what was refused or dismissed, but only
    /// because nobody has begun it.
    pub(crate) const fn is_loss(self, ran: bool) -> bool {
        match self {
            Outcome::Answered | Outcome::GivenUp => false,
            Outcome::Refused | Outcome::Dismissed => ran,
            _ => true,
        }
    }
}

/// How it was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    KeepAlive,
    OneShot,
    Pipelined,
    Http2,
    Burst,
}

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Quick,
    Slow,
    /// The answer is streamed.
    Pieces,
    /// The request's body is sent in pieces.
    Upload,
    /// The same, but the handler answers without reading it.
    Early,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Ask {
    pub(crate) id: u64,
    pub(crate) kind: Kind,
    pub(crate) post: bool,
}

impl Ask {
    /// A request with a number that no other has.
    pub(crate) fn new(kind: Kind, post: bool) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Ask {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            kind,
            post,
        }
    }

    pub(crate) fn quick(random: &mut Random) -> Self {
        Ask::new(Kind::Quick, random.below(2) == 0)
    }

    /// Of every kind, but for the early answer; the quick ones more often.
    pub(crate) fn any(random: &mut Random) -> Self {
        match random.below(8) {
            0 | 1 => Ask::new(Kind::Slow, random.below(2) == 0),
            2 => Ask::new(Kind::Pieces, false),
            3 => Ask::new(Kind::Upload, true),
            _ => Ask::quick(random),
        }
    }

    pub(crate) const fn method(&self) -> &'static str {
        if self.post { "POST" } else { "GET" }
    }

    pub(crate) fn target(&self) -> String {
        let path = match self.kind {
            Kind::Quick => "/quick",
            Kind::Slow => "/slow",
            Kind::Pieces => "/pieces",
            Kind::Upload => "/upload",
            Kind::Early => "/early",
        };
        format!("{path}?{}", self.id)
    }

    /// The request's body, as it is sent, one piece after the other.
    pub(crate) fn body(&self) -> Vec<Vec<u8>> {
        match (self.post, self.kind) {
            (false, _) => Vec::new(),
            (true, Kind::Upload | Kind::Early) => vec![vec![b'u'; 4096]; 5],
            (true, _) => vec![b"a note\n".to_vec()],
        }
    }
}

/// An attempt that is over.
#[derive(Clone, Debug)]
pub(crate) struct Attempt {
    pub(crate) ask: Ask,
    pub(crate) way: Way,
    pub(crate) outcome: Outcome,
    /// Before its connection was asked for, or just before it was sent on the one there was.
    pub(crate) began: SystemTime,
    pub(crate) ended: SystemTime,
    pub(crate) why: String,
}

/// Why there is no whole answer.
pub(crate) type Lost = (Outcome, String);

/// All attempts of one round.
#[derive(Debug, Default)]
pub(crate) struct Log(Mutex<Vec<Attempt>>);

impl Log {
    pub(crate) fn add(&self, ask: Ask, way: Way, began: SystemTime, end: Result<(), Lost>) {
        let (outcome, why) = end.err().unwrap_or((Outcome::Answered, String::new()));
        let attempt = Attempt {
            ask,
            way,
            outcome,
            began,
            ended: SystemTime::now(),
            why,
        };
        let mut attempts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        attempts.push(attempt);
    }

    /// What is in it; it is empty afterwards.
    pub(crate) fn take(&self) -> Vec<Attempt> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
