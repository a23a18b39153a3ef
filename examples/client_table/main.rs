//! A table of clients: every shape of client, caught in the middle of its action by every phase, over every version of HTTP.
//!
//! ```console
//! $ cargo run --example client_table
//! ```
//!
//! A server is started as a child process for each version of HTTP and each phase. Clients connect to it over loopback, with
//! small receive buffers, and begin: one reads its response at 20 kB/s, one sends half a chunk, one answers no PING. When all of
//! them are in the middle of their actions the phase begins; they finish, and the server is watched until it has exited. Nothing
//! is timed by a guess: clients wait for bytes, for their handler's call and for the phase, which the server reports on standard
//! output. A scene whose phase began before a client was in its action, on a machine that is busy, is played again.
//!
//! Each cell of the table is one client. A client is *whole* if it got every byte in order; *unbegun* if no handler was called
//! for its request; *named* if the report names what was cut. What each client has to get follows from what it does: one that
//! reads fast enough for the grace period has to get all of it, one that never reads has to be named. Everything else is a
//! failure, and marked with `!`; the legend below the table explains the words.
//!
//! **Other servers.** `axum::serve(..).with_graceful_shutdown` and hyper-util's `GracefulShutdown` serve the same router to the
//! same clients. They serve on for as long as LameDuck lasts, and then begin. They have no Close: their listener closes when
//! they begin. They have no report either, so nothing of theirs is *named*.
//!
//! **Half-close.** hyper takes a client that ends its direction behind its request for one that has gone, and drops the request.
//! So `lameduck`'s server and hyper-util's are built with hyper's `half_close(true)`; `axum::serve` has no such setting.
//!
//! The whole table takes 110 s. What is left to chance follows from `--seed`. `--short` plays the most telling cells in 20 s.
//! `--help` lists the options. The last line is the result; the exit code is 0 if every client of `lameduck` got its due, and a
//! peer, if one was played, wronged somebody.

mod app;
mod args;
mod client;
#[path = "../stop_under_load/column.rs"]
mod column;
mod cue;
mod frames;
mod http1;
mod http2;
mod judge;
mod moment;
mod play;
mod process;
mod protocol;
#[path = "../stop_under_load/random.rs"]
mod random;
mod scene;
mod script;
mod server;
mod shape;
mod story;
mod table;
mod tls;
mod wire;

use std::error::Error;
use std::process::ExitCode;
use std::time::Instant;

use crate::args::{Args, HELP};
use crate::column::Column;
use crate::play::Outcome;
use crate::server::Settings;
use crate::tls::Identity;

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let given: Vec<String> = std::env::args().skip(1).collect();
    match given.split_first() {
        Some((command, settings)) if command == Settings::COMMAND => {
            return server::main(settings);
        }
        _ => {}
    }
    match Args::parse(given.into_iter()) {
        Ok(Some(args)) if args.list => {
            list(&args);
            Ok(ExitCode::SUCCESS)
        }
        Ok(Some(args)) => play_table(&args),
        Ok(None) => {
            print!("{HELP}");
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => {
            eprintln!("{error}");
            Ok(ExitCode::from(2))
        }
    }
}

fn list(args: &Args) {
    for scene in args.scenes() {
        for shape in &scene.shapes {
            println!("{scene} {shape}");
        }
    }
}

#[tokio::main]
async fn play_table(args: &Args) -> Result<ExitCode, Box<dyn Error>> {
    let started = Instant::now();
    println!("{}\n", table::announcement(args));
    let outcome = play::play(args, Identity::new()?).await?;
    println!("{}", table::tables(args, &outcome));
    println!("{}", table::LEGEND);
    // A peer has too many, unless it was asked for.
    let told = match args.columns[..] {
        [column] => column,
        _ => Column::Lameduck,
    };
    print!("{}", table::behind_failures(told, &outcome.judged));
    let failures = failures(args, &outcome);
    for failure in &failures {
        println!("FAILED {failure}");
    }
    println!(
        "{:.0} s in all; {} scenes were played again, because the machine was late for their moment",
        started.elapsed().as_secs_f64(),
        outcome.missed
    );
    println!("{}", table::last_line(args, &outcome.judged));
    Ok(ExitCode::from(u8::from(!failures.is_empty())))
}

/// What the run had to show and did not; empty when all is well.
fn failures(args: &Args, outcome: &Outcome) -> Vec<String> {
    let mut failures = outcome.failures.clone();
    let wronged = table::wrong(&outcome.judged, Column::Lameduck).count();
    if wronged > 0 {
        failures.push(format!(
            "{wronged} clients of lameduck did not get their due"
        ));
    }
    let peers = || {
        args.columns
            .iter()
            .filter(|&&column| column != Column::Lameduck)
    };
    let bitten = peers().any(|&peer| table::wrong(&outcome.judged, peer).next().is_some());
    // Of a choice of cells nobody knows whether a peer fails in one.
    if args.only.is_empty() && peers().next().is_some() && !bitten {
        failures.push("the peers wronged nobody, so this run proves nothing".to_owned());
    }
    failures
}
