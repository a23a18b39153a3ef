//! Plays the parts around the machine as the real ones do: the driver (`net::watched`), the IO (`http::connection::io`), hyper,
//! the socket and the client. Plain data: time is a number of milliseconds, and whoever has something to do is woken.
//!
//! What is known here is known from what happened, not from the machine. So the [rules](super::rules) can be asked of it.

mod hyper;
mod io;

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use super::drawn::{Kind, Pace, Setup, Step};
use super::rules::Rules;
use crate::net::exit::{Act, Age, Exit, Leave, Look, Protocol, Receiving};
use crate::net::timeouts::Timeouts;

/// How many bytes the socket holds that the client has not acknowledged.
const ROOM: u64 = 1000;
/// How often the driver may act without waiting, and be woken in the same millisecond.
const BUSY: usize = 60;

/// Something that the client has sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// What may be HTTP/2's preface.
    PrefaceLike,
    Preface,
    Blank,
    HalfHead,
    Head {
        body: bool,
    },
    Part,
    BodyEnd,
    Pong,
    End,
    Reset,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Handshake,
    Sniffing,
    /// Nothing came on it: it is shut.
    Ending,
    Http1,
    Http2,
    /// Unseen, or raw.
    Other,
    Over,
}

/// Why the task is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Over {
    Shut,
    Dropped,
    /// The grace behind its age is over.
    Cut,
    /// The client broke it off.
    Client,
    Upgraded,
    /// hyper was given its end within a header block.
    Failed,
}

/// What the shutdown wants.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wish {
    pub(super) since: u64,
    pub(super) moment: u64,
    pub(super) linger: u64,
    pub(super) close: Option<Closes>,
}

/// What the shutdown or the connection's age wants: of both, what comes first.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    pub(super) moment: u64,
    pub(super) linger: u64,
    pub(super) close: Option<Closes>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Closes {
    pub(super) since: u64,
    pub(super) end: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reading {
    Init,
    Body,
    KeepAlive,
    Closed,
}

/// Who has the body of the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Body {
    /// Somebody who reads it.
    Read,
    /// Somebody who does not.
    Kept,
    Dropped,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Handler {
    Called,
    Begun,
    /// Its response's head is sent, and its body goes on.
    Streaming,
}

/// hyper, on HTTP/1.
#[derive(Debug)]
struct Http1 {
    reading: Reading,
    body: Body,
    handler: Option<Handler>,
    /// What the handler did since hyper looked.
    answer: Option<Answer>,
    buffer: VecDeque<Piece>,
    /// The connection is not kept behind the response.
    closes: bool,
    closed: bool,
    upgraded: bool,
}

#[derive(Clone, Copy, Debug)]
enum Answer {
    Whole { bytes: u64, keeps: bool },
    Head { bytes: u64 },
    End,
    Switch,
}

/// A stream of HTTP/2.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stream {
    /// Its request has ended.
    ended: bool,
    handler: Option<Handler>,
    begun: bool,
    /// The end of its response has been given to h2.
    queued: bool,
    /// And sent.
    answered: bool,
    keeps: bool,
    bytes: u64,
    tunnel: bool,
}

#[derive(Debug, Default)]
pub(super) struct Http2 {
    pub(super) streams: Vec<Stream>,
    pub(super) in_block: bool,
    /// The first GOAWAY and the PING have been asked for, and sent.
    asked: bool,
    pub(super) pinged: bool,
    /// When the IO has taken the client's PONG.
    pub(super) pong_taken: Option<u64>,
    /// h2 has one.
    pub(super) ponged: bool,
    closing: bool,
}

/// Where the client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Begin,
    Between,
    Head,
    Body,
}

pub(super) struct World {
    base: Instant,
    pub(super) now: u64,
    pub(super) exit: Exit,
    pub(super) setup: Setup,
    pub(super) limits: Timeouts,
    pub(super) leave: Option<Wish>,
    /// The driver has looked since it began.
    leave_seen: bool,

    // The task and its runtime.
    pub(super) stage: Stage,
    pub(super) over: Option<Over>,
    woken: bool,
    /// It waits for the runtime's driver: see `net::watched::look_again`.
    awaits_driver: bool,
    timer: Option<u64>,
    turns: u64,
    /// When it was told to look again.
    pub(super) looked_in: Option<u64>,

