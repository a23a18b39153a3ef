//! The report: its numbers, its lines, the termination log, and the exit code.

use std::future::pending;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lameduck::report::Outcome;
use lameduck::{Phase, Plan, Reason, Report, ShutdownCoordinator, TaskContext};
use tokio::time::sleep;

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A file of its own for each test, gone when it is dropped.
struct TerminationLog(PathBuf);

impl TerminationLog {
    fn new(test: &str) -> Self {
        let name = format!("lameduck-{test}-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, "").unwrap();
        TerminationLog(path)
    }

    fn read(&self) -> String {
        std::fs::read_to_string(&self.0).unwrap()
    }
}

impl Drop for TerminationLog {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[track_caller]
fn assert_fits(text: &str) {
    for line in text.lines() {
        assert!(line.chars().count() <= 80, "{line}");
    }
}

/// A run in which everything that can be left behind is.
async fn unclean(termination_log: &Path) -> Arc<Report> {
    let shutdown = ShutdownCoordinator::new(Plan::immediate()).termination_log(termination_log);
    let handle = shutdown.handle();
    let _guard = handle.named_guard("upload 7");
    let failing = async || Err("no space left on device, ".repeat(9));
    shutdown.try_hook(Phase::Exit, "flush", failing).unwrap();
    shutdown.hook(Phase::Release, "pool", pending).unwrap();
    shutdown
        .task("importer", async |_| pending().await)
        .unwrap();

    handle.shutdown("a reason\nof two lines");
    shutdown.run().await
}

#[tokio::test(start_paused = true)]
async fn clean_run_exits_with_zero() {
    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    shutdown.hook(Phase::Release, "pool", async || {}).unwrap();

    shutdown.handle().shutdown("test");
    let report = shutdown.run().await;

    assert!(report.is_clean());
    assert_eq!(report.exit_code(), ExitCode::SUCCESS);
}

#[tokio::test(start_paused = true)]
async fn each_thing_that_goes_wrong_exits_with_three() {
    type Wrong = fn(&ShutdownCoordinator);
    let wrong: [Wrong; 5] = [
        |it| it.hook(Phase::Exit, "x", pending).unwrap(),
        |it| it.hook(Phase::Exit, "x", async || panic!("x")).unwrap(),
        |it| it.try_hook(Phase::Exit, "x", async || Err("x")).unwrap(),
        |it| it.task("x", async |_| pending().await).unwrap(),
        |it| it.task("x", async |_| panic!("x")).unwrap(),
    ];

    for wrong in wrong {
        let shutdown = ShutdownCoordinator::new(Plan::immediate());
        wrong(&shutdown);
        shutdown.handle().shutdown("test");
        let report = shutdown.run().await;

        assert!(!report.is_clean());
        assert_eq!(report.exit_code(), ExitCode::from(Report::EXIT_UNCLEAN));
    }
}

#[tokio::test(start_paused = true)]
async fn failure_of_the_application_is_a_reason_that_is_not_clean() {
    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    let handle = shutdown.handle();

    handle.shutdown(Reason::failed("database", "connection refused"));
    let report = shutdown.run().await;

    assert!(report.reason.is_failure());
    assert_eq!(
        report.summary(),
        "`database` failed: connection refused: not clean in 0.000 s of 30.000 s; \
         requests after it: 0, refused: 0, cut: 0"
    );
    assert_eq!(report.exit_code(), ExitCode::from(Report::EXIT_UNCLEAN));
}

#[tokio::test(start_paused = true)]
async fn report_is_a_timeline() {
    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    let handle = shutdown.handle();
    let guard = handle.guard().unwrap();
    tokio::spawn(async move {
        sleep(Duration::from_millis(1_500)).await;
        drop(guard);
    });
    shutdown
        .hook(Phase::Release, "pool", || sleep(secs(2)))
        .unwrap();
    shutdown
        .task("importer", async |cx| cx.stop_requested().await)
        .unwrap();

    handle.shutdown("deploy");
    let report = shutdown.run().await;

    let expected = "
left in 3.500 s of 30.000 s, clean: requested: deploy
  LameDuck T0+0.000 s to T0+0.000 s  completed
  Drain    T0+0.000 s to T0+1.500 s  completed
  Close    T0+1.500 s to T0+1.500 s  completed
  Release  T0+1.500 s to T0+3.500 s  completed
    hook `pool` done after 2.000 s
  Exit     T0+3.500 s to T0+3.500 s  completed
  task `importer` done
  requests after T0: 0 served, 0 refused; last arrival none
  cut at the end of Close: 0 requests, tasks and guards
  connections after T0: 0 closed, 0 cut";
    assert_eq!(format!("\n{report}"), expected);
    assert_eq!(
        report.summary(),
        "requested: deploy: clean in 3.500 s of 30.000 s; requests after it: 0, refused: 0, cut: 0"
    );
}

#[tokio::test(start_paused = true)]
async fn report_names_what_was_left_behind_in_eighty_columns() {
    let report = unclean(Path::new("/dev/null")).await;

    let text = report.to_string();
    assert_fits(&text);
    assert!(text.starts_with("left in 28.000 s of 30.000 s, not clean: requested: a reason of"));
    for line in [
        "    left behind: guard `upload 7`, for 11.500 s",
        "    left behind: task `importer`, for 11.500 s",
        "    left behind: guard `upload 7`, for 23.000 s",
        "    hook `pool` overran after 5.000 s",
        "  task `importer` overran",
        "  requests after T0: 0 served, 0 refused; last arrival none",
        "  cut at the end of Close: 2 requests, tasks and guards",
    ] {
        assert!(text.lines().any(|it| it == line), "{line}");
    }
    let flush = text.lines().find(|line| line.contains("`flush`")).unwrap();
    assert!(flush.ends_with('…'), "{flush}");
}

#[tokio::test(start_paused = true)]
async fn summary_is_one_line_whatever_was_said() {
    let report = unclean(Path::new("/dev/null")).await;

    let summary = report.summary();
    assert_eq!(summary.lines().count(), 1);
    assert!(summary.starts_with("requested: a reason of two lines: not clean in 28.000 s"));
    assert!(summary.contains(", hook `pool` overran, hook `flush` failed: no space left"));
    assert!(summary.ends_with(", task `importer` overran"));
}

#[tokio::test(start_paused = true)]
async fn summary_fits_a_termination_message_however_much_went_wrong() {
    let log = TerminationLog::new("many");
    let shutdown = ShutdownCoordinator::new(Plan::immediate()).termination_log(&log.0);
    for at in 0..3_000 {
        let fails = async move || Err(format!("ärger {at} ").repeat(100));
        shutdown
            .try_hook(Phase::Release, format!("höok {at}"), fails)
            .unwrap();
    }

    shutdown.handle().shutdown("ä".repeat(10_000));
    let report = shutdown.run().await;

    let line = log.read();
    assert!(line.len() <= 2_048, "{} bytes", line.len());
    assert_eq!(line.lines().count(), 1);
    let summary = report.summary();
    assert_eq!(line, format!("lameduck: {summary}\n"));
    assert!(summary.contains("…: not clean in 0.000 s of 30.000 s; requests after it: 0"));
    assert!(summary.contains(", hook `höok 0` failed: ärger 0 ärger 0"));
    let (_, more) = summary.rsplit_once(", … and ").unwrap();
    let more: usize = more.strip_suffix(" more").unwrap().parse().unwrap();
    let named = summary.matches("hook `höok").count();
    assert_eq!(named + more, 3_000, "{summary}");
}

#[tokio::test(start_paused = true)]
async fn report_keeps_the_beginning_of_a_long_error() {
    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    let long = || "ä\n".repeat(500_000);
    let fails = async move || Err(long());
    shutdown.try_hook(Phase::Release, "fails", fails).unwrap();
    let panics = async move || panic!("{}", long());
    shutdown.hook(Phase::Release, "panics", panics).unwrap();
    let blocks = move || Err(long());
    shutdown
        .try_blocking_hook(Phase::Release, "blocks", blocks)
        .unwrap();
    let task = async move |cx: TaskContext| {
        cx.stop_requested().await;
        Err(long())
    };
    shutdown.try_task("task", task).unwrap();

    shutdown.shutdown(Reason::failed("database", long()));
    let report = shutdown.run().await;

    let kept = "ä\n".repeat(2_048) + "…";
    let outcomes: Vec<_> = report.hooks().map(|hook| &hook.outcome).collect();
    let failed = Outcome::Failed(kept.clone());
    assert_eq!(
        outcomes,
        [&failed, &Outcome::Panicked(kept.clone()), &failed]
    );
    assert_eq!(report.tasks[0].outcome, failed);
    let reason = report.reason.to_string();
    assert_eq!(reason, format!("`database` failed: {kept}"));
}

#[tokio::test(start_paused = true)]
async fn timeline_names_twenty_of_each_and_first_what_went_wrong() {
    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    for at in 0..100 {
        let name = format!("hook {at}");
        let result = if at == 99 { Err("no") } else { Ok(()) };
        shutdown
            .try_hook(Phase::Release, name, async move || result)
            .unwrap();
        let task = format!("task {at}");
        let late = at >= 50;
        shutdown
            .task(task, async move |cx| match late {
                true => pending().await,
                false => cx.stop_requested().await,
            })
            .unwrap();
    }

    shutdown.handle().shutdown("deploy");
    let report = shutdown.run().await;

    let text = report.to_string();
    let lines: Vec<&str> = text.lines().collect();
    let listed = |begin: &str| lines.iter().filter(|it| it.starts_with(begin)).count();
    assert_eq!(listed("    hook `"), 20);
    assert_eq!(listed("  task `"), 20);
    assert_eq!(listed("    left behind: task `"), 40);
    assert!(lines.contains(&"    hook `hook 99` failed: no after 0.000 s"));
    assert!(lines.contains(&"    hook `hook 18` done after 0.000 s"));
    assert!(lines.contains(&"    hooks: 80 more, all done"));
    assert!(lines.contains(&"  task `task 50` overran"));
    assert!(lines.contains(&"  tasks: 80 more, 30 of them not done"));
}

/// Tasks that fail after T0, and as many others that end well.
async fn with_failing_tasks(tasks: u64) -> Arc<Report> {
    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    for at in 0..tasks {
        let well = async |cx: TaskContext| cx.stop_requested().await;
        shutdown.task(format!("+{at}"), well).unwrap();
        let fails = async |cx: TaskContext| {
            cx.stop_requested().await;
            Err("")
        };
        shutdown.try_task(at.to_string(), fails).unwrap();
    }
    shutdown.handle().shutdown("deploy");
    shutdown.run().await
}

#[tokio::test(start_paused = true)]
async fn timeline_counts_the_tasks_that_the_report_has_no_room_for() {
    let report = with_failing_tasks(300).await;

    assert_eq!(report.tasks.len(), Report::MOST_TASKS);
    let text = report.to_string();
    let counted = "  tasks: 580 more, 280 of them not done";
    assert!(text.lines().any(|line| line == counted), "{text}");
}

#[tokio::test(start_paused = true)]
async fn summary_counts_the_tasks_that_the_report_has_no_room_for() {
    for tasks in [101, 300, 3_000] {
        let summary = with_failing_tasks(tasks).await.summary();

        let named = summary.matches(", task `").count() as u64;
        let (_, more) = summary.rsplit_once(", … and ").unwrap();
        let more: u64 = more.strip_suffix(" more").unwrap().parse().unwrap();
        assert_eq!(named + more, tasks, "{summary}");
        assert!(summary.len() <= Report::SUMMARY_BYTES);
    }
}

#[tokio::test(start_paused = true)]
async fn report_prints_whatever_its_fields_are_set_to() {
    let mut report = (*unclean(Path::new("/dev/null")).await).clone();
    report.took = Duration::MAX;
    for phase in &mut report.phases {
        phase.started = Duration::MAX;
        phase.left_behind = std::iter::repeat_n(phase.left_behind.clone(), 30)
            .flatten()
            .collect();
        phase.left_behind_total = 0;
    }

    let text = report.to_string();

    assert_fits(&text);
    let lines: Vec<&str> = text.lines().collect();
    let named = |kind: &str| lines.iter().filter(|it| it.contains(kind)).count();
    assert_eq!(named("    left behind: guard `"), 2 * 10);
    assert_eq!(named("    left behind: task `"), 2 * 10);
    assert_eq!(named("    left behind: 40 more"), 2);
    assert!(
        report
            .summary()
            .contains("not clean in 18446744073709551616")
    );
}

#[tokio::test(start_paused = true)]
async fn termination_log_gets_one_line_before_exit() {
    let log = TerminationLog::new("one-line");
    let shutdown = ShutdownCoordinator::new(Plan::immediate()).termination_log(&log.0);
    let (path, read) = (log.0.clone(), Arc::new(Mutex::new(String::new())));
    let seen = Arc::clone(&read);
    let look = async move || *seen.lock().unwrap() = std::fs::read_to_string(path).unwrap();
    shutdown.hook(Phase::Exit, "flush", look).unwrap();

    shutdown.handle().shutdown("deploy");
    shutdown.run().await;

    let expected = "lameduck: requested: deploy: clean in 0.000 s of 30.000 s; \
                    requests after it: 0, refused: 0, cut: 0\n";
    assert_eq!(*read.lock().unwrap(), expected);
    assert_eq!(log.read(), expected);
}

#[tokio::test(start_paused = true)]
async fn termination_log_gets_one_line_whatever_was_said() {
    let log = TerminationLog::new("unclean");

    unclean(&log.0).await;

    let text = log.read();
    assert_eq!(text.lines().count(), 1);
    assert!(text.starts_with("lameduck: requested: a reason of two lines: not clean"));
}

#[tokio::test(start_paused = true)]
async fn termination_log_is_never_created_and_never_missed() {
    let log = TerminationLog::new("missing");
    std::fs::remove_file(&log.0).unwrap();
    for path in [log.0.as_path(), Path::new("/")] {
        let shutdown = ShutdownCoordinator::new(Plan::immediate()).termination_log(path);

        shutdown.handle().shutdown("test");
        assert!(shutdown.run().await.is_clean());
    }

    assert!(!log.0.exists());
}
