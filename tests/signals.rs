//! Signals, the watchdog and exit codes: each in a process of its own.

#![cfg(all(feature = "hyper", feature = "signal"))]

mod process;

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use lameduck::{Phase, Plan, Report, ShutdownCoordinator, signal};
use process::{Ended, Process, SCENARIO, Scratch};

/// Generous: from a signal to the end of a process that has nothing to wait for.
const SOON: Duration = Duration::from_secs(5);

#[test]
fn sigterm_runs_the_phases_and_exits_with_zero() {
    let ended = play("hook", &["TERM"]);

    assert_eq!(ended.status.code(), Some(0), "{}", ended.stderr);
    assert!(ended.stdout.contains("the pool is closed"));
    assert!(ended.stdout.contains("clean: SIGTERM"), "{}", ended.stdout);
}

#[test]
fn sigint_means_the_same_as_sigterm() {
    let ended = play("hook", &["INT"]);

    assert_eq!(ended.status.code(), Some(0), "{}", ended.stderr);
    assert!(ended.stdout.contains("clean: SIGINT"), "{}", ended.stdout);
}

// Case 16.
#[test]
fn second_sigterm_is_logged_and_changes_nothing() {
    let mut process = start("waits for a second signal");
    process.signal("TERM");
    process.line_with("draining");
    process.signal("TERM");

    let ended = process.wait();

    assert_eq!(ended.status.code(), Some(0), "{}", ended.stderr);
    assert!(ended.stdout.contains("the pool is closed"));
    assert!(
        ended.stderr.contains("already shutting down"),
        "{}",
        ended.stderr
    );
}

// Case 17.
#[test]
fn second_sigint_ends_the_process_at_once_also_when_the_runtime_is_wedged() {
    let mut process = start("wedged, forced by a second interrupt");
    process.signal("INT");
    process.line_with("wedged");
    process.signal("INT");

    let ended = process.wait();

    assert_eq!(ended.status.code(), Some(i32::from(Report::EXIT_FORCED)));
    assert!(ended.took < SOON, "it took {:?}", ended.took);
}

// Case 17.
#[test]
fn second_sigint_without_a_terminal_changes_nothing() {
    let mut process = start("waits for a second signal");
    process.signal("INT");
    process.line_with("draining");
    process.signal("INT");

    let ended = process.wait();

    assert_eq!(ended.status.code(), Some(0), "{}", ended.stderr);
    assert!(ended.stdout.contains("the pool is closed"));
}

// Case 20.
#[test]
fn watchdog_ends_a_process_whose_runtime_is_wedged() {
    let ended = play("wedged", &["TERM"]);

    assert_eq!(ended.status.code(), Some(i32::from(Report::EXIT_WATCHDOG)));
    assert!(ended.took < SOON, "it took {:?}", ended.took);
    assert!(
        ended.stderr.contains("ended by the watchdog"),
        "{}",
        ended.stderr
    );
}

// Case 84.
#[test]
fn watchdog_ends_a_process_whose_standard_error_is_full() {
    let mut process = Process::scenario_with_unread_errors("scenario", "full standard error");
    process.line_with("ready");
    process.signal("TERM");

    let ended = process.wait();

    assert_eq!(ended.status.code(), Some(i32::from(Report::EXIT_WATCHDOG)));
    assert!(ended.took < SOON, "it took {:?}", ended.took);
}

// Case 76.
#[test]
fn watchdog_ends_a_process_that_waits_for_blocking_work_after_main() {
    let ended = play("blocking work after main", &["TERM"]);

    assert_eq!(ended.status.code(), Some(i32::from(Report::EXIT_WATCHDOG)));
    assert!(ended.took < SOON, "it took {:?}", ended.took);
    assert!(
        ended.stderr.contains("ended by the watchdog"),
        "{}",
        ended.stderr
    );
}

// Case 15.
#[test]
fn sigterm_during_start_up_skips_lame_duck_and_leaves() {
    let ended = play("slow start", &["TERM"]);

    assert_eq!(ended.status.code(), Some(0), "{}", ended.stderr);
    assert!(ended.took < SOON, "it took {:?}", ended.took);
    assert!(ended.stdout.contains("the listener is closed"));
    assert!(ended.stdout.contains("clean: SIGTERM"), "{}", ended.stdout);
}

#[test]
fn failing_hook_makes_the_exit_code_say_so() {
    let ended = play("failing hook", &["TERM"]);

    assert_eq!(ended.status.code(), Some(i32::from(Report::EXIT_UNCLEAN)));
}

#[test]
fn report_can_end_the_process_itself() {
    let ended = play("exits by the report", &["TERM"]);

    assert_eq!(ended.status.code(), Some(0), "{}", ended.stderr);
    assert!(ended.took < SOON, "it took {:?}", ended.took);
}

#[test]
fn second_coordinator_that_listens_is_refused() {
    let ended = play("listens twice", &[]);

    assert_eq!(ended.status.code(), Some(0), "{}", ended.stderr);
    assert!(ended.stdout.contains("listens to signals already"));
}

#[test]
fn coordinator_that_is_dropped_frees_the_signals_for_the_next() {
    let ended = play("listens again", &["TERM"]);

    assert_eq!(ended.status.code(), Some(0), "{}", ended.stderr);
    assert!(ended.stdout.contains("clean: SIGTERM"), "{}", ended.stdout);
}

