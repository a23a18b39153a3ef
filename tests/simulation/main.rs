//! Whole shutdowns, drawn at random and played on a paused clock, each judged by the rules of `docs/phases.md`.
//!
//! ```console
//! $ cargo test --all-features --test simulation
//! $ LAMEDUCK_SEEDS=1000000 cargo test --release --all-features --test simulation
//! $ LAMEDUCK_SEED=0x1d3 cargo test --all-features --test simulation
//! ```
//!
//! The first plays the same 10,000 each time, the second more of them, the third one.
#![cfg(feature = "hyper")]

mod dice;
mod generator;
mod oracle;
mod regressions;
mod scenario;
mod trace;
mod world;

use std::fmt::Write as _;
use std::io::Write as _;
use std::num::NonZero;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use oracle::Broken;
use scenario::Scenario;
use trace::Event;

/// How many are played when nobody asks for more.
const SEEDS: u64 = 10_000;

/// How often a single seed is played: tokio polls the branches of a `select!` in an order of its own.
const REPEATS: u32 = 100;

/// In real time. Who takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn every_shutdown_keeps_the_rules() {
    keep_drawn_panics_quiet();
    if let Some(seed) = variable("LAMEDUCK_SEED") {
        (0..REPEATS).for_each(|_| check(seed));
        return;
    }
    let seeds = variable("LAMEDUCK_SEEDS").unwrap_or(SEEDS);
    let began = Instant::now();
    check_all(seeds);
    if let Err(Broken { rule, how }) = oracle::judge_places() {
        panic!("broken: {rule}\n  {how}");
    }
    println!("{seeds} shutdowns in {:?}", began.elapsed());
}

#[test]
fn shutdowns_that_once_broke_a_rule_keep_it() {
    keep_drawn_panics_quiet();
    for seed in regressions::SEEDS {
        (0..REPEATS).for_each(|_| check(*seed));
    }
}

/// Plays the seeds up to `end`, on as many threads as there are cores.
fn check_all(end: u64) {
    let next = AtomicU64::new(0);
    let threads = std::thread::available_parallelism().map_or(1, NonZero::get);
    let playing: Vec<Mutex<Option<(u64, Instant)>>> =
        (0..threads).map(|_| Mutex::default()).collect();
    std::thread::scope(|scope| {
        let workers: Vec<_> = playing
            .iter()
            .map(|playing| {
                scope.spawn(|| {
                    loop {
                        let seed = next.fetch_add(1, Ordering::Relaxed);
                        if seed >= end {
                            return;
                        }
                        *playing.lock().unwrap() = Some((seed, Instant::now()));
                        if catch_unwind(AssertUnwindSafe(|| check(seed))).is_err() {
                            // The others need not go on.
                            next.store(end, Ordering::Relaxed);
                            panic!("seed {seed:#x}: see above");
                        }
                        *playing.lock().unwrap() = None;
                    }
                })
            })
            .collect();
        while workers.iter().any(|worker| !worker.is_finished()) {
            std::thread::sleep(Duration::from_millis(5));
            for playing in &playing {
                if let Some((seed, since)) = *playing.lock().unwrap()
                    && since.elapsed() > PATIENCE
                {
                    // A thread that hangs cannot be ended, and what is printed would be kept back.
                    let scenario = generator::scenario(seed);
                    _ = writeln!(std::io::stderr(), "seed {seed:#x} hangs\n{scenario}");
                    std::process::exit(1);
                }
            }
        }
    });
}

#[track_caller]
fn check(seed: u64) {
    let scenario = generator::scenario(seed);
    let Some((broken, trace)) = play(&scenario) else {
        return;
    };
    let (smaller, broken, trace) = shrink(scenario, broken, trace);
    let mut text = explain(&broken, &smaller, &trace);
    _ = writeln!(
        text,
        "as small as it could be made; drawn by seed {seed:#x}"
    );
    _ = writeln!(text, "to play it again: LAMEDUCK_SEED={seed:#x}");
    _ = writeln!(
        text,
        "for tests/simulation/regressions.rs:\n    {seed:#x}, // {}",
        broken.rule
    );
    panic!("{text}");
}

fn play(scenario: &Scenario) -> Option<(Broken, Vec<Event>)> {
    let played = world::play(scenario);
    let broken = oracle::judge(scenario, &played).err()?;
    Some((broken, played.trace))
}

/// Leaves out whatever the broken rule does not need.
fn shrink(
    mut scenario: Scenario,
    mut broken: Broken,
    mut trace: Vec<Event>,
) -> (Scenario, Broken, Vec<Event>) {
    let mut at = 0;
    while at < scenario.acts.len() {
        let mut smaller = scenario.clone();
        smaller.acts.remove(at);
        let triggered = |it: &Scenario| {
            it.acts
                .iter()
                .any(|(_, act)| matches!(act, scenario::Act::Shutdown(_)))
        };
        let again = (0..5).find_map(|_| play(&smaller).filter(|it| it.0.rule == broken.rule));
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

fn explain(broken: &Broken, scenario: &Scenario, trace: &[Event]) -> String {
    let mut text = format!("\nbroken: {}\n  {}\n", broken.rule, broken.how);
    _ = write!(text, "the scenario:\n{scenario}what was seen:\n");
    for event in trace {
        _ = writeln!(text, "{event}");
    }
    text
}

/// A number, decimal or with `0x`.
fn variable(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    let number = match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => text.parse(),
    };
    Some(number.unwrap_or_else(|_| panic!("{name} is {text:?}, expected a number")))
}

/// The panics of hooks and tasks are part of the play.
fn keep_drawn_panics_quiet() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let loud = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if info.payload().downcast_ref::<&str>() != Some(&"drawn") {
                loud(info);
            }
        }));
    });
}
