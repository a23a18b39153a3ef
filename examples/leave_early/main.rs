//! How good the rule is by which LameDuck may be left early: how often it is wrong, what it saves, and what other rules do.
//!
//! ```console
//! $ cargo run --release --example leave_early
//! ```
//!
//! The real crate is shut down some ten thousand times, on a paused clock, in traffic of many kinds that is drawn at random:
//! steady, in bursts, in waves, from few clients that pause, over nodes of which one lags. *Wrong* is to leave LameDuck before its
//! time while traffic is still routed here. With traffic that has moved after 5 s at the latest nobody can be wrong, because
//! LameDuck lasts as long. The same arrivals are judged by other rules, as arithmetic; the arithmetic of the real rule has to end each
//! shutdown as the crate does, to the millisecond.
//!
//! Then two servers are started as processes, with and without `leave_early`, and get SIGTERM under load. That part is measured
//! and not seeded; everything else is the same for the same `--seed`. `--help` lists the options. The last line is the result.
//!
//! The exit code is 0 when
//!
//! - steady traffic was never left while it was routed here, and what is too quiet was never left at all;
//! - steady traffic saved what it should;
//! - crate and arithmetic agreed on every shutdown;
//! - silence alone was wrong where little comes: otherwise the traffic could judge no rule;
//! - both servers left with 0, every request was answered, and the one was faster than the other.
//!
//! Traffic that the rule is wrong about (`WEAK` in the output) is told and not judged.
//!
//! What fewer pods at once are worth during a rollout is another matter: `cargo run --example rollout -- --terminate 5`, and
//! `--terminate 10`.

mod args;
mod chance;
mod clock;
mod judge;
mod measured;
mod play;
mod random;
mod rules;
mod server;
mod table;
mod traffic;
mod verdict;

use std::error::Error;
use std::process::ExitCode;
use std::time::Instant;

use crate::args::{Args, HELP};
use crate::clock::{Column, Millis};
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

fn run(args: &Args) -> Result<ExitCode, Box<dyn Error>> {
    let started = Instant::now();
    println!("{}", table::announcement(args));
    let judged = judge::judge(args);
    let fixed = fixed();
    println!("{}", table::wrong(&judged));
    println!("{}", table::saved(&judged, &fixed));
    println!("{}", table::rules(&judged, args));
    println!("{}", table::worked_out());
    let measured = match args.processes {
        true => Some(measure(args.quick)?),
        false => None,
    };
    if let Some(measured) = &measured {
        println!("{}", measured.table());
    }

    println!("{}", table::weak(&judged));
    let failures = verdict::failures(&judged, &fixed, measured.as_ref());
    for failure in &failures {
        println!("FAILED {failure}");
    }
    eprintln!("{:.0} s in all", started.elapsed().as_secs_f64());
    println!("{}", verdict::last_line(&judged, measured.as_ref()));
    Ok(ExitCode::from(u8::from(!failures.is_empty())))
}

/// How long LameDuck takes in each column without `leave_early`, whatever comes: nothing, here.
fn fixed() -> Vec<Millis> {
    const SOME_TIME: Millis = 100_000;
    Column::ALL
        .into_iter()
        .map(|column| play::play(column.plan(false), &[], SOME_TIME).after)
        .collect()
}

#[tokio::main]
async fn measure(quick: bool) -> Result<measured::Measured, String> {
    measured::measure(quick).await
}
