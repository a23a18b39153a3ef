//! Clients that come through nginx.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::future::{join, join_all};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, sleep_until};

use crate::millis;
use crate::service::{HELLO, all_pieces, pieces};

const NOTE: &str = "a note, which comes back as it is";
/// A gap grows by this from one to the next, so that no two are the same.
const CREEP: Duration = millis(7);
/// The pause within a request or response of a slow client: its gap, but not less or more than these.
const SHORTEST_PAUSE: Duration = millis(50);
const LONGEST_PAUSE: Duration = millis(1_000);

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// What one client asks for.
#[derive(Clone, Copy)]
enum Ask {
    Get,
    Post,
    /// A body with pauses in it, through nginx as it comes.
    SlowUpload,
    /// The same, which nginx holds back until it has all of it.
    HeldUpload,
    /// A request whose head comes in two halves.
    SplitHead,
    /// A response with pauses in it, through nginx as it comes.
    Stream,
}

impl Ask {
    const SLOW: [Ask; 4] = [
        Ask::SlowUpload,
        Ask::HeldUpload,
        Ask::SplitHead,
        Ask::Stream,
    ];
}

/// What became of every request.
#[derive(Clone, Default)]
pub(crate) struct Tally(BTreeMap<String, u32>);

const ANSWERED: &str = "answered";

impl Tally {
    pub(crate) fn count(&self, outcome: &str) -> u32 {
        self.0.get(outcome).copied().unwrap_or(0)
    }

    /// Whether there was something, and all of it was answered as it should be.
    pub(crate) fn is_all_answered(&self) -> bool {
        self.0.keys().eq([ANSWERED])
    }

    fn note(&mut self, outcome: Result<(), String>) {
        let outcome = outcome.err().unwrap_or_else(|| ANSWERED.to_owned());
        *self.0.entry(outcome).or_default() += 1;
    }

    pub(crate) fn add(&mut self, other: Tally) {
        for (outcome, count) in other.0 {
            *self.0.entry(outcome).or_default() += count;
        }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let each: Vec<_> = self
            .0
            .iter()
            .map(|(what, n)| format!("{n} {what}"))
            .collect();
        f.write_str(&each.join(", "))
    }
}

/// The clients of all pools.
pub(crate) struct Traffic(Vec<Lane>);

/// The clients of one pool: those that come together, and one of each slow kind.
struct Lane {
    gap: Duration,
    together: Vec<Client>,
    slow: Vec<(Ask, Client)>,
}

impl Traffic {
    /// A pool with this many clients for each gap.
    pub(crate) fn new(nginx: SocketAddr, gaps: &[Duration], clients: usize) -> Self {
        let lane = |(pool, gap): (usize, &Duration)| Lane {
            gap: *gap,
            together: clients_of(nginx, pool, clients - Ask::SLOW.len()),
            slow: Ask::SLOW.map(|ask| (ask, Client::new(nginx, pool))).into(),
        };
        Traffic(gaps.iter().enumerate().map(lane).collect())
    }

    /// Sends requests until `end`, with gaps of at most `longest_gap`, and returns when all are answered.
    pub(crate) async fn drive(&mut self, end: Instant, longest_gap: Duration) -> Tally {
        let lanes = self.0.iter_mut();
        sum(lanes.map(|lane| lane.drive(end, longest_gap))).await
    }
}

impl Lane {
    async fn drive(&mut self, end: Instant, longest_gap: Duration) -> Tally {
        let gap = self.gap.min(longest_gap);
        let slow = self.slow.iter_mut();
        let slow = sum(slow.map(|(ask, client)| client.drive(*ask, end, gap)));
        let (mut tally, slow) = join(drive_together(&mut self.together, end, gap), slow).await;
        tally.add(slow);
        tally
    }
}

async fn drive_together(clients: &mut [Client], end: Instant, gap: Duration) -> Tally {
    let mut tally = Tally::default();
    let mut gap = gap;
    while Instant::now() < end {
        tally.add(burst(clients).await);
        sleep_until(end.min(Instant::now() + gap)).await;
        gap += CREEP;
    }
    tally
}

/// All of them at the same moment.
pub(crate) async fn burst(clients: &mut [Client]) -> Tally {
    sum(clients.iter_mut().map(Client::get_and_post)).await
}

pub(crate) fn clients_of(nginx: SocketAddr, pool: usize, count: usize) -> Vec<Client> {
    (0..count).map(|_| Client::new(nginx, pool)).collect()
}

/// A client with a connection of its own to nginx, which it keeps. It sends nothing again.
pub(crate) struct Client {
    nginx: SocketAddr,
    pool: usize,
    connection: Option<http1::SendRequest<Body>>,
}

