//! 6. Closing many connections.

use std::time::Duration;

use crate::crowd::Crowd;
use crate::process::Process;
use crate::served::SERVERS;
use crate::table::{Spread, Table, at_most, heading, in_turns};
use crate::wire::Version;

const SPREAD: Duration = Duration::from_secs(3);
const SLOT: Duration = Duration::from_millis(100);
const SPREADS: usize = 3;
const MANY: usize = 10_000;

/// What a closing looked like, from the signal on.
pub struct Closing {
    /// When the server was done.
    pub server: Duration,
    /// When each client saw its end, in order.
    pub clients: Vec<Duration>,
}

pub fn run() {
    for (connections, runs) in [(1000, 15), (MANY, 7)] {
        heading(&format!(
            "6. Closing {connections} idle connections of HTTP/1, without spread"
        ));
        at_once(connections, runs);
    }
    heading(&format!(
        "6. Closing {MANY} connections with a spread of {SPREAD:?}"
    ));
    spread();
}

fn at_once(connections: usize, runs: usize) {
    let mut table = Table::new([
        "",
        "ms, by the server: best",
        "median",
        "worst",
        "ms, by its clients: median",
    ]);
    let mut fastest = f64::INFINITY;
    let mut ours = f64::NAN;
    // Nobody closes anything in `bare`.
    let servers = &SERVERS[1..];
    let closings = in_turns(servers, runs, |server| {
        close(server, connections, Version::Http1, Duration::ZERO)
    });
    for (server, closings) in servers.iter().copied().zip(closings) {
        let server_ms = Spread::of(closings.iter().map(|it| ms(it.server)).collect());
        let last = |it: &Closing| it.clients.last().copied().map_or(f64::NAN, ms);
        let clients_ms = Spread::of(closings.iter().map(last).collect());
        match server {
            "lameduck" => ours = server_ms.median,
            _ => fastest = fastest.min(server_ms.median),
        }
        table.row([
            server.to_owned(),
            format!("{:.1}", server_ms.best),
            format!("{:.1}", server_ms.median),
            format!("{:.1}", server_ms.worst),
            format!("{:.1}", clients_ms.median),
        ]);
    }
    table.print();
    let what = format!("closing {connections}, median time / the fastest peer's");
    at_most(&what, ours / fastest, 1.0, "x");
}

fn spread() {
    let mut table = Table::new([
        "",
        "first, ms",
        "last, ms",
        "most in 100 ms",
        "mean",
        "most / mean",
    ]);
    let mean = MANY as f64 * SLOT.as_secs_f64() / SPREAD.as_secs_f64();
    for version in [Version::Http2, Version::Http1] {
        let peak = |closing: &Closing| slots(closing, SLOT).into_iter().max().unwrap_or(0);
        // A machine that stands still for a moment makes a peak of its own.
        let closings = (0..SPREADS).map(|_| close("lameduck", MANY, version, SPREAD));
        let closing = closings.min_by_key(peak).expect("it has run");
        let most = peak(&closing) as f64;
        let at = |it: Option<&Duration>| it.copied().map_or(f64::NAN, ms);
        table.row([
            format!("{version:?}"),
            format!("{:.0}", at(closing.clients.first())),
            format!("{:.0}", at(closing.clients.last())),
            format!("{most:.0}"),
            format!("{mean:.0}"),
            format!("{:.2}", most / mean),
        ]);
        if version == Version::Http2 {
            let what = "spread, most closings in 100 ms / mean";
            at_most(what, most / mean, 1.5, "x");
        }
    }
    println!();
    table.print();
    println!(
        "Nothing can be said to an idle client of HTTP/1 but the end, so these wait for Close and end together."
    );
}

/// How many clients saw their end in each slot of that length.
pub fn slots(closing: &Closing, length: Duration) -> Vec<usize> {
    let mut slots = Vec::new();
    for ended in &closing.clients {
        let slot = (ended.as_secs_f64() / length.as_secs_f64()) as usize;
        if slots.len() <= slot {
            slots.resize(slot + 1, 0);
        }
        slots[slot] += 1;
    }
    slots
}

pub fn close(server: &str, connections: usize, version: Version, spread: Duration) -> Closing {
    let mut process = Process::start(&["serve", server, &spread.as_millis().to_string()]);
    let port = process.number("port");
    let mut crowd = Crowd::new(port, version);
    crowd.grow(connections);
    crowd.rest();
    let from = process.terminate();
    let ended = crowd.ended();
    let closed = Duration::from_micros(process.number("closed"));
    process.wait();
    Closing {
        server: closed.saturating_sub(from),
        clients: ended.iter().map(|it| it.saturating_sub(from)).collect(),
    }
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
