//! A real service with a real database, real traffic and a real SIGTERM, and nothing is lost.
//!
//! `cargo test --all-features --test service -- --nocapture` shows the traffic and the report.

#![cfg(all(feature = "hyper", feature = "signal"))]

mod process;

use std::collections::BTreeMap;
use std::error::Error;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::{TrySendError, http1, http2};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use process::{Process, Scratch};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection};
use tokio::net::TcpStream;
use tokio::time::{Instant, MissedTickBehavior, interval};

/// Requests a second, a third of them in each way of connecting.
const RATE: u32 = 300;
const CLIENTS: u32 = 15;
const BEFORE: Duration = Duration::from_secs(2);
/// Less than LameDuck: a client that comes later may find the listener closed.
const AFTER: Duration = Duration::from_millis(2_500);

#[tokio::test(flavor = "multi_thread")]
async fn rolling_out_the_service_loses_nothing() {
    let scratch = Scratch::new("service");
    let file = scratch.path("notes.db");
    let mut service = Process::example(
        "service",
        &["127.0.0.1:0", "127.0.0.1:0", &file],
        &[
            ("TERMINATION_GRACE_PERIOD_SECONDS", "10"),
            ("LAME_DUCK_SECONDS", "3"),
        ],
    );
    let address = address(&service.line());

    let log = Log::default();
    let end = Instant::now() + BEFORE + AFTER;
    let clients: Vec<_> = (0..CLIENTS)
        .map(|client| tokio::spawn(drive(client, address, end, log.clone())))
        .collect();
    tokio::time::sleep(BEFORE).await;
    service.signal("TERM");
    for client in clients {
        client.await.expect("a client does not panic");
    }
    let ended = tokio::task::spawn_blocking(|| service.wait())
        .await
        .expect("waiting does not panic");

    let attempts = log.attempts();
    println!("{} requests a second, SIGTERM after {BEFORE:?}:", RATE);
    for (outcome, count) in &attempts.outcomes {
        println!("{count:>6} {outcome}");
    }
    println!("{}", ended.stdout);
    assert_eq!(
        attempts.outcomes.keys().copied().collect::<Vec<_>>(),
        ["answered"],
        "{}",
        ended.stderr
    );
    assert!(attempts.outcomes["answered"] > 1_000, "there was traffic");
    assert!(attempts.told > 0, "keep-alive clients were asked to leave");
    assert_eq!(ended.status.code(), Some(0), "{}", ended.stderr);
    assert!(ended.stdout.contains("clean: SIGTERM"), "{}", ended.stdout);
    assert!(!ended.stdout.contains("not clean"), "{}", ended.stdout);
    // Before the file is opened again: reading makes them, too.
    for left in ["notes.db-wal", "notes.db-shm"] {
        assert!(!Path::new(&scratch.path(left)).exists(), "{left} is left");
    }
    assert!(attempts.written.len() > 300, "there were notes to write");
    // Each note once: no handler ran for a request that a client was free to send again.
    assert_eq!(stored(&file).await, sorted(attempts.written));
}

/// What the clients saw.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Attempts>>);

#[derive(Clone, Default)]
struct Attempts {
    /// Every attempt, by what became of it.
    outcomes: BTreeMap<&'static str, u32>,
    /// The notes whose writing was confirmed.
    written: Vec<String>,
    /// The answers that said `Connection: close`.
    told: u32,
}

impl Log {
    fn note(&self, outcome: &'static str) {
        let mut log = self.0.lock().expect("nobody panics with it");
        *log.outcomes.entry(outcome).or_default() += 1;
    }

    fn written(&self, note: String) {
        let mut log = self.0.lock().expect("nobody panics with it");
        log.written.push(note);
    }

    fn told(&self) {
        self.0.lock().expect("nobody panics with it").told += 1;
    }

    fn attempts(&self) -> Attempts {
        self.0.lock().expect("nobody panics with it").clone()
    }
}

/// One way of connecting. No pool and no retries: those would hide a loss.
#[derive(Clone, Copy)]
enum Way {
    KeepAlive,
    OneShot,
    Http2,
}

