//! hyper, on HTTP/1 and on HTTP/2.

use super::io::Read;
use super::{Answer, BUSY, Body, Handler, Over, Piece, ROOM, Reading, Stream, World};
use crate::net::exit::{Exit, Pong, Receiving};

impl World {
    pub(super) fn poll_http1(&mut self) {
        if self.reset && self.pending > 0 {
            return self.fail_http1();
        }
        if self.http1.closed {
            if self.poll_flush() {
                self.poll_shutdown();
            }
            return;
        }
        for _ in 0..BUSY {
            let again = self.read_http1();
            if self.over.is_some() {
                return;
            }
            let again = self.write_http1() || again;
            if self.reset && self.pending > 0 {
                return self.fail_http1();
            }
            let flushed = self.poll_flush();
            if self.http1.upgraded && flushed {
                return self.end(Over::Upgraded);
            }
            let idle = self.http1.handler.is_none();
            let done = match self.http1.reading {
                Reading::Closed => true,
                Reading::KeepAlive => self.http1.closes,
                Reading::Init | Reading::Body => false,
            };
            if idle && done && !self.http1.upgraded {
                self.http1.closed = true;
                if flushed {
                    self.poll_shutdown();
                }
                return;
            }
            if idle && self.http1.reading == Reading::KeepAlive && !self.http1.upgraded {
                self.http1.reading = Reading::Init;
                continue;
            }
            if !again {
                return;
            }
        }
        self.rules.breaks("the model of hyper does not rest");
    }

    /// Whether to go on.
    pub(super) fn read_http1(&mut self) -> bool {
        match self.http1.reading {
            Reading::Closed => false,
            Reading::Init => loop {
                match self.http1.buffer.pop_front() {
                    Some(Piece::Head { body }) => {
                        self.http1.reading = if body {
                            Reading::Body
                        } else {
                            Reading::KeepAlive
                        };
                        self.http1.body = Body::Read;
                        self.http1.handler = Some(Handler::Called);
                        self.called += 1;
                        // hyper reads on before the request's future is polled.
                        self.read_http1();
                        return true;
                    }
                    Some(_) => {}
                    None => match self.read() {
                        Read::Some => {}
                        Read::Dry => return false,
                        Read::Failed => {
                            self.end(Over::Client);
                            return false;
                        }
                        Read::End => {
                            self.http1.reading = Reading::Closed;
                            return true;
                        }
                    },
                }
            },
            Reading::Body => self.read_body(),
            Reading::KeepAlive => {
                // hyper minds the client's end while the handler runs.
                if self.http1.buffer.is_empty() && !self.http1.upgraded {
                    match self.read() {
                        Read::Some | Read::Dry => {}
                        Read::End if self.setup.half_close => self.http1.closes = true,
                        Read::End | Read::Failed => self.fail_http1(),
                    }
                }
                false
            }
        }
    }

    pub(super) fn read_body(&mut self) -> bool {
        if self.http1.body == Body::Kept {
            return false;
        }
        loop {
            match self.http1.buffer.pop_front() {
                Some(Piece::BodyEnd) => {
                    self.http1.reading = Reading::KeepAlive;
                    return true;
                }
                Some(_) => {}
                None => match self.read() {
                    Read::Some => {}
                    Read::Dry if self.http1.body == Body::Dropped => {
                        self.http1.reading = Reading::Closed;
                        return true;
                    }
                    Read::Dry => return false,
                    Read::End => {
                        self.http1.reading = Reading::Closed;
                        return true;
                    }
                    Read::Failed => {
                        self.fail_http1();
                        return false;
                    }
                },
            }
        }
    }

    /// The handler is dropped.
    pub(super) fn fail_http1(&mut self) {
        if matches!(
            self.http1.handler.take(),
            Some(Handler::Begun | Handler::Streaming)
        ) {
            self.finish();
        }
        self.end(Over::Client);
    }

    pub(super) fn write_http1(&mut self) -> bool {
        if self.http1.handler == Some(Handler::Called) {
            self.http1.handler = Some(Handler::Begun);
            self.begin();
            return true;
        }
        let Some(answer) = self.http1.answer.take() else {
            return false;
        };
        if let Answer::Switch = answer {
            if self.http1.reading != Reading::KeepAlive {
                return false;
            }
            self.http1.upgraded = true;
            self.tell(Exit::upgrade);
        } else if !matches!(answer, Answer::End) {
            let says = self.exit.is_disturbed() && self.exit.says_close();
            self.judge_head(says);
            self.http1.closes |= says;
            self.said_close |= says;
        }
        let keeps = match answer {
            Answer::Whole { bytes, keeps } => {
                self.pending += bytes;
                keeps
            }
            Answer::Head { bytes } => {
                self.pending += bytes;
                self.http1.handler = Some(Handler::Streaming);
                return false;
            }
            Answer::End | Answer::Switch => {
                self.pending += 1;
                false
            }
        };
        self.http1.handler = None;
        if self.http1.reading == Reading::Body && self.http1.body != Body::Dropped {
            self.http1.body = if keeps { Body::Kept } else { Body::Dropped };
        }
        self.finish();
        true
    }

