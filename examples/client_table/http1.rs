//! The clients of HTTP/1.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::app::{self, count, dripped, pattern};
use crate::cue::Cue;
use crate::moment::Moment;
use crate::script::{self, *};
use crate::shape::Shape;
use crate::story::{Asked, Behind, Demand, End, Response, Story};
use crate::wire::Wire;

/// Half a request's head, and the other half.
const HALF_HEAD: [&str; 2] = [
    "GET /large/1000/half HTTP/1.1\r\nhost: loc",
    "alhost\r\n\r\n",
];
const HALF_PATH: &str = "/large/1000/half";

pub(crate) struct Client<'a> {
    wire: &'a mut Wire,
    cue: &'a mut Cue,
    story: &'a mut Story,
    shape: Shape,
    /// Left to chance: what it does after the phase has begun comes so much later.
    delay: Duration,
}

/// What matters of a response's head.
struct Head {
    end: usize,
    status: u16,
    length: usize,
    close: bool,
    keep_alive: bool,
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
        }
    }

    /// Returns how the connection ended, or nothing if this client ends it.
    pub(crate) async fn play(mut self) -> Result<(), End> {
        let end = self.act().await;
        if end.is_err() {
            // It may have ended while the client did something else than to read a response.
            while self.unanswered().is_some() && self.response().await.is_ok() {}
        }
        end
    }

    async fn act(&mut self) -> Result<(), End> {
        let key = self.shape.key();
        match self.shape {
            Shape::Read(rate) => {
                self.wire.pace(rate);
                self.large(&key, readable(rate, READING)).await;
                self.wire.fill(SLOW_BEGINNING).await?;
                self.cue.ready();
                self.finish().await
            }
            Shape::TooSlow => {
                self.wire.pace(TOO_SLOW);
                self.large(&key, TOO_LARGE).await;
                self.wire.fill(SLOW_BEGINNING).await?;
                self.cue.ready();
                self.finish().await
            }
            Shape::StopReading => {
                self.large(&key, LARGE).await;
                self.wire.fill(BEGINNING).await?;
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
                self.wire.fill(BEGINNING).await?;
                self.cue.ready();
                self.cue.begun.come().await;
                sleep(after::RESET + self.delay).await;
                Ok(())
            }
            Shape::NextHead => self.next_head(&key).await,
            Shape::HalfClose => {
                self.drip(&key).await;
                self.wire.half_close().await;
                self.wire.fill(1).await?;
                self.cue.ready();
                self.finish().await
            }
            Shape::Pipelined => self.pipelined(&key).await,
            Shape::HalfHead => self.half_head().await,
            Shape::HalfNextHead => {
                self.small(&key, Demand::Whole).await;
                match self.response().await?.close {
                    true => self.rest().await,
                    false => self.half_head().await,
                }
            }
            Shape::HeadNever => {
                self.half_of_head(Demand::Unbegun).await;
                self.rest().await
            }
            Shape::HalfBody => {
                self.half_chunk(&key).await;
                self.read_until_after(after::REST).await?;
                let rest = [&pattern(CHUNK)[HALF..], b"\r\n0\r\n\r\n"].concat();
                self.wire.send(&rest).await;
                self.finish().await
            }
            Shape::BodyNever => {
                self.half_chunk(&key).await;
                self.rest().await
            }
            Shape::Unread(size) => self.unread(&key, size * 1000).await,
            Shape::Trickle => {
                let path = self.post(&format!("/upload/{key}"), "").await;
                self.cue.entered(&path).await;
                let length = self.trickle_until_after(after::TRICKLING).await?;
                self.last_asked().expected = count(length).into_bytes();
                self.wire.send(b"0\r\n\r\n").await;
                self.finish().await
            }
            Shape::TrickleNever => {
                let path = self.post(&format!("/upload/{key}"), "").await;
                self.cue.entered(&path).await;
                self.cue.ready();
                self.trickle_for_ever().await
            }
            Shape::Behind => self.behind(&key).await,
            Shape::BehindNever => {
                self.post(&format!("/behind/{key}"), app::ACCEPTED).await;
                self.last_asked().behind = Some(Behind::Part);
                self.response().await?;
                self.cue.ready();
                self.trickle_for_ever().await
            }
            Shape::Http10 => self.http10(&key).await,
            Shape::Expect => self.expect(&key).await,
            Shape::ReadByWindow(_) | Shape::NoPong => unreachable!("HTTP/1 has no such client"),
        }
    }

    /// The response waits in the server's kernel, so the server has nothing left to do, when the next head comes.
    async fn next_head(&mut self, key: &str) -> Result<(), End> {
        const RATE: usize = 80;
        self.wire.pace(RATE);
        self.large(key, readable(RATE, READING_ON)).await;
        self.wire.fill(BEGINNING).await?;
        self.cue.ready();
        if Head::parse(&self.wire.buffer).is_none_or(|head| head.close) {
            return self.finish().await;
        }
        let (wire, cue, delay) = (&mut *self.wire, &mut *self.cue, self.delay);
        wire.read_until(async {
            cue.closes().await;
            sleep(after::NEXT_HEAD + delay).await;
        })
        .await?;
        self.small(&format!("{key}-2"), script::later(self.cue.moment))
            .await;
        if self.response().await?.close {
            return self.rest().await;
        }
        self.finish().await
    }

    async fn pipelined(&mut self, key: &str) -> Result<(), End> {
        let later = script::later(self.cue.moment);
        let first = self.drip_request(key);
        let others: Vec<String> = (2..=4)
            .map(|number| self.small_request(&format!("{key}-{number}"), later))
            .collect();
        self.wire.send((first + &others.concat()).as_bytes()).await;
        self.wire.fill(1).await?;
        self.cue.ready();
        while self.unanswered().is_some() {
            if self.response().await?.close {
                break;
            }
        }
        self.rest().await
    }

    /// Half a head now, the rest when the phase has begun.
    async fn half_head(&mut self) -> Result<(), End> {
        let demand = script::later(self.cue.moment);
        self.half_of_head(demand).await;
        self.read_until_after(after::REST).await?;
        self.wire.send(HALF_HEAD[1].as_bytes()).await;
        self.finish().await
    }

    async fn half_of_head(&mut self, demand: Demand) {
        self.expecting(HALF_PATH, demand, pattern(SMALL));
        self.wire.send(HALF_HEAD[0].as_bytes()).await;
        self.cue.ready();
    }

    async fn half_chunk(&mut self, key: &str) {
        let path = self.post(&format!("/upload/{key}"), &count(CHUNK)).await;
        let half = [format!("{CHUNK:x}\r\n").as_bytes(), &pattern(HALF)].concat();
        self.wire.send(&half).await;
        self.cue.entered(&path).await;
        self.cue.ready();
    }

    async fn unread(&mut self, key: &str, length: usize) -> Result<(), End> {
        let path = format!("/unread/{key}");
        let head =
            format!("POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {length}\r\n\r\n");
        self.expecting(&path, Demand::Whole, app::REFUSED);
        self.wire
            .send(&[head.as_bytes(), &pattern(length)].concat())
            .await;
        let close = self.response().await?.close;
        self.cue.ready();
        if close {
            return self.rest().await;
        }
        if let Err(end) = self.read_until_after(after::NEXT_REQUEST).await {
            // Before that it ended because hyper does not go on behind a body that it has not read.
            self.story.early = self.cue.begun.has_come() && self.cue.moment.serves_on();
            return Err(end);
        }
        self.small(&format!("{key}-2"), script::next(self.cue.moment))
            .await;
        self.finish().await
    }

    async fn behind(&mut self, key: &str) -> Result<(), End> {
        let path = self.post(&format!("/behind/{key}"), app::ACCEPTED).await;
        self.last_asked().behind = Some(Behind::Part);
        self.response().await?;
        let length = self.trickle_until_after(after::TRICKLING).await?;
        self.last_asked().behind = Some(Behind::Whole(length));
        self.wire.send(b"0\r\n\r\n").await;
        let start = format!("body {path} ");
        self.wire.read_until(self.cue.said(&start)).await?;
        self.rest().await
    }

    /// A client of HTTP/1.0 that believes `keep-alive`, as Python's does.
    async fn http10(&mut self, key: &str) -> Result<(), End> {
        const MOST: usize = 4;
        self.http10_request(&format!("{key}-1"), Demand::Whole)
            .await;
        let first = self.http10_response().await?;
        self.cue.ready();
        if !first.keep_alive {
            self.cue.begun.come().await;
            return self.rest().await;
        }
        self.read_until_after(after::REST).await?;
        let mut demand = script::next(self.cue.moment);
        for number in 2..=MOST {
            self.http10_request(&format!("{key}-{number}"), demand)
                .await;
            if !self.http10_response().await?.keep_alive {
                return self.rest().await;
            }
            // The server has just said that it goes on.
            demand = Demand::Whole;
        }
        self.rest().await
    }

    /// Python's believes `keep-alive` also beside `close`, and sends its next request for nothing.
    async fn http10_response(&mut self) -> Result<Head, End> {
        let at = self.unanswered().expect("it was asked for");
        let head = self.response().await?;
        if head.close && head.keep_alive {
            let both = "it says both close and keep-alive".to_owned();
            self.story.requests[at].response = Response::Other(both);
        }
        Ok(head)
    }

    async fn http10_request(&mut self, key: &str, demand: Demand) {
        let path = format!("/large/{SMALL}/{key}");
        let head =
            format!("GET {path} HTTP/1.0\r\nhost: localhost\r\nconnection: keep-alive\r\n\r\n");
        self.expecting(&path, demand, pattern(SMALL));
        self.wire.send(head.as_bytes()).await;
    }

    async fn expect(&mut self, key: &str) -> Result<(), End> {
        const CONTINUE: &[u8] = b"HTTP/1.1 100 ";
        let path = format!("/upload/{key}");
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {CHUNK}\r\nexpect: 100-continue\r\n\r\n"
        );
        self.expecting(&path, script::demand(self.shape), count(CHUNK));
        self.wire.send(head.as_bytes()).await;
        let interim = loop {
            match find(&self.wire.buffer, b"\r\n\r\n") {
                Some(at) => break at + 4,
                None => self.wire.more().await?,
            }
        };
        self.cue.ready();
        if !self.wire.buffer.starts_with(CONTINUE) {
            return self.finish().await;
        }
        self.wire.buffer.drain(..interim);
        self.read_until_after(after::REST).await?;
        self.wire.send(&pattern(CHUNK)).await;
        self.finish().await
    }

    /// Reads until the phase has begun, and so long after that.
    async fn read_until_after(&mut self, time: Duration) -> Result<(), End> {
        let time = time + self.delay;
        let (wire, cue) = (&mut *self.wire, &mut *self.cue);
        wire.read_until(async {
            cue.begun.come().await;
            sleep(time).await;
        })
        .await
    }

    /// Sends chunk after chunk. Returns how long they were.
    async fn trickle_until_after(&mut self, time: Duration) -> Result<usize, End> {
        let time = time + self.delay;
        let (mut length, mut last) = (0, None);
        while last.is_none_or(|last| Instant::now() < last) {
            self.trickle().await?;
            length += TRICKLE;
            self.cue.ready();
            if last.is_none() && self.cue.begun.has_come() {
                last = Some(Instant::now() + time);
            }
        }
        Ok(length)
    }

    async fn trickle_for_ever(&mut self) -> Result<(), End> {
        loop {
            self.trickle().await?;
        }
    }

    /// One chunk, and the pause behind it.
    async fn trickle(&mut self) -> Result<(), End> {
        let chunk = [
            format!("{TRICKLE:x}\r\n").as_bytes(),
            &pattern(TRICKLE),
            b"\r\n",
        ]
        .concat();
        self.wire.send(&chunk).await;
        self.wire.read_until(sleep(BETWEEN_TRICKLES)).await
    }

    /// Reads the responses that are still to come, and what is behind them.
    async fn finish(&mut self) -> Result<(), End> {
        while self.unanswered().is_some() {
            self.response().await?;
        }
        self.rest().await
    }

    /// Before SIGTERM a client ends its connection itself; later it waits for the server's end.
    async fn rest(&mut self) -> Result<(), End> {
        if self.cue.moment == Moment::Normal && self.unanswered().is_none() {
            return Ok(());
        }
        loop {
            self.wire.more().await?;
        }
    }

    /// Reads the first response that has not come yet.
    async fn response(&mut self) -> Result<Head, End> {
        let at = self
            .unanswered()
            .expect("there is a request without a response");
        let head = loop {
            match Head::parse(&self.wire.buffer) {
                Some(head) => break head,
                None => self.wire.more().await?,
            }
        };
        let asked = &mut self.story.requests[at];
        loop {
            let body = &self.wire.buffer[head.end..];
            asked.received = body.len().min(head.length);
            if body.len() >= head.length {
                break;
            }
            self.wire.more().await?;
        }
        let whole = self.wire.buffer.drain(..head.end + head.length);
        asked.complete(&whole.as_slice()[head.end..]);
        if let Response::Other(body) = &asked.response {
            asked.response = Response::Other(format!("status {}, {body}", head.status));
        }
        Ok(head)
    }

    fn unanswered(&self) -> Option<usize> {
        self.story
            .requests
            .iter()
            .position(|asked| !asked.is_over())
    }

    fn last_asked(&mut self) -> &mut Asked {
        self.story.requests.last_mut().expect("something was asked")
    }

    fn expecting(&mut self, path: &str, demand: Demand, expected: impl Into<Vec<u8>>) {
        self.story
            .requests
            .push(Asked::new(path.to_owned(), demand, expected));
    }

    async fn large(&mut self, key: &str, length: usize) -> String {
        let path = format!("/large/{length}/{key}");
        let demand = script::demand(self.shape);
        self.expecting(&path, demand, pattern(length));
        self.wire.send(get(&path).as_bytes()).await;
        path
    }

    async fn small(&mut self, key: &str, demand: Demand) {
        let request = self.small_request(key, demand);
        self.wire.send(request.as_bytes()).await;
    }

    fn small_request(&mut self, key: &str, demand: Demand) -> String {
        let path = format!("/large/{SMALL}/{key}");
        self.expecting(&path, demand, pattern(SMALL));
        get(&path)
    }

    async fn drip(&mut self, key: &str) {
        let request = self.drip_request(key);
        self.wire.send(request.as_bytes()).await;
    }

    fn drip_request(&mut self, key: &str) -> String {
        let path = format!("/drip/{DRIP}/{key}");
        self.expecting(&path, Demand::Whole, dripped(DRIP));
        get(&path)
    }

    /// The head of an upload in chunks.
    async fn post(&mut self, path: &str, expected: &str) -> String {
        self.expecting(path, script::demand(self.shape), expected);
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n"
        );
        self.wire.send(head.as_bytes()).await;
        path.to_owned()
    }
}

impl Head {
    /// `None` as long as it is not there whole.
    fn parse(bytes: &[u8]) -> Option<Self> {
        let end = find(bytes, b"\r\n\r\n")? + 4;
        let text = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
        let mut lines = text.split("\r\n");
        let status = lines.next().and_then(|line| line.split(' ').nth(1));
        let mut head = Head {
            end,
            status: status.and_then(|status| status.parse().ok()).unwrap_or(0),
            length: 0,
            close: false,
            keep_alive: false,
        };
        for (name, value) in lines.filter_map(|line| line.split_once(':')) {
            match name {
                "content-length" => head.length = value.trim().parse().unwrap_or(0),
                "connection" => {
                    head.close |= value.contains("close");
                    head.keep_alive |= value.contains("keep-alive");
                }
                _ => {}
            }
        }
        Some(head)
    }
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n")
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}
