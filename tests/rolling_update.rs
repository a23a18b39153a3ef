//! The rolling update as a test: `lameduck` loses nothing under traffic, and the play can tell when it does.
//!
//! Shorter and with less traffic than `cargo run --example rolling_update`, which is the measurement.

#![cfg(all(feature = "hyper", feature = "signal"))]

mod process;

use process::{Ended, Process};

/// A little traffic on a short schedule. LameDuck is 2 s long, so routing has moved in time.
const SMALL: &[&str] = &[
    "--replicas",
    "2",
    "--rate",
    "100",
    "--requests",
    "0",
    "--grace",
    "6",
    "--propagation",
    "1.5",
];

/// One replica at a time, and the one that replaces it.
const ONE: &[&str] = &["--replicas", "1"];

// Cases 65 and 82: its second round leaves each stopped replica in rotation until it is dead.
#[test]
fn rolling_update_loses_nothing() {
    let ended = play(&[]);

    assert_eq!(
        ended.status.code(),
        Some(0),
        "{}{}",
        ended.stdout,
        ended.stderr
    );
    let last = last_line(&ended);
    assert!(last.starts_with("lameduck: "), "{last}");
    assert!(
        last.contains(" requests, 0 lost, 0 killed; axum: "),
        "{last}"
    );
}

/// The control of the control: without LameDuck, and with nothing that holds it up, a replica is gone while connections
/// are still routed to it.
#[test]
fn rolling_update_without_lame_duck_is_seen_to_lose() {
    let ended = play(&["--only", "lameduck", "--lame-duck", "0", "--plain"]);

    assert_eq!(
        ended.status.code(),
        Some(1),
        "{}{}",
        ended.stdout,
        ended.stderr
    );
    let last = last_line(&ended);
    assert!(last.starts_with("lameduck: "), "{last}");
    assert!(!last.contains(" 0 lost"), "{last}");
    assert!(last.ends_with(" 0 killed"), "{last}");
}

/// Silence ends LameDuck early in the ordinary round, and traffic keeps it in the last one.
#[test]
fn rolling_update_that_leaves_early_loses_nothing() {
    let ended = play(&[ONE, &["--only", "lameduck", "--plain", "--leave-early"]].concat());

    assert_lameduck_lost_nothing(&ended);
}

#[test]
fn rolling_update_with_a_pre_stop_loses_nothing() {
    let ended = play(&[ONE, &["--only", "lameduck", "--plain", "--pre-stop", "1"]].concat());

    assert_lameduck_lost_nothing(&ended);
}

fn assert_lameduck_lost_nothing(ended: &Ended) {
    assert_eq!(
        ended.status.code(),
        Some(0),
        "{}{}",
        ended.stdout,
        ended.stderr
    );
    let last = last_line(ended);
    assert!(last.starts_with("lameduck: "), "{last}");
    assert!(last.contains(" requests, 0 lost, 0 killed"), "{last}");
}

fn play(options: &[&str]) -> Ended {
    let args = [SMALL, options].concat();
    Process::example("rolling_update", &args, &[]).wait()
}

fn last_line(ended: &Ended) -> String {
    ended.stdout.lines().last().unwrap_or_default().to_owned()
}