    // The socket.
    kernel: VecDeque<Piece>,
    inbox: VecDeque<Piece>,
    pub(super) unacknowledged: u64,
    /// What hyper holds.
    pending: u64,
    pace: Pace,

    // The client.
    at: At,
    client_ended: bool,
    /// Its side is gone: what is sent to it is lost, and the kernel holds nothing.
    reset: bool,
    /// How many bodies of HTTP/2 it has begun and not ended.
    bodies: u32,

    http1: Http1,
    pub(super) http2: Http2,

    // What has been seen.
    pub(super) called: u32,
    pub(super) requested: u64,
    pub(super) in_flight: u32,
    /// hyper has not flushed the last response of HTTP/1.
    pub(super) unflushed: bool,
    /// What the IO has read.
    pub(super) receiving: Receiving,
    pub(super) saw_end: bool,
    pub(super) said_close: bool,
    pub(super) tunnel_ended: bool,
    pub(super) gave_end: bool,
    pub(super) shut: Option<u64>,
    /// When bytes of the client's were last discarded behind our end.
    pub(super) discarded: Option<u64>,
    pub(super) asked: Option<u64>,
    pub(super) rules: Rules,
}

impl World {
    pub(super) fn new(setup: Setup) -> Self {
        let base = Instant::now();
        let limits = match setup.discards {
            0 => Timeouts::new(),
            most => Timeouts::new().lingering_close(Duration::from_secs(1), most),
        };
        let mut world = World {
            base,
            now: 0,
            exit: Exit::new(base).with_age(setup.age.map(|age| {
                let after = |time: u64| base + Duration::from_millis(age.at + time);
                Age {
                    at: after(0),
                    end: after(age.kept),
                    cut: age.grace.map(after),
                    linger: Duration::from_millis(age.linger),
                }
            })),
            setup,
            limits,
            leave: None,
            leave_seen: false,
            stage: Stage::Other,
            over: None,
            woken: true,
            awaits_driver: false,
            timer: None,
            turns: 0,
            looked_in: None,
            kernel: VecDeque::new(),
            inbox: VecDeque::new(),
            unacknowledged: 0,
            pending: 0,
            pace: Pace::AtOnce,
            at: At::Begin,
            client_ended: false,
            reset: false,
            bodies: 0,
            http1: Http1 {
                reading: Reading::Init,
                body: Body::Read,
                handler: None,
                answer: None,
                buffer: VecDeque::new(),
                closes: false,
                closed: false,
                upgraded: false,
            },
            http2: Http2::default(),
            called: 0,
            requested: 0,
            in_flight: 0,
            unflushed: false,
            receiving: Receiving::Nothing,
            saw_end: false,
            said_close: false,
            tunnel_ended: false,
            gave_end: false,
            shut: None,
            discarded: None,
            asked: None,
            rules: Rules::default(),
        };
        match setup.kind {
            Kind::Unseen => {}
            Kind::Raw => world.tell(|exit| exit.set_protocol(Protocol::Raw)),
            _ => {
                world.stage = Stage::Handshake;
                world.tell(|exit| {
                    exit.set_protocol(Protocol::Handshake);
                    exit.set_goaway(setup.goaway);
                });
                if !setup.handshake {
                    world.shaken();
                }
            }
        }
        world
    }

    pub(super) fn is_http(&self) -> bool {
        !matches!(self.setup.kind, Kind::Unseen | Kind::Raw)
    }

    pub(super) const fn is_upgraded(&self) -> bool {
        self.http1.upgraded
    }

    pub(super) fn is_called(&self) -> bool {
        u64::from(self.called) > self.requested
    }

    fn instant(&self, at: u64) -> Instant {
        self.base + Duration::from_millis(at)
    }

    fn tell<T>(&mut self, tell: impl FnOnce(&mut Exit) -> T) -> T {
        let told = tell(&mut self.exit);
        self.woken |= self.exit.take_wake();
        self.note();
        told
    }

    /// What hyper has called, too.
    fn ask<T>(&mut self, ask: impl FnOnce(&mut Exit) -> T) -> T {
        let called = self.called;
        self.tell(|exit| {
            exit.set_called(called);
            ask(exit)
        })
    }

    // What happens.

