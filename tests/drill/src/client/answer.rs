//! Reads an HTTP/1 answer, and tells how far it came.

use std::io;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::time::{Instant, sleep_until};

use super::wire::{Wire, no_answer};
use crate::attempt::{Fate, Lost};

const HEADERS: usize = 128;
/// What a client that takes its time reads at once.
pub(crate) const SIP: u64 = 64 * 1024;

/// What matters of an answer that came whole.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// The connection is not to be used again.
    pub(crate) close: bool,
    /// Of its body.
    pub(crate) length: usize,
}

#[derive(Clone, Copy, Debug)]
struct Head {
    status: u16,
    close: bool,
    body: Body,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Body {
    Length(usize),
    Chunked,
    /// It lasts until the connection ends.
    UntilClosed,
}

/// Reads the whole answer. What came behind it stays in the wire's buffer. `pause` is made behind each [`SIP`] of the body.
pub(crate) async fn read(wire: &mut Wire, pause: Duration) -> Result<Answer, Lost> {
    let head = head(wire).await?;
    let mut reading = Reading::new(wire, pause);
    let length = match head.body {
        Body::Length(length) => reading.take(length).await.map_err(cut)?,
        Body::Chunked => reading.chunks().await.map_err(cut)?,
        Body::UntilClosed => reading.until_closed().await.map_err(cut)?,
    };
    Ok(Answer {
        status: head.status,
        close: head.close,
        length,
    })
}

/// Reads a head, and drops those of informational answers.
async fn head(wire: &mut Wire) -> Result<Head, Lost> {
    loop {
        let parsed = parse(&wire.buffer).map_err(|error| (Fate::Garbled, error.to_string()))?;
        match parsed {
            Some((length, head)) => {
                wire.buffer.drain(..length);
                if head.status >= 200 || head.status == 101 {
                    return Ok(head);
                }
            }
            None => {
                let begun = !wire.buffer.is_empty();
                more(wire).await.map_err(|end| match begun {
                    true => (Fate::Cut, format!("in the head: {end}")),
                    false => no_answer(end),
                })?;
            }
        }
    }
}

/// Reads the head of an answer whose body lasts. Returns its status, and whether its body is chunked.
pub(crate) async fn stream(wire: &mut Wire) -> Result<(u16, bool), Lost> {
    let head = head(wire).await?;
    Ok((head.status, head.body == Body::Chunked))
}

/// Reads the chunks of such an answer to the last one.
pub(crate) async fn chunks(wire: &mut Wire) -> Result<(), Lost> {
    let mut reading = Reading::new(wire, Duration::ZERO);
    reading.chunks().await.map(drop).map_err(cut)
}

fn cut(end: io::Error) -> Lost {
    (Fate::Cut, end.to_string())
}

fn parse(bytes: &[u8]) -> Result<Option<(usize, Head)>, httparse::Error> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS];
    let mut response = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(length) = response.parse(bytes)? else {
        return Ok(None);
    };
    let status = response.code.unwrap_or_default();
    let mut head = Head {
        status,
        close: response.version == Some(0),
        body: Body::UntilClosed,
    };
    for header in response.headers.iter() {
        let value = String::from_utf8_lossy(header.value).to_lowercase();
        let has = |word: &str| value.split(',').any(|one| one.trim() == word);
        match header.name.to_ascii_lowercase().as_str() {
            "connection" if has("close") => head.close = true,
            "connection" if has("keep-alive") => head.close = false,
            "transfer-encoding" if has("chunked") => head.body = Body::Chunked,
            "content-length" if head.body == Body::UntilClosed => {
                let length = value.trim().parse();
                head.body = length.map_or(Body::UntilClosed, Body::Length);
            }
            _ => {}
        }
    }
    if matches!(status, 100..=199 | 204 | 304) {
        head.body = Body::Length(0);
    }
    head.close |= head.body == Body::UntilClosed;
    Ok(Some((length, head)))
}

async fn more(wire: &mut Wire) -> io::Result<()> {
    match wire.io.read_buf(&mut wire.buffer).await? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(()),
    }
}

/// A body that is read.
struct Reading<'a> {
    wire: &'a mut Wire,
    pause: Duration,
    due: Instant,
}

impl<'a> Reading<'a> {
    fn new(wire: &'a mut Wire, pause: Duration) -> Self {
        Reading {
            wire,
            pause,
            due: Instant::now(),
        }
    }

    async fn more(&mut self) -> io::Result<()> {
        if self.pause.is_zero() {
            return more(self.wire).await;
        }
        sleep_until(self.due).await;
        let mut sip = (&mut self.wire.io).take(SIP);
        match sip.read_buf(&mut self.wire.buffer).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            read => {
                self.due += self.pause.mul_f64(read as f64 / SIP as f64);
                Ok(())
            }
        }
    }

    async fn take(&mut self, length: usize) -> io::Result<usize> {
        let mut left = length;
        loop {
            let here = left.min(self.wire.buffer.len());
            self.wire.buffer.drain(..here);
            left -= here;
            if left == 0 {
                return Ok(length);
            }
            self.more().await?;
        }
    }

    async fn chunks(&mut self) -> io::Result<usize> {
        let mut length = 0;
        loop {
            let line = self.line().await?;
            let size = line.split(';').next().unwrap_or_default().trim();
            let size = usize::from_str_radix(size, 16).map_err(io::Error::other)?;
            if size == 0 {
                break;
            }
            length += self.take(size).await?;
            self.line().await?;
        }
        // The trailers end with an empty line.
        while !self.line().await?.is_empty() {}
        Ok(length)
    }

    async fn until_closed(&mut self) -> io::Result<usize> {
        let mut length = 0;
        loop {
            length += std::mem::take(&mut self.wire.buffer).len();
            match self.more().await {
                Ok(()) => {}
                Err(end) if end.kind() == io::ErrorKind::UnexpectedEof => return Ok(length),
                Err(error) => return Err(error),
            }
        }
    }

    async fn line(&mut self) -> io::Result<String> {
        loop {
            let mut pairs = self.wire.buffer.windows(2);
            if let Some(end) = pairs.position(|pair| pair == b"\r\n") {
                let line: Vec<u8> = self.wire.buffer.drain(..end + 2).take(end).collect();
                return String::from_utf8(line).map_err(io::Error::other);
            }
            self.more().await?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Body, parse};

    fn body(head: &str) -> (Body, bool) {
        let parsed = parse(head.as_bytes()).expect("it is HTTP");
        let (_, head) = parsed.expect("it is whole");
        (head.body, head.close)
    }

    #[test]
    fn head_says_how_long_its_body_is_and_whether_the_connection_stays() {
        let length = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n";
        assert_eq!(body(length), (Body::Length(5), false));

        let chunked =
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: x, Close\r\n\r\n";
        assert_eq!(body(chunked), (Body::Chunked, true));

        let until_closed = "HTTP/1.1 200 OK\r\n\r\n";
        assert_eq!(body(until_closed), (Body::UntilClosed, true));

        let none = "HTTP/1.1 204 No Content\r\n\r\n";
        assert_eq!(body(none), (Body::Length(0), false));
    }

    #[test]
    fn half_a_head_is_no_head() {
        assert!(parse(b"HTTP/1.1 200 OK\r\ncontent-le").is_ok_and(|head| head.is_none()));
        assert!(parse(b"SSH-2.0-OpenSSH\r\n").is_err());
    }
}
