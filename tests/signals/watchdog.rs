//! The watchdog: the process is gone at the hard deadline, whatever holds it.

use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use lameduck::{Phase, Plan, Report, ShutdownCoordinator, TaskContext, signal};

use crate::process::{Ended, Process, Scratch};
use crate::{SOON, play, runtime, start, two_seconds};

// Case 20.
#[test]
fn watchdog_ends_a_process_whose_runtime_is_wedged() {
    let ended = play("wedged", &["TERM"]);

    assert_ended_by_the_watchdog(&ended);
}

// Case 84.
#[test]
fn watchdog_ends_a_process_whose_standard_error_is_full() {
    let mut process = Process::scenario_with_unread_errors("scenario", "full standard error", &[]);
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

    assert_ended_by_the_watchdog(&ended);
}

#[test]
fn watchdog_names_the_hook_that_spins() {
    let ended = play("hook that spins", &["TERM"]);

    assert_ended_by_the_watchdog(&ended);
    let words = "in Release: ended by the watchdog (exit code 4); hooks: endless; tasks: none";
    assert!(ended.stderr.contains(words), "{}", ended.stderr);
}

#[test]
fn watchdog_names_the_task_that_spins() {
    let ended = play("task that spins", &["TERM"]);

    assert_ended_by_the_watchdog(&ended);
    let words = "hooks: none; tasks: endless; in flight: 1";
    assert!(ended.stderr.contains(words), "{}", ended.stderr);
}

// Case 75.
#[test]
fn watchdog_ends_a_process_whose_exporter_blocks_its_thread() {
    let ended = play("exporter that blocks", &["TERM"]);

    assert_ended_by_the_watchdog(&ended);
    let words = "in Exit: ended by the watchdog (exit code 4); hooks: exporter";
    assert!(ended.stderr.contains(words), "{}", ended.stderr);
    // It was told before.
    assert!(ended.stderr.contains("SIGTERM: clean"), "{}", ended.stderr);
}

#[test]
fn watchdog_ends_a_process_whose_main_never_returns() {
    let ended = play("main that never returns", &["TERM"]);

    assert_ended_by_the_watchdog(&ended);
    assert!(ended.stdout.contains("clean: SIGTERM"), "{}", ended.stdout);
}

#[test]
fn watchdog_ends_a_process_whose_blocking_hook_never_returns() {
    let ended = play("blocking hook that never returns", &["TERM"]);

    assert_ended_by_the_watchdog(&ended);
    // The sequence went on without it.
    let overran = "hook `endless` overran";
    assert!(ended.stdout.contains(overran), "{}", ended.stdout);
    // Nothing else of the coordinator was left by then.
    assert!(
        ended.stderr.contains("the shutdown is over"),
        "{}",
        ended.stderr
    );
    let words = "ended by the watchdog (exit code 4); hooks: endless (overran)\n";
    assert!(ended.stderr.contains(words), "{}", ended.stderr);
}

#[test]
fn watchdog_names_what_was_ended_and_goes_on() {
    let ended = play("work that overran and spins", &["TERM"]);

    assert_ended_by_the_watchdog(&ended);
    assert!(ended.stdout.contains("overran"), "{}", ended.stdout);
    // One that waits for something is gone when it has been ended.
    let words = "hooks: endless hook (overran); tasks: endless task (overran);";
    assert!(ended.stderr.contains(words), "{}", ended.stderr);
}

#[test]
fn last_words_reach_the_termination_log_behind_the_summary() {
    let (ended, log) = play_with_termination_log("blocking hook that never returns");

    assert_ended_by_the_watchdog(&ended);
    let lines: Vec<&str> = log.lines().collect();
    assert_eq!(lines.len(), 2, "{log}");
    assert!(lines[0].starts_with("lameduck: SIGTERM: "), "{log}");
    assert!(lines[1].starts_with("lameduck: still running "), "{log}");
    let words = "ended by the watchdog (exit code 4); hooks: endless (overran)";
    assert!(lines[1].contains(words), "{log}");
}

#[test]
fn last_words_reach_the_termination_log_also_when_run_was_not_called() {
    let (ended, log) = play_with_termination_log("run is not called");

    assert_ended_by_the_watchdog(&ended);
    assert_eq!(log.lines().count(), 1, "{log}");
    assert!(log.starts_with("lameduck: still running "), "{log}");
}

#[test]
fn last_words_reach_the_termination_log_when_standard_error_is_full() {
    let scratch = Scratch::new("full-and-logged");
    let file = scratch.path("termination-log");
    std::fs::write(&file, "").expect("there is room for a file");
    let mut process = Process::scenario_with_unread_errors(
        "scenario",
        "full standard error",
        &[("TERMINATION_LOG", &file)],
    );
    process.line_with("ready");
    process.signal("TERM");

    let ended = process.wait();

    assert_eq!(ended.status.code(), Some(i32::from(Report::EXIT_WATCHDOG)));
    let log = std::fs::read_to_string(&file).expect("it is still there");
    assert!(log.contains("lameduck: still running "), "{log}");
}

