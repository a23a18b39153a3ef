//! The summary on standard error: for whoever hears no tracing, and nobody else. Each in a process of its own.

#![cfg(all(unix, feature = "hyper", feature = "signal"))]

use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use lameduck::{Plan, Report, ShutdownCoordinator, signal};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::prelude::*;

mod process;

use process::{Ended, Process, SCENARIO};

/// Generous: from a signal to the end of a process that has nothing to wait for.
const SOON: Duration = Duration::from_secs(5);

/// The filter with which many services of axum's start.
const USUAL_FILTER: &str = "my_crate=debug,tower_http=debug,axum::rejection=trace";

fn play(scenario: &str) -> Ended {
    let mut process = Process::scenario("scenario", scenario, &[]);
    process.line_with("ready");
    process.signal("TERM");
    let ended = process.wait();
    assert_eq!(ended.status.code(), Some(0), "{}", ended.stderr);
    ended
}

#[track_caller]
fn assert_is_the_summary(text: &str) {
    assert!(text.starts_with("lameduck: SIGTERM: clean in "), "{text}");
    assert!(text.ends_with("cut: 0\n"), "{text}");
    assert_eq!(text.lines().count(), 1, "{text}");
}

#[test]
fn process_without_a_subscriber_leaves_with_one_line() {
    let ended = play("no subscriber");

    assert_is_the_summary(&ended.stderr);
}

#[test]
fn process_whose_filter_leaves_lameduck_out_leaves_with_one_line() {
    let ended = play("usual filter");

    assert_is_the_summary(&ended.stderr);
    assert!(!ended.stdout.contains("lameduck: "), "{}", ended.stdout);
}

#[test]
fn process_that_hears_the_log_says_it_nowhere_else() {
    let ended = play("heard");

    assert_eq!(ended.stderr, "");
    let summary = "INFO lameduck: SIGTERM: clean in ";
    assert_eq!(ended.stdout.matches(summary).count(), 1, "{}", ended.stdout);
    assert!(!ended.stdout.contains("DEBUG"), "{}", ended.stdout);
}

#[test]
fn process_that_wants_only_warnings_is_quiet() {
    let ended = play("only warnings");

    assert_eq!(ended.stderr, "");
}

#[test]
fn page_is_logged_line_by_line_at_debug() {
    let ended = play("debug");

    for line in [
        "left in ",
        "  LameDuck T0+",
        "  connections after T0: 0 closed",
    ] {
        let line = format!("DEBUG lameduck: {line}");
        assert!(ended.stdout.contains(&line), "{}", ended.stdout);
    }
}

#[test]
fn coordinator_that_does_not_listen_to_signals_says_nothing() {
    let ended = Process::scenario("scenario", "not its process", &[]).wait();

    assert_eq!(ended.status.code(), Some(0));
    assert_eq!(ended.stderr, "");
}

#[test]
fn full_standard_error_delays_no_exit() {
    let mut process = Process::scenario_with_unread_errors("scenario", "full standard error", &[]);
    process.line_with("ready");
    process.signal("TERM");

    let ended = process.wait();

    assert_eq!(ended.status.code(), Some(0));
    assert!(ended.took < SOON, "it took {:?}", ended.took);
}

/// Not a test by itself: what the tests run as a process of its own.
#[test]
fn scenario() {
    let Ok(scenario) = std::env::var(SCENARIO) else {
        return;
    };
    match scenario.as_str() {
        "usual filter" => subscribe(USUAL_FILTER.parse().expect("it is a filter")),
        "only warnings" => subscribe(Targets::new().with_default(LevelFilter::WARN)),
        "heard" => subscribe(Targets::new().with_default(LevelFilter::INFO)),
        "debug" => subscribe(Targets::new().with_default(LevelFilter::DEBUG)),
        _ => {}
    }
    let report = leave(&scenario);
    if scenario == "full standard error" {
        assert!(report.took < Duration::from_secs(1), "{report}");
    }
    let clean = report.exit_code() == ExitCode::SUCCESS;
    std::process::exit(i32::from(!clean));
}

fn subscribe(filter: Targets) {
    let lines = tracing_subscriber::fmt::layer().with_ansi(false);
    tracing_subscriber::registry()
        .with(lines.with_filter(filter))
        .init();
}

#[tokio::main]
async fn leave(scenario: &str) -> std::sync::Arc<Report> {
    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    let handle = shutdown.handle();
    match scenario {
        "not its process" => {
            handle.shutdown("done");
        }
        _ => signal::listen(&handle).expect("nobody listens yet"),
    }
    if scenario == "full standard error" {
        fill_standard_error().await;
    }
    println!("ready");
    shutdown.run().await
}

/// Until a write hangs in the middle, with the lock held.
async fn fill_standard_error() {
    let (progress, mut written) = tokio::sync::watch::channel(());
    thread::spawn(move || {
        loop {
            eprintln!("{}", "x".repeat(4096));
            progress.send_replace(());
        }
    });
    while let Ok(Ok(())) = tokio::time::timeout(Duration::from_secs(1), written.changed()).await {}
}
