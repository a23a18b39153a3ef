//! The clients of HTTP/2.
//!
//! They write and read frames themselves: no library sends half a header block, leaves a PING without an answer, or reads its
//! socket at a pace while its windows are wide.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::app::{self, count, dripped, pattern};
use crate::cue::Cue;
use crate::frames::*;
use crate::moment::Moment;
use crate::script::{self, *};
use crate::shape::Shape;
use crate::story::{Asked, Behind, Demand, End, Response, Story};
use crate::wire::Wire;

/// More than any response.
const WIDE: u32 = 16 << 20;
/// What a DATA frame may hold, as long as the server says nothing else. Its windows are hyper's, 1 MB, which nothing here fills.
const LARGEST: usize = 16 << 10;
const HALF_PATH: &str = "/large/1000/half";

pub(crate) struct Client<'a> {
    wire: &'a mut Wire,
    cue: &'a mut Cue,
    story: &'a mut Story,
    shape: Shape,
    /// Left to chance: what it does after the phase has begun comes so much later.
    delay: Duration,
    /// The responses' bodies so far, one for each request.
    bodies: Vec<Vec<u8>>,
    /// What is to be sent behind a frame of which the client has sent a half.
    held: Option<Vec<u8>>,
    /// The server sends this connection away.
    going_away: bool,
}

impl<'a> Client<'a> {
    pub(crate) fn new(
        wire: &'a mut Wire,
        cue: &'a mut Cue,
        story: &'a mut Story,
        shape: Shape,
        delay: Duration,
    ) -> Self {
        Client {
            wire,
            cue,
            story,
            shape,
            delay,
            bodies: Vec::new(),
            held: None,
            going_away: false,
        }
    }

    /// Returns how the connection ended, or nothing if this client ends it.
    pub(crate) async fn play(mut self) -> Result<(), End> {
        let key = self.shape.key();
        self.greet().await;
        match self.shape {
            Shape::Read(rate) | Shape::ReadByWindow(rate) => {
                self.wire.pace(rate);
                self.large(&key, readable(rate, READING)).await;
                self.read_body(SLOW_BEGINNING).await?;
                self.cue.ready();
                self.finish().await
            }
            Shape::TooSlow => {
                self.wire.pace(TOO_SLOW);
                self.large(&key, TOO_LARGE).await;
                self.read_body(SLOW_BEGINNING).await?;
                self.cue.ready();
                self.finish().await
            }
            Shape::StopReading => {
                self.large(&key, LARGE).await;
                self.read_body(BEGINNING).await?;
                self.cue.ready();
                self.cue.begun.come().await;
                sleep(after::READING_STOPPED + self.delay).await;
                self.finish().await
            }
            Shape::NeverReads(size) => {
                let path = self.large(&key, size * 1000).await;
                self.cue.entered(&path).await;
                self.cue.ready();
                self.cue.left.come().await;
                self.finish().await
            }
            Shape::Reset => {
                self.large(&key, LARGE).await;
                self.read_body(BEGINNING).await?;
                self.cue.ready();
                self.cue.begun.come().await;
                sleep(after::RESET + self.delay).await;
                Ok(())
            }
            Shape::Pipelined => {
                for number in 1..=4 {
                    self.drip(&format!("{key}-{number}")).await;
                }
                self.read_body(1).await?;
                self.cue.ready();
                self.finish().await
            }
            Shape::NoPong => {
                self.drip(&key).await;
                self.read_body(1).await?;
                self.cue.ready();
                self.finish().await
            }
            Shape::HalfHead => {
                let rest = self
                    .half_block(&key, script::later(self.cue.moment))
                    .await?;
                self.read_until_told().await?;
                self.read_until_after(after::REST_OF_BLOCK).await?;
                self.send_rest(&rest).await;
                self.finish().await
            }
            Shape::HeadNever => {
                self.half_block(&key, Demand::Unbegun).await?;
                self.finish().await
            }
            Shape::HalfBody => {
                let rest = self.half_frame(&key).await;
                self.read_until_after(after::REST).await?;
                self.send_rest(&rest).await;
                self.finish().await
            }
            Shape::BodyNever => {
                self.half_frame(&key).await;
                self.finish().await
            }
            Shape::Unread(size) => self.unread(&key, size * 1000).await,
            Shape::Trickle => {
                let stream = self.post(&format!("/upload/{key}"), "").await;
                let length = self.trickle_until_after(stream).await?;
                self.last_asked().expected = count(length).into_bytes();
                self.send(&frame(DATA, END_STREAM, stream, b"")).await;
                self.finish().await
            }
            Shape::TrickleNever => {
                let stream = self.post(&format!("/upload/{key}"), "").await;
                self.entered().await?;
                self.cue.ready();
                self.trickle_for_ever(stream).await
            }
            Shape::Behind => self.behind(&key).await,
            Shape::BehindNever => {
                let stream = self.post(&format!("/behind/{key}"), app::ACCEPTED).await;
                self.last_asked().behind = Some(Behind::Part);
                self.answered().await?;
                self.cue.ready();
                self.trickle_for_ever(stream).await
            }
            Shape::NextHead
            | Shape::HalfClose
            | Shape::HalfNextHead
            | Shape::Http10
            | Shape::Expect => {
                unreachable!("HTTP/2 has no such client")
            }
        }
    }