impl Client {
    fn new(nginx: SocketAddr, pool: usize) -> Self {
        Client {
            nginx,
            pool,
            connection: None,
        }
    }

    async fn drive(&mut self, ask: Ask, end: Instant, gap: Duration) -> Tally {
        let pause = gap.clamp(SHORTEST_PAUSE, LONGEST_PAUSE);
        let mut tally = Tally::default();
        while Instant::now() < end {
            tally.note(self.ask(ask, pause).await);
            sleep_until(end.min(Instant::now() + gap)).await;
        }
        tally
    }

    async fn get_and_post(&mut self) -> Tally {
        let mut tally = Tally::default();
        for ask in [Ask::Get, Ask::Post, Ask::Get] {
            tally.note(self.ask(ask, Duration::ZERO).await);
        }
        tally
    }

    /// One request, which is counted once, whatever becomes of it. An error says what that was.
    async fn ask(&mut self, ask: Ask, pause: Duration) -> Result<(), String> {
        let held = || BodyExt::boxed_unsync(StreamBody::new(pieces(pause)));
        let (method, path, body, expected) = match ask {
            Ask::Get => (Method::GET, "hello", empty(), HELLO.into()),
            Ask::Post => (Method::POST, "echo", full(NOTE), NOTE.into()),
            Ask::SlowUpload => (Method::POST, "unbuffered/echo", held(), all_pieces()),
            Ask::HeldUpload => (Method::POST, "echo", held(), all_pieces()),
            Ask::Stream => {
                let path = format!("unbuffered/stream/{}", pause.as_millis());
                return self
                    .exchange(Method::GET, &path, empty(), &all_pieces())
                    .await;
            }
            Ask::SplitHead => return self.split_head(pause).await,
        };
        self.exchange(method, path, body, &expected).await
    }

    async fn exchange(
        &mut self,
        method: Method,
        path: &str,
        body: Body,
        expected: &[u8],
    ) -> Result<(), String> {
        let request = Request::builder()
            .method(method)
            .uri(format!("/{}/{path}", self.pool))
            .header("host", "test")
            .body(body)
            .unwrap();
        // Kept only if all goes well. nginx may close it after a 502: that is no second loss.
        let mut connection = match self.connection.take() {
            Some(connection) if !connection.is_closed() => connection,
            _ => connect(self.nginx).await?,
        };
        let told = |error: hyper::Error| format!("without an answer ({error})");
        connection.ready().await.map_err(told)?;
        let response = connection.send_request(request).await.map_err(told)?;
        let status = response.status();
        let body = response.into_body().collect().await;
        let body = body.map_err(|error| format!("cut ({error})"))?.to_bytes();
        self.connection = Some(connection);
        match status {
            StatusCode::OK if body == expected => Ok(()),
            StatusCode::OK => Err("with another body".to_owned()),
            status => Err(status.as_str().to_owned()),
        }
    }

    /// On a connection of its own.
    async fn split_head(&self, pause: Duration) -> Result<(), String> {
        let text = |error: std::io::Error| format!("without an answer ({error})");
        let mut stream = TcpStream::connect(self.nginx).await.map_err(text)?;
        let first = format!("GET /{}/hello HTTP/1.1\r\nHost: te", self.pool);
        stream.write_all(first.as_bytes()).await.map_err(text)?;
        sleep(pause).await;
        let second = "st\r\nConnection: close\r\n\r\n";
        stream.write_all(second.as_bytes()).await.map_err(text)?;
        let mut response = String::new();
        stream.read_to_string(&mut response).await.map_err(text)?;
        match response.split(' ').nth(1) {
            Some("200") if response.ends_with(HELLO) => Ok(()),
            Some("200") => Err("with another body".to_owned()),
            status => Err(status.unwrap_or("without an answer").to_owned()),
        }
    }
}

async fn connect(nginx: SocketAddr) -> Result<http1::SendRequest<Body>, String> {
    let stream = TcpStream::connect(nginx).await;
    let stream = stream.map_err(|error| format!("refused by nginx ({error})"))?;
    let shaken = http1::handshake(TokioIo::new(stream)).await;
    let (sender, connection) = shaken.expect("HTTP/1 has no handshake that could fail");
    tokio::spawn(connection);
    Ok(sender)
}

/// Runs them side by side.
pub(crate) async fn sum(drives: impl Iterator<Item = impl Future<Output = Tally>>) -> Tally {
    let mut sum = Tally::default();
    for tally in join_all(drives).await {
        sum.add(tally);
    }
    sum
}

fn empty() -> Body {
    Empty::new().boxed_unsync()
}

fn full(text: &'static str) -> Body {
    Full::from(text).boxed_unsync()
}
