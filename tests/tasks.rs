//! Background tasks: told at T0, waited for in Drain, and a trigger when they fail.

use std::convert::Infallible;
use std::fmt;
use std::future::pending;
use std::panic::panic_any;
use std::pin::Pin;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use lameduck::report::{Kind, Outcome, PhaseOutcome};
use lameduck::{Phase, Plan, Reason, Report, ShutdownCoordinator, TaskContext, TaskError};
use tokio::runtime::Builder;
use tokio::sync::{mpsc, oneshot};
use tokio::task::yield_now;
use tokio::time::{Instant, sleep, timeout};
use tokio_test::{assert_pending, assert_ready, task};

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

// Case 85.
#[tokio::test(start_paused = true)]
async fn queue_consumer_finishes_what_it_holds_and_takes_nothing_new() {
    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    let handle = shutdown.handle();
    let (send, mut queue) = mpsc::channel(10);
    let committed = Arc::new(Mutex::new(Vec::new()));
    let commits = Arc::clone(&committed);
    let consumer = async move |cx: lameduck::TaskContext| {
        loop {
            let message = tokio::select! {
                biased;
                () = cx.stop_requested() => return,
                Some(message) = queue.recv() => message,
            };
            sleep(secs(2)).await;
            commits.lock().unwrap().push(message);
        }
    };
    shutdown.task("consumer", consumer).unwrap();
    for message in ["first", "second", "third"] {
        send.send(message).await.unwrap();
    }

    sleep(secs(3)).await;
    handle.shutdown("test");
    let report = shutdown.run().await;

    assert_eq!(*committed.lock().unwrap(), ["first", "second"]);
    assert_eq!(report.phase(Phase::Drain).unwrap().took, secs(1));
    assert_eq!(report.tasks[0].name, "consumer");
    assert_eq!(report.tasks[0].outcome, Outcome::Done);
    assert!(report.is_clean());
}

#[tokio::test(start_paused = true)]
async fn task_is_told_by_every_means_at_the_trigger() {
    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    let handle = shutdown.handle();
    let (cx, get) = oneshot::channel();
    shutdown
        .task("importer", async move |context| {
            cx.send(context).unwrap();
        })
        .unwrap();
    let cx = get.await.unwrap();
    let mut told = task::spawn(cx.stop_requested());

    assert_pending!(told.poll());
    assert!(!cx.is_stop_requested());
    assert!(!cx.token().is_cancelled());
    assert_eq!(cx.remaining(), None);
    handle.shutdown("test");

    assert!(told.is_woken());
    assert_ready!(told.poll());
    assert!(cx.is_stop_requested());
    assert!(cx.token().is_cancelled());
    assert_eq!(cx.remaining(), Some(secs(28)));
}

// Case 22.
#[tokio::test(start_paused = true)]
async fn reason_reaches_tasks_and_report() {
    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    let (seen, reason) = oneshot::channel();
    shutdown
        .task("importer", async move |cx| {
            cx.stop_requested().await;
            seen.send(cx.handle().reason()).unwrap();
        })
        .unwrap();

    shutdown.handle().shutdown("licence expired");
    let report = shutdown.run().await;

    assert_eq!(report.reason, Reason::from("licence expired"));
    assert_eq!(reason.await.unwrap(), Some(report.reason.clone()));
}

// Case 88.
#[tokio::test(start_paused = true)]
async fn failing_task_is_a_trigger_with_its_reason() {
    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    shutdown
        .try_task("importer", async |_| {
            sleep(secs(5)).await;
            Err("no such table")
        })
        .unwrap();

    let report = timeout(secs(60), shutdown.run()).await.unwrap();

    assert_eq!(
        report.reason.to_string(),
        "task `importer` failed: no such table"
    );
    assert!(report.reason.is_failure());
    let failed = Outcome::Failed("no such table".to_owned());
    assert_eq!(report.tasks[0].outcome, failed);
    assert!(!report.is_clean());
    assert_eq!(report.exit_code(), ExitCode::from(3));
}

// Cases 78 and 88.
#[tokio::test(start_paused = true)]
async fn panicking_task_is_a_trigger_with_its_reason() {
    for in_closure in [false, true] {
        let shutdown = ShutdownCoordinator::new(Plan::immediate());
        let work = move |_| {
            assert!(!in_closure, "schema {}", "mismatch");
            async { panic!("schema mismatch") }
        };
        shutdown.task("importer", work).unwrap();

        let report = timeout(secs(60), shutdown.run()).await.unwrap();

        assert_eq!(
            report.reason.to_string(),
            "task `importer` failed: schema mismatch"
        );
        let panicked = Outcome::Panicked("schema mismatch".to_owned());
        assert_eq!(report.tasks[0].outcome, panicked);
        assert_eq!(report.exit_code(), ExitCode::from(3));
    }
}