    pub(super) fn play(&mut self, step: Step) {
        match step {
            Step::Wait(time) => self.wait(time),
            Step::Settle => self.settle(),
            Step::Turn => self.turn(),
            Step::Wakes => self.woken = true,
            Step::Leave { moment, linger } => self.begin_leave(moment, linger),
            Step::Close { quarters } => self.begin_close(quarters),
            Step::TakeBack => self.take_back(),
            Step::Shakes => self.shaken(),
            Step::Reads(pace) => self.pace = pace,
            Step::Begins => self.begins(),
            Step::Answers { bytes, keeps } => self.answers(Answer::Whole { bytes, keeps }),
            Step::Streams { bytes } => self.answers(Answer::Head { bytes }),
            Step::StreamEnds => self.answers(Answer::End),
            Step::Switches => self.answers(Answer::Switch),
            Step::TunnelEnds => self.tunnel_ends(),
            Step::ReadsBody => self.body(Body::Read),
            Step::DropsBody => self.body(Body::Dropped),
            Step::Pong => self.pong(),
            _ => self.client(step),
        }
        self.note();
    }

    fn begin_leave(&mut self, moment: u64, linger: u64) {
        if self.leave.is_none() {
            self.leave = Some(Wish {
                since: self.now,
                moment: self.now + moment,
                linger,
                close: None,
            });
            self.stage_moved();
        }
    }

    fn begin_close(&mut self, quarters: u64) {
        self.begin_leave(0, 1000);
        let now = self.now;
        let Some(leave) = &mut self.leave else { return };
        if leave.close.is_none() {
            leave.close = Some(Closes {
                since: now,
                end: now + leave.linger * quarters / 4,
            });
            // `net::group` leaves alone those that wait for their client's end.
            if !self.exit.is_lingering() {
                self.stage_moved();
            }
        }
    }

    /// Only while nothing has been said.
    fn take_back(&mut self) {
        let said = self.said_close || self.gave_end || self.asked.is_some() || self.shut.is_some();
        if !said && self.leave.take().is_some() {
            if std::mem::take(&mut self.leave_seen) {
                self.looked_in = None;
            }
            self.rules.taken_back();
            self.stage_moved();
        }
    }

    fn stage_moved(&mut self) {
        self.woken = true;
    }

    fn shaken(&mut self) {
        if self.stage == Stage::Handshake {
            self.tell(|exit| exit.set_protocol(Protocol::Unknown));
            self.stage = Stage::Sniffing;
            self.rules.shaken(self.now);
            self.woken = true;
        }
    }

    // The client.

    fn client(&mut self, step: Step) {
        if self.client_ended || !self.is_http() || self.stage == Stage::Handshake {
            return;
        }
        match step {
            Step::Ends => self.sends(Piece::End),
            Step::Resets => {
                (self.unacknowledged, self.reset) = (0, true);
                self.sends(Piece::Reset);
            }
            _ if self.setup.kind == Kind::Http2 => return self.client_http2(step),
            Step::Blank if matches!(self.at, At::Between | At::Begin) => self.sends(Piece::Blank),
            Step::Half if self.at == At::Begin && self.setup.kind == Kind::PrefaceLike => {
                self.at = At::Head;
                return self.sends(Piece::PrefaceLike);
            }
            Step::Half if self.at != At::Body => {
                self.at = At::Head;
                return self.sends(Piece::HalfHead);
            }
            Step::Head { body } if self.at != At::Body => {
                self.at = if body { At::Body } else { At::Between };
                return self.sends(Piece::Head { body });
            }
            Step::Part if self.at == At::Body => self.sends(Piece::Part),
            Step::BodyEnd if self.at == At::Body => {
                self.at = At::Between;
                self.sends(Piece::BodyEnd);
            }
            _ => return,
        }
        self.client_ended |= matches!(step, Step::Ends | Step::Resets);
        if self.at == At::Begin && step == Step::Blank {
            self.at = At::Between;
        }
    }

