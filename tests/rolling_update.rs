//! The rolling update as a test: `lameduck` loses nothing under traffic, and the play can tell when it does.
//!
//! Shorter and with less traffic than `cargo run --example rolling_update`, which is the measurement.

#![cfg(all(feature = "hyper", feature = "signal"))]

mod process;

use std::io::Write;
use std::process::{Command, Stdio};

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

#[test]
fn rolling_update_behind_nginx_loses_nothing() {
    behind_a_proxy("nginx");
}

#[test]
fn rolling_update_behind_haproxy_loses_nothing() {
    behind_a_proxy("haproxy");
}

fn behind_a_proxy(name: &str) {
    if !installed(name) {
        // Past the harness, which would show what is printed only if the test failed.
        let _ = writeln!(std::io::stderr(), "SKIPPED: {name} is not installed");
        return;
    }

    let ended = play(&[ONE, &["--proxy", name]].concat());

    assert_lameduck_lost_nothing(&ended);
    let last = last_line(&ended);
    assert!(last.contains("; axum: "), "{last}");
    assert!(
        !last.contains("; axum: 0 lost"),
        "the control loses: {last}"
    );
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

/// Debian's proxies are not in every user's path; the example looks there, too.
fn installed(name: &str) -> bool {
    [name, &format!("/usr/sbin/{name}")].iter().any(|program| {
        let version = Command::new(program)
            .arg("-v")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        version.is_ok_and(|status| status.success())
    })
}

fn play(options: &[&str]) -> Ended {
    let args = [SMALL, options].concat();
    Process::example("rolling_update", &args, &[]).wait()
}

fn last_line(ended: &Ended) -> String {
    ended.stdout.lines().last().unwrap_or_default().to_owned()
}