#[test]
fn watchdog_does_not_wait_for_a_termination_log_that_blocks() {
    let scratch = Scratch::new("blocking-log");
    let file = scratch.path("termination-log");
    let made = std::process::Command::new("mkfifo").arg(&file).status();
    assert!(made.expect("mkfifo is there").success());
    let env = [("TERMINATION_LOG", file.as_str())];
    let mut process = Process::scenario("scenario", "run is not called", &env);
    process.line_with("ready");
    process.signal("TERM");

    let ended = process.wait();

    assert_ended_by_the_watchdog(&ended);
}

#[test]
fn last_words_say_why_no_phase_ran() {
    let scenarios = [
        ("run is not called", "no phase ran: `run` was not called;"),
        (
            "all is dropped after the trigger",
            "no phase ran: the coordinator was dropped;",
        ),
        ("runtime ends in Drain", "`run` was dropped in Drain;"),
    ];
    // All at once: each takes its whole grace period.
    let processes = scenarios.map(|(scenario, words)| (start(scenario), words));
    for (process, _) in &processes {
        process.signal("TERM");
    }

    for (process, words) in processes {
        let ended = process.wait();

        assert_ended_by_the_watchdog(&ended);
        let expected = format!("after the trigger, {words} ended by the watchdog (exit code 4)");
        assert!(ended.stderr.contains(&expected), "{}", ended.stderr);
    }
}

#[test]
fn last_words_say_how_long_it_took() {
    const STOPPED: Duration = Duration::from_secs(3);
    let mut process = start("wedged, with a watchdog that acts early");
    process.signal("TERM");
    process.line_with("wedged");
    process.signal("STOP");
    thread::sleep(STOPPED);
    process.signal("CONT");

    let ended = process.wait();

    let after = ended
        .stderr
        .split_once("still running ")
        .map(|(_, after)| after);
    let seconds = after.and_then(|after| after.split_once(" s after the trigger"));
    let seconds: f64 = seconds.map_or(0.0, |(seconds, _)| seconds.parse().unwrap());
    assert!(seconds >= STOPPED.as_secs_f64(), "{}", ended.stderr);
}

fn play_with_termination_log(scenario: &str) -> (Ended, String) {
    let scratch = Scratch::new(&scenario.replace(' ', "-"));
    let file = scratch.path("termination-log");
    std::fs::write(&file, "").expect("there is room for a file");
    let mut process = Process::scenario("scenario", scenario, &[("TERMINATION_LOG", &file)]);
    process.line_with("ready");
    process.signal("TERM");
    let ended = process.wait();
    let log = std::fs::read_to_string(&file).expect("it is still there");
    (ended, log)
}

#[test]
fn coordinator_that_does_not_listen_has_no_watchdog() {
    let ended = play("no watchdog", &[]);

    assert_eq!(ended.status.code(), Some(0), "{}", ended.stderr);
    assert!(ended.stdout.contains("still here"), "{}", ended.stdout);
}

fn assert_ended_by_the_watchdog(ended: &Ended) {
    let code = Some(i32::from(Report::EXIT_WATCHDOG));
    assert_eq!(ended.status.code(), code, "{}", ended.stderr);
    assert!(ended.took < SOON, "it took {:?}", ended.took);
    assert!(
        ended.stderr.contains("ended by the watchdog"),
        "{}",
        ended.stderr
    );
}

pub(crate) fn scenario(name: &str) -> Option<ExitCode> {
    Some(match name {
        "wedged" => wedged(two_seconds(), signal::Listener::new()),
        "full standard error" => full_standard_error(),
        "blocking work after main" => blocking_after_main(two_seconds(), signal::Listener::new()),
        "hook that spins" => one_thread(Phase::Release, "endless", async || spin()),
        "task that spins" => task_that_spins(),
        "exporter that blocks" => one_thread(Phase::Exit, "exporter", async || block()),
        "main that never returns" => main_that_never_returns(),
        "blocking hook that never returns" => blocking_hook(),
        "work that overran and spins" => work_that_overran(),
        "no watchdog" => no_watchdog(),
        "run is not called" => {
            let _shutdown = listening();
            block();
            ExitCode::SUCCESS
        }
        "all is dropped after the trigger" => {
            let shutdown = listening();
            shutdown.handle().shutdown("it ends");
            drop(shutdown);
            block();
            ExitCode::SUCCESS
        }
        "runtime ends in Drain" => runtime_ends_in_drain(),
        "wedged, with a watchdog that acts early" => {
            let plan = Plan::builder().grace_period(Duration::from_secs(10));
            let plan = plan.lame_duck(Duration::ZERO).drain(Duration::from_secs(1));
            let plan = plan.close(Duration::ZERO).release(Duration::ZERO);
            wedged(plan.build().expect("it fits"), signal::Listener::new())
        }
        _ => return None,
    })
}

/// Every worker is blocked, and so is the thread that runs the coordinator: no timer of the runtime ever fires again.
pub(crate) fn wedged(plan: Plan, listener: signal::Listener) -> ExitCode {
    runtime().block_on(async {
        let shutdown = ShutdownCoordinator::new(plan);
        let handle = shutdown.handle();
        listener.listen(&handle).expect("nobody listens yet");
        println!("ready");
        handle.reached(Phase::LameDuck).await;
        println!("wedged");
        for _ in 0..2 {
            tokio::spawn(async { block() });
        }
        block();
        shutdown.run().await.exit_code()
    })
}