    /// What each connection begins with.
    async fn greet(&mut self) {
        let settings = match self.shape {
            Shape::ReadByWindow(_) => frame(SETTINGS, NO_FLAG, CONNECTION, b""),
            _ => [initial_window(WIDE), window_update(CONNECTION, WIDE)].concat(),
        };
        self.send(&[PREFACE, &settings].concat()).await;
    }

    /// Half of a header block while another stream is in its handler. Returns the frame that completes it. Until that nothing
    /// else may be sent (RFC 9113, section 6.10).
    async fn half_block(&mut self, key: &str, demand: Demand) -> Result<Vec<u8>, End> {
        self.drip(key).await;
        self.read_body(1).await?;
        let block = block(Method::Get, HALF_PATH);
        let (first, rest) = block.split_at(block.len() / 2);
        let stream = self.expecting(HALF_PATH, demand, pattern(SMALL));
        self.send(&frame(HEADERS, END_STREAM, stream, first)).await;
        self.held = Some(Vec::new());
        self.cue.ready();
        Ok(frame(CONTINUATION, END_HEADERS, stream, rest))
    }

    /// Half of a DATA frame. Returns the other half.
    async fn half_frame(&mut self, key: &str) -> Vec<u8> {
        let path = format!("/upload/{key}");
        let stream = self.post(&path, &count(CHUNK)).await;
        let whole = frame(DATA, END_STREAM, stream, &pattern(CHUNK));
        let (first, rest) = whole.split_at(HALF);
        self.send(first).await;
        self.held = Some(Vec::new());
        self.cue.entered(&path).await;
        self.cue.ready();
        rest.to_vec()
    }

    async fn unread(&mut self, key: &str, length: usize) -> Result<(), End> {
        let stream = self.post(&format!("/unread/{key}"), app::REFUSED).await;
        let body = pattern(length);
        let mut pieces = body.chunks(LARGEST).peekable();
        while let Some(piece) = pieces.next() {
            let flags = if pieces.peek().is_none() {
                END_STREAM
            } else {
                NO_FLAG
            };
            self.send(&frame(DATA, flags, stream, piece)).await;
        }
        self.answered().await?;
        self.cue.ready();
        if let Err(end) = self.read_until_after(after::NEXT_REQUEST).await {
            self.story.early = !self.going_away && self.cue.moment.serves_on();
            return Err(end);
        }
        if !self.going_away {
            let demand = script::next(self.cue.moment);
            self.get(&format!("/large/{SMALL}/{key}-2"), demand, pattern(SMALL))
                .await;
        }
        self.finish().await
    }

    async fn behind(&mut self, key: &str) -> Result<(), End> {
        let path = format!("/behind/{key}");
        let stream = self.post(&path, app::ACCEPTED).await;
        self.last_asked().behind = Some(Behind::Part);
        self.answered().await?;
        let length = self.trickle_until_after(stream).await?;
        self.last_asked().behind = Some(Behind::Whole(length));
        self.send(&frame(DATA, END_STREAM, stream, b"")).await;
        let start = format!("body {path} ");
        let mut cue = self.cue.clone();
        self.read_until(cue.said(&start)).await?;
        self.finish().await
    }

    /// Reads until GOAWAY has come, with a PING that this client cannot answer; not for longer than another stream drips.
    async fn read_until_told(&mut self) -> Result<(), End> {
        while !self.going_away
            && self.cue.moment != Moment::Normal
            && !self.story.requests[0].is_over()
        {
            self.turn().await?;
        }
        Ok(())
    }

    async fn read_until_after(&mut self, time: Duration) -> Result<(), End> {
        let (mut cue, time) = (self.cue.clone(), time + self.delay);
        self.read_until(async {
            cue.begun.come().await;
            sleep(time).await;
        })
        .await
    }

    /// Sends frame after frame. Returns how long they were.
    async fn trickle_until_after(&mut self, stream: u32) -> Result<usize, End> {
        let time = after::TRICKLING + self.delay;
        let (mut length, mut last) = (0, None);
        self.entered().await?;
        while last.is_none_or(|last| Instant::now() < last) {
            self.trickle(stream).await?;
            length += TRICKLE;
            self.cue.ready();
            if last.is_none() && self.cue.begun.has_come() {
                last = Some(Instant::now() + time);
            }
        }
        Ok(length)
    }

    async fn trickle_for_ever(&mut self, stream: u32) -> Result<(), End> {
        loop {
            self.trickle(stream).await?;
        }
    }

    /// One frame, and the pause behind it.
    async fn trickle(&mut self, stream: u32) -> Result<(), End> {
        self.send(&frame(DATA, NO_FLAG, stream, &pattern(TRICKLE)))
            .await;
        self.read_until(sleep(BETWEEN_TRICKLES)).await
    }

    async fn entered(&mut self) -> Result<(), End> {
        let path = self.last_asked().path.clone();
        let mut cue = self.cue.clone();
        self.read_until(cue.entered(&path)).await
    }

