//! What the machine is told, and what it says.

use std::time::Duration;

use tokio::time::Instant;

/// What is known of a connection's protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// Somebody else's connection: hyper serves it, and its bytes are not followed.
    Unseen,
    /// It is not HTTP yet: the TLS handshake is not over.
    Handshake,
    /// The first bytes have not told the version.
    Unknown,
    Http1,
    Http2,
    /// No HTTP.
    Raw,
    /// No HTTP, but requests and answers: a request is told when it begins and when it has been answered.
    Session,
}

/// The PING behind HTTP/2's first GOAWAY (RFC 9113, section 6.8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pong {
    NotAsked,
    Awaited,
    /// It has come, and is kept from h2 for the requests that may follow it.
    Kept,
    /// It did not come in time, or was kept for long enough: the IO answers in the client's place.
    Overdue,
    Come,
}

/// The responses of HTTP/2, as far as their writing goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Answers {
    /// How many are over, and have not been sent whole.
    pub(crate) ready: u32,
    /// How many requests are being answered, or are about to be.
    pub(crate) running: u32,
}

/// Where the client is in what it sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Receiving {
    /// Between two messages.
    Nothing,
    /// In a request's head (on HTTP/2: in a header block, or in a frame that is not the body of an open stream).
    Head,
    /// In the body of an HTTP/1 request.
    Body,
}

/// What a connection waits for from its client, and not without end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Awaits {
    /// The end of the TLS handshake.
    Handshake,
    /// The first byte.
    FirstByte,
    /// The rest of what begins like HTTP/2's preface.
    Preface,
    /// The rest of a request's head.
    Head,
    /// The answer to the PING behind the first GOAWAY.
    Pong,
    /// The requests that it had queued when the first GOAWAY came.
    Queued,
    /// The end of the client's side, after the end of ours.
    End,
}

/// Somebody wants the connection to leave: a shutdown does, or its age is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Leave {
    /// Since when a shutdown wants that. `None`: its age alone does, and the process stays.
    pub(crate) since: Option<Instant>,
    /// When its client is asked.
    pub(crate) moment: Instant,
    /// When it ends, if it is idle by then. Known once connections are to end (in Close); then its moment has come as well.
    pub(crate) end: Option<Instant>,
    /// How long it is kept for a request that may be on its way: behind a response whose head could not ask, and when it is
    /// new.
    pub(crate) linger: Duration,
}

impl Leave {
    /// Whether `next` is the same wish, or what has become of it. If the connection is `aged`, a shutdown may have joined its
    /// age, or its age a shutdown: what comes first counts, so that makes all of it earlier.
    pub(super) fn goes_on(&self, next: Option<Leave>, aged: bool) -> bool {
        let Some(next) = next else {
            return false;
        };
        let began = self.since == next.since || (aged && self.since.is_none());
        let earlier = |before: Instant, after: Instant| before == after || (aged && after < before);
        let ends = match (self.end, next.end) {
            (None, _) => true,
            (Some(before), Some(after)) => earlier(before, after),
            (Some(_), None) => false,
        };
        let lingers = self.linger == next.linger || (aged && next.linger < self.linger);
        began && ends && lingers && earlier(self.moment, next.moment)
    }
}

/// The age of a connection: when it wants to leave in normal service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Age {
    /// When it is over: then the client is asked.
    pub(crate) at: Instant,
    /// When the connection ends, if it is idle by then.
    pub(crate) end: Instant,
    /// When it is cut, if that is ever.
    pub(crate) cut: Option<Instant>,
    /// See [`Leave::linger`].
    pub(crate) linger: Duration,
}

impl Age {
    pub(super) fn is_over(&self, now: Instant) -> bool {
        now >= self.at
    }

    /// What it wants once it is over, beside what a shutdown wants: of both, what comes first.
    pub(super) fn join(&self, shutdown: Option<Leave>) -> Leave {
        let aged = Leave {
            since: None,
            moment: self.at,
            end: Some(self.end),
            linger: self.linger,
        };
        shutdown.map_or(aged, |leave| Leave {
            since: leave.since,
            moment: leave.moment.min(aged.moment),
            end: leave.end.into_iter().chain(aged.end).min(),
            linger: leave.linger.min(aged.linger),
        })
    }
}

/// What the driver is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    /// Ask the client to leave: HTTP/2's GOAWAY, or what somebody else's connection makes of it.
    Ask,
    /// End somebody else's connection as soon as it is idle.
    End,
    /// Poll the connection: the IO has an answer to give in the client's place, or reading ends.
    Poll,
    /// Find out how much the client has not acknowledged, and tell.
    AskSocket,
    /// Drop the connection.
    Drop,
    /// Drop it with what it carries: the grace behind its age is over.
    Cut,
}

/// What comes of a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Look {
    /// To be done now; then look again.
    Do(Act),
    /// Nothing to do until then, if nothing else happens.
    Until(Option<Instant>),
}

/// Whether the IO may answer a dry socket with the end of the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EndReading {
    No,
    /// The socket may only look dry: look again when the runtime's driver has been polled, and tell.
    LookAgain,
    Yes,
}
