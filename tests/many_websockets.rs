//! Many WebSockets under a server that leaves, as a test: each client is told with 1012, at a moment of its own.
//!
//! Smaller than `cargo run --release --all-features --example many_websockets`, which is the measurement.

#![cfg(all(feature = "hyper", feature = "signal", feature = "axum"))]

mod process;

use process::{Ended, Process};

/// Case 53, as the clients see it, and case 54: the handle counts them to the end.
#[test]
fn a_thousand_clients_are_told_one_by_one_and_counted_until_they_are() {
    let ended = play(&["--connections", "1000", "--runs", "1"]);

    let said = format!("{}{}", ended.stdout, ended.stderr);
    assert_eq!(ended.status.code(), Some(0), "{said}");
    let last = last_line(&ended);
    assert!(
        last.starts_with("lameduck: 1000 of 1000 clients told with 1012, "),
        "{last}"
    );
    assert!(
        last.contains(" 0 counts below what they held, 1 of 1 exits with 0"),
        "{last}"
    );
    assert!(
        said.contains("buffers of 4 KiB, 1000 connections"),
        "{said}"
    );
}

/// The control: told at once, they make a peak, and the program says so.
#[test]
fn a_thousand_clients_that_are_told_at_once_are_seen_as_a_peak() {
    let ended = play(&["--connections", "1000", "--runs", "1", "--at-once"]);

    let said = format!("{}{}", ended.stdout, ended.stderr);
    assert_eq!(ended.status.code(), Some(1), "{said}");
    assert!(said.contains("times its share"), "{said}");
    let last = last_line(&ended);
    assert!(
        last.starts_with("lameduck: 1000 of 1000 clients told with 1012, "),
        "{last}"
    );
}

fn play(options: &[&str]) -> Ended {
    Process::example("many_websockets", options, &[]).wait()
}

fn last_line(ended: &Ended) -> &str {
    ended.stdout.lines().last().unwrap_or_default()
}