fn block() {
    loop {
        thread::park();
    }
}

fn spin() {
    loop {
        std::hint::spin_loop();
    }
}

fn listening() -> ShutdownCoordinator {
    listening_with(two_seconds(), signal::Listener::new())
}

fn listening_with(plan: Plan, listener: signal::Listener) -> ShutdownCoordinator {
    let mut shutdown = ShutdownCoordinator::new(plan);
    if let Ok(file) = std::env::var("TERMINATION_LOG") {
        shutdown = shutdown.termination_log(file);
    }
    let handle = shutdown.handle();
    listener.listen(&handle).expect("nobody listens yet");
    println!("ready");
    shutdown
}

/// Somebody else's future is ready first, when this phase begins or at once, and the runtime ends with it.
fn runtime_ends_in_drain() -> ExitCode {
    let runtime = runtime();
    let kept = runtime.block_on(async {
        let shutdown = listening();
        let handle = shutdown.handle();
        let guard = handle.guard();
        tokio::select! {
            _ = shutdown.run() => {}
            () = handle.reached(Phase::Drain) => {}
        }
        (handle, guard)
    });
    drop(runtime);
    block();
    drop(kept);
    ExitCode::SUCCESS
}

/// A runtime with a single thread, which the hook never gives back.
fn one_thread<F, Fut>(phase: Phase, name: &str, hook: F) -> ExitCode
where
    F: FnOnce() -> Fut + Send + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    runtime_of_one_thread().block_on(async {
        let shutdown = listening();
        shutdown.hook(phase, name, hook).expect("the name is free");
        shutdown.run().await.exit_code()
    })
}

fn runtime_of_one_thread() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("there are threads")
}

fn task_that_spins() -> ExitCode {
    runtime_of_one_thread().block_on(async {
        let shutdown = listening();
        let spins = async |cx: TaskContext| {
            cx.stop_requested().await;
            spin();
        };
        shutdown.task("endless", spins).expect("the name is free");
        shutdown.run().await.exit_code()
    })
}

fn full_standard_error() -> ExitCode {
    runtime().block_on(async {
        let shutdown = listening();
        // It would be gone before the pipe is full.
        shutdown
            .hook(Phase::Release, "endless", std::future::pending::<()>)
            .expect("the name is free");
        // Fills the pipe, which nobody reads, and hangs in the middle of a write, with the lock held.
        thread::spawn(|| {
            loop {
                eprintln!("{}", "x".repeat(4096));
            }
        });
        shutdown.run().await.exit_code()
    })
}

pub(crate) fn blocking_after_main(plan: Plan, listener: signal::Listener) -> ExitCode {
    let runtime = runtime();
    let code = runtime.block_on(async {
        tokio::task::spawn_blocking(block);
        listening_with(plan, listener).run().await.exit_code()
    });
    println!("the handles are gone");
    // As at the end of `main`: waits for the blocking work, so for ever.
    drop(runtime);
    code
}

fn main_that_never_returns() -> ExitCode {
    runtime().block_on(async {
        let report = listening().run().await;
        println!("{report}");
        std::future::pending().await
    })
}

fn blocking_hook() -> ExitCode {
    let runtime = runtime();
    let code = runtime.block_on(async {
        let shutdown = listening();
        shutdown
            .blocking_hook(Phase::Release, "endless", block)
            .expect("the name is free");
        let report = shutdown.run().await;
        println!("{report}");
        report.exit_code()
    });
    drop(runtime);
    code
}

/// A worker for each of those that spin, and one for the timers.
fn work_that_overran() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(3)
        .enable_all()
        .build()
        .expect("there are threads");
    let code = runtime.block_on(async {
        let shutdown = listening();
        for (name, spins) in [("endless task", true), ("patient task", false)] {
            let work = async move |cx: TaskContext| {
                cx.stop_requested().await;
                wait_or_spin(spins).await;
            };
            shutdown.task(name, work).expect("the name is free");
        }
        for (name, spins) in [("endless hook", true), ("patient hook", false)] {
            let hook = move || wait_or_spin(spins);
            let registered = shutdown.hook(Phase::Drain, name, hook);
            registered.expect("the name is free");
        }
        let report = shutdown.run().await;
        println!("{report}");
        report.exit_code()
    });
    drop(runtime);
    code
}

async fn wait_or_spin(spins: bool) {
    if spins {
        spin();
    }
    std::future::pending().await
}

fn no_watchdog() -> ExitCode {
    println!("ready");
    runtime().block_on(async {
        let plan = Plan::builder().grace_period(Duration::from_millis(200));
        let shutdown = ShutdownCoordinator::new(plan.build().expect("it fits"));
        let handle = shutdown.handle();
        handle.shutdown("a part of the process ends");
        let code = shutdown.run().await.exit_code();
        thread::sleep(handle.plan().hard_deadline() * 2);
        println!("still here");
        code
    })
}