async fn drive(number: u32, address: SocketAddr, end: Instant, log: Log) {
    let way = match number % 3 {
        0 => Way::KeepAlive,
        1 => Way::OneShot,
        _ => Way::Http2,
    };
    let mut open = None;
    let mut tick = interval(Duration::from_secs(1) * CLIENTS / RATE);
    tick.set_missed_tick_behavior(MissedTickBehavior::Burst);
    for round in 0.. {
        tick.tick().await;
        if Instant::now() >= end {
            break;
        }
        let note = (round % 2 == 0).then(|| format!("client {number}, round {round}"));
        if matches!(way, Way::OneShot) {
            open = None;
        }
        match attempt(way, &mut open, address, note.as_deref(), &log).await {
            Ok(()) => {
                log.note("answered");
                if let Some(note) = note {
                    log.written(note);
                }
            }
            Err(loss) => {
                open = None;
                log.note(loss);
            }
        }
    }
}

/// One attempt, counted once, whatever becomes of it.
async fn attempt(
    way: Way,
    open: &mut Option<Sender>,
    address: SocketAddr,
    note: Option<&str>,
    log: &Log,
) -> Result<(), &'static str> {
    let (method, path) = match note {
        Some(_) => (Method::POST, "/notes"),
        None => (Method::GET, "/"),
    };
    let request = Request::builder()
        .method(method)
        .uri(format!("http://{address}{path}"))
        .header("host", address.to_string())
        .body(Full::from(note.unwrap_or_default().to_owned()))
        .expect("it is well formed");
    let response = loop {
        let mut sender = match open.take() {
            Some(sender) => sender,
            None => Sender::connect(way, address).await?,
        };
        // A connection that the server has closed, or said it would, is not used again: that is no loss.
        if sender.ready().await.is_err() {
            continue;
        }
        match sender.send(request.clone()).await {
            Ok(response) => {
                *open = Some(sender);
                break response;
            }
            Err(error) if is_unsent(&error) => continue,
            Err(error) => {
                eprintln!("lost: {:?}", error.error());
                return Err("reset");
            }
        }
    };
    if response.status() != StatusCode::OK {
        return Err("other status");
    }
    if response.headers().contains_key("connection") {
        log.told();
    }
    match response.into_body().collect().await {
        Ok(_) => Ok(()),
        Err(_) => Err("cut"),
    }
}

/// Not a byte of it was sent, because the close was heard just before. hyper then gives the request back; on HTTP/2 it may
/// also say that there was a GOAWAY (NO_ERROR), after which a client opens no stream (RFC 9113, section 6.8).
fn is_unsent(error: &TrySendError<Request<Full<Bytes>>>) -> bool {
    let goaway = error
        .error()
        .source()
        .and_then(|source| source.downcast_ref::<h2::Error>())
        .is_some_and(|error| error.is_go_away() && error.reason() == Some(h2::Reason::NO_ERROR));
    error.message().is_some() || goaway
}

enum Sender {
    Http1(http1::SendRequest<Full<Bytes>>),
    Http2(http2::SendRequest<Full<Bytes>>),
}

impl Sender {
    async fn connect(way: Way, address: SocketAddr) -> Result<Self, &'static str> {
        let stream = TcpStream::connect(address).await.map_err(|_| "refused")?;
        let io = TokioIo::new(stream);
        if matches!(way, Way::Http2) {
            let (sender, connection) = http2::handshake(TokioExecutor::new(), io)
                .await
                .map_err(|_| "reset")?;
            tokio::spawn(connection);
            return Ok(Sender::Http2(sender));
        }
        let (sender, connection) = http1::handshake(io).await.map_err(|_| "reset")?;
        tokio::spawn(connection);
        Ok(Sender::Http1(sender))
    }

    async fn ready(&mut self) -> hyper::Result<()> {
        match self {
            Sender::Http1(sender) => sender.ready().await,
            Sender::Http2(sender) => sender.ready().await,
        }
    }

    async fn send(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, TrySendError<Request<Full<Bytes>>>> {
        match self {
            Sender::Http1(sender) => sender.try_send_request(request).await,
            Sender::Http2(sender) => sender.try_send_request(request).await,
        }
    }
}

fn address(line: &str) -> SocketAddr {
    line.strip_prefix("listening on ")
        .and_then(|rest| rest.split(',').next())
        .and_then(|address| address.parse().ok())
        .unwrap_or_else(|| panic!("no address in {line:?}"))
}

async fn stored(file: &str) -> Vec<String> {
    let options = SqliteConnectOptions::new().filename(file).read_only(true);
    let mut database = options.connect().await.expect("the file is there");
    let notes = sqlx::query_scalar("SELECT text FROM notes")
        .fetch_all(&mut database)
        .await
        .expect("the table is there");
    database.close().await.expect("it closes");
    sorted(notes)
}

fn sorted(mut notes: Vec<String>) -> Vec<String> {
    notes.sort();
    notes
}
