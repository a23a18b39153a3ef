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
    /// It did not come in time, and is answered in the client's place.
    Overdue,
    Come,
}

/// Where the client is in what it sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Receiving {
    /// Between two messages.
    Nothing,
    /// In a request's head (on HTTP/2: in a header block).
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
    /// The end of the client's side, after the end of ours.
    End,
}

/// Somebody wants the connection to leave: a shutdown does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Leave {
    /// Since when.
    pub(crate) since: Instant,
    /// When its client is asked.
    pub(crate) moment: Instant,
    /// When it ends, if it is idle by then. Known once connections are to end (in Close); then its moment has come as well.
    pub(crate) end: Option<Instant>,
    /// How long it is kept for a request that may be on its way: behind a response whose head could not ask, and when it is
    /// new.
    pub(crate) linger: Duration,
}

impl Leave {
    /// Whether `next` is the same wish, or what has become of it.
    pub(super) fn goes_on(&self, next: Option<Leave>) -> bool {
        let began = |leave: Leave| (leave.since, leave.moment, leave.linger);
        next.is_some_and(|next| {
            began(*self) == began(next) && (self.end.is_none() || self.end == next.end)
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
