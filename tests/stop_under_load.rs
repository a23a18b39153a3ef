//! Servers that are stopped under load as a test: `lameduck` loses nothing, and the other servers do.
//!
//! Shorter than `cargo run --example stop_under_load`, which is the measurement.

#![cfg(all(feature = "hyper", feature = "signal"))]

mod process;

use process::{Ended, Process};

/// Cases 36, 70, 72: requests of every kind in flight, and bursts around the close.
#[test]
fn stopping_under_load_of_every_kind_loses_nothing() {
    let ended = play(&["--scenario", "mixed", "--rounds", "6", "--only", "lameduck"]);

    assert_nothing_lost(&ended);
}

/// The two races that the others lose, or the run fails: it has proved nothing then.
#[test]
fn keep_alive_race_and_listener_close_lose_nothing_and_bite_the_others() {
    for scenario in ["keep-alive", "listener"] {
        let ended = play(&["--scenario", scenario, "--runs", "3"]);

        assert_nothing_lost(&ended);
    }
}

/// TCP and Unix, with a successor that comes afterwards, and with one that overlaps.
#[test]
fn restarting_behind_a_listener_that_a_parent_holds_loses_nothing() {
    let ended = play(&["--scenario", "restart", "--runs", "4"]);

    assert_nothing_lost(&ended);
}

fn play(options: &[&str]) -> Ended {
    Process::example("stop_under_load", options, &[]).wait()
}

fn assert_nothing_lost(ended: &Ended) {
    let said = format!("{}{}", ended.stdout, ended.stderr);
    assert_eq!(ended.status.code(), Some(0), "{said}");
    let last = ended.stdout.lines().last().unwrap_or_default();
    assert!(last.starts_with("lameduck: "), "{last}");
    assert!(last.contains(" requests, 0 lost"), "{last}");
}
