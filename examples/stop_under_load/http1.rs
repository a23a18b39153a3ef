//! An HTTP/1 client on a bare socket: it sees what a client library would hide.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use crate::answer::{self, Answer};
use crate::attempt::{Ask, Log, Lost, Outcome, PATIENCE, Way};

/// Between the pieces of an upload.
const PAUSE: Duration = Duration::from_millis(3);

/// One connection.
pub(crate) struct Wire {
    stream: TcpStream,
    /// The same socket once more: tokio answers from what it remembers, this one asks the kernel.
    look: std::net::TcpStream,
    /// What came behind the last answer.
    buffer: Vec<u8>,
}

impl Wire {
    async fn connect(address: SocketAddr) -> Result<Self, Lost> {
        let stream = TcpStream::connect(address).await.map_err(unconnected)?;
        let stream = stream.into_std().map_err(unconnected)?;
        Wire::new(stream).map_err(unconnected)
    }

    /// From a connection that stands, and does not block.
    pub(crate) fn new(stream: std::net::TcpStream) -> io::Result<Self> {
        // As browsers and Go's client do. A connection that has been reset already says so when it is read.
        let _ = stream.set_nodelay(true);
        Ok(Wire {
            look: stream.try_clone()?,
            stream: TcpStream::from_std(stream)?,
            buffer: Vec::new(),
        })
    }

    /// What a careful client looks at just before it sends: whether the server's end has come already.
    fn looks_open(&self) -> bool {
        match self.look.peek(&mut [0]) {
            Err(error) => error.kind() == io::ErrorKind::WouldBlock,
            // Its end, or bytes that nobody asked for.
            Ok(_) => false,
        }
    }

    /// Sends and reads at the same time: an answer may come before the upload is through.
    async fn exchange(&mut self, ask: &Ask) -> Result<Answer, Lost> {
        let (mut reader, mut writer) = self.stream.split();
        let mut writing = pin!(async move {
            for (number, piece) in pieces(ask).into_iter().enumerate() {
                if number > 0 {
                    sleep(PAUSE).await;
                }
                writer.write_all(&piece).await?;
            }
            Ok::<_, io::Error>(())
        });
        let mut reading = pin!(answer::read(ask, &mut self.buffer, &mut reader));
        let mut written = None;
        let end = loop {
            tokio::select! {
                biased;
                end = &mut reading => break end,
                end = &mut writing, if written.is_none() => written = Some(end),
            }
        };
        match (end, written) {
            (Ok(answer), Some(Ok(()))) => Ok(answer),
            // Half an upload: nothing else can be sent behind it.
            (Ok(_), _) => Ok(Answer { close: true }),
            (Err((Outcome::NoAnswer, why)), Some(Err(error))) => {
                Err((Outcome::Reset, format!("{why}, sending: {error}")))
            }
            (Err(lost), _) => Err(lost),
        }
    }

    /// Reads the answer to what was sent on it already.
    pub(crate) async fn answer(&mut self, ask: &Ask) -> Result<Answer, Lost> {
        answer::read(ask, &mut self.buffer, &mut self.stream).await
    }
}

/// A client: at most one connection, which it uses as long as the server lets it.
pub(crate) struct Client {
    pub(crate) way: Way,
    pub(crate) address: SocketAddr,
    pub(crate) log: Arc<Log>,
    pub(crate) open: Option<Wire>,
}

impl Client {
    /// Makes one attempt. Returns what became of it, which the log knows already.
    pub(crate) async fn attempt(&mut self, ask: Ask) -> Outcome {
        let began = SystemTime::now();
        let end = timeout(PATIENCE, self.ask(&ask)).await;
        let end = end.unwrap_or_else(|_| Err((Outcome::TimedOut, "no end in time".to_owned())));
        let outcome = end.as_ref().err().map_or(Outcome::Answered, |lost| lost.0);
        self.log.add(ask, self.way, began, end);
        outcome
    }

    async fn ask(&mut self, ask: &Ask) -> Result<(), Lost> {
        let mut wire = self.wire().await?;
        let answer = wire.exchange(ask).await?;
        if !answer.close && self.way != Way::OneShot {
            self.open = Some(wire);
        }
        Ok(())
    }

    /// Two requests in one write.
    pub(crate) async fn pair(&mut self, asks: [Ask; 2]) -> Outcome {
        let began = SystemTime::now();
        let (first, second) = match timeout(PATIENCE, self.ask_both(&asks)).await {
            Ok(ends) => ends,
            Err(_) => {
                let late = || Err((Outcome::TimedOut, "no end in time".to_owned()));
                (late(), late())
            }
        };
        let outcome = first
            .as_ref()
            .err()
            .map_or(Outcome::Answered, |lost| lost.0);
        self.log.add(asks[0], self.way, began, first);
        self.log.add(asks[1], self.way, began, second);
        outcome
    }

    async fn ask_both(&mut self, asks: &[Ask; 2]) -> (Result<(), Lost>, Result<(), Lost>) {
        let mut wire = match self.wire().await {
            Ok(wire) => wire,
            Err(lost) => return (Err(lost.clone()), Err(lost)),
        };
        let both: Vec<u8> = asks.iter().flat_map(|ask| pieces(ask).concat()).collect();
        // If this fails, reading says what happened.
        let _ = wire.stream.write_all(&both).await;
        let first = wire.answer(&asks[0]).await;
        let second = wire.answer(&asks[1]).await;
        let said_close = first.as_ref().is_ok_and(|answer| answer.close);
        let second = match second {
            Err((Outcome::NoAnswer | Outcome::Reset, why)) if said_close => {
                Err((Outcome::Dismissed, why))
            }
            other => other,
        };
        if second.as_ref().is_ok_and(|answer| !answer.close) {
            self.open = Some(wire);
        }
        (first.map(drop), second.map(drop))
    }

    /// The connection that there is, if it looks open, or a new one. A close that is seen in time is no loss.
    async fn wire(&mut self) -> Result<Wire, Lost> {
        match self.open.take().filter(Wire::looks_open) {
            Some(wire) => Ok(wire),
            None => Wire::connect(self.address).await,
        }
    }
}

/// The request as it is sent: its head with the first piece of its body, then the others.
pub(crate) fn pieces(ask: &Ask) -> Vec<Vec<u8>> {
    let mut pieces = ask.body();
    let length: usize = pieces.iter().map(Vec::len).sum();
    let (method, target) = (ask.method(), ask.target());
    let mut head = format!("{method} {target} HTTP/1.1\r\nhost: localhost\r\n");
    if ask.post {
        head.push_str(&format!("content-length: {length}\r\n"));
    }
    head.push_str("\r\n");
    let mut first = head.into_bytes();
    match pieces.first_mut() {
        Some(piece) => {
            first.append(piece);
            *piece = first;
        }
        None => pieces.push(first),
    }
    pieces
}

/// Why there is no connection.
pub(crate) fn unconnected(error: io::Error) -> Lost {
    let outcome = match error.kind() {
        io::ErrorKind::ConnectionRefused => Outcome::Refused,
        io::ErrorKind::ConnectionReset => Outcome::Reset,
        io::ErrorKind::TimedOut => Outcome::TimedOut,
        _ => Outcome::Other,
    };
    (outcome, format!("connecting: {error}"))
}
