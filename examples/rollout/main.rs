//! How many pods run at once while a Deployment is rolled out, as arithmetic: nothing is started.
//!
//! ```console
//! $ cargo run --example rollout
//! ```
//!
//! The Deployment controller does not count pods that are terminating. So the longer a pod takes to leave, the more of them
//! overlap, up to twice the replicas, and each holds its database connections until it is gone. `--help` lists the
//! options; `--grace 30` takes the time to leave from a [`Plan`](lameduck::Plan).
//!
//! **What was measured.** On a single Kubernetes 1.36 node with two cores, with the defaults of this program:
//!
//! | maxSurge / maxUnavailable | | measured | here |
//! |---|---|---|---|
//! | 1 / 0 | a step | 2.8 s | 2.8 s |
//! | | pods at once, at most | 19 | 19 |
//! | | last old pod gone | 49 s | 48.0 s |
//! | 25% / 25% | pods at once, at most | 20 | 20 |
//! | | first at | 8.4 s | 2.8 s |
//! | | last old pod gone | 30 s | 25.6 s |
//!
//! The 0.8 s by which the step is longer than the 2 s to ready are the default of `--overhead`: what the cluster needs to schedule
//! a pod, start it, and notice that it is ready. It is taken for each pod by itself, so all pods of a batch are ready at the same
//! moment. On that node they were not: the same 20 pods came three times later. Why was not measured; five pods that start
//! together on two cores are a likely reason. So believe the peak, and take the moments of batches for the earliest possible.
//!
//! **What is left out.** A new pod that never gets ready, a quota or a full node, a second rollout before the first is over.

mod amount;
mod args;
mod chart;
mod deployment;
mod strategy;
mod table;

use std::process::ExitCode;

use crate::args::{Args, HELP};

fn main() -> ExitCode {
    match Args::parse(std::env::args().skip(1)) {
        Ok(Some(args)) => print!("{}", show(&args)),
        Ok(None) => print!("{HELP}"),
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(2);
        }
    }
    ExitCode::SUCCESS
}

fn show(args: &Args) -> String {
    let rollout = args.deployment.play();
    [
        table::announcement(args),
        chart::chart(&rollout),
        table::summary(args, &rollout),
        table::comparisons(args),
    ]
    .join("\n")
}
