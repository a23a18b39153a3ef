//! A rolling update, played on one machine: what `lameduck` keeps and what the usual ways of stopping lose.
//!
//! ```console
//! $ cargo run --example rolling_update
//! ```
//!
//! It starts replicas as child processes, plays the Service, the kubelet and the Deployment around them, sends steady
//! traffic, replaces every replica twice, and counts. Three columns run side by side, with the same traffic: axum's graceful
//! shutdown, the same after a sleep, and `lameduck`. `--help` lists the options; `--grace 30` plays Kubernetes' own schedule.
//! The last line is the result:
//!
//! ```text
//! lameduck: 10021 requests, 0 lost, 0 killed; axum: 119 lost, 6 killed; axum + sleep: 0 lost, 6 killed
//! ```
//!
//! With `--proxy nginx` or `--proxy haproxy` the real one stands in front of each column instead of the Service.
//!
//! The exit code is 0 when that is what was promised, and when both other columns lost something: a run in which they do
//! not has proved nothing.

mod app;
mod args;
mod attempt;
mod balancer;
mod clients;
mod column;
mod play;
mod process;
mod proxy;
mod replica;
mod rollout;
mod routing;
mod score;
mod self_check;
mod special;
mod table;
mod tally;
mod verdict;

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use crate::args::{Args, HELP};
use crate::replica::Settings;

/// How many losses of a column are shown one by one.
const EXAMPLES: usize = 5;

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let given: Vec<String> = std::env::args().skip(1).collect();
    match given.split_first() {
        Some((command, settings)) if command == Settings::COMMAND => {
            return replica::main(settings);
        }
        _ => {}
    }
    match Args::parse(given.into_iter()) {
        Ok(Some(args)) => simulate(&args),
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
async fn simulate(args: &Args) -> Result<ExitCode, Box<dyn Error>> {
    let started = Instant::now();
    let say = |text: &str| match args.json {
        true => eprintln!("{text}"),
        false => println!("{text}"),
    };
    say(&table::announcement(args));
    self_check::run().await?;
    say("self-check: the clients see a refusal, a reset and a cut");

    let directory = Directory::new()?;
    let scores = play::run(args, &directory.0, say).await?;
    let failures = verdict::failures(&scores, args, &args.plan()?);

    say(&format!("\n{}", table::table(&scores, args)));
    for score in &scores {
        if let Some(report) = score.report() {
            say(&format!("one replica's report:\n\n{report}\n"));
        }
        for loss in score.losses().take(EXAMPLES) {
            say(&format!("lost by {}: {}", score.column, loss.what));
        }
        for loss in score.by_proxy().take(EXAMPLES) {
            say(&format!("lost in front of {}: {}", score.column, loss.what));
        }
    }
    for failure in &failures {
        say(&format!("FAILED {failure}"));
    }
    say(&format!("{:.0} s in all", started.elapsed().as_secs_f64()));
    if args.json {
        println!("{}", table::json(&scores, &failures, started.elapsed()));
    } else {
        println!("{}", table::last_line(&scores));
    }
    Ok(ExitCode::from(u8::from(!failures.is_empty())))
}

/// Where the databases are, until the end.
struct Directory(PathBuf);

impl Directory {
    fn new() -> std::io::Result<Self> {
        let name = format!("lameduck-rolling-update-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path)?;
        Ok(Directory(path))
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
