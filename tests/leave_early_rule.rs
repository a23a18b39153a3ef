//! The rule of leaving LameDuck early as a test: never wrong in steady traffic, never used where little comes, and good for
//! something.
//!
//! Shorter than `cargo run --release --example leave_early`, which is the measurement.

#![cfg(all(feature = "hyper", feature = "signal"))]

mod process;

use process::{Ended, Process};

/// Cases 26 to 28, by chance and many times; and two servers as processes.
#[test]
fn steady_traffic_is_never_left_while_it_comes_and_what_is_too_quiet_never_at_all() {
    let ended = play(&["--quick"]);

    let said = format!("{}{}", ended.stdout, ended.stderr);
    assert_eq!(ended.status.code(), Some(0), "{said}");
    let last = ended.stdout.lines().last().unwrap_or_default();
    for part in [
        "leave_early: steady traffic: left 0 of 144 times while routed to",
        "too quiet: stayed 168 of 168 times",
        "saved 50 % of LameDuck",
        "SIGTERM to exit ",
    ] {
        assert!(last.contains(part), "{part}: {said}");
    }
    // Where it is weak it says so.
    assert!(said.contains("WEAK bursts, 4 min of 5 min"), "{said}");
}

#[test]
fn the_same_seed_gives_the_same_tables_and_another_seed_others() {
    let tables = |seed| {
        let seeded = ["--quick", "--no-processes", "--seeds", "2", "--seed", seed];
        let ended = play(&seeded);
        assert_eq!(ended.status.code(), Some(0), "{}", ended.stdout);
        let (_, tables) = ended
            .stdout
            .split_once("\n1. ")
            .expect("the announcement names the seed");
        tables.to_owned()
    };

    let first = tables("1");

    assert_eq!(tables("1"), first);
    assert_ne!(tables("2"), first);
}

fn play(options: &[&str]) -> Ended {
    Process::example("leave_early", options, &[]).wait()
}