    fn client_http2(&mut self, step: Step) {
        if self.at == At::Begin {
            match step {
                Step::Half => return self.sends(Piece::PrefaceLike),
                Step::Blank | Step::Head { .. } => self.sends(Piece::Preface),
                _ => return,
            }
            self.at = At::Between;
        }
        match step {
            Step::Half => {
                self.at = At::Head;
                self.sends(Piece::HalfHead);
            }
            Step::Head { body } => {
                self.at = At::Between;
                self.bodies += u32::from(body);
                self.sends(Piece::Head { body });
            }
            // The rest of a frame that is no head.
            Step::Blank if self.at == At::Head => {
                self.at = At::Between;
                self.sends(Piece::Blank);
            }
            Step::BodyEnd if self.bodies > 0 && self.at != At::Head => {
                self.bodies -= 1;
                self.sends(Piece::BodyEnd);
            }
            _ => {}
        }
    }

    fn pong(&mut self) {
        if self.http2.pinged && !self.client_ended {
            // What was half sent was this.
            self.at = At::Between;
            self.sends(Piece::Pong);
        }
    }

    /// Into the kernel. The runtime sees it when its driver has been polled.
    fn sends(&mut self, piece: Piece) {
        self.kernel.push_back(piece);
    }

    // The application.

    fn body(&mut self, body: Body) {
        match self.stage {
            Stage::Http1
                if self.http1.reading == Reading::Body && self.http1.body != Body::Dropped =>
            {
                self.http1.body = body;
                self.woken = true;
            }
            Stage::Http2 if body == Body::Dropped => {
                // h2 asks the client to stop.
                let before = self.http2.streams.len();
                self.http2.streams.retain(|it| !(it.answered && it.keeps));
                if self.http2.streams.len() != before {
                    self.woken = true;
                    self.tell_streams();
                }
            }
            _ => {}
        }
    }

    /// On HTTP/2 requests have tasks of their own.
    fn begins(&mut self) {
        let called = |it: &&mut Stream| it.handler == Some(Handler::Called);
        if self.stage == Stage::Http2 {
            if let Some(stream) = self.http2.streams.iter_mut().find(called) {
                stream.handler = Some(Handler::Begun);
                stream.begun = true;
                self.begin();
            }
        }
    }

    fn begin(&mut self) {
        self.in_flight += 1;
        self.requested += 1;
        self.unflushed = self.stage == Stage::Http1;
        self.looked_in = None;
        self.tell(Exit::begin);
    }

    fn finish(&mut self) {
        self.in_flight -= 1;
        self.tell(Exit::finish);
    }

    fn answers(&mut self, answer: Answer) {
        match self.stage {
            Stage::Http1 => {
                let fits = match self.http1.handler {
                    Some(Handler::Begun) => !matches!(answer, Answer::End),
                    Some(Handler::Streaming) => matches!(answer, Answer::End),
                    _ => false,
                };
                if fits && self.http1.answer.is_none() {
                    self.http1.answer = Some(answer);
                    self.woken = true;
                }
            }
            Stage::Http2 => self.answers_http2(answer),
            _ => {}
        }
    }

    fn answers_http2(&mut self, answer: Answer) {
        let wanted = match answer {
            Answer::End => Handler::Streaming,
            _ => Handler::Begun,
        };
        let mut open = self.http2.streams.iter_mut();
        let Some(stream) = open.find(|it| it.handler == Some(wanted)) else {
            return;
        };
        match answer {
            Answer::Whole { bytes, keeps } => {
                (stream.handler, stream.queued) = (None, true);
                (stream.bytes, stream.keeps) = (bytes, keeps);
            }
            Answer::Head { bytes } => {
                (stream.handler, stream.bytes) = (Some(Handler::Streaming), bytes);
                return;
            }
            Answer::End => (stream.handler, stream.queued) = (None, true),
            Answer::Switch => {
                (stream.handler, stream.tunnel) = (None, true);
                // It is told of before the handler is over.
                self.tell(Exit::open_tunnel);
            }
        }
        self.finish();
        self.woken = true;
    }

    fn tunnel_ends(&mut self) {
        let mut open = self.http2.streams.iter_mut();
        if let Some(stream) = open.find(|it| it.tunnel && !it.queued) {
            (stream.queued, stream.bytes) = (true, 1);
            self.tunnel_ended = true;
            self.woken = true;
        }
    }

    // Time and turns.

