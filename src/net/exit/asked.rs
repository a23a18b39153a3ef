//! What an exit is asked by others.

use super::{Answers, Awaits, Closing, Exit, Pong, Protocol, Receiving};

impl Exit {
    pub(crate) const fn protocol(&self) -> Protocol {
        self.protocol
    }

    pub(crate) const fn in_flight(&self) -> u32 {
        self.in_flight
    }

    pub(crate) const fn tunnels(&self) -> u32 {
        self.tunnels
    }

    /// How many other protocols it carries: itself, on HTTP/1.
    pub(crate) const fn upgraded(&self) -> u32 {
        self.upgraded as u32 + self.tunnels
    }

    pub(crate) const fn is_upgraded(&self) -> bool {
        self.upgraded
    }

    pub(crate) const fn pong(&self) -> Pong {
        self.pong
    }

    /// How many streams of HTTP/2 have not got the end of their response.
    #[inline]
    pub(crate) const fn unanswered(&self) -> u32 {
        self.unanswered
    }

    /// The responses of HTTP/2, as far as their writing goes.
    pub(crate) fn answers(&self) -> Answers {
        let running = self.in_flight + self.not_begun();
        Answers {
            ready: self.unanswered.saturating_sub(running + self.tunnels),
            running,
        }
    }

    /// Whether HTTP/1 responses say close.
    #[inline]
    pub(crate) const fn says_close(&self) -> bool {
        self.asked || self.given_up
    }

    /// Whether it ends when it is idle and nothing has arrived.
    #[inline]
    pub(crate) const fn is_ending(&self) -> bool {
        self.ending || self.given_up
    }

    /// Whether anything is different from normal service.
    #[inline]
    pub(crate) const fn is_disturbed(&self) -> bool {
        self.leave.is_some() || self.given_up
    }

    /// Whether its driver has to look when an age is over.
    #[inline]
    pub(crate) const fn has_age(&self) -> bool {
        self.age.is_some()
    }

    /// Whether our side is closed, and the client's is waited for.
    #[inline]
    pub(crate) const fn is_lingering(&self) -> bool {
        matches!(self.closing, Closing::Lingering(_))
    }

    /// What it waits for from its client, if it does not wait for that without end.
    #[inline]
    pub(crate) fn awaits(&self) -> Option<Awaits> {
        match self.protocol {
            // As each request leaves it.
            Protocol::Http1 if self.requested > 0 && self.receiving != Receiving::Head => {
                self.is_lingering().then_some(Awaits::End)
            }
            // Until it is asked to leave hyper waits for anything without end, and so do we.
            Protocol::Http2 if self.pong == Pong::NotAsked => {
                self.is_lingering().then_some(Awaits::End)
            }
            _ => self.awaits_otherwise(),
        }
    }

    #[inline(never)]
    fn awaits_otherwise(&self) -> Option<Awaits> {
        if self.upgraded {
            return None;
        }
        if self.is_lingering() {
            return Some(Awaits::End);
        }
        let in_head = self.receiving == Receiving::Head;
        match self.protocol {
            Protocol::Handshake => Some(Awaits::Handshake),
            Protocol::Unknown if in_head => Some(Awaits::Preface),
            Protocol::Unknown => Some(Awaits::FirstByte),
            Protocol::Http1 if self.in_flight > 0 || self.unflushed => None,
            Protocol::Http1 if in_head => Some(Awaits::Head),
            // Empty lines are no request (RFC 9112, section 2.2).
            Protocol::Http1 if self.requested == 0 => Some(Awaits::FirstByte),
            Protocol::Http2 if self.pong == Pong::Awaited => Some(Awaits::Pong),
            Protocol::Http2 if self.pong == Pong::Kept => Some(Awaits::Queued),
            Protocol::Http2 if in_head => Some(Awaits::Head),
            // In normal service a client may take any time.
            Protocol::Session if self.in_flight > 0 || self.leave.is_none() => None,
            Protocol::Session if in_head => Some(Awaits::Head),
            Protocol::Http1 | Protocol::Http2 => None,
            Protocol::Unseen | Protocol::Raw | Protocol::Session => None,
        }
    }

    /// How many messages are not over, though nothing is in flight for them: responses that have not been sent whole, requests
    /// that are still being received behind their response.
    pub(crate) fn unfinished(&self) -> u32 {
        if self.upgraded {
            return 0;
        }
        let unacknowledged = u32::from(self.unacknowledged() > 0);
        match self.protocol {
            Protocol::Http2 => {
                let held = self.in_flight + self.tunnels;
                let sending = self.unanswered.saturating_sub(held) + self.uploads;
                sending.max(unacknowledged)
            }
            _ if self.in_flight > 0 => 0,
            _ => u32::from(self.unflushed || self.is_receiving_body()).max(unacknowledged),
        }
    }

    /// Whether a response of HTTP/1 may not have been written whole that is before the one of the request in flight.
    pub(crate) const fn is_behind(&self) -> bool {
        self.behind && self.in_flight > 0
    }

    /// How many bytes of ours the client has not acknowledged since we closed our side, as far as that is known.
    pub(crate) fn unacknowledged(&self) -> u32 {
        match &self.closing {
            Closing::Lingering(linger) => linger.unacknowledged(),
            _ => 0,
        }
    }

    /// Whether a request's body is still on its way, and wanted.
    pub(crate) const fn is_receiving_body(&self) -> bool {
        matches!(
            (self.receiving, &self.closing),
            (Receiving::Body, Closing::Open)
        ) || self.uploads > 0
    }

    pub(crate) fn is_mid_head(&self) -> bool {
        self.receiving == Receiving::Head
    }

    /// Whether every request on it is over, and has got the whole of its response.
    #[inline]
    pub(super) fn is_idle(&self) -> bool {
        self.in_flight == 0 && self.unfinished() == 0 && !self.is_called()
    }

    /// Whether hyper has called the service for a request that has not begun.
    fn is_called(&self) -> bool {
        self.not_begun() > 0
    }

    /// For how many requests hyper has called the service that have not begun.
    fn not_begun(&self) -> u32 {
        // The numbers go round, and the one that was told may be old.
        let ahead = self.called.wrapping_sub(self.requested as u32) as i32;
        ahead.max(0) as u32
    }

    /// Whether a message of HTTP/1 is not over. HTTP/2 is ended by GOAWAY, which lets them finish.
    pub(super) fn is_busy(&self) -> bool {
        self.protocol != Protocol::Http2 && !self.upgraded && !self.is_idle()
    }
}
