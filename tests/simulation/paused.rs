//! Plays seeds on a paused clock, judges them, and makes what fails as small as it can.

use std::fmt::Write as _;
use std::num::NonZero;

use crate::campaign;
use crate::explain::explain;
use crate::generator::{Clock, scenario};
use crate::oracle::{self, Broken};
use crate::scenario::{Act, Scenario};
use crate::trace::Event;
use crate::world;

/// How often a single seed is played: tokio polls the branches of a `select!` in an order of its own.
pub(crate) const REPEATS: u32 = 100;

/// Plays the seeds up to `end`, on as many threads as there are cores.
pub(crate) fn check_all(end: u64) {
    let threads = std::thread::available_parallelism().map_or(1, NonZero::get);
    campaign::check_all(end, threads, check, |seed| {
        scenario(seed, Clock::Paused).to_string()
    });
}

#[track_caller]
pub(crate) fn check(seed: u64) {
    let drawn = scenario(seed, Clock::Paused);
    // Beside some of them another one is played on the same thread.
    let beside = (seed % 8 == 0).then(|| scenario(!seed, Clock::Paused));
    let beside = beside.as_ref();
    let Some((broken, trace)) = play(&drawn, beside) else {
        return;
    };
    let (smaller, broken, trace) = shrink(drawn, beside, broken, trace);
    let mut text = explain(&broken, &smaller, &trace);
    _ = writeln!(
        text,
        "as small as it could be made; drawn by seed {seed:#x}"
    );
    if let Some(beside) = beside {
        _ = writeln!(text, "beside it, on the same thread:\n{beside}");
    }
    _ = writeln!(text, "to play it again: LAMEDUCK_SEED={seed:#x}");
    _ = writeln!(
        text,
        "for tests/simulation/regressions.rs:\n    {seed:#x}, // {}",
        broken.rule
    );
    panic!("{text}");
}

fn play(scenario: &Scenario, beside: Option<&Scenario>) -> Option<(Broken, Vec<Event>)> {
    let scenarios: Vec<&Scenario> = [scenario].into_iter().chain(beside).collect();
    let played = world::paused(&scenarios);
    let mut all = scenarios.iter().zip(played);
    all.find_map(|(scenario, played)| {
        let broken = oracle::judge(scenario, &played).err()?;
        Some((broken, played.trace))
    })
}

/// Leaves out whatever the broken rule does not need.
fn shrink(
    mut scenario: Scenario,
    beside: Option<&Scenario>,
    mut broken: Broken,
    mut trace: Vec<Event>,
) -> (Scenario, Broken, Vec<Event>) {
    let mut at = 0;
    while at < scenario.acts.len() {
        let mut smaller = scenario.clone();
        smaller.acts.remove(at);
        let triggered = |it: &Scenario| {
            let mut acts = it.acts.iter();
            acts.any(|(_, act)| matches!(act, Act::Shutdown(..)))
        };
        let again =
            (0..5).find_map(|_| play(&smaller, beside).filter(|it| it.0.rule == broken.rule));
        match again {
            Some(again) if triggered(&smaller) => {
                scenario = smaller;
                (broken, trace) = again;
            }
            _ => at += 1,
        }
    }
    (scenario, broken, trace)
}