#[tokio::test(start_paused = true)]
async fn task_that_fails_after_the_trigger_keeps_the_reason_and_spoils_the_exit() {
    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    let handle = shutdown.handle();
    handle
        .try_task("importer", async |cx| {
            cx.stop_requested().await;
            Err("commit failed")
        })
        .unwrap();

    handle.shutdown("deploy");
    let report = shutdown.run().await;

    assert_eq!(report.reason, Reason::from("deploy"));
    assert!(!report.reason.is_failure());
    let failed = Outcome::Failed("commit failed".to_owned());
    assert_eq!(report.tasks[0].outcome, failed);
    assert!(!report.is_clean());
}

#[tokio::test(start_paused = true)]
async fn task_that_returns_early_changes_nothing() {
    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    let handle = shutdown.handle();
    shutdown.task("migration", async |_| {}).unwrap();
    let mut run = task::spawn(shutdown.run());

    sleep(secs(60)).await;

    assert_pending!(run.poll());
    assert_eq!(handle.phase(), None);
    assert_eq!(handle.in_flight(), 0);
}

// Case 6.
#[tokio::test(start_paused = true)]
async fn endless_task_is_named_in_drain_and_dropped_after_close() {
    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    let (held, dropped) = oneshot::channel::<Infallible>();
    shutdown
        .task("importer", async move |_| {
            let _held = held;
            pending::<()>().await;
        })
        .unwrap();
    let plan = Plan::immediate();
    let t0 = Instant::now();
    let dropped = tokio::spawn(async move {
        let dropped = timeout(secs(60), dropped).await;
        dropped.expect("the future is dropped").unwrap_err();
        t0.elapsed()
    });

    shutdown.handle().shutdown("test");
    let report = shutdown.run().await;

    // No hook has asked for Release's time, so it is Close's.
    let close = plan.deadline(Phase::Release);
    let deadlines = [
        (Phase::Drain, plan.deadline(Phase::Drain)),
        (Phase::Close, close),
    ];
    for (phase, deadline) in deadlines {
        let report = report.phase(phase).unwrap();
        assert_eq!(report.outcome, PhaseOutcome::TimedOut);
        assert_eq!(report.left_behind_total, 1);
        assert_eq!(report.left_behind[0].kind, Kind::Task);
        assert_eq!(report.left_behind[0].name, "importer");
        assert_eq!(report.left_behind[0].age, deadline);
    }
    assert_eq!(report.tasks[0].outcome, Outcome::Overran);
    assert_eq!(report.cut, 1);
    assert_eq!(report.took, close);
    assert!(!report.is_clean());
    assert_eq!(dropped.await.unwrap(), close);
}

#[tokio::test(start_paused = true)]
async fn task_that_uses_the_time_of_close_is_late_but_not_cut() {
    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    let handle = shutdown.handle();
    shutdown.task("importer", |_| sleep(secs(12))).unwrap();

    handle.shutdown("test");
    let report = shutdown.run().await;

    let drain = report.phase(Phase::Drain).unwrap();
    assert_eq!(drain.outcome, PhaseOutcome::TimedOut);
    assert_eq!(drain.left_behind[0].name, "importer");
    assert_eq!(report.took, secs(12));
    assert_eq!(report.cut, 0);
    assert!(report.is_clean());
}

#[tokio::test(start_paused = true)]
async fn task_may_start_late_but_not_in_release() {
    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    let handle = shutdown.handle();
    let in_drain = handle.clone();
    let late = async move || in_drain.task("late", |_| sleep(secs(2)));
    shutdown.try_hook(Phase::Drain, "starts", late).unwrap();
    let in_release = handle.clone();
    let too_late = async move || in_release.task("too late", async |_| unreachable!());
    shutdown
        .try_hook(Phase::Release, "refused", too_late)
        .unwrap();

    handle.shutdown("test");
    let report = shutdown.run().await;

    assert_eq!(report.phase(Phase::Drain).unwrap().took, Duration::ZERO);
    assert_eq!(report.phase(Phase::Close).unwrap().took, secs(2));
    assert_eq!(report.tasks.len(), 1);
    let error = "task `too late` comes too late: Release has begun".to_owned();
    let refused = &report.phase(Phase::Release).unwrap().hooks[0];
    assert_eq!(refused.outcome, Outcome::Failed(error));
}