    /// Time passes, and everybody has their turn, but not yet in the last of its instants.
    fn wait(&mut self, time: u64) {
        let until = self.now + time;
        while self.now < until {
            self.settle();
            if self.rules.broken.is_some() {
                return;
            }
            let timer = self.timer.filter(|_| self.over.is_none());
            let sent = self.socket_due();
            let next = timer.into_iter().chain(sent).min().unwrap_or(until);
            let next = next.clamp(self.now + 1, until);
            if self.pace == Pace::Slowly {
                self.acknowledge(next - self.now);
            }
            self.now = next;
            if self.timer.is_some_and(|timer| timer <= next) {
                self.timer = None;
                self.woken = true;
            }
        }
    }

    /// When the client has acknowledged so much that more can be sent, or everything.
    fn socket_due(&self) -> Option<u64> {
        let slowly = self.pace == Pace::Slowly && self.unacknowledged > 0;
        slowly.then(|| self.now + self.unacknowledged.min(100))
    }

    fn acknowledge(&mut self, bytes: u64) {
        let bytes = bytes.min(self.unacknowledged);
        if bytes == 0 {
            return;
        }
        if self.unacknowledged >= ROOM {
            self.woken = true;
        }
        self.unacknowledged -= bytes;
        self.rules.acknowledged(self.now);
    }

    /// Everybody has had their turn: the task, the runtime's driver, the client.
    pub(super) fn settle(&mut self) {
        for _ in 0..BUSY {
            if self.rules.broken.is_some() {
                return;
            }
            self.turns += 1;
            if std::mem::take(&mut self.awaits_driver) {
                self.tell(Exit::driver_polled);
            }
            if !self.kernel.is_empty() {
                self.inbox.append(&mut self.kernel);
                self.woken = true;
            }
            if self.pace == Pace::AtOnce {
                self.acknowledge(u64::MAX);
            }
            if !self.woken || self.over.is_some() {
                return self.judge();
            }
            self.turn();
        }
        self.rules
            .breaks("no rest: the task is woken again and again");
    }

    fn turn(&mut self) {
        if self.woken && self.over.is_none() && self.rules.broken.is_none() {
            self.woken = false;
            self.timer = None;
            self.poll_watched();
        }
    }

    // `Watched`.

    fn poll_watched(&mut self) {
        if self.leave.is_some() || self.exit.is_disturbed() {
            return self.attend(false);
        }
        self.poll();
        let waits = self.exit.awaits().is_some() || self.exit.has_age();
        if self.over.is_none() && (waits || self.exit.is_disturbed()) {
            self.attend(true);
        }
    }

    fn attend(&mut self, mut polled: bool) {
        for _ in 0..BUSY {
            match self.look() {
                Look::Do(Act::Ask) => self.goaway(),
                Look::Do(Act::End) => self.judge_end(),
                Look::Do(Act::AskSocket) => {
                    let told = self.told();
                    let now = self.instant(self.now);
                    self.tell(|exit| exit.delivered(told, now));
                    continue;
                }
                Look::Do(Act::Drop) => {
                    self.judge_drop();
                    return self.end(Over::Dropped);
                }
                Look::Do(Act::Cut) => {
                    self.judge_cut();
                    return self.end(Over::Cut);
                }
                Look::Do(Act::Poll) => {}
                Look::Until(due) if polled => {
                    let due = due.map(|due| (due - self.base).as_millis() as u64);
                    if due.is_some_and(|due| due <= self.now) {
                        continue;
                    }
                    self.timer = due;
                    return;
                }
                Look::Until(_) => {}
            }
            if self.exit.is_disturbed() && self.exit.is_ending() && self.ask(Exit::is_to_look_again)
            {
                self.look_again();
            } else {
                self.poll();
                if self.over.is_some() {
                    return;
                }
            }
            polled = true;
        }
        self.rules.breaks("no rest: one act after the other");
    }

    fn look(&mut self) -> Look {
        self.leave_seen |= self.leave.is_some();
        let leave = self.leave.map(|leave| Leave {
            since: Some(self.instant(leave.since)),
            moment: self.instant(leave.moment),
            end: leave.close.map(|close| self.instant(close.end)),
            linger: Duration::from_millis(leave.linger),
        });
        let (now, limits) = (self.instant(self.now), self.limits);
        self.ask(|exit| {
            exit.set_leave(leave, now);
            exit.look(&limits, now)
        })
    }

    fn told(&self) -> Option<u32> {
        self.setup.tells.then_some(self.unacknowledged as u32)
    }

