//! Servers that are told to stop under load: a real process, SIGTERM at a random moment, and every request accounted for.
//!
//! ```console
//! $ cargo run --example stop_under_load
//! ```
//!
//! A server is started as a child process, gets load of every kind, then SIGTERM, and is watched until it has exited; then the
//! next one. Its handlers note the number of each request before they do anything else, in a file that outlives them: so it is
//! known of every request that was not answered whether it had been begun. Three columns do the same with the same router, the
//! same load and the same backlog: `lameduck`, axum's graceful shutdown, and hyper-util's. `--help` lists the scenarios and the
//! options. The last line is the result:
//!
//! ```text
//! lameduck: 300 rounds, 0 lost
//! ```
//!
//! **Fairness.** The peers close their listener when their graceful shutdown begins. Begun at SIGTERM, most of what they lose
//! would be connections that are refused from then on, which is another matter (the `rolling_update` example). So they are given
//! the usual remedy: they serve on for as long as LameDuck lasts, and begin then. Refused connections are no loss in any column.
//! `--no-sleep` lets them begin at SIGTERM. A request on a connection that is used again counts only if the connection looked open
//! to the kernel just before it was sent: a close that could be seen is no loss.
//!
//! `restart` is `lameduck`'s alone: a server is replaced behind a listener that its parent holds, as systemd does. There a
//! connection that is refused is a loss, too.
//!
//! In `mixed` the columns run side by side; in the races each has the machine to itself.
//!
//! The exit code is 0 when `lameduck` lost nothing, none of its servers was killed, all of them left with 0, and the peers did
//! lose something in the races: a run in which they do not has proved nothing.

mod answer;
mod app;
mod args;
mod attempt;
mod bad;
mod burst;
mod column;
mod entered;
mod http1;
mod http2;
mod play;
mod process;
mod random;
mod restart;
mod round;
mod score;
mod server;
mod table;
mod traffic;
mod verdict;

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use crate::args::{Args, HELP};
use crate::score::Score;
use crate::server::Settings;

/// How many losses of a column are shown one by one, in each scenario.
const EXAMPLES: usize = 10;

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let given: Vec<String> = std::env::args().skip(1).collect();
    match given.split_first() {
        Some((command, settings)) if command == Settings::COMMAND => {
            return server::main(settings);
        }
        _ => {}
    }
    match Args::parse(given.into_iter()) {
        Ok(Some(args)) => stop_servers(&args),
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
async fn stop_servers(args: &Args) -> Result<ExitCode, Box<dyn Error>> {
    let started = Instant::now();
    println!("{}", table::announcement(args));
    let directory = Directory::new()?;
    let mut all = Vec::new();
    for &scenario in &args.scenarios {
        let scores = play::play(scenario, args, &directory.0).await?;
        println!("\n{}", table::table(scenario, &scores));
        scores.iter().for_each(tell);
        all.extend(scores);
    }

    println!("{}", table::LEGEND);
    let failures = verdict::failures(&all);
    for failure in &failures {
        println!("FAILED {failure}");
    }
    println!("{:.0} s in all", started.elapsed().as_secs_f64());
    println!("{}", table::last_line(&args.columns, &all));
    Ok(ExitCode::from(u8::from(!failures.is_empty())))
}

/// What a table cannot say.
fn tell(score: &Score) {
    for loss in score.lost.iter().take(EXAMPLES) {
        println!("lost by {}: {}", score.column, loss.what);
    }
    for code in score.codes.iter().take(EXAMPLES) {
        println!("{}: {code}", score.column);
    }
}

/// Where the servers note their requests, until the end.
struct Directory(PathBuf);

impl Directory {
    fn new() -> std::io::Result<Self> {
        let name = format!("lameduck-stop-under-load-{}", std::process::id());
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