#[tokio::test(start_paused = true)]
async fn duplicate_name_is_an_error() {
    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    let handle = shutdown.handle();
    shutdown.task("importer", async |_| {}).unwrap();

    let error = shutdown
        .task("importer", async |_| unreachable!())
        .unwrap_err();

    assert!(matches!(error, TaskError::Duplicate { .. }));
    assert_eq!(
        error.to_string(),
        "there is a task named `importer` already"
    );
    handle.shutdown("test");
    assert!(shutdown.run().await.is_clean());
}

// Case 80.
#[test]
fn task_without_a_runtime_is_an_error() {
    let shutdown = ShutdownCoordinator::new(Plan::immediate());

    let error = shutdown
        .task("importer", async |_| unreachable!())
        .unwrap_err();

    assert!(matches!(error, TaskError::NoRuntime { .. }));
    assert_eq!(shutdown.handle().in_flight(), 0);
}

// Case 21.
#[tokio::test(start_paused = true)]
async fn task_that_waits_for_the_report_is_ended_by_the_deadline() {
    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    shutdown
        .task("circle", async |cx| {
            cx.handle().shutdown("test");
            cx.handle().finished().await;
        })
        .unwrap();

    let report = shutdown.run().await;

    assert_eq!(report.tasks[0].outcome, Outcome::Overran);
    assert_eq!(report.took, Plan::immediate().deadline(Phase::Release));
}

/// Panics when it is dropped.
struct Mine;

impl Drop for Mine {
    fn drop(&mut self) {
        // A second panic at a time ends the process.
        assert!(std::thread::panicking(), "dropped");
    }
}

/// Panics when it is printed.
struct Unprintable;

impl fmt::Display for Unprintable {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        panic!("printed")
    }
}

/// Returns at once, and panics when it is dropped behind that.
struct Returns(Mine);

impl Future for Returns {
    type Output = Result<(), &'static str>;

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(Ok(()))
    }
}

#[tokio::test(start_paused = true)]
async fn task_that_panics_when_it_is_dropped_at_its_end_is_a_trigger() {
    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    shutdown.try_task("importer", |_| Returns(Mine)).unwrap();

    let report = timeout(secs(60), shutdown.run()).await.unwrap();

    assert_eq!(report.reason.to_string(), "task `importer` failed: dropped");
}

#[tokio::test(start_paused = true)]
async fn task_whose_error_cannot_be_printed_is_a_trigger() {
    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    shutdown
        .try_task("importer", async |_| Err(Unprintable))
        .unwrap();

    let report = timeout(secs(60), shutdown.run()).await.unwrap();

    assert_eq!(
        report.reason.to_string(),
        "task `importer` failed: an error that panicked when it was printed: printed"
    );
}

#[tokio::test(start_paused = true)]
async fn panic_whose_payload_panics_when_it_is_dropped_is_a_trigger() {
    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    shutdown
        .task("importer", async |_| panic_any(Mine))
        .unwrap();

    let report = timeout(secs(60), shutdown.run()).await.unwrap();

    assert_eq!(
        report.reason.to_string(),
        "task `importer` failed: no message"
    );
}

#[tokio::test(start_paused = true)]
async fn task_that_panics_when_it_is_aborted_overran() {
    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    let mine = Mine;
    let importer = async move |_| {
        let _mine = mine;
        pending::<()>().await;
    };
    shutdown.task("importer", importer).unwrap();
    shutdown.hook(Phase::Exit, "flush", async || {}).unwrap();

    shutdown.handle().shutdown("test");
    let report = shutdown.run().await;

    assert_eq!(report.tasks[0].outcome, Outcome::Overran);
    assert!(report.hooks().all(|hook| hook.outcome == Outcome::Done));
}

#[test]
fn refused_task_that_panics_when_it_is_dropped_is_an_error() {
    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    let refused = |mine: Mine| shutdown.task("importer", async move |_| drop(mine));

    let no_runtime = refused(Mine);
    let runtime = Builder::new_current_thread().build().unwrap();
    let _inside = runtime.enter();
    shutdown.task("importer", |_| pending()).unwrap();
    let duplicate = refused(Mine);

    assert!(matches!(no_runtime, Err(TaskError::NoRuntime { .. })));
    assert!(matches!(duplicate, Err(TaskError::Duplicate { .. })));
}

