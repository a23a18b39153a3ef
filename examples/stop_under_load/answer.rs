//! Reading an HTTP/1 answer, and telling how far it came.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt};

use crate::app::ID;
use crate::attempt::{Ask, Lost, Outcome};

/// What matters of an answer that came whole.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answer {
    /// It said `Connection: close`.
    pub(crate) close: bool,
}

struct Head {
    status: u16,
    id: Option<u64>,
    close: bool,
    length: Length,
}

enum Length {
    Known(usize),
    Chunked,
}

/// Reads the whole answer to `ask`. What came behind it stays in `buffer`.
pub(crate) async fn read(
    ask: &Ask,
    buffer: &mut Vec<u8>,
    stream: &mut (impl AsyncRead + Unpin),
) -> Result<Answer, Lost> {
    let end = loop {
        match find(buffer, b"\r\n\r\n") {
            Some(at) => break at + 4,
            None => more(buffer, stream)
                .await
                .map_err(|end| before(end, buffer))?,
        }
    };
    let text = String::from_utf8_lossy(&buffer[..end]).to_lowercase();
    let head = parse(&text).ok_or_else(|| (Outcome::Other, format!("no HTTP: {text:?}")))?;
    buffer.drain(..end);
    let truncated = |end: io::Error| (Outcome::Truncated, end.to_string());
    match head.length {
        Length::Known(length) => {
            while buffer.len() < length {
                more(buffer, stream).await.map_err(truncated)?;
            }
            buffer.drain(..length);
        }
        Length::Chunked => read_chunks(buffer, stream).await.map_err(truncated)?,
    }
    if head.status != 200 {
        return Err((Outcome::Other, format!("status {}", head.status)));
    }
    if head.id != Some(ask.id) {
        return Err((Outcome::Other, format!("the answer to {:?}", head.id)));
    }
    Ok(Answer { close: head.close })
}

/// How the connection ended, when the head of the answer was not there yet.
fn before(end: io::Error, buffer: &[u8]) -> Lost {
    let outcome = match end.kind() {
        _ if !buffer.is_empty() => Outcome::Truncated,
        io::ErrorKind::UnexpectedEof => Outcome::NoAnswer,
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => Outcome::Reset,
        _ => Outcome::Other,
    };
    (outcome, end.to_string())
}

async fn more(buffer: &mut Vec<u8>, stream: &mut (impl AsyncRead + Unpin)) -> io::Result<()> {
    match stream.read_buf(buffer).await? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(()),
    }
}

async fn read_chunks(
    buffer: &mut Vec<u8>,
    stream: &mut (impl AsyncRead + Unpin),
) -> io::Result<()> {
    loop {
        let line = loop {
            match find(buffer, b"\r\n") {
                Some(at) => break at,
                None => more(buffer, stream).await?,
            }
        };
        let size = std::str::from_utf8(&buffer[..line]).ok();
        let size = size.and_then(|size| usize::from_str_radix(size.trim(), 16).ok());
        let size = size.ok_or_else(|| io::Error::other("not a chunk's size"))?;
        let end = line + 2 + size + 2;
        while buffer.len() < end {
            more(buffer, stream).await?;
        }
        buffer.drain(..end);
        if size == 0 {
            return Ok(());
        }
    }
}

fn parse(text: &str) -> Option<Head> {
    let mut lines = text.split("\r\n");
    let status = lines.next()?.strip_prefix("http/1.1 ")?.get(..3)?;
    let mut head = Head {
        status: status.parse().ok()?,
        id: None,
        close: false,
        length: Length::Known(0),
    };
    for line in lines.filter(|line| !line.is_empty()) {
        let (name, value) = line.split_once(':')?;
        match (name, value.trim()) {
            (ID, id) => head.id = Some(id.parse().ok()?),
            ("connection", value) => head.close = value.contains("close"),
            ("content-length", length) => head.length = Length::Known(length.parse().ok()?),
            ("transfer-encoding", _) => head.length = Length::Chunked,
            _ => {}
        }
    }
    Some(head)
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}
