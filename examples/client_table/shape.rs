//! The shapes of clients.

use std::fmt;

use crate::column::Column;
use crate::moment::Moment;
use crate::protocol::Protocol;

/// What a client does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// Reads its response at so many kB/s.
    Read(usize),
    /// The same, with HTTP/2's initial window, which it widens as it reads.
    ReadByWindow(usize),
    StopReading,
    /// Sends its next request while it still reads a response.
    NextHead,
    HalfClose,
    /// Four requests at once.
    Pipelined,
    HalfHead,
    /// Half a head behind a request that is answered.
    HalfNextHead,
    HalfBody,
    /// Sends a body of so many kB to a handler that does not read it, and a request later.
    Unread(usize),
    Trickle,
    /// Trickles behind its response.
    Behind,
    Http10,
    Expect,
    NoPong,
    Reset,
    /// Reads nothing of a response of so many kB.
    NeverReads(usize),
    /// Reads too slowly for the time that there is.
    TooSlow,
    HeadNever,
    BodyNever,
    TrickleNever,
    BehindNever,
}

/// Which clients share a server. Those that never end hold it up, so they have one of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cast {
    /// They end within the time that there is.
    Ending,
    /// They never do. They fit in a report, which names 20 at most.
    Stuck,
}

impl Cast {
    pub(crate) const ALL: [Cast; 2] = [Cast::Ending, Cast::Stuck];
}

impl Shape {
    pub(crate) const ALL: [Shape; 28] = [
        Shape::Read(20),
        Shape::Read(80),
        Shape::Read(500),
        Shape::ReadByWindow(80),
        Shape::StopReading,
        Shape::NextHead,
        Shape::HalfClose,
        Shape::Pipelined,
        Shape::HalfHead,
        Shape::HalfNextHead,
        Shape::HalfBody,
        Shape::Unread(1),
        Shape::Unread(16),
        Shape::Unread(24),
        Shape::Unread(64),
        Shape::Trickle,
        Shape::Behind,
        Shape::Http10,
        Shape::Expect,
        Shape::NoPong,
        Shape::Reset,
        Shape::NeverReads(300),
        Shape::NeverReads(8000),
        Shape::TooSlow,
        Shape::HeadNever,
        Shape::BodyNever,
        Shape::TrickleNever,
        Shape::BehindNever,
    ];

    /// As the table names it; a part of its requests' paths.
    pub(crate) fn key(self) -> String {
        let name = match self {
            Shape::Read(rate) => return format!("read-{rate}-kB-per-s"),
            Shape::ReadByWindow(rate) => return format!("window-{rate}-kB-per-s"),
            Shape::Unread(size) => return format!("unread-body-{size}-kB"),
            Shape::NeverReads(size) => return format!("never-reads-{size}-kB"),
            Shape::StopReading => "stops-reading-3-s",
            Shape::NextHead => "next-head-mid-read",
            Shape::HalfClose => "half-close",
            Shape::Pipelined => "four-at-once",
            Shape::HalfHead => "half-head",
            Shape::HalfNextHead => "half-next-head",
            Shape::HalfBody => "half-chunk",
            Shape::Trickle => "trickle",
            Shape::Behind => "trickle-behind",
            Shape::Http10 => "http-1.0",
            Shape::Expect => "expect-100",
            Shape::NoPong => "no-pong",
            Shape::Reset => "reset-mid-body",
            Shape::TooSlow => "too-slow",
            Shape::HeadNever => "half-head-never",
            Shape::BodyNever => "half-chunk-never",
            Shape::TrickleNever => "trickle-never",
            Shape::BehindNever => "behind-never",
        };
        name.to_owned()
    }

    pub(crate) const fn cast(self) -> Cast {
        match self {
            Shape::NeverReads(_)
            | Shape::TooSlow
            | Shape::HeadNever
            | Shape::BodyNever
            | Shape::TrickleNever
            | Shape::BehindNever => Cast::Stuck,
            _ => Cast::Ending,
        }
    }

    /// Whether the protocol has it.
    pub(crate) const fn exists_in(self, protocol: Protocol) -> bool {
        match self {
            Shape::NextHead
            | Shape::HalfClose
            | Shape::HalfNextHead
            | Shape::Http10
            | Shape::Expect => !protocol.is_http2(),
            Shape::ReadByWindow(_) | Shape::NoPong => protocol.is_http2(),
            _ => true,
        }
    }

    /// Whether it exists at that moment. A connection that lameduck accepts after SIGTERM is told to close with its first
    /// response, and these have something to send behind one that does not say so.
    pub(crate) fn exists_at(self, moment: Moment, column: Column) -> bool {
        let is_next = matches!(self, Shape::NextHead | Shape::HalfNextHead);
        !is_next || moment.clients_begin_in().is_none() || column != Column::Lameduck
    }

    /// Whether it needs a server of its own: what it reads may wait in the server's kernel, and nobody else may hold up the
    /// process that should stay for it.
    pub(crate) fn is_alone_at(self, moment: Moment) -> bool {
        let reads_late = matches!(
            self,
            Shape::Read(_) | Shape::ReadByWindow(_) | Shape::StopReading | Shape::NextHead
        );
        reads_late && moment != Moment::Normal
    }

    /// Whether it begins something that the server bounds by less than LameDuck.
    pub(crate) const fn is_bounded(self) -> bool {
        matches!(self, Shape::HalfHead | Shape::HalfNextHead)
    }

    /// Whether all of its response is there before the moment by design, and something else goes on then.
    pub(crate) const fn is_answered_before(self) -> bool {
        matches!(
            self,
            Shape::Unread(_) | Shape::Behind | Shape::BehindNever | Shape::Http10
        )
    }

    /// Whether it is in the short table.
    pub(crate) const fn is_telling(self) -> bool {
        !matches!(
            self,
            Shape::Read(20 | 500) | Shape::Unread(1 | 16) | Shape::HalfNextHead | Shape::TooSlow
        )
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.key())
    }
}