#[test]
fn summary_is_written_to_the_termination_log() {
    let scratch = Scratch::new("termination-log");
    let file = scratch.path("termination-log");
    std::fs::write(&file, "").expect("there is room for a file");
    let mut process = Process::scenario("scenario", "hook", &[("TERMINATION_LOG", &file)]);
    process.line_with("ready");
    process.signal("TERM");

    process.wait();

    let log = std::fs::read_to_string(&file).expect("it is still there");
    assert!(log.starts_with("lameduck: SIGTERM: clean in "), "{log}");
    assert_eq!(log.lines().count(), 1, "{log}");
}

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

/// Not a test by itself: what the tests above run as a process of its own.
#[test]
fn scenario() {
    let Ok(scenario) = std::env::var(SCENARIO) else {
        return;
    };
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .init();
    let code = match scenario.as_str() {
        "wedged" => wedged(false),
        "wedged, forced by a second interrupt" => wedged(true),
        "blocking work after main" => blocking_after_main(),
        "exits by the report" => exits_by_the_report(),
        "listens twice" => listens_twice(),
        other => runtime().block_on(simple(other)),
    };
    // `ExitCode` cannot be read, but it can be compared by what it prints.
    let clean = format!("{code:?}") == format!("{:?}", ExitCode::SUCCESS);
    std::process::exit(if clean {
        0
    } else {
        i32::from(Report::EXIT_UNCLEAN)
    });
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("there are threads")
}

fn two_seconds() -> Plan {
    Plan::builder()
        .grace_period(Duration::from_secs(2))
        .build()
        .expect("it fits")
}

async fn simple(scenario: &str) -> ExitCode {
    let plan = match scenario {
        "full standard error" => two_seconds(),
        _ => Plan::builder().build().expect("it fits"),
    };
    let mut shutdown = ShutdownCoordinator::new(plan);
    if let Ok(file) = std::env::var("TERMINATION_LOG") {
        shutdown = shutdown.termination_log(file);
    }
    if scenario == "listens again" {
        let first = ShutdownCoordinator::new(two_seconds());
        signal::listen(&first.handle()).expect("nobody listens yet");
    }
    let handle = shutdown.handle();
    signal::listen(&handle).expect("nobody listens yet");
    let closed = async || println!("the pool is closed");
    shutdown
        .hook(Phase::Release, "pool", closed)
        .expect("the name is free");

    match scenario {
        "hook" | "listens again" => println!("ready"),
        "failing hook" => {
            shutdown
                .try_hook(Phase::Release, "broken", async || Err("connection refused"))
                .expect("the name is free");
            println!("ready");
        }
        "waits for a second signal" => {
            let second = handle.clone();
            let wait = async move || {
                println!("draining");
                std::io::stdout().flush().expect("it is read");
                // Long enough for the second signal, and bounded: the process must outlive it.
                tokio::time::sleep(Duration::from_secs(1)).await;
                assert!(second.is_shutting_down());
            };
            shutdown
                .hook(Phase::Drain, "wait", wait)
                .expect("the name is free");
            println!("ready");
        }
        "full standard error" => {
            println!("ready");
            // Fills the pipe, which nobody reads, and hangs in the middle of a write, with the lock held.
            std::thread::spawn(|| {
                loop {
                    eprintln!("{}", "x".repeat(4096));
                }
            });
        }
        "slow start" => {
            let migrating = handle.not_ready("migrations");
            println!("ready");
            handle.reached(Phase::LameDuck).await;
            drop(migrating);
            let listener = lameduck::bind("127.0.0.1:0").await.expect("a port is free");
            lameduck::serve(listener, axum::Router::new(), &handle).await;
            println!("the listener is closed");
        }
        other => panic!("no scenario {other:?}"),
    }
    let report = shutdown.run().await;
    println!("{report}");
    report.exit_code()
}

/// Every worker spins, and so does the thread that runs the coordinator: no timer of the runtime ever fires again.
fn wedged(forced: bool) -> ExitCode {
    let runtime = runtime();
    runtime.block_on(async {
        let plan = if forced { Plan::local() } else { two_seconds() };
        let shutdown = ShutdownCoordinator::new(plan);
        let handle = shutdown.handle();
        signal::Listener::new()
            .force_on_second_interrupt(forced)
            .listen(&handle)
            .expect("nobody listens yet");
        println!("ready");
        handle.reached(Phase::LameDuck).await;
        println!("wedged");
        for _ in 0..2 {
            tokio::spawn(async { spin() });
        }
        spin();
        shutdown.run().await.exit_code()
    })
}

fn spin() {
    loop {
        std::thread::park_timeout(Duration::from_secs(60));
    }
}

fn blocking_after_main() -> ExitCode {
    let runtime = runtime();
    let code = runtime.block_on(async {
        let shutdown = ShutdownCoordinator::new(two_seconds());
        signal::listen(&shutdown.handle()).expect("nobody listens yet");
        tokio::task::spawn_blocking(spin);
        println!("ready");
        shutdown.run().await.exit_code()
    });
    // As at the end of `main`: waits for the blocking work, so for ever.
    drop(runtime);
    code
}

fn exits_by_the_report() -> ExitCode {
    runtime().block_on(async {
        let shutdown = ShutdownCoordinator::new(Plan::local());
        signal::listen(&shutdown.handle()).expect("nobody listens yet");
        tokio::task::spawn_blocking(spin);
        println!("ready");
        shutdown.run().await.exit_process()
    })
}

fn listens_twice() -> ExitCode {
    let first = ShutdownCoordinator::new(Plan::local());
    let second = ShutdownCoordinator::new(Plan::local());
    signal::listen(&first.handle()).expect("nobody listens yet");
    let refused = signal::listen(&second.handle()).expect_err("the first one listens");
    println!("ready");
    println!("{refused}");
    ExitCode::SUCCESS
}