    fn look_again(&mut self) {
        self.awaits_driver = true;
        self.looked_in = Some(self.turns);
    }

    fn goaway(&mut self) {
        self.judge_ask();
        self.asked = Some(self.now);
        self.http2.asked = true;
    }

    fn end(&mut self, over: Over) {
        self.over = Some(over);
        self.stage = Stage::Over;
        self.judge_over(over);
    }

    /// The connection does what it can.
    fn poll(&mut self) {
        if self.stage == Stage::Sniffing {
            self.poll_sniff();
        }
        match self.stage {
            Stage::Ending => self.poll_shutdown(),
            Stage::Http1 => self.poll_http1(),
            Stage::Http2 => self.poll_http2(),
            Stage::Handshake | Stage::Sniffing | Stage::Other | Stage::Over => {}
        }
    }

    // What is known.

    /// What the shutdown wants, or its age.
    pub(super) fn wanted(&self) -> Option<Wanted> {
        let shutdown = self.leave.map(|leave| Wanted {
            moment: leave.moment,
            linger: leave.linger,
            close: leave.close,
        });
        let age = self.setup.age.filter(|age| age.at <= self.now);
        let Some(age) = age else {
            return shutdown;
        };
        let closes = Closes {
            since: age.at,
            end: age.at + age.kept,
        };
        let (mut moment, mut linger, mut close) = (age.at, age.linger, closes);
        if let Some(shutdown) = shutdown {
            moment = moment.min(shutdown.moment);
            linger = linger.min(shutdown.linger);
            if let Some(other) = shutdown.close {
                close.since = close.since.min(other.since);
                close.end = close.end.min(other.end);
            }
        }
        Some(Wanted {
            moment,
            linger,
            close: Some(close),
        })
    }

    /// When the grace behind its age is over.
    pub(super) fn cut_at(&self) -> Option<u64> {
        let age = self.setup.age?;
        Some(age.at + age.grace?)
    }

    /// Whether nothing has come since the task was told to look again, and the driver has been polled.
    pub(super) fn looked_twice(&self) -> bool {
        self.looked_in.is_some_and(|turn| turn < self.turns) && self.inbox.is_empty()
    }

    /// How many messages a cut would lose now; an upgrade or a tunnel is nobody's message.
    pub(super) fn loses(&self) -> u32 {
        if self.over.is_some() {
            return 0;
        }
        if self.is_upgraded() {
            return self.in_flight;
        }
        let lingers = self.shut.is_some() && self.lingers_for_known();
        match self.stage {
            Stage::Http2 => {
                let streams = self.http2.streams.iter().filter(|it| !it.tunnel);
                (streams.count() as u32).max(u32::from(lingers))
            }
            _ => self.in_flight.max(u32::from(
                self.unflushed || self.is_receiving_body() || lingers,
            )),
        }
    }

    /// The machine may know of unacknowledged bytes.
    fn lingers_for_known(&self) -> bool {
        self.exit.unacknowledged() > 0
    }

    pub(super) fn is_receiving_body(&self) -> bool {
        match self.stage {
            Stage::Http2 => self.uploads() > 0,
            _ => {
                self.receiving == Receiving::Body
                    && !self.saw_end
                    && !self.gave_end
                    && self.shut.is_none()
            }
        }
    }

    pub(super) fn has_tunnel(&self) -> bool {
        self.http2.streams.iter().any(|it| it.tunnel)
    }

    /// Whether nothing is in flight, and all of it has been handed to the kernel.
    pub(super) fn is_idle(&self) -> bool {
        let streams = self.http2.streams.iter().all(|it| it.tunnel);
        self.in_flight == 0
            && !self.is_called()
            && !self.unflushed
            && !self.is_receiving_body()
            && streams
    }

    /// The client does what it ought to, and the application ends what it has begun.
    pub(super) fn behave(&mut self) {
        self.pace = Pace::AtOnce;
        let orders = [
            Step::Begins,
            Step::ReadsBody,
            Step::Answers {
                bytes: 1,
                keeps: false,
            },
            Step::StreamEnds,
            Step::TunnelEnds,
            Step::DropsBody,
        ];
        for _ in 0..self.http2.streams.len() + 40 {
            for order in orders {
                self.play(order);
                self.settle();
            }
        }
    }
}
