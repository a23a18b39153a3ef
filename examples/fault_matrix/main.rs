//! Every fault against every short grace period: a real service is abused in one way, told to stop at a random moment, and has to be
//! gone before the grace period is over.
//!
//! ```console
//! $ cargo run --example fault_matrix
//! ```
//!
//! The service is this binary again, as a child process: axum on `lameduck::serve` with probes, a SQLite pool with its hook, and
//! a few clients. It suffers one fault: its application blocks, spins, hangs, panics or leaks; its clients stall; its machine
//! stops it, starves it or tells it fifty times. Then it gets SIGTERM, and is watched until `waitpid` has it. SIGKILL
//! comes when the grace period is over, never earlier, and is a failure.
//!
//! **What has to hold**, in each run:
//!
//! - from just before SIGTERM was sent until the process was waited for, no more than the grace period has passed;
//! - the exit code is one of those that the fault leads to (`abuse.rs` has the list): 0 clean, 3 not clean, 4 the watchdog;
//! - what it said, in its log, its report or its last words, names the fault. With standard error or output full nobody can say
//!   anything there, and nothing is asked for.
//!
//! **A process that is stopped** (SIGSTOP) runs nothing, so nobody can promise that it ends meanwhile. If it is continued before the
//! hard deadline it has to be gone before the grace period is over, as ever. If it is continued later it has to be gone
//! at once: within 250 ms of SIGCONT. SIGKILL comes only after those.
//!
//! **A process whose quota is used up** is stopped, too, again and again. With a tenth of a core its threads run for 10 of 100 ms
//! at the most: so late it hears SIGTERM, so late its watchdog wakes, and so late it ends. Workers that spin use it up all the
//! time, requests now and then. The service starts in a cgroup with that quota, reads it, and its plan keeps 0.5 s between the
//! watchdog and SIGKILL. Where no cgroup can be made it is stopped and continued by signals, and told of it.
//!
//! **A machine that is late itself** proves nothing about a process: with a grace period of 2 s there are 33 ms from the hard deadline to
//! SIGKILL. On each core a thread of the parent does nothing but sleep, 2 ms at a time. A failed run in which one of them woke up later
//! than half of what is left there is repeated, up to four times, and counted; the fifth counts as it is.
//!
//! What is left to chance (when the fault begins, when SIGTERM comes, the phase of a hook) follows from `--seed`. The last line is
//! the result; the exit code is 0 when every run was as it has to be. `--help` lists the faults and the options.

mod abuse;
mod args;
mod child;
mod clients;
mod lateness;
mod matrix;
mod process;
mod quota;
#[path = "../stop_under_load/random.rs"]
mod random;
mod run;
mod service;
mod table;

use std::error::Error;
use std::process::ExitCode;
use std::time::Instant;

use crate::args::Args;
use crate::matrix::Matrix;
use crate::service::Settings;

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let given: Vec<String> = std::env::args().skip(1).collect();
    match given.split_first() {
        Some((command, settings)) if command == Settings::COMMAND => {
            return service::main(settings);
        }
        _ => {}
    }
    match Args::parse(given.into_iter()) {
        Ok(Some(args)) => play(args),
        Ok(None) => {
            print!("{}", args::help());
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => {
            eprintln!("{error}");
            Ok(ExitCode::from(2))
        }
    }
}

#[tokio::main]
async fn play(args: Args) -> Result<ExitCode, Box<dyn Error>> {
    let started = Instant::now();
    println!("{}", table::announcement(&args));
    let matrix = tokio::select! {
        matrix = Matrix::play(&args) => matrix?,
        interrupted = tokio::signal::ctrl_c() => {
            // What is dropped with the matrix ends its children.
            interrupted?;
            return Ok(ExitCode::from(130));
        }
    };

    println!("\n{}", table::table(&args, &matrix));
    println!("{}", table::LEGEND);
    println!("{:.0} s in all", started.elapsed().as_secs_f64());
    println!("{}", table::last_line(&matrix));
    Ok(ExitCode::from(u8::from(!matrix.failures().is_empty())))
}
