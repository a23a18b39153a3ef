//! What triggers the shutdown, and what a second signal does.

use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use lameduck::signal::Signal;
use lameduck::{Phase, Plan, Report, ShutdownCoordinator, ShutdownHandle, signal};
use tokio::signal::unix::SignalKind;

use crate::process::{Ended, Process};
use crate::{SOON, play, runtime, start, two_seconds, watchdog};

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
fn second_sigint_ends_a_process_whose_shutdown_is_over_and_whose_main_waits_for_blocking_work() {
    let mut process = start("blocking work after main, forced by a second interrupt");
    process.signal("INT");
    process.line_with("the handles are gone");
    process.signal("INT");

    let ended = process.wait();

    assert_eq!(ended.status.code(), Some(i32::from(Report::EXIT_FORCED)));
    assert!(ended.took < SOON, "it took {:?}", ended.took);
}

#[test]
fn second_sigterm_changes_nothing_when_the_shutdown_is_over_and_the_handles_are_gone() {
    let mut process = start("blocking work after main");
    process.signal("TERM");
    process.line_with("the handles are gone");
    process.signal("TERM");

    let ended = process.wait();

    let code = Some(i32::from(Report::EXIT_WATCHDOG));
    assert_eq!(ended.status.code(), code, "{}", ended.stderr);
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

// Case 17.
#[cfg(target_os = "linux")]
#[test]
fn second_sigint_ends_a_process_at_a_terminal() {
    let process = Process::scenario_at_a_terminal("scenario", "waits for a second signal");

    let ended = interrupt_twice(process, "draining");

    let code = Some(i32::from(Report::EXIT_FORCED));
    assert_eq!(ended.status.code(), code, "{}", ended.stderr);
}

#[cfg(target_os = "linux")]
#[test]
fn second_sigint_does_not_end_pid_1_at_a_terminal() {
    let scenario = "waits for a second signal";
    let Some(process) = Process::scenario_as_init_at_a_terminal("scenario", scenario) else {
        println!("SKIPPED: no PID namespace can be made here");
        return;
    };

    let ended = interrupt_twice(process, "draining");

    assert_eq!(ended.status.code(), Some(0), "{}", ended.stderr);
    assert!(ended.stdout.contains("the pool is closed"));
}

#[cfg(target_os = "linux")]
#[test]
fn second_sigint_ends_pid_1_when_that_is_asked_for() {
    let scenario = "wedged, forced by a second interrupt";
    let Some(process) = Process::scenario_as_init_at_a_terminal("scenario", scenario) else {
        println!("SKIPPED: no PID namespace can be made here");
        return;
    };

    let ended = interrupt_twice(process, "wedged");

    let code = Some(i32::from(Report::EXIT_FORCED));
    assert_eq!(ended.status.code(), code, "{}", ended.stderr);
}

#[test]
fn second_sigterm_ends_the_process_at_once_when_that_is_asked_for() {
    for first in ["TERM", "INT"] {
        let mut process = start("wedged, forced by a second signal");
        process.signal(first);
        process.line_with("wedged");
        process.signal("TERM");

        let ended = process.wait();

        let code = Some(i32::from(Report::EXIT_FORCED));
        assert_eq!(ended.status.code(), code, "{}", ended.stderr);
        assert!(ended.took < SOON, "it took {:?}", ended.took);
    }
}

#[test]
fn second_sigterm_ends_pid_1_when_that_is_asked_for() {
    let scenario = "wedged, forced by a second signal";
    let Some(mut process) = Process::scenario_as_init("scenario", scenario) else {
        println!("SKIPPED: no PID namespace can be made here");
        return;
    };
    process.line_with("ready");
    process.signal("TERM");
    process.line_with("wedged");
    process.signal("TERM");

    let ended = process.wait();

    let code = Some(i32::from(Report::EXIT_FORCED));
    assert_eq!(ended.status.code(), code, "{}", ended.stderr);
}

/// The second one when it says `line`.
fn interrupt_twice(mut process: Process, line: &str) -> Ended {
    process.line_with("ready");
    process.signal("INT");
    process.line_with(line);
    process.signal("INT");
    process.wait()
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
fn second_coordinator_that_listens_is_refused() {
    let ended = play("listens twice", &[]);

    assert_eq!(ended.status.code(), Some(0), "{}", ended.stderr);
    assert!(ended.stdout.contains("listens to signals already"));
}

#[test]
fn coordinator_that_is_dropped_ends_its_threads_and_frees_the_signals_for_the_next() {
    let ended = play("listens again", &["TERM"]);

    assert_eq!(ended.status.code(), Some(0), "{}", ended.stderr);
    assert!(ended.stdout.contains("clean: SIGTERM"), "{}", ended.stdout);
}

const DEFAULTS: &str = "--default-signal=TERM,INT,QUIT,HUP,USR1,USR2,WINCH";

/// A scenario whose signals are set as `options` of `env` say, once it is ready.
fn start_with_signals(scenario: &str, options: &[&str]) -> Option<Process> {
    let Some(mut process) = Process::scenario_with_signals("scenario", scenario, options) else {
        println!("SKIPPED: there is no env that sets {options:?}");
        return None;
    };
    process.line_with("ready");
    Some(process)
}

#[test]
fn signals_do_what_they_did_before_when_the_coordinator_is_gone() {
    for signal in [
        Signal::Terminate,
        Signal::Interrupt,
        Signal::Quit,
        Signal::Hangup,
        Signal::User1,
        Signal::User2,
    ] {
        let number = i32::from(signal.number());
        for scenario in ["listened once", "handle is left", "runtime ends"] {
            let Some(process) = start_with_signals(scenario, &[DEFAULTS]) else {
                return;
            };
            process.signal(short(signal));

            let ended = process.wait();

            let by = ended.status.signal();
            assert_eq!(by, Some(number), "{scenario}: {}", ended.stdout);
        }
    }
}

/// As `kill` wants it.
fn short(signal: Signal) -> &'static str {
    signal.name().trim_start_matches("SIG")
}

#[test]
fn sigwinch_does_nothing_again_when_the_coordinator_is_gone() {
    let Some(process) = start_with_signals("listened once", &[DEFAULTS]) else {
        return;
    };
    process.signal("WINCH");
    process.signal("TERM");

    let ended = process.wait();

    assert_eq!(ended.status.signal(), Some(15), "{}", ended.stdout);
}

#[test]
fn sigwinch_does_not_end_pid_1_when_the_coordinator_is_gone() {
    let Some(mut process) = Process::scenario_as_init("scenario", "listened once") else {
        println!("SKIPPED: no PID namespace can be made here");
        return;
    };
    process.line_with("ready");
    process.signal("WINCH");
    process.signal("TERM");

    let ended = process.wait();

    assert_eq!(ended.status.code(), Some(128 + 15), "{}", ended.stdout);
}

#[test]
fn signal_that_was_ignored_before_is_ignored_when_the_coordinator_is_gone() {
    let ignored = ["--default-signal=TERM,QUIT", "--ignore-signal=INT"];
    let Some(process) = start_with_signals("listened once", &ignored) else {
        return;
    };
    process.signal("INT");
    process.signal("TERM");

    let ended = process.wait();

    assert_eq!(ended.status.signal(), Some(15), "{}", ended.stdout);
}

#[test]
fn handler_that_was_there_before_keeps_the_signal_when_the_coordinator_is_gone() {
    let ended = play("host with a handler listened once", &["TERM"]);

    assert_eq!(ended.status.code(), Some(0), "{}", ended.stderr);
    assert!(ended.stdout.contains("the host heard it"));
}

#[test]
fn signal_that_comes_while_the_coordinator_goes_is_not_lost() {
    let Some(process) = start_with_signals("raises as it is dropped", &[DEFAULTS]) else {
        return;
    };

    let ended = process.wait();

    assert_eq!(ended.status.signal(), Some(15), "{}", ended.stdout);
}

#[test]
fn pid_1_ends_at_a_signal_when_the_coordinator_is_gone() {
    let Some(mut process) = Process::scenario_as_init("scenario", "listened once") else {
        println!("SKIPPED: no PID namespace can be made here");
        return;
    };
    process.line_with("ready");
    process.signal("TERM");

    let ended = process.wait();

    assert_eq!(ended.status.code(), Some(128 + 15), "{}", ended.stdout);
}

#[test]
fn signal_that_is_blocked_is_warned_of() {
    let blocked = [DEFAULTS, "--block-signal=TERM"];
    let Some(process) = start_with_signals("hook", &blocked) else {
        return;
    };
    process.signal("TERM");
    process.signal("INT");

    let ended = process.wait();

    assert!(ended.stdout.contains("clean: SIGINT"), "{}", ended.stdout);
    let words =
        "WARN lameduck: SIGTERM is blocked in every thread of this process: it will not be heard";
    assert!(ended.stderr.contains(words), "{}", ended.stderr);
    assert!(
        !ended.stderr.contains("SIGINT is blocked"),
        "{}",
        ended.stderr
    );
}

#[test]
fn signal_that_was_ignored_is_listened_to_and_told() {
    let ignored = ["--default-signal=TERM", "--ignore-signal=INT"];
    let Some(process) = start_with_signals("hook", &ignored) else {
        return;
    };
    process.signal("INT");

    let ended = process.wait();

    assert!(ended.stdout.contains("clean: SIGINT"), "{}", ended.stdout);
    assert!(
        ended.stderr.contains("SIGINT was ignored"),
        "{}",
        ended.stderr
    );
}

/// `nohup` has it so.
#[test]
fn other_signal_that_was_ignored_is_listened_to_and_told() {
    let ignored = ["--default-signal=TERM", "--ignore-signal=HUP"];
    let Some(process) = start_with_signals("listens to others", &ignored) else {
        return;
    };
    process.signal("HUP");

    let ended = process.wait();

    assert!(ended.stdout.contains("clean: SIGHUP"), "{}", ended.stdout);
    assert!(
        ended.stderr.contains("SIGHUP was ignored"),
        "{}",
        ended.stderr
    );
}

#[test]
fn other_signal_that_is_blocked_is_warned_of() {
    let blocked = [DEFAULTS, "--block-signal=USR1"];
    let Some(process) = start_with_signals("listens to others", &blocked) else {
        return;
    };
    process.signal("HUP");

    let ended = process.wait();

    let words = "WARN lameduck: SIGUSR1 is blocked in every thread";
    assert!(ended.stderr.contains(words), "{}", ended.stderr);
}

#[test]
fn any_signal_that_is_listened_to_triggers_the_shutdown() {
    for signal in OTHERS {
        let ended = play("listens to others", &[short(signal)]);

        assert_eq!(ended.status.code(), Some(0), "{}", ended.stderr);
        let words = format!("clean: {signal}");
        assert!(ended.stdout.contains(&words), "{}", ended.stdout);
    }
}

#[test]
fn pid_1_leaves_at_any_signal_that_is_listened_to() {
    for signal in OTHERS {
        let Some(mut process) = Process::scenario_as_init("scenario", "listens to others") else {
            println!("SKIPPED: no PID namespace can be made here");
            return;
        };
        process.line_with("ready");
        process.signal(short(signal));

        let ended = process.wait();

        assert_eq!(ended.status.code(), Some(0), "{signal}: {}", ended.stderr);
    }
}

#[test]
fn signal_that_is_left_out_does_what_it_did_before() {
    for (name, number) in [("TERM", 15), ("INT", 2)] {
        let Some(process) = start_with_signals("listens to others", &[DEFAULTS]) else {
            return;
        };
        process.signal(name);

        let ended = process.wait();

        assert_eq!(ended.status.signal(), Some(number), "{}", ended.stdout);
    }
}

#[test]
fn no_signal_to_listen_to_is_an_error() {
    let shutdown = ShutdownCoordinator::new(Plan::local());

    let refused = signal::Listener::new().signals(&[]).listen(&shutdown);

    let refused = refused.expect_err("there is none");
    assert_eq!(refused.kind(), std::io::ErrorKind::InvalidInput);
}

#[test]
fn sigquit_means_the_same_when_it_is_listened_to() {
    let ended = play("listens to SIGQUIT", &["QUIT"]);

    assert_eq!(ended.status.code(), Some(0), "{}", ended.stderr);
    assert!(ended.stdout.contains("clean: SIGQUIT"), "{}", ended.stdout);
}

#[test]
fn sigquit_is_left_alone_otherwise() {
    const SIGQUIT: u32 = 3;
    if is_ignored(SIGQUIT) {
        println!("SKIPPED: whoever started this has it ignored, as nohup and a script's `&` do");
        return;
    }
    let ended = play("hook", &["QUIT"]);

    assert_eq!(ended.status.signal(), Some(SIGQUIT as i32));
}

/// Whether this process ignores a signal: those that it starts inherit that.
fn is_ignored(signal: u32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    ignored.is_some_and(|mask| mask & 1 << (signal - 1) != 0)
}

#[test]
fn handlers_of_the_host_hear_of_the_signal_as_well() {
    let ended = play("host with handlers of its own", &["TERM"]);

    assert_eq!(ended.status.code(), Some(0), "{}", ended.stderr);
    assert!(ended.stdout.contains("the pool is closed"));
    assert!(ended.stdout.contains("signal-hook heard it"));
    assert!(ended.stdout.contains("tokio heard it"));
}

// Case 18.
#[test]
fn pid_1_leaves_as_any_other_process() {
    let Some(mut process) = Process::scenario_as_init("scenario", "says its PID") else {
        println!("SKIPPED: no PID namespace can be made here");
        return;
    };
    assert_eq!(process.line_with("PID"), "PID 1");
    process.line_with("ready");
    process.signal("TERM");

    let ended = process.wait();

    assert_eq!(ended.status.code(), Some(0), "{}", ended.stderr);
    assert!(ended.stdout.contains("the pool is closed"));
    assert!(ended.stdout.contains("clean: SIGTERM"), "{}", ended.stdout);
}

pub(crate) fn scenario(name: &str) -> Option<ExitCode> {
    let forced = || signal::Listener::new().force_on_second_interrupt(true);
    Some(match name {
        "hook" => leaves(with_pool(signal::Listener::new())),
        "says its PID" => {
            println!("PID {}", std::process::id());
            leaves(with_pool(signal::Listener::new()))
        }
        "listens to others" => leaves(with_pool(signal::Listener::new().signals(&OTHERS))),
        "wedged, forced by a second signal" => {
            let forced = signal::Listener::new().force_on_second_signal(true);
            watchdog::wedged(Plan::local(), forced)
        }
        "listens to SIGQUIT" => leaves(with_pool(signal::Listener::new().quit(true))),
        "waits for a second signal" => waits_for_a_second_signal(),
        "wedged, forced by a second interrupt" => watchdog::wedged(Plan::local(), forced()),
        "blocking work after main, forced by a second interrupt" => {
            watchdog::blocking_after_main(Plan::local(), forced())
        }
        "slow start" => slow_start(),
        "listens twice" => listens_twice(),
        "listens again" => {
            listen_once();
            leaves(with_pool(signal::Listener::new()))
        }
        "listened once" => {
            listen_once();
            println!("ready");
            stays()
        }
        "handle is left" => {
            let first = ShutdownCoordinator::new(two_seconds());
            let handle = first.handle();
            listen_to_all(&handle);
            drop(first);
            wait_until_no_thread_is_ours();
            println!("ready");
            let code = stays();
            drop(handle);
            code
        }
        "runtime ends" => {
            let first = ShutdownCoordinator::new(two_seconds());
            let handle = first.handle();
            listen_to_all(&handle);
            let runtime = tokio::runtime::Runtime::new().expect("it needs nothing");
            runtime.spawn(first.run());
            drop(runtime);
            println!("ready");
            let code = stays();
            drop(handle);
            code
        }
        "raises as it is dropped" => {
            println!("ready");
            raises_as_it_is_dropped();
            stays()
        }
        "host with a handler listened once" => {
            let heard = host_handler();
            listen_once();
            println!("ready");
            while !heard.load(Ordering::Acquire) {
                std::thread::yield_now();
            }
            println!("the host heard it");
            ExitCode::SUCCESS
        }
        "host with handlers of its own" => host_with_handlers(),
        _ => return None,
    })
}

/// A coordinator that listens to everything, and is gone without a shutdown.
fn listen_once() {
    let first = ShutdownCoordinator::new(two_seconds());
    listen_to_all(&first);
    drop(first);
    wait_until_no_thread_is_ours();
}

fn listen_to_all(handle: &ShutdownHandle) {
    let usual = [Signal::Terminate, Signal::Interrupt, Signal::Quit];
    let listener = signal::Listener::new().signals(&[&usual[..], &OTHERS].concat());
    listener.listen(handle).expect("nobody listens yet");
}

/// Those that nobody listens to by default, but for SIGQUIT.
const OTHERS: [Signal; 4] = [
    Signal::Hangup,
    Signal::User1,
    Signal::User2,
    Signal::WindowChange,
];

fn raises_as_it_is_dropped() {
    struct Raises;

    impl Drop for Raises {
        fn drop(&mut self) {
            signal_hook::low_level::raise(signal_hook::consts::SIGTERM).expect("it is a signal");
        }
    }

    let shutdown = with_pool(signal::Listener::new());
    let raises = Raises;
    let hook = async move || drop(raises);
    shutdown
        .hook(Phase::Exit, "raises", hook)
        .expect("the name is free");
    drop(shutdown);
}

/// Until a signal ends the process; a failure if none does.
fn stays() -> ExitCode {
    std::thread::sleep(SOON);
    println!("still here");
    ExitCode::SUCCESS
}

fn host_handler() -> Arc<AtomicBool> {
    let heard = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(signal_hook::consts::SIGTERM, Arc::clone(&heard))
        .expect("there is room for a handler");
    heard
}

/// As Linux names them; elsewhere none is seen.
fn wait_until_no_thread_is_ours() {
    let is_ours = |thread: &std::fs::DirEntry| {
        let name = std::fs::read_to_string(thread.path().join("comm"));
        name.is_ok_and(|name| name.starts_with("lameduck-"))
    };
    let started = std::time::Instant::now();
    while let Ok(mut threads) = std::fs::read_dir("/proc/self/task") {
        if !threads.any(|thread| thread.is_ok_and(|thread| is_ours(&thread))) {
            return;
        }
        assert!(started.elapsed() < SOON, "a thread of ours stays");
        std::thread::yield_now();
    }
}

/// A coordinator that listens and has a pool to close.
fn with_pool(listener: signal::Listener) -> ShutdownCoordinator {
    let shutdown = ShutdownCoordinator::new(Plan::builder().build().expect("it fits"));
    listener
        .listen(&shutdown.handle())
        .expect("nobody listens yet");
    let closed = async || println!("the pool is closed");
    shutdown
        .hook(Phase::Release, "pool", closed)
        .expect("the name is free");
    shutdown
}

fn leaves(shutdown: ShutdownCoordinator) -> ExitCode {
    runtime().block_on(async {
        println!("ready");
        let report = shutdown.run().await;
        println!("{report}");
        report.exit_code()
    })
}

fn waits_for_a_second_signal() -> ExitCode {
    let shutdown = with_pool(signal::Listener::new());
    let second = shutdown.handle();
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
    leaves(shutdown)
}

fn slow_start() -> ExitCode {
    let shutdown = with_pool(signal::Listener::new());
    let handle = shutdown.handle();
    runtime().block_on(async {
        let migrating = handle.not_ready("migrations");
        println!("ready");
        handle.reached(Phase::LameDuck).await;
        drop(migrating);
        let listener = lameduck::bind("127.0.0.1:0").await.expect("a port is free");
        lameduck::serve(listener, axum::Router::new(), &handle).await;
        println!("the listener is closed");
    });
    leaves(shutdown)
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

/// One handler is there before the coordinator's, one comes after it.
fn host_with_handlers() -> ExitCode {
    let heard = host_handler();
    let shutdown = with_pool(signal::Listener::new());
    runtime().block_on(async {
        let mut tokios = tokio::signal::unix::signal(SignalKind::terminate())
            .expect("there is room for a handler");
        println!("ready");
        let report = shutdown.run().await;
        if heard.load(Ordering::Acquire) {
            println!("signal-hook heard it");
        }
        if tokios.recv().await.is_some() {
            println!("tokio heard it");
        }
        report.exit_code()
    })
}
