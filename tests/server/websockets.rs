//! Many WebSockets at once, and how they are told.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade};
use axum::routing::get;
use futures_util::StreamExt;
use lameduck::{Moment, Plan, close_websocket};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Message as ClientMessage;
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::logged;
use crate::support::*;

// Case 53.
#[tokio::test(start_paused = true)]
async fn thousand_websockets_are_told_over_the_spread_and_those_that_do_not_answer_are_dropped() {
    const SOCKETS: usize = 1_000;
    /// One in so many never answers.
    const MUTE: usize = 20;
    allow_files(4 * SOCKETS as u64);
    let spread = seconds(4);
    let plan = Plan::builder()
        .lame_duck(Duration::ZERO)
        .spread(Duration::ZERO)
        .close(seconds(8))
        .long_spread(spread);
    let (answered, mut answers) = mpsc::unbounded_channel();
    let (shutdown, handle) = coordinator(plan.build().unwrap());
    let (address, _) = start(chat(answered), &handle).await;
    let mut clients = Vec::new();
    for n in 0..SOCKETS {
        let socket = open(address).await;
        clients.push(match n % MUTE {
            0 => tokio::spawn(mute(socket)),
            _ => tokio::spawn(answering(socket)),
        });
    }
    assert_eq!(handle.connections(), SOCKETS as u64);

    logged::capture();
    let run = begin(shutdown);
    // Neither LameDuck nor Drain has anything to wait for.
    let close = Instant::now();
    let mut ends = Vec::new();
    for client in clients {
        ends.push(soon(client).await.unwrap());
    }
    let report = soon(run).await.unwrap();
    let lines = logged::lines();

    assert!(ends.iter().all(|end| end.code == RESTART));
    let told: Vec<Duration> = ends.iter().map(|end| end.told - close).collect();
    let last = told.iter().max().unwrap();
    assert!(*last < spread + millis(500), "{last:?}");
    for quarter in 0..4 {
        let (from, to) = (spread / 4 * quarter, spread / 4 * (quarter + 1));
        let within = told.iter().filter(|at| (from..to).contains(*at)).count();
        // 250 each, with a standard deviation of 14.
        assert!((150..350).contains(&within), "{within} in {from:?}..{to:?}");
    }

    let (mute, answering): (Vec<End>, Vec<End>) = ends.iter().partition(|end| end.mute);
    assert_eq!(mute.len(), SOCKETS / MUTE);
    for end in mute {
        let took = end.over - end.told;
        assert!(about(took, seconds(2)), "{took:?}");
    }
    for end in answering {
        let took = end.over - end.told;
        assert!(about(took, Duration::ZERO), "{took:?}");
    }
    let mut counts = [0; 2];
    while let Ok(answered) = answers.try_recv() {
        counts[usize::from(answered)] += 1;
    }
    assert_eq!(counts, [SOCKETS / MUTE, SOCKETS - SOCKETS / MUTE]);

    assert!(report.is_clean(), "{report}");
    assert_eq!((report.long.told, report.long.cut), (SOCKETS as u64, 0));
    assert_eq!(report.connections.closed, SOCKETS as u64);
    assert_eq!(report.connections.cut, 0);

    let batches: Vec<usize> = lines
        .iter()
        .filter_map(|line| {
            let rest = line.strip_prefix("INFO lameduck: long connections told to end told=")?;
            rest.split(' ').next()?.parse().ok()
        })
        .collect();
    // One a second.
    assert!((4..=6).contains(&batches.len()), "{batches:?}");
    assert_eq!(batches.iter().sum::<usize>(), SOCKETS);
    assert!(lines.len() < 50, "{lines:#?}");
}

/// Service restart.
const RESTART: u16 = 1012;
const WHY: &str = "service restart";

/// How it went for a client.
#[derive(Clone, Copy)]
struct End {
    mute: bool,
    /// Of the close frame.
    code: u16,
    told: Instant,
    /// When the server ended the connection.
    over: Instant,
}

/// A client that answers the close frame, as its library does by itself.
async fn answering(mut socket: WebSocketStream<TcpStream>) -> End {
    let first = soon(socket.next()).await.unwrap().unwrap();
    let told = Instant::now();
    let ClientMessage::Close(Some(frame)) = first else {
        panic!("{first:?}");
    };
    while let Some(message) = soon(socket.next()).await {
        message.unwrap();
    }
    End {
        mute: false,
        code: frame.code.into(),
        told,
        over: Instant::now(),
    }
}

/// A client that reads what comes and says nothing.
async fn mute(socket: WebSocketStream<TcpStream>) -> End {
    let mut stream = socket.into_inner();
    let mut frame = [0; 4 + WHY.len()];
    soon(stream.read_exact(&mut frame)).await.unwrap();
    let told = Instant::now();
    assert_eq!(frame[0], 0x88, "no close frame: {frame:?}");
    let rest = soon(stream.read(&mut [0])).await;
    // The end, no reset.
    assert_eq!(rest.unwrap(), 0);
    End {
        mute: true,
        code: u16::from_be_bytes([frame[2], frame[3]]),
        told,
        over: Instant::now(),
    }
}

async fn open(address: SocketAddr) -> WebSocketStream<TcpStream> {
    let stream = TcpStream::connect(address).await.unwrap();
    let (socket, _) = soon(client_async("ws://test/", stream)).await.unwrap();
    socket
}

/// Echoes, until the client leaves or it is time to leave. Says of each whether its client has answered then.
fn chat(answered: mpsc::UnboundedSender<bool>) -> Router {
    let handler = async move |upgrade: WebSocketUpgrade| {
        let moment = Moment::current().expect("served by lameduck");
        upgrade.on_upgrade(move |socket| echo(socket, moment, answered))
    };
    Router::new().route("/", get(handler))
}

async fn echo(mut socket: WebSocket, mut moment: Moment, answered: mpsc::UnboundedSender<bool>) {
    loop {
        tokio::select! {
            message = socket.recv() => {
                let Some(Ok(message)) = message else { return };
                if socket.send(message).await.is_err() {
                    return;
                }
            }
            told = &mut moment => {
                let restart = CloseFrame { code: RESTART, reason: WHY.into() };
                let close = Message::Close(Some(restart));
                let in_time = close_websocket(&mut socket, close, &told).await;
                answered.send(in_time).unwrap();
                return;
            }
        }
    }
}

/// Two for each socket, its client's and the server's, and as many for the other tests of this process; many machines allow
/// 1,024 unless asked.
fn allow_files(count: u64) {
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_some_and(|current| current < count) {
        let raised = Rlimit {
            current: Some(count),
            maximum: limit.maximum,
        };
        setrlimit(Resource::Nofile, raised).expect("the hard limit allows it");
    }
}
