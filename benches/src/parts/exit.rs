//! 7. From the last guard's drop to the end of the process.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use hyper_util::server::graceful::GracefulShutdown;
use lameduck::{Plan, ShutdownCoordinator};
use swansong::Swansong;
use tokio_util::task::TaskTracker;

use crate::process::{Process, now};
use crate::served::{AT_ONCE, SERVERS, SLOW};
use crate::table::{Spread, Table, at_most, heading, in_turns};
use crate::wire::client::ANSWER;

const RUNS: usize = 20;
const TARGET: f64 = 0.6;
const HELD: Duration = Duration::from_millis(30);
/// `main` returns, as in the README: that waits for the runtime's threads.
const RETURNS: &str = "lameduck";
/// Without a thread that waits for signals, and one that watches.
const UNWATCHED: &str = "lameduck without signal::listen";
const GUARDS: [&str; 8] = [
    "nothing",
    "TaskTracker",
    "TaskTracker, process::exit",
    "hyper-util",
    "swansong",
    UNWATCHED,
    RETURNS,
    AT_ONCE,
];

pub fn run() {
    heading("7. From the last guard's drop to the end of the process");
    table(&GUARDS, "guard", from_guard);
    heading("7. From the last answer, as its client has it, to the end of the process");
    let servers: Vec<&str> = SERVERS[1..].iter().copied().chain([AT_ONCE]).collect();
    table(&servers, "answer", from_answer);
}

fn table(peers: &[&str], what: &str, measure: fn(&str) -> f64) {
    let mut table = Table::new(["", "ms: best", "median", "worst"]);
    let mut ours = Vec::new();
    for (peer, runs) in peers.iter().zip(in_turns(peers, RUNS, measure)) {
        let spread = Spread::of(runs);
        if [AT_ONCE, RETURNS].contains(peer) {
            ours.push((*peer, spread.median));
        }
        table.row([
            (*peer).to_owned(),
            format!("{:.2}", spread.best),
            format!("{:.2}", spread.median),
            format!("{:.2}", spread.worst),
        ]);
    }
    table.print();
    for (how, median) in ours {
        let what = format!("last {what} to exit, {how}, median");
        at_most(&what, median, TARGET, " ms");
    }
}

fn from_guard(peer: &str) -> f64 {
    let mut process = Process::start(&["leave", peer]);
    // Sleeps until then: whoever reads what it prints takes a processor away from it.
    let ended = process.wait();
    let dropped = Duration::from_nanos(process.number("dropped"));
    ms(ended.saturating_sub(dropped))
}

fn from_answer(server: &str) -> f64 {
    let mut process = Process::start(&["serve", server, "0"]);
    let port = process.number("port");
    let mut io = TcpStream::connect(("127.0.0.1", port as u16)).expect("the server accepts");
    // It serves, so it listens to signals as well.
    ask(&mut io, "/orders/1").expect("nothing has been sent to it yet");
    hear(&mut io).expect("nothing has been sent to it yet");
    let heard = ask(&mut io, "/slow").and_then(|()| {
        std::thread::sleep(SLOW / 3);
        process.terminate();
        hear(&mut io)
    });
    if let Err(error) = heard {
        eprintln!("{server}: the last request was lost: {error}");
        return f64::NAN;
    }
    let answered = now();
    drop(io);
    ms(process.wait().saturating_sub(answered))
}

fn ask(io: &mut TcpStream, path: &str) -> io::Result<()> {
    write!(io, "GET {path} HTTP/1.1\r\nhost: shop.example\r\n\r\n")
}

/// Reads to the last byte of the body; the server is not gone yet.
fn hear(io: &mut TcpStream) -> io::Result<()> {
    let mut answer = Vec::new();
    let mut part = [0; 1024];
    while !answer.ends_with(ANSWER.as_bytes()) {
        let read = io.read(&mut part)?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        answer.extend_from_slice(&part[..read]);
    }
    Ok(())
}

/// The process of `from_guard`.
#[tokio::main]
pub async fn leave(peer: &str) {
    match peer {
        "nothing" => held(()).await,
        "TaskTracker" => tracked().await,
        "TaskTracker, process::exit" => {
            tracked().await;
            std::process::exit(0);
        }
        "hyper-util" => {
            let graceful = GracefulShutdown::new();
            tokio::spawn(held(graceful.watcher()));
            graceful.shutdown().await;
        }
        "swansong" => {
            let swansong = Swansong::new();
            tokio::spawn(held(swansong.guard()));
            swansong.shut_down().await;
        }
        RETURNS | AT_ONCE | UNWATCHED => {
            let plan = Plan::local();
            let shutdown = ShutdownCoordinator::new(plan);
            let handle = shutdown.handle();
            if peer != UNWATCHED {
                lameduck::signal::listen(&handle).expect("they can be listened to");
            }
            tokio::spawn(held(handle.guard()));
            handle.shutdown("measured");
            let report = shutdown.run().await;
            if peer == AT_ONCE {
                report.exit_process();
            }
        }
        _ => panic!("no such peer: {peer}"),
    }
}

async fn tracked() {
    let tracker = TaskTracker::new();
    tokio::spawn(held(tracker.token()));
    tracker.close();
    tracker.wait().await;
}

/// Holds it for a while, says when it is dropped, and drops it.
async fn held<T>(guard: T) {
    tokio::time::sleep(HELD).await;
    println!("dropped {}", now().as_nanos());
    drop(guard);
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
