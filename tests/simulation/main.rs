//! Whole shutdowns, drawn at random, each judged by the rules of `docs/phases.md`.
//!
//! On a paused clock, on one thread:
//!
//! ```console
//! $ cargo test --all-features --test simulation
//! $ LAMEDUCK_SEEDS=1000000 cargo test --release --all-features --test simulation
//! $ LAMEDUCK_SEED=0x1d3 cargo test --all-features --test simulation
//! ```
//!
//! The first plays the same 10,000 each time, the second more of them, the third one.
//!
//! On real time, on a runtime with two workers and one or two threads for blocking work:
//!
//! ```console
//! $ cargo test --all-features --test simulation threaded
//! $ LAMEDUCK_THREADED_SEEDS=20000 cargo test --release --all-features --test simulation threaded
//! $ LAMEDUCK_THREADED_SEED=0x1d3 cargo test --all-features --test simulation threaded
//! ```
//!
//! The first plays the same 500 each time, the second more of them, the third one, and that 200 times: what happens on
//! several threads happens in another order each time.
#![cfg(feature = "hyper")]

mod campaign;
mod dice;
mod explain;
mod generator;
mod oracle;
mod paused;
mod regressions;
mod scenario;
mod threaded;
mod trace;
mod world;

use std::time::Instant;

use oracle::Broken;

/// How many are played when nobody asks for more.
const SEEDS: u64 = 10_000;

/// How many of them on several threads.
const THREADED_SEEDS: u64 = 500;

#[test]
fn every_shutdown_keeps_the_rules() {
    keep_drawn_panics_quiet();
    if let Some(seed) = variable("LAMEDUCK_SEED") {
        (0..paused::REPEATS).for_each(|_| paused::check(seed));
        return;
    }
    let seeds = variable("LAMEDUCK_SEEDS").unwrap_or(SEEDS);
    let began = Instant::now();
    paused::check_all(seeds);
    if let Err(Broken { rule, how }) = oracle::judge_places() {
        panic!("broken: {rule}\n  {how}");
    }
    println!("{seeds} shutdowns in {:?}", began.elapsed());
}

#[test]
fn every_threaded_shutdown_keeps_the_rules() {
    keep_drawn_panics_quiet();
    if let Some(seed) = variable("LAMEDUCK_THREADED_SEED") {
        threaded::check_often(seed);
        return;
    }
    let asked = variable("LAMEDUCK_THREADED_SEEDS");
    let (seeds, strict) = (asked.unwrap_or(THREADED_SEEDS), asked.is_some());
    let began = Instant::now();
    threaded::check_all(seeds, strict);
    println!("{seeds} threaded plays in {:?}", began.elapsed());
}

#[test]
fn shutdowns_that_once_broke_a_rule_keep_it() {
    keep_drawn_panics_quiet();
    for seed in regressions::SEEDS {
        (0..paused::REPEATS).for_each(|_| paused::check(*seed));
    }
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
