//! All runs: every fault against every grace period.

use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::abuse::Abuse;
use crate::args::Args;
use crate::lateness::Lateness;
use crate::quota::Kind;
use crate::random::Random;
use crate::run::Run;
use crate::service::Settings;

/// One line of progress for so many runs.
const RUNS_A_LINE: usize = 50;
/// A failed run of a disturbed machine is repeated so often at the most.
const REPEATS: usize = 4;
/// How much of what a service said is shown, when it did not leave as it has to.
const LINES: usize = 40;

/// What came of them.
#[derive(Debug)]
pub(crate) struct Matrix {
    pub(crate) runs: Vec<Run>,
    /// Runs that failed on a machine that was late, and were repeated.
    pub(crate) repeated: usize,
}

impl Matrix {
    pub(crate) async fn play(args: &Args) -> Result<Self, String> {
        let quota = Arc::new(Kind::find());
        println!("a tenth of a core is given by {}\n", quota.name());
        let planned = plan(args, &quota)?;
        let all = planned.len();
        let places = Arc::new(Semaphore::new(args.parallel as usize));
        let mut running = JoinSet::new();
        let lateness = Lateness::watch();
        let mut matrix = Matrix {
            runs: Vec::new(),
            repeated: 0,
        };
        for settings in planned {
            let places = Arc::clone(&places);
            // The order is kept: whoever wants the machine alone waits until it is, and the next one waits behind.
            let wanted = if settings.abuse.burns() {
                args.parallel
            } else {
                1
            };
            let place = places.acquire_many_owned(wanted).await;
            let place = place.map_err(|error| error.to_string())?;
            let (quota, lateness) = (Arc::clone(&quota), lateness.clone());
            running.spawn(async move {
                let _place = place;
                run(settings, &quota, &lateness).await
            });
            while let Some(ended) = running.try_join_next() {
                matrix.add(ended.map_err(|error| error.to_string())??, all);
            }
        }
        while let Some(ended) = running.join_next().await {
            matrix.add(ended.map_err(|error| error.to_string())??, all);
        }
        Ok(matrix)
    }

    fn add(&mut self, (run, repeated): (Run, usize), all: usize) {
        self.repeated += repeated;
        for fault in run.faults() {
            let Settings {
                abuse, grace, seed, ..
            } = &run.settings;
            println!(
                "FAILED {} in {grace:?} (seed {seed}): {fault}; it took {:?} and left with {:?}",
                abuse.key, run.took, run.code
            );
            let lines: Vec<&str> = run.said.lines().collect();
            for line in &lines[lines.len().saturating_sub(LINES)..] {
                println!("    {line}");
            }
        }
        self.runs.push(run);
        let done = self.runs.len();
        if done % RUNS_A_LINE == 0 || done == all {
            println!("{done} of {all} runs, {} failed", self.failures().len());
        }
    }

    pub(crate) fn failures(&self) -> Vec<&Run> {
        let failed = self.runs.iter().filter(|run| !run.faults().is_empty());
        failed.collect()
    }
}

/// One run, and how often it was repeated.
async fn run(
    settings: Settings,
    quota: &Kind,
    lateness: &Lateness,
) -> Result<(Run, usize), String> {
    let mut repeated = 0;
    loop {
        let run = Run::play(settings.clone(), quota, lateness).await;
        let name = || format!("{} in {:?}", settings.abuse.key, settings.grace);
        let run = run.map_err(|error| format!("{}: {error}", name()))?;
        if !run.disturbed || repeated == REPEATS || run.faults().is_empty() {
            return Ok((run, repeated));
        }
        repeated += 1;
    }
}

/// The runs, in turn: the same fault comes again only when all others have come.
fn plan(args: &Args, quota: &Kind) -> Result<Vec<Settings>, String> {
    let mut random = Random::new(args.seed);
    let mut runs = Vec::new();
    for _ in 0..args.runs {
        for &abuse in &args.abuses {
            for &grace in &args.graces {
                let seed = random.number();
                let settings = Settings {
                    abuse,
                    grace,
                    seed,
                    is_cycled: abuse.takes_the_processor_away() && quota.is_cycle(),
                };
                let plan = settings.plan().map_err(|error| error.to_string())?;
                if Abuse::fits(abuse, &plan) {
                    runs.push(settings);
                }
            }
        }
    }
    Ok(runs)
}
