//! Plays seeds on real time, on a runtime with several threads, and judges them.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use crate::campaign;
use crate::dice::Dice;
use crate::explain::explain;
use crate::generator::{Clock, scenario};
use crate::oracle::{self, Broken};
use crate::scenario::Scenario;
use crate::trace::Event;
use crate::world;

/// How many seeds are played at the same time: they wait for most of theirs.
const AT_ONCE: usize = 16;

/// How often a single seed is played at most: what happens at the same time happens in another order each time.
pub(crate) const REPEATS: u32 = 200;

/// How often one that has failed is played again, to say how often it does,
const RETRIES: u32 = 20;

/// unless that takes too long.
const ENOUGH: Duration = Duration::from_secs(20);

/// Plays the seeds up to `end`.
///
/// `strict`: what is broken once counts, also if it does not happen again.
pub(crate) fn check_all(end: u64, strict: bool) {
    let check = move |seed| check(seed, strict);
    campaign::check_all(end, AT_ONCE, check, |seed| Play::of(seed).to_string());
}

#[track_caller]
fn check(seed: u64, strict: bool) {
    let play = Play::of(seed);
    let Some(failure) = play.judged() else {
        return;
    };
    let since = Instant::now();
    let retries: Vec<bool> = (0..RETRIES)
        .take_while(|_| since.elapsed() < ENOUGH)
        .map(|_| play.judged().is_some())
        .collect();
    let (count, again) = (
        retries.len(),
        retries.iter().filter(|broken| **broken).count(),
    );
    let text = format!(
        "{}it was broken in the first play, and in {again} of {count} more\n{}",
        failure.explain(&play),
        how_to_play_again(seed)
    );
    // On a machine that does much else, a thread may lose the processor between what is done and what is noted. A run by hand
    // wants to know of that; the gates want what happens again.
    if again == 0 && !strict {
        println!("{text}\nnot counted, because it did not happen again");
        return;
    }
    panic!("{text}");
}

/// Plays one seed until it fails, [`REPEATS`] times at most.
#[track_caller]
pub(crate) fn check_often(seed: u64) {
    let play = Play::of(seed);
    for time in 1..=REPEATS {
        if let Some(failure) = play.judged() {
            panic!(
                "{}it was broken in play {time} of {REPEATS}\n{}",
                failure.explain(&play),
                how_to_play_again(seed)
            );
        }
    }
}

fn how_to_play_again(seed: u64) -> String {
    format!(
        "to play it again, {REPEATS} times at most: \
         LAMEDUCK_THREADED_SEED={seed:#x} cargo test --all-features --test simulation threaded"
    )
}

/// Some coordinators of one process, at the same time.
struct Play {
    scenarios: Vec<Scenario>,
    blocking_threads: usize,
}

/// A rule that the scenario of that number broke.
struct Failure {
    which: usize,
    broken: Broken,
    trace: Vec<Event>,
}

impl Play {
    fn of(seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let count = dice.of(&[1, 1, 2, 3]);
        let blocking_threads = dice.of(&[1, 2]);
        let scenarios = (0..count).map(|_| scenario(dice.number(), Clock::Real));
        Play {
            scenarios: scenarios.collect(),
            blocking_threads,
        }
    }

    fn judged(&self) -> Option<Failure> {
        let scenarios: Vec<&Scenario> = self.scenarios.iter().collect();
        let played = world::threaded(&scenarios, self.blocking_threads);
        let mut all = scenarios.into_iter().zip(played).enumerate();
        all.find_map(|(which, (scenario, played))| {
            let broken = oracle::judge_threaded(scenario, &played).err()?;
            Some(Failure {
                which,
                broken,
                trace: played.trace,
            })
        })
    }
}

impl Failure {
    fn explain(&self, play: &Play) -> String {
        let scenario = &play.scenarios[self.which];
        let mut text = explain(&self.broken, scenario, &self.trace);
        _ = writeln!(
            text,
            "{} more coordinators in the same runtime, {} threads for blocking work",
            play.scenarios.len() - 1,
            play.blocking_threads
        );
        text
    }
}

impl std::fmt::Display for Play {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut scenarios = self.scenarios.iter();
        scenarios.try_for_each(|scenario| writeln!(f, "{scenario}"))
    }
}
