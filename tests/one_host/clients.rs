//! Clients of three kinds, 300 requests a second together, and every request accounted for.

use std::collections::BTreeSet;
use std::error::Error;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::body::Bytes;
use futures_util::{SinkExt, StreamExt};
use http_body_util::{BodyExt, Empty};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};
use tokio_util::sync::CancellationToken;

/// How long a request may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// One-shot connections come so often: 100 a second.
const BETWEEN_CONNECTIONS: Duration = Duration::from_millis(10);
/// So many clients of each version keep a connection, and ask so often: another 100 a second each.
const KEPT: u64 = 10;
const BETWEEN_REQUESTS: Duration = Duration::from_millis(100);

/// What became of the requests.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) asked: u64,
    pub(crate) lost: Vec<String>,
    /// The processes that have answered.
    pub(crate) servers: BTreeSet<u32>,
    pub(crate) slowest: Duration,
    /// Requests that crossed the end of an idle HTTP/1 connection: no handler has begun them, and they were asked again (RFC 9112,
    /// section 9.3.1).
    pub(crate) crossed: Vec<u64>,
    /// Requests that hyper's client gave up behind a GOAWAY without an error, and asked again (RFC 9113, section 6.8). It has not sent
    /// them, or has reset them just when they were sent.
    pub(crate) given_up: u64,
}

impl Tally {
    fn add(&mut self, kind: &str, took: Duration, answer: Result<String, String>) {
        self.asked += 1;
        self.slowest = self.slowest.max(took);
        match answer.and_then(|it| it.parse().map_err(|_| format!("{it:?} is no process"))) {
            Ok(server) => {
                self.servers.insert(server);
            }
            Err(error) => self.lost.push(format!("{kind}: {error}")),
        }
    }

    fn join(&mut self, other: Tally) {
        self.asked += other.asked;
        self.lost.extend(other.lost);
        self.servers.extend(other.servers);
        self.slowest = self.slowest.max(other.slowest);
        self.crossed.extend(other.crossed);
        self.given_up += other.given_up;
    }

    /// Nothing is lost: neither refused, reset nor timed out, and what was asked again was begun by nobody.
    pub(crate) fn assert_lossless(&self, begun: &str, log: &str) {
        let Tally {
            asked,
            lost,
            crossed,
            given_up,
            slowest,
            ..
        } = self;
        let begun = std::fs::read_to_string(begun).unwrap_or_default();
        let begun: BTreeSet<u64> = begun.lines().map(|it| it.parse().unwrap()).collect();
        let for_nobody: Vec<_> = crossed.iter().filter(|it| begun.contains(it)).collect();
        let again = crossed.len();
        println!(
            "{asked} requests, the slowest took {slowest:?}; {again} crossed a connection's end, {given_up} a GOAWAY"
        );
        assert_eq!(*lost, Vec::<String>::new(), "{log}");
        assert!(for_nobody.is_empty(), "{for_nobody:?}: {log}");
    }
}

pub(crate) struct Load {
    over: CancellationToken,
    clients: JoinSet<Tally>,
}

impl Load {
    pub(crate) fn start(address: SocketAddr) -> Load {
        let over = CancellationToken::new();
        let mut clients = JoinSet::new();
        clients.spawn(one_shots(address, over.clone()));
        for number in 0..KEPT {
            clients.spawn(keeps(address, "HTTP/1", number, over.clone()));
            clients.spawn(keeps(address, "HTTP/2", number, over.clone()));
        }
        Load { over, clients }
    }

    pub(crate) async fn stop(mut self) -> Tally {
        self.over.cancel();
        let mut all = Tally::default();
        while let Some(tally) = self.clients.join_next().await {
            all.join(tally.unwrap());
        }
        all
    }
}

async fn one_shots(address: SocketAddr, over: CancellationToken) -> Tally {
    let mut due = interval(BETWEEN_CONNECTIONS);
    due.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut asking = JoinSet::new();
    while !over.is_cancelled() {
        due.tick().await;
        asking.spawn(async move {
            let mut tally = Tally::default();
            let began = tokio::time::Instant::now();
            let answer = one_shot(address, &format!("/?{}", next())).await;
            tally.add("one-shot", began.elapsed(), answer);
            tally
        });
    }
    let mut all = Tally::default();
    for tally in asking.join_all().await {
        all.join(tally);
    }
    all
}

