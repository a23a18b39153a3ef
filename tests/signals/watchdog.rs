//! The watchdog: the process is gone at the hard deadline, whatever holds it.

use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use lameduck::{Phase, Plan, Report, ShutdownCoordinator, TaskContext, signal};

use crate::process::{Ended, Process};
use crate::{SOON, play, runtime, two_seconds};

// Case 20.
#[test]
fn watchdog_ends_a_process_whose_runtime_is_wedged() {
    let ended = play("wedged", &["TERM"]);

    assert_ended_by_the_watchdog(&ended);
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
    let shutdown = ShutdownCoordinator::new(plan);
    let handle = shutdown.handle();
    listener.listen(&handle).expect("nobody listens yet");
    println!("ready");
    shutdown
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
