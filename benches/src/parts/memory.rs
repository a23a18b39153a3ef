//! 5. The memory of an idle connection.

use crate::crowd::Crowd;
use crate::process::Process;
use crate::served::SERVERS;
use crate::table::{Spread, Table, at_most, heading, in_turns};
use crate::wire::Version;

/// What a server needs once is there when so many are.
const BEFORE: usize = 200;
const CONNECTIONS: usize = 5000;
const RUNS: usize = 3;

pub fn run() {
    heading("5. Memory of an idle keep-alive connection of HTTP/1");
    let mut table = Table::new(["", "bytes a connection: best", "median", "worst"]);
    let mut peers = f64::INFINITY;
    let mut ours = f64::NAN;
    for (server, runs) in SERVERS.into_iter().zip(in_turns(&SERVERS, RUNS, measure)) {
        let bytes = Spread::of(runs);
        match server {
            "lameduck" => ours = bytes.median,
            // Its peers are those that can leave.
            "bare" => {}
            _ => peers = peers.min(bytes.median),
        }
        let text = |figure: f64| format!("{figure:.0}");
        table.row([
            server.to_owned(),
            text(bytes.best),
            text(bytes.median),
            text(bytes.worst),
        ]);
    }
    table.print();
    at_most("memory / the smallest peer's", ours / peers, 1.0, "x");
}

fn measure(server: &str) -> f64 {
    let mut process = Process::start(&["serve", server, "0"]);
    let port = process.number("port");
    let mut crowd = Crowd::new(port, Version::Http1);
    crowd.grow(BEFORE);
    crowd.rest();
    let before = process.memory();
    crowd.grow(CONNECTIONS);
    crowd.rest();
    (process.memory() - before) / CONNECTIONS as f64
}