/// One request on a connection of its own; the body of the answer.
pub(crate) async fn one_shot(address: SocketAddr, path: &str) -> Result<String, String> {
    let ask = async {
        let mut stream = TcpStream::connect(address).await?;
        let request = format!("GET {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        std::io::Result::Ok(answer)
    };
    let answer = timeout(PATIENCE, ask).await;
    let answer = answer.map_err(|_| "timed out".to_owned())?;
    let answer = answer.map_err(|error| error.to_string())?;
    match answer.split_once("\r\n\r\n") {
        Some((head, body)) if head.starts_with("HTTP/1.1 200") => Ok(body.to_owned()),
        _ => Err(format!("{answer:?} is no answer")),
    }
}

/// A client that keeps its connection. It is hyper's, so a request that was never sent is sent on another connection.
async fn keeps(
    address: SocketAddr,
    version: &'static str,
    number: u64,
    over: CancellationToken,
) -> Tally {
    let mut builder = Client::builder(TokioExecutor::new());
    builder.http2_only(version == "HTTP/2");
    let client: Client<HttpConnector, Empty<Bytes>> = builder.build(HttpConnector::new());
    sleep(BETWEEN_REQUESTS / 10 * u32::try_from(number).unwrap()).await;
    let mut due = interval(BETWEEN_REQUESTS);
    due.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut tally = Tally::default();
    while !over.is_cancelled() {
        due.tick().await;
        let began = tokio::time::Instant::now();
        let ask = async {
            let answer = ask(&client, address, &mut tally).await?;
            let status = answer.status();
            let body = answer.into_body().collect().await.map_err(chain)?;
            let body = String::from_utf8_lossy(&body.to_bytes()).into_owned();
            match status.is_success() {
                true => Ok(body),
                false => Err(format!("{status}: {body}")),
            }
        };
        let answer = timeout(PATIENCE, ask).await;
        let answer = answer.unwrap_or(Err("timed out".to_owned()));
        tally.add(version, began.elapsed(), answer);
    }
    tally
}

/// A client's WebSocket.
pub(crate) struct Socket(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Socket {
    pub(crate) async fn open(address: SocketAddr) -> Socket {
        let opened = connect_async(format!("ws://{address}/socket")).await;
        Socket(opened.unwrap().0)
    }

    /// Who serves it.
    pub(crate) async fn ask(&mut self) -> String {
        self.0.send("who is there".into()).await.unwrap();
        let answer = self.0.next().await.unwrap().unwrap();
        answer.into_text().unwrap().to_string()
    }

    /// Waits for the close frame, and answers it. Gives its code and reason.
    pub(crate) async fn closed(&mut self) -> (u16, String) {
        let mut frame = None;
        while let Some(message) = self.0.next().await {
            if let Message::Close(close) = message.unwrap() {
                frame = close;
            }
        }
        let frame = frame.expect("it says why");
        (frame.code.into(), frame.reason.to_string())
    }
}

/// The answer's head. What was not begun is asked again, as any client does.
async fn ask(
    client: &Client<HttpConnector, Empty<Bytes>>,
    address: SocketAddr,
    tally: &mut Tally,
) -> Result<hyper::Response<hyper::body::Incoming>, String> {
    loop {
        let id = next();
        let uri = format!("http://{address}/?{id}").parse().unwrap();
        let error = match client.get(uri).await {
            Ok(answer) => return Ok(answer),
            Err(error) => error,
        };
        match end_of(&error) {
            Some(End::Idle) => tally.crossed.push(id),
            Some(End::GoAway) => tally.given_up += 1,
            None => return Err(chain(error)),
        }
    }
}

/// How a connection ended whose server did not begin a request.
enum End {
    Idle,
    GoAway,
}

fn end_of(error: &hyper_util::client::legacy::Error) -> Option<End> {
    let error = error.source()?.downcast_ref::<hyper::Error>()?;
    if error.is_incomplete_message() {
        return Some(End::Idle);
    }
    let h2 = error.source()?.downcast_ref::<h2::Error>()?;
    let is_asked_to_leave = h2.is_go_away() && h2.reason() == Some(h2::Reason::NO_ERROR);
    is_asked_to_leave.then_some(End::GoAway)
}

/// A number that no other request has.
fn next() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

fn chain(error: impl Error) -> String {
    let mut said = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        said = format!("{said}: {error}");
        source = error.source();
    }
    said
}