    /// Waits for every response that is still to come, and for the server's end, unless this client ends the connection.
    async fn finish(&mut self) -> Result<(), End> {
        self.answered().await?;
        if self.cue.moment == Moment::Normal {
            return Ok(());
        }
        loop {
            self.turn().await?;
        }
    }

    async fn answered(&mut self) -> Result<(), End> {
        while !self.story.requests.iter().all(Asked::is_over) {
            self.turn().await?;
        }
        Ok(())
    }

    /// Reads until so much of the first response has come.
    async fn read_body(&mut self, length: usize) -> Result<(), End> {
        while self.story.requests[0].received < length {
            self.turn().await?;
        }
        Ok(())
    }

    async fn read_until(&mut self, event: impl Future<Output = ()>) -> Result<(), End> {
        let mut event = std::pin::pin!(event);
        loop {
            tokio::select! {
                biased;
                () = &mut event => return Ok(()),
                more = self.wire.more() => more?,
            }
            self.understand().await;
        }
    }

    /// Reads a piece, and does what its frames ask for.
    async fn turn(&mut self) -> Result<(), End> {
        self.wire.more().await?;
        self.understand().await;
        Ok(())
    }

    async fn understand(&mut self) {
        while let Some(frame) = Frame::take(&mut self.wire.buffer) {
            self.obey(frame).await;
        }
    }

    async fn obey(&mut self, got: Frame) {
        match got.kind {
            SETTINGS if !got.has(ACK) => self.send(&frame(SETTINGS, ACK, CONNECTION, b"")).await,
            PING if !got.has(ACK) && self.shape != Shape::NoPong => {
                self.send(&frame(PING, ACK, CONNECTION, &got.payload)).await;
            }
            GOAWAY => {
                self.going_away = true;
                self.story.error = Some(got.error()).filter(|&error| error != NO_ERROR);
            }
            HEADERS if got.has(END_STREAM) => self.complete(got.stream),
            RST_STREAM => {
                let reset = format!("its stream was reset, error {}", got.error());
                let asked = &mut self.story.requests[place(got.stream)];
                // Behind a whole response it says that the rest of the request is not wanted.
                if !asked.is_over() {
                    asked.response = Response::Other(reset);
                }
            }
            DATA => {
                let at = place(got.stream);
                self.bodies[at].extend(&got.payload);
                self.story.requests[at].received = self.bodies[at].len();
                self.widen(&got).await;
                if got.has(END_STREAM) {
                    self.complete(got.stream);
                }
            }
            _ => {}
        }
    }

    /// Gives back what a DATA frame took of the windows.
    async fn widen(&mut self, data: &Frame) {
        let by = data.payload.len() as u32;
        if by == 0 {
            return;
        }
        let mut widened = window_update(CONNECTION, by);
        if !data.has(END_STREAM) {
            widened.extend(window_update(data.stream, by));
        }
        self.send(&widened).await;
    }

    fn complete(&mut self, stream: u32) {
        let at = place(stream);
        self.story.requests[at].complete(&self.bodies[at]);
    }

    async fn send(&mut self, bytes: &[u8]) {
        match &mut self.held {
            Some(held) => held.extend(bytes),
            None => self.wire.send(bytes).await,
        }
    }

    /// Sends the rest of a frame, and what had to wait for it.
    async fn send_rest(&mut self, rest: &[u8]) {
        let held = self.held.take().unwrap_or_default();
        self.wire.send(&[rest, &held].concat()).await;
    }

    /// Returns the new request's stream.
    fn expecting(&mut self, path: &str, demand: Demand, expected: impl Into<Vec<u8>>) -> u32 {
        let stream = 2 * self.bodies.len() as u32 + 1;
        self.bodies.push(Vec::new());
        self.story
            .requests
            .push(Asked::new(path.to_owned(), demand, expected));
        stream
    }

    fn last_asked(&mut self) -> &mut Asked {
        self.story.requests.last_mut().expect("something was asked")
    }

    async fn get(&mut self, path: &str, demand: Demand, expected: Vec<u8>) {
        let stream = self.expecting(path, demand, expected);
        let block = block(Method::Get, path);
        self.send(&frame(HEADERS, END_STREAM | END_HEADERS, stream, &block))
            .await;
    }

    async fn large(&mut self, key: &str, length: usize) -> String {
        let path = format!("/large/{length}/{key}");
        self.get(&path, script::demand(self.shape), pattern(length))
            .await;
        path
    }

    async fn drip(&mut self, key: &str) {
        let path = format!("/drip/{DRIP}/{key}");
        self.get(&path, Demand::Whole, dripped(DRIP)).await;
    }

    /// The head of an upload. Returns its stream.
    async fn post(&mut self, path: &str, expected: &str) -> u32 {
        let stream = self.expecting(path, script::demand(self.shape), expected);
        let block = block(Method::Post, path);
        self.send(&frame(HEADERS, END_HEADERS, stream, &block))
            .await;
        stream
    }
}

/// Which of the requests has this stream.
const fn place(stream: u32) -> usize {
    stream as usize / 2
}