    pub(super) fn poll_http2(&mut self) {
        for _ in 0..BUSY {
            if self.http2.closing {
                if self.write() {
                    self.poll_shutdown();
                }
                return;
            }
            // The IO's answer in the client's place, between two frames.
            let owes = self.exit.is_disturbed() && self.exit.pong() == Pong::Overdue;
            if owes && self.http2.pinged && !self.http2.in_block && !self.http2.ponged {
                self.http2.ponged = true;
                self.tell(Exit::set_ponged);
            }
            match self.read() {
                Read::Some => self.frames(),
                Read::Dry => {
                    self.write_http2();
                    if self.http2.ponged && self.http2.streams.is_empty() {
                        self.http2.closing = true;
                        continue;
                    }
                    return;
                }
                Read::End | Read::Failed => {
                    for _ in self
                        .http2
                        .streams
                        .iter()
                        .filter(|it| it.handler.is_some() && it.begun)
                    {
                        self.in_flight -= 1;
                        self.exit.finish();
                    }
                    self.http2.streams.clear();
                    let failed = self.gave_end;
                    return self.end(if failed { Over::Failed } else { Over::Client });
                }
            }
        }
        self.rules.breaks("the model of h2 does not rest");
    }

    pub(super) fn frames(&mut self) {
        while let Some(piece) = self.http1.buffer.pop_front() {
            match piece {
                Piece::HalfHead => self.http2.in_block = true,
                Piece::Blank => self.http2.in_block = false,
                Piece::Head { body } => {
                    self.http2.in_block = false;
                    // Above the last stream of the second GOAWAY it is none.
                    if !self.http2.ponged {
                        self.called += 1;
                        self.looked_in = None;
                        self.http2.streams.push(Stream {
                            ended: !body,
                            handler: Some(Handler::Called),
                            begun: false,
                            queued: false,
                            answered: false,
                            keeps: false,
                            bytes: 0,
                            tunnel: false,
                        });
                    }
                }
                Piece::BodyEnd => {
                    if let Some(stream) = self.http2.streams.iter_mut().find(|it| !it.ended) {
                        stream.ended = true;
                    }
                }
                Piece::Pong => {
                    self.http2.in_block = false;
                    // The IO keeps it, if it has not answered before.
                    if !self.http2.ponged {
                        let now = self.now;
                        self.http2.pong_taken.get_or_insert(now);
                        self.tell(Exit::pong_taken);
                    }
                }
                _ => {}
            }
        }
        self.tell_streams();
    }

    pub(super) fn write_http2(&mut self) {
        if self.http2.asked && !self.http2.pinged && self.unacknowledged < ROOM {
            self.http2.pinged = true;
            // The IO's answer may be owed by now.
            self.woken |= self.exit.is_disturbed() && self.exit.pong() == Pong::Overdue;
            self.hold(1);
        }
        let mut bytes = self.unacknowledged;
        for stream in self.http2.streams.iter_mut().filter(|it| it.queued) {
            while stream.bytes > 0 && bytes < ROOM {
                let part = stream.bytes.min(ROOM - bytes);
                stream.bytes -= part;
                bytes += part;
            }
            stream.answered |= stream.bytes == 0;
        }
        self.hold(bytes - self.unacknowledged);
        // Without somebody who reads the request's body h2 asks the client to stop.
        self.http2
            .streams
            .retain(|it| !it.answered || (!it.ended && it.keeps));
        self.tell_streams();
    }

    pub(super) fn tell_streams(&mut self) {
        self.http2.streams.retain(|it| !(it.answered && it.ended));
        let receiving = match self.http2.in_block {
            true => Receiving::Head,
            false => Receiving::Nothing,
        };
        self.receives(receiving);
        let (unanswered, uploads) = (self.unanswered(), self.uploads());
        self.tell(|exit| exit.set_streams(unanswered, uploads));
    }

    pub(super) fn unanswered(&self) -> u32 {
        self.http2.streams.iter().filter(|it| !it.answered).count() as u32
    }

    pub(super) fn uploads(&self) -> u32 {
        self.http2
            .streams
            .iter()
            .filter(|it| it.answered && !it.ended)
            .count() as u32
    }
}