/// Runs tasks of one name, one after the other.
async fn one_after_the_other(shutdown: &ShutdownCoordinator, tasks: u64) {
    for number in 0..tasks {
        let (ends, ended) = oneshot::channel();
        let work = async move |_| ends.send(number).unwrap();
        shutdown.task("job", work).unwrap();
        ended.await.unwrap();
        // Its name is free when it has returned, and its future is dropped.
        yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn name_can_be_used_again_when_its_task_is_over() {
    let shutdown = ShutdownCoordinator::new(Plan::immediate());

    one_after_the_other(&shutdown, 2).await;
    shutdown
        .task("job", async |cx| cx.stop_requested().await)
        .unwrap();
    let taken = shutdown.task("job", async |_| unreachable!());
    shutdown.handle().shutdown("test");
    let report = shutdown.run().await;

    assert!(matches!(taken, Err(TaskError::Duplicate { .. })));
    assert_eq!(report.tasks.len(), 1);
    assert!(report.is_clean());
}

#[test]
fn name_can_be_used_again_when_its_runtime_went_away() {
    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    let runtime = || Builder::new_current_thread().build().unwrap();
    let first = runtime();
    let second = runtime();

    first.block_on(async { shutdown.task("job", |_| pending()).unwrap() });
    drop(first);
    let again = second.block_on(async { shutdown.task("job", |_| pending()) });

    again.unwrap();
    assert_eq!(shutdown.handle().in_flight(), 1);
}

#[tokio::test(start_paused = true)]
async fn report_lists_tasks_that_ran_at_the_trigger_and_counts_those_that_were_done() {
    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    shutdown.task("done", async |_| {}).unwrap();
    shutdown
        .task("running", async |cx| cx.stop_requested().await)
        .unwrap();
    yield_now().await;
    let handle = shutdown.handle();
    let late = async move || handle.task("late", async |_| {});
    shutdown.try_hook(Phase::Drain, "starts", late).unwrap();

    shutdown.handle().shutdown("test");
    let report = shutdown.run().await;

    let listed: Vec<_> = report.tasks.iter().map(|task| &*task.name).collect();
    assert_eq!(listed, ["running", "late"]);
    assert_eq!(report.tasks_total, 3);
}

#[tokio::test(start_paused = true)]
async fn hundred_thousand_tasks_that_were_done_are_only_counted() {
    let shutdown = ShutdownCoordinator::new(Plan::immediate());

    one_after_the_other(&shutdown, 100_000).await;
    shutdown.handle().shutdown("test");
    let report = shutdown.run().await;

    assert_eq!(report.tasks_total, 100_000);
    assert_eq!(report.tasks.len(), 0);
    assert!(report.to_string().len() < 1_000);
}

#[tokio::test(start_paused = true)]
async fn report_lists_a_hundred_tasks_at_most_and_the_failures_first() {
    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    for number in 0..Report::MOST_TASKS {
        let name = format!("done {number}");
        shutdown
            .task(name, async |cx| cx.stop_requested().await)
            .unwrap();
    }
    for number in 0..60 {
        let failing = async |cx: TaskContext| {
            cx.stop_requested().await;
            sleep(secs(1)).await;
            Err("no")
        };
        shutdown
            .try_task(format!("failed {number}"), failing)
            .unwrap();
        shutdown
            .task(format!("endless {number}"), |_| pending())
            .unwrap();
    }

    shutdown.handle().shutdown("test");
    let report = shutdown.run().await;

    assert_eq!(report.tasks_total, 220);
    assert_eq!(report.tasks.len(), Report::MOST_TASKS);
    assert_eq!((report.tasks_unlisted, report.tasks_failed), (120, 120));
    assert!(report.tasks.iter().all(|task| !task.outcome.is_done()));
    assert_eq!(report.tasks[0].name, "failed 0");
    assert_eq!(report.tasks[1].name, "endless 0");
    assert!(!report.is_clean());
}

#[tokio::test(start_paused = true)]
async fn many_tasks_at_once_cost_each_what_the_first_one_costs() {
    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    let begun = std::time::Instant::now();

    for number in 0..60_000 {
        shutdown
            .task(number.to_string(), async |cx| cx.stop_requested().await)
            .unwrap();
    }
    let took = begun.elapsed();
    shutdown.handle().shutdown("test");
    let report = shutdown.run().await;

    // A search through all of them takes minutes.
    assert!(took < secs(20), "{took:?}");
    assert!(report.is_clean());
}
