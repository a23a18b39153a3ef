//! The IO, as `http::connection::io` plays it: sniffs, follows, ends reading, lingers.

use super::{Over, Piece, ROOM, Stage, World};
use crate::net::exit::{EndReading, Exit, Protocol, Receiving};

impl World {
    /// The socket is dry. Whether reading ends.
    pub(super) fn poll_end(&mut self) -> bool {
        if !self.exit.is_disturbed() || !self.exit.is_ending() {
            return false;
        }
        match self.ask(Exit::end_reading) {
            EndReading::No => false,
            EndReading::LookAgain => {
                self.look_again();
                false
            }
            EndReading::Yes => {
                self.judge_end_of_reading();
                self.gave_end = true;
                self.tell(Exit::reading_ended);
                true
            }
        }
    }

    pub(super) fn receives(&mut self, receiving: Receiving) {
        if self.exit.is_disturbed() && self.exit.is_ending() {
            self.tell(Exit::received);
        }
        if self.receiving != receiving {
            self.receiving = receiving;
            self.tell(|exit| exit.receiving(receiving));
        }
    }

    pub(super) fn poll_sniff(&mut self) {
        loop {
            let Some(piece) = self.inbox.front().copied() else {
                if self.poll_end() {
                    self.stage = Stage::Ending;
                }
                return;
            };
            match piece {
                Piece::Reset => return self.end(Over::Client),
                Piece::End => {
                    self.saw_end = true;
                    self.tell(Exit::client_ended);
                    if self.receiving == Receiving::Nothing {
                        self.stage = Stage::Ending;
                        return;
                    }
                    return self.speak(Protocol::Http1);
                }
                _ => {}
            }
            self.inbox.pop_front();
            self.looked_in = None;
            if self.exit.is_disturbed() && self.exit.is_ending() {
                self.tell(Exit::received);
            }
            match piece {
                Piece::PrefaceLike => {
                    self.receiving = Receiving::Head;
                    if self.inbox.is_empty() {
                        self.tell(|exit| exit.receiving(Receiving::Head));
                    }
                }
                Piece::Preface => return self.speak(Protocol::Http2),
                piece => {
                    self.http1.buffer.push_back(piece);
                    return self.speak(Protocol::Http1);
                }
            }
        }
    }

    pub(super) fn speak(&mut self, protocol: Protocol) {
        self.receiving = match self.http1.buffer.back() {
            _ if protocol == Protocol::Http2 => Receiving::Nothing,
            Some(piece) => behind(*piece),
            // What was like the preface is a head.
            None => Receiving::Head,
        };
        self.stage = match protocol {
            Protocol::Http2 => Stage::Http2,
            _ => Stage::Http1,
        };
        let receiving = self.receiving;
        self.tell(|exit| {
            exit.set_protocol(protocol);
            exit.receiving(receiving);
        });
    }

    /// Reads all that is there into hyper's buffer.
    pub(super) fn read(&mut self) -> Read {
        let Some(piece) = self.inbox.front().copied() else {
            return match self.poll_end() {
                true => Read::End,
                false => Read::Dry,
            };
        };
        match piece {
            Piece::Reset => return Read::Failed,
            Piece::End => {
                self.saw_end = true;
                self.tell(Exit::client_ended);
                return Read::End;
            }
            _ => {}
        }
        let mut receiving = self.receiving;
        while let Some(piece) = self.inbox.front().copied() {
            if matches!(piece, Piece::End | Piece::Reset) {
                break;
            }
            self.inbox.pop_front();
            self.http1.buffer.push_back(piece);
            receiving = behind(piece);
        }
        self.looked_in = None;
        if self.stage == Stage::Http1 {
            self.receives(receiving);
        }
        Read::Some
    }

    /// The kernel takes bytes of ours.
    pub(super) fn hold(&mut self, bytes: u64) {
        if !self.reset {
            self.unacknowledged += bytes;
        }
    }

    /// Sends what hyper holds, as far as the socket has room. Whether that is all.
    pub(super) fn write(&mut self) -> bool {
        let room = ROOM.saturating_sub(self.unacknowledged);
        let part = room.min(self.pending);
        self.hold(part);
        self.pending -= part;
        self.pending == 0
    }

    pub(super) fn poll_flush(&mut self) -> bool {
        if !self.write() {
            return false;
        }
        if self.exit.is_unflushed() {
            self.unflushed = false;
            self.tell(Exit::flushed);
        }
        true
    }

    pub(super) fn poll_shutdown(&mut self) {
        if !self.exit.is_shut() {
            let asks = self.exit.minds_delivery() && self.exit.closes_idle();
            let undelivered = if asks { self.told() } else { None };
            let now = self.instant(self.now);
            self.shut = Some(self.now);
            self.tell(|exit| exit.shut(undelivered, now));
        }
        if !self.exit.is_over() {
            if !self.poll_discard() {
                return;
            }
            self.tell(Exit::over);
        }
        self.end(Over::Shut);
    }

    pub(super) fn poll_discard(&mut self) -> bool {
        let mut read = 0;
        loop {
            let (now, limits) = (self.instant(self.now), self.limits);
            if read > 0 {
                self.discarded = Some(self.now);
            }
            if self.tell(|exit| exit.discarded(read, &limits, now)) {
                return true;
            }
            match self.inbox.front() {
                None => return false,
                Some(Piece::Reset) => return true,
                Some(Piece::End) => {
                    self.saw_end = true;
                    return !self.tell(Exit::awaits_delivery_behind_end);
                }
                Some(_) => read = 1,
            }
            self.inbox.pop_front();
        }
    }
}

pub(super) enum Read {
    Some,
    Dry,
    End,
    Failed,
}

/// Where the client is behind a piece.
fn behind(piece: Piece) -> Receiving {
    match piece {
        Piece::HalfHead => Receiving::Head,
        Piece::Head { body: true } | Piece::Part => Receiving::Body,
        _ => Receiving::Nothing,
    }
}
