//! In front of a real PostgreSQL: every transaction is committed before the pool closes, and PostgreSQL's log has no complaint.
//!
//! The test starts PostgreSQL itself, as another user if it is root. Where it is not installed the tests are skipped.

#![cfg(all(feature = "hyper", feature = "signal", unix))]

mod database;
#[path = "../process/mod.rs"]
mod process;
mod service;
mod traffic;

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use lameduck::{Phase, Report, ShutdownCoordinator};
use tokio::task::spawn_blocking;

use database::{EOF, EOF_IN_TRANSACTION, Log, Postgres};
use process::{Ended, Process, SCENARIO};
use service::{CONNECTIONS, HOOK};
use traffic::{Seen, Traffic};

const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// The service's name in PostgreSQL.
const SERVICE: &str = "notes";
/// Longer than anything here takes.
const PATIENCE: Duration = seconds(30);
/// Generous: what an exit may take beyond its deadline.
const SOON: Duration = seconds(2);
/// How many notes are confirmed before the shutdown begins.
const BEFORE: usize = 100;

// Case 63: the requests that wait for a connection or for their commit when the shutdown comes, and later ones.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pool_closes_after_the_last_transaction() {
    let Some(programs) = installed() else { return };
    let postgres = Postgres::start(&programs, "in-process").await;
    let pool = service::open(postgres.port).await;
    let shutdown = ShutdownCoordinator::new(service::plan()).termination_log("/nonexistent");
    let handle = shutdown.handle();
    let close = pool.clone();
    let hook = async move || close.close().await;
    shutdown.hook(Phase::Release, HOOK, hook).unwrap();
    let mut traffic = Traffic::start(service::serve(pool, &handle).await);

    traffic.confirms(BEFORE).await;
    handle.shutdown("the test");
    let report = shutdown.run().await;

    println!("{report}");
    assert!(report.is_clean(), "{report}");
    let seen = traffic.ends().await;
    assert_kept(&seen, &postgres.notes().await);
    assert_quiet(&postgres.log().await);
}

// Case 63.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn process_leaves_nothing_for_postgres_to_clean_up() {
    let Some(programs) = installed() else { return };
    let postgres = Postgres::start(&programs, "process").await;

    let (ended, seen) = stopped_under_load(&postgres, "closes the pool").await;

    assert_eq!(ended.status.code(), Some(0), "{}", ended.stderr);
    assert_kept(&seen, &postgres.notes().await);
    assert_quiet(&postgres.log().await);
}

/// The control: an exit that waits for nothing is seen by the clients and in the log.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_tells_of_a_process_that_exits_in_the_middle() {
    let Some(programs) = installed() else { return };
    let postgres = Postgres::start(&programs, "control").await;

    let (_, seen) = stopped_under_load(&postgres, "exits at once").await;

    assert!(!seen.lost.is_empty(), "requests were in flight");
    // What was confirmed is there all the same.
    let notes = postgres.notes().await;
    let missing = |note: &&String| !notes.contains(note);
    assert_eq!(seen.confirmed.iter().find(missing), None);
    let log = postgres.log().await;
    assert!(log.count(EOF_IN_TRANSACTION) > 0, "{:?}", log.complaints());
}

/// The control of the hook: without it nothing is lost, but PostgreSQL has to find out that its clients are gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_tells_of_a_pool_that_was_not_closed() {
    let Some(programs) = installed() else { return };
    let postgres = Postgres::start(&programs, "open-pool").await;

    let (ended, seen) = stopped_under_load(&postgres, "leaves the pool open").await;

    assert_eq!(ended.status.code(), Some(0), "{}", ended.stderr);
    assert_kept(&seen, &postgres.notes().await);
    let log = postgres.log().await;
    assert_eq!(log.count(EOF_IN_TRANSACTION), 0, "{:?}", log.complaints());
    assert_eq!(log.count(EOF), CONNECTIONS as usize);
}

