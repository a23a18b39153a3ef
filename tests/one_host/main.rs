//! A service on one host, without a cluster: systemd, which a parent plays, and a restart without systemd.

#![cfg(all(
    target_os = "linux",
    feature = "hyper",
    feature = "signal",
    feature = "restart",
    feature = "axum"
))]

mod clients;
mod handover;
mod manager;
#[path = "../process/mod.rs"]
mod process;
mod service;
mod systemd;
mod units;

use std::process::Command;

/// How many restarts a test plays.
fn restarts() -> usize {
    let asked = std::env::var("LAMEDUCK_RESTARTS").ok();
    asked.map_or(5, |number| number.parse().expect("a number of restarts"))
}

fn kill(process: u32, signal: &str) {
    let status = Command::new("kill")
        .args([&format!("-{signal}"), &process.to_string()])
        .status();
    assert!(status.expect("kill is there").success(), "{process} runs");
}

/// Not a test by itself: what the tests run as a process of its own.
#[test]
fn scenario() {
    if std::env::var_os(process::SCENARIO).is_some() {
        service::run();
    }
}
