//! What a process's exit says of how it went.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitCode;

use lameduck::report::ExitPolicy;
use lameduck::{Phase, Plan, Report, ShutdownCoordinator, signal};

use crate::process::{Process, Scratch};
use crate::{SOON, play, runtime};

const SIGTERM: i32 = 15;

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
fn summary_is_written_to_the_termination_log() {
    let scratch = Scratch::new("termination-log");
    let file = scratch.path("termination-log");
    std::fs::write(&file, "").expect("there is room for a file");
    let mut process =
        Process::scenario("scenario", "termination log", &[("TERMINATION_LOG", &file)]);
    process.line_with("ready");
    process.signal("TERM");

    process.wait();

    let log = std::fs::read_to_string(&file).expect("it is still there");
    assert!(log.starts_with("lameduck: SIGTERM: clean in "), "{log}");
    assert_eq!(log.lines().count(), 1, "{log}");
}

// Case 19.
#[test]
fn failing_task_makes_the_exit_code_say_so() {
    let ended = play("failing task", &[]);

    let code = Some(i32::from(Report::EXIT_UNCLEAN));
    assert_eq!(ended.status.code(), code, "{}", ended.stderr);
    assert!(ended.stderr.contains("task `importer` failed: no broker"));
}

// Case 19.
#[test]
fn exit_code_is_the_policys() {
    for (scenario, code) in [
        ("clean is 7", 7),
        ("unclean is 9", 9),
        ("the signal's code", 128 + SIGTERM),
    ] {
        let ended = play(scenario, &["TERM"]);

        assert_eq!(ended.status.code(), Some(code), "{scenario}");
    }
}

// Case 19.
#[test]
fn parent_sees_the_signal_that_is_raised_again() {
    let ended = play("raises it again", &["TERM"]);

    assert_eq!(ended.status.signal(), Some(SIGTERM), "{}", ended.stderr);
    assert!(ended.stdout.ends_with("without a line's end"));
}

// Case 19.
#[test]
fn signal_is_not_raised_again_when_something_failed() {
    let ended = play("raises it again, unless a hook fails", &["TERM"]);

    let code = Some(i32::from(Report::EXIT_UNCLEAN));
    assert_eq!(ended.status.code(), code, "{}", ended.stderr);
}

// Cases 18 and 19.
#[test]
fn pid_1_cannot_die_of_a_signal_so_its_code_says_it() {
    let Some(mut process) = Process::scenario_as_init("scenario", "raises it again") else {
        println!("SKIPPED: no PID namespace can be made here");
        return;
    };
    process.line_with("ready");
    process.signal("TERM");

    let ended = process.wait();

    assert_eq!(ended.status.code(), Some(128 + SIGTERM), "{}", ended.stderr);
}

pub(crate) fn scenario(name: &str) -> Option<ExitCode> {
    let policy = match name {
        "clean is 7" => ExitPolicy::new().clean(7),
        "unclean is 9" => ExitPolicy::new().unclean(9),
        "the signal's code" => ExitPolicy::new().signal_code(),
        "raises it again" | "raises it again, unless a hook fails" => ExitPolicy::new().reraise(),
        "failing hook" | "failing task" | "exits by the report" | "termination log" => {
            ExitPolicy::new()
        }
        _ => return None,
    };
    let mut shutdown = ShutdownCoordinator::new(Plan::local()).exit_policy(policy);
    if let Ok(file) = std::env::var("TERMINATION_LOG") {
        shutdown = shutdown.termination_log(file);
    }
    signal::listen(&shutdown.handle()).expect("nobody listens yet");
    Some(runtime().block_on(leaves(name, shutdown)))
}

async fn leaves(name: &str, shutdown: ShutdownCoordinator) -> ExitCode {
    match name {
        "failing hook" | "unclean is 9" | "raises it again, unless a hook fails" => {
            shutdown
                .try_hook(Phase::Release, "broken", async || Err("connection refused"))
                .expect("the name is free");
        }
        "failing task" => {
            shutdown
                .try_task("importer", |_| async { Err("no broker") })
                .expect("the name is free");
        }
        "exits by the report" => {
            // Returning from `main` would wait for it.
            tokio::task::spawn_blocking(|| {
                loop {
                    std::thread::park();
                }
            });
        }
        _ => {}
    }
    println!("ready");
    let report = shutdown.run().await;
    if name.starts_with("raises") || name == "exits by the report" {
        print!("without a line's end");
        report.exit_process();
    }
    report.exit_code()
}
