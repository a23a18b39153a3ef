//! Counts the allocations of one request, and what its allocator has given for a connection.

use std::alloc::System;

use lameduck_benches::table::{Table, at_most, missed};
use lameduck_benches::wire::client::Client;
use lameduck_benches::work::request::{SERVERS, describe, with_server};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const WARM_UP: usize = 100;
const REQUESTS: usize = 1000;
/// A second's turn renews the date that each answer bears: one allocation on HTTP/1, two on HTTP/2, of any server. It cannot
/// fall into every round.
const ROUNDS: usize = 3;
const CONNECTIONS: usize = 1000;

fn main() {
    for version in ["http1", "http2"] {
        let head = format!("{version}, router");
        let mut table = Table::new([
            &head,
            "allocations a request",
            "bytes a request",
            "bytes an idle connection",
        ]);
        let mut bare = 0.0;
        for server in SERVERS.into_iter().skip(1) {
            let name = format!("{version}/router/{server}");
            let (allocations, bytes) = of_request(&name);
            let idle = of_connection(&name);
            match server {
                "bare" => bare = allocations,
                "lameduck" | "layer" => {
                    let what = format!("{version}, allocations that {} adds", describe(server));
                    at_most(&what, allocations - bare, 0.0, "");
                }
                _ => {}
            }
            table.row([
                describe(server).to_owned(),
                format!("{allocations:.3}"),
                format!("{bytes:.0}"),
                format!("{idle:.0}"),
            ]);
        }
        println!();
        table.print();
    }
    std::process::exit(missed().len() as i32);
}

fn of_request(name: &str) -> (f64, f64) {
    let mut least = (usize::MAX, usize::MAX);
    with_server(name, async |connector, version| {
        let mut client = Client::open(connector.connect(), version).await;
        for _ in 0..WARM_UP {
            client.request().await;
        }
        for _ in 0..ROUNDS {
            let region = Region::new(ALLOCATOR);
            for _ in 0..REQUESTS {
                client.request().await;
            }
            let change = region.change();
            let allocations = change.allocations + change.reallocations;
            least = least.min((allocations, change.bytes_allocated));
        }
    });
    let (allocations, bytes) = least;
    let each = |counted: usize| counted as f64 / REQUESTS as f64;
    (each(allocations), each(bytes))
}

/// What it holds of the allocator, with a client and a transport that are the same for all.
fn of_connection(name: &str) -> f64 {
    let mut held = 0.0;
    with_server(name, async |connector, version| {
        let mut clients = Vec::with_capacity(WARM_UP + CONNECTIONS);
        let mut before = Region::new(ALLOCATOR);
        for number in 0..WARM_UP + CONNECTIONS {
            if number == WARM_UP {
                before.reset();
            }
            let mut client = Client::open(connector.connect(), version).await;
            client.request().await;
            clients.push(client);
        }
        let change = before.change();
        let net = change.bytes_allocated as f64 - change.bytes_deallocated as f64;
        held = (net + change.bytes_reallocated as f64) / CONNECTIONS as f64;
    });
    held
}
