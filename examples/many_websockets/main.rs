//! A server with ten thousand open WebSockets leaves, as its clients see it.
//!
//! ```console
//! $ cargo run --release --all-features --example many_websockets
//! ```
//!
//! The server is a child process that gets a real SIGTERM; the clients are this one. Each client notes when it saw the close
//! frame, and with which code. The server says meanwhile, every 20 ms, how many connections its handle counts. Then the
//! resident memory of a WebSocket is measured, under `lameduck` and under plain `axum::serve`: the same router, the same
//! handler. `--help` lists the options. The last line is the result:
//!
//! ```text
//! lameduck: 30000 of 30000 clients told with 1012, peak 1.13 times the mean, 0 counts below what they held, 3 of 3 exits with 0
//! ```
//!
//! The exit code is 0 when, in each run,
//!
//! - every client saw a close frame with 1012, and then the end of the connection and no reset;
//! - no part of the window saw more than 1.5 times its share of them;
//! - the handle never counted fewer connections than the clients still held;
//! - the report says that all were told and none was cut, and the server left with 0 before SIGKILL.
//!
//! Nothing is seeded: what is measured is chance as users have it. The memory is told and not judged.

mod app;
mod args;
mod chart;
mod clients;
mod descriptors;
mod leaving;
mod memory;
mod process;
mod server;

use std::error::Error;
use std::process::ExitCode;
use std::time::Instant;

use crate::args::{Args, HELP};
use crate::leaving::Leaving;
use crate::server::Settings;

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let given: Vec<String> = std::env::args().skip(1).collect();
    match given.split_first() {
        Some((command, settings)) if command == Settings::COMMAND => {
            return server::main(settings);
        }
        _ => {}
    }
    match Args::parse(given.into_iter()) {
        Ok(Some(args)) => run(&args),
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

#[tokio::main]
async fn run(args: &Args) -> Result<ExitCode, Box<dyn Error>> {
    let started = Instant::now();
    descriptors::allow(args.connections)?;
    println!(
        "A server with {} open WebSockets gets SIGTERM. They are told in a window of {:.1} s.\n",
        args.connections,
        args.spread.as_secs_f64()
    );
    let mut runs = Vec::new();
    let mut failures = Vec::new();
    for number in 1..=args.runs {
        let leaving = leaving::play(args).await?;
        println!("run {number} of {}\n{}", args.runs, chart::chart(&leaving));
        failures.extend(
            leaving
                .failures()
                .into_iter()
                .map(|failure| format!("run {number}: {failure}")),
        );
        runs.push(leaving);
    }

    println!("{}", memory::measure(args).await?);
    for failure in &failures {
        println!("FAILED {failure}");
    }
    println!("{:.0} s in all", started.elapsed().as_secs_f64());
    println!("{}", last_line(&runs));
    Ok(ExitCode::from(u8::from(!failures.is_empty())))
}

fn last_line(runs: &[Leaving]) -> String {
    let clients: usize = runs.iter().map(|run| run.ends.len()).sum();
    let told: usize = runs.iter().map(Leaving::told).sum();
    let peak = runs.iter().map(Leaving::peak).fold(0.0, f64::max);
    let low: usize = runs.iter().map(Leaving::counted_too_few).sum();
    let clean = runs.iter().filter(|run| run.ended.code == Some(0)).count();
    format!(
        "lameduck: {told} of {clients} clients told with 1012, peak {peak:.2} times the mean, \
         {low} counts below what they held, {clean} of {} exits with 0",
        runs.len()
    )
}
