//! Signals, the watchdog and how a process ends: each in a process of its own.

#![cfg(all(feature = "hyper", feature = "signal"))]

mod ends;
mod platforms;
#[path = "../process/mod.rs"]
mod process;
#[cfg(target_os = "linux")]
mod quota;
mod triggers;
mod watchdog;

use std::process::ExitCode;
use std::time::Duration;

use lameduck::Plan;
use process::{Ended, Process, SCENARIO};

/// Generous: from a signal to the end of a process that has nothing to wait for.
const SOON: Duration = Duration::from_secs(5);

/// Starts a scenario and waits until it is ready.
fn start(scenario: &str) -> Process {
    let mut process = Process::scenario("scenario", scenario, &[]);
    process.line_with("ready");
    process
}

/// Starts a scenario, sends it signals, and waits for its end.
fn play(scenario: &str, signals: &[&str]) -> Ended {
    let process = start(scenario);
    for signal in signals {
        process.signal(signal);
    }
    process.wait()
}

/// Not a test by itself: what the tests run as a process of its own.
#[test]
fn scenario() {
    let Ok(scenario) = std::env::var(SCENARIO) else {
        return;
    };
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .init();
    let code = triggers::scenario(&scenario)
        .or_else(|| watchdog::scenario(&scenario))
        .or_else(|| ends::scenario(&scenario))
        .or_else(|| platforms::scenario(&scenario))
        .or_else(|| quota_scenario(&scenario))
        .unwrap_or_else(|| panic!("no scenario {scenario:?}"));
    // `ExitCode` cannot be read, but it can be compared by what it prints.
    let code = (0..=u8::MAX)
        .find(|&number| format!("{:?}", ExitCode::from(number)) == format!("{code:?}"));
    std::process::exit(i32::from(code.expect("a code is a byte")));
}

#[cfg(target_os = "linux")]
use quota::scenario as quota_scenario;

#[cfg(not(target_os = "linux"))]
fn quota_scenario(_: &str) -> Option<ExitCode> {
    None
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("there are threads")
}

/// With a reserve that leaves the last words their tenth of a second; the derived one leaves them 17 ms.
fn two_seconds() -> Plan {
    Plan::builder()
        .grace_period(Duration::from_secs(2))
        .reserve(Duration::from_millis(400))
        .build()
        .expect("it fits")
}
