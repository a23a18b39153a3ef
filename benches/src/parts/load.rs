//! 9. Real sockets under load.

use std::process::Command;

use crate::h2load::{self, Load};
use crate::loaded::{LARGE, Loaded, MEDIUM, SERVERS, SMALL};
use crate::process::Process;
use crate::table::{Spread, Table, heading};

/// Rounds, in each of which every server has its turn, unless the variable says how many.
const ROUNDS: usize = 10;
const ROUNDS_VARIABLE: &str = "LAMEDUCK_ROUNDS";
/// Only cases whose name has this in it: `16 streams, small`.
const CASES_VARIABLE: &str = "LAMEDUCK_CASES";
/// Requests of one turn.
const REQUESTS: u32 = 10_000;
/// Fewer where only one is in flight.
const ONE_BY_ONE: u32 = 3_000;

struct Case {
    name: &'static str,
    http1: bool,
    connections: u32,
    at_once: u32,
}

const fn case(name: &'static str, http1: bool, connections: u32, at_once: u32) -> Case {
    Case {
        name,
        http1,
        connections,
        at_once,
    }
}

const CASES: [Case; 7] = [
    case("HTTP/2, 4 connections of 16 streams", false, 4, 16),
    case("HTTP/2, 32 connections of 1 stream", false, 32, 1),
    case("HTTP/2, 1 connection of 100 streams", false, 1, 100),
    case("HTTP/2, 1 request in flight", false, 1, 1),
    case("HTTP/1, 32 connections", true, 32, 1),
    case("HTTP/1, 4 connections, 16 pipelined", true, 4, 16),
    case("HTTP/1, 1 request in flight", true, 1, 1),
];

/// One server's turn.
#[derive(Clone, Copy)]
struct Turn {
    per_second: f64,
    p50: f64,
    p99: f64,
    processor: f64,
}

pub fn run() {
    if !h2load::is_there() {
        heading("9. Under load: skipped, h2load is not installed (package nghttp2-client)");
        return;
    }
    let cores = core_affinity::get_core_ids().expect("the cores are known");
    let [server_core, .., client_core] = cores[..] else {
        heading("9. Under load: skipped, server and client need a core each");
        return;
    };
    // h2load inherits it; the servers choose their own.
    core_affinity::set_for_current(client_core);
    let servers = SERVERS.map(|server| (server, start(server, server_core.id)));
    let wanted = std::env::var(CASES_VARIABLE).unwrap_or_default();
    for case in &CASES {
        for (what, path) in [("small", SMALL), ("1 kB", MEDIUM), ("16 kB", LARGE)] {
            let name = format!("{}, {what} responses", case.name);
            if !name.contains(&wanted) {
                continue;
            }
            heading(&format!("9. {name}"));
            let requests = match case.connections * case.at_once {
                1 => ONE_BY_ONE,
                _ => REQUESTS,
            };
            let load = Load {
                http1: case.http1,
                connections: case.connections,
                at_once: case.at_once,
                path,
                requests,
            };
            measure(&servers, &load);
        }
    }
    for core in cores {
        core_affinity::set_for_current(core);
    }
}

fn rounds() -> usize {
    let rounds = std::env::var(ROUNDS_VARIABLE);
    rounds.map_or(ROUNDS, |rounds| rounds.parse().expect("a number"))
}

struct Started {
    process: Process,
    port: u16,
}

fn start(server: Loaded, core: usize) -> Started {
    let nodelay = server.nodelay.to_string();
    let mut process = Process::start(&["load", server.server, &nodelay, &core.to_string()]);
    let port = process.number("port") as u16;
    Started { process, port }
}

fn measure(servers: &[(Loaded, Started)], load: &Load) {
    let mut turns: Vec<Vec<Turn>> = servers.iter().map(|_| Vec::new()).collect();
    for _ in 0..rounds() {
        for ((_, started), turns) in servers.iter().zip(&mut turns) {
            turns.push(turn(started, load));
        }
    }
    let median =
        |turns: &[Turn], of: fn(&Turn) -> f64| Spread::of(turns.iter().map(of).collect()).median;
    let axum = servers
        .iter()
        .position(|(server, _)| server.name == "axum::serve");
    let axum = median(&turns[axum.expect("it is one of them")], |turn| {
        turn.per_second
    });
    let mut table = Table::new([
        "",
        "requests/s",
        "/ axum::serve",
        "p50, µs",
        "p99, µs",
        "processor, µs a request",
        "writes a request",
    ]);
    for ((server, started), turns) in servers.iter().zip(&turns) {
        let per_second = median(turns, |turn| turn.per_second);
        table.row([
            server.name.to_owned(),
            format!("{per_second:.0}"),
            format!("{:.2}", per_second / axum),
            format!("{:.0}", median(turns, |turn| turn.p50)),
            format!("{:.0}", median(turns, |turn| turn.p99)),
            format!("{:.1}", median(turns, |turn| turn.processor)),
            format!("{:.2}", writes(started, load)),
        ]);
    }
    table.print();
}

fn turn(server: &Started, load: &Load) -> Turn {
    let before = server.process.processor_time();
    let answered = h2load::send(load, server.port);
    let processor = server.process.processor_time() - before;
    let micros = |it: std::time::Duration| it.as_secs_f64() * 1e6;
    Turn {
        per_second: answered.per_second,
        p50: micros(answered.p50),
        p99: micros(answered.p99),
        processor: micros(processor) / f64::from(load.requests),
    }
}

/// System calls that write, for one request: a turn of its own, under strace. NaN where strace is missing.
fn writes(server: &Started, load: &Load) -> f64 {
    let Some(strace) = Strace::attach(&server.process) else {
        return f64::NAN;
    };
    h2load::send(load, server.port);
    strace.writes() as f64 / f64::from(load.requests)
}

/// Counts the system calls of a process that write to its sockets.
struct Strace {
    child: std::process::Child,
    summary: std::path::PathBuf,
}

impl Strace {
    fn attach(process: &Process) -> Option<Self> {
        let summary = std::env::temp_dir().join(format!("lameduck-strace-{}", std::process::id()));
        let _ = std::fs::remove_file(&summary);
        let child = Command::new("strace")
            .args(["-f", "-c", "-U", "name,calls"])
            .args(["-e", "trace=write,writev,sendto,sendmsg,sendmmsg"])
            .arg("-o")
            .arg(&summary)
            .args(["-p", &process.id().to_string()])
            .stderr(std::process::Stdio::null())
            .spawn()
            .ok()?;
        let strace = Strace { child, summary };
        process.is_traced_in_time().then_some(strace)
    }

    fn writes(mut self) -> u64 {
        crate::process::interrupt(&self.child);
        let _ = self.child.wait();
        let text = std::fs::read_to_string(&self.summary).unwrap_or_default();
        let _ = std::fs::remove_file(&self.summary);
        // `writev 20000`; wakeups of the runtime are writes of eight bytes to an eventfd, and few.
        let calls = text.lines().filter_map(|line| {
            let mut words = line.split_whitespace();
            let name = words.next()?;
            let is_write = name.starts_with("write") || name.starts_with("send");
            let calls: u64 = words.next()?.parse().ok()?;
            is_write.then_some(calls)
        });
        calls.sum()
    }
}