// Case 74.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leaked_connection_does_not_hold_the_exit() {
    let Some(programs) = installed() else { return };
    let postgres = Postgres::start(&programs, "leaked").await;
    let release = service::short_plan().deadline(Phase::Release);

    let (forgotten, held, timed) = tokio::join!(
        stopped_with_a_leak(&postgres, "forgets a connection"),
        stopped_with_a_leak(&postgres, "a task holds a connection"),
        stopped_with_a_leak(&postgres, "forgets one, and the hook has a time of its own"),
    );

    for left in [&forgotten, &held] {
        assert!((release..release + SOON).contains(left), "{left:?}");
    }
    assert!((service::HOOKS_OWN..release).contains(&timed), "{timed:?}");
    assert_eq!(postgres.notes().await.len(), 3);
    let log = postgres.log().await;
    assert!(log.count(EOF) > 0, "the leaked ones end without a word");
}

/// Every request that was sent was answered, and what was confirmed is there once.
fn assert_kept(seen: &Seen, notes: &[String]) {
    println!("{} notes", seen.confirmed.len());
    assert_eq!(seen.lost, [""; 0]);
    assert!(seen.confirmed.len() > BEFORE, "they went on after T0");
    assert_eq!(seen.confirmed, notes);
}

fn assert_quiet(log: &Log) {
    assert_eq!(log.complaints(), [""; 0], "PostgreSQL's log");
    assert_eq!(log.connections(), CONNECTIONS as usize);
}

/// SIGTERM in the middle of the traffic.
async fn stopped_under_load(postgres: &Postgres, scenario: &str) -> (Ended, Seen) {
    let (process, service) = start(postgres, scenario).await;
    let mut traffic = Traffic::start(service);

    traffic.confirms(BEFORE).await;
    process.signal("TERM");

    let ended = ended(process).await;
    println!("{}", ended.stdout);
    (ended, traffic.ends().await)
}

/// From SIGTERM to the end, which has to be that of a process that could not close its pool.
async fn stopped_with_a_leak(postgres: &Postgres, scenario: &str) -> Duration {
    let (process, service) = start(postgres, scenario).await;
    traffic::write_one(service, scenario).await;

    let begun = Instant::now();
    process.signal("TERM");

    let ended = ended(process).await;
    let took = begun.elapsed();
    println!("{scenario}: {took:?}\n{}", ended.stdout);
    let overran = format!("hook `{HOOK}` overran");
    assert!(ended.stdout.contains(&overran), "{}", ended.stdout);
    let code = Some(i32::from(Report::EXIT_UNCLEAN));
    assert_eq!(ended.status.code(), code, "{}", ended.stderr);
    took
}

/// Starts a scenario, and gives the address at which it serves.
async fn start(postgres: &Postgres, scenario: &str) -> (Process, SocketAddr) {
    let env = [(service::PORT, &*postgres.port.to_string())];
    let mut process = Process::scenario("scenario", scenario, &env);
    let started = spawn_blocking(move || {
        let listening = "listening on ";
        let address = process.line_with(listening)[listening.len()..].parse();
        (process, address.unwrap())
    });
    started.await.unwrap()
}

async fn ended(process: Process) -> Ended {
    spawn_blocking(|| process.wait()).await.unwrap()
}

/// Not a test by itself: what the tests run as a process of its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scenario() {
    if let Ok(scenario) = std::env::var(SCENARIO) {
        service::play(&scenario).await;
    }
}

/// Where PostgreSQL's programs are, or a line that says that the test is skipped.
fn installed() -> Option<PathBuf> {
    let programs = database::find();
    if programs.is_none() {
        // Past the harness, which would show what is printed only if the test failed; and it may have begun a line.
        let _ = writeln!(
            std::io::stderr(),
            "\nSKIPPED: PostgreSQL is not installed, so no pool was closed"
        );
    }
    programs
}
