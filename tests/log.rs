//! The log: from `info` alone an operator can tell how a shutdown went.

#![cfg(feature = "tower")]

use std::convert::Infallible;
use std::future::pending;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use lameduck::report::PhaseOutcome;
use lameduck::{DrainLayer, LeaveEarly, Phase, Plan, ShutdownCoordinator, TaskContext};
use tokio::time::sleep;
use tower::{Layer, ServiceExt, service_fn};

mod logged;

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[tokio::test(start_paused = true)]
async fn log_tells_each_phase_boundary_once() {
    logged::capture();
    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    let handle = shutdown.handle();
    let guard = handle.guard().unwrap();
    tokio::spawn(async move {
        sleep(secs(2)).await;
        drop(guard);
    });

    handle.shutdown("deploy");
    shutdown.run().await;

    let lines = logged::lines();
    assert!(lines[0].starts_with("INFO lameduck: plan: grace period 30 s (default), "));
    assert_eq!(
        lines[1],
        "INFO lameduck: shutting down reason=requested: deploy"
    );
    assert_eq!(
        lines[3],
        "INFO lameduck: Drain completed phase=Drain took_ms=2000 left_behind=0"
    );
    for &phase in Phase::ALL {
        let begin = format!("INFO lameduck: {phase} completed phase={phase} took_ms=");
        assert_eq!(lines.iter().filter(|it| it.starts_with(&begin)).count(), 1);
    }
    assert!(!lines.iter().any(|line| line.starts_with("WARN")));
}

#[tokio::test(start_paused = true)]
async fn log_has_the_report_as_one_event_with_fields() {
    logged::capture();
    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    let handle = shutdown.handle();
    let layer = DrainLayer::new(&handle);
    let _guard = handle.named_guard("upload 7");
    shutdown.hook(Phase::Release, "pool", pending).unwrap();

    handle.shutdown("deploy");
    request(&layer).await;
    shutdown.run().await;

    let summary = "requested: deploy: not clean in 28.000 s of 30.000 s; requests after it: 1, refused: 0, cut: 1, \
                   hook `pool` overran";
    let fields = "reason=requested: deploy clean=false exit_code=3 took_ms=28000 budget_ms=30000 served=1 refused=0 cut=1 \
                  last_arrival_ms=0 per_second=1 connections_closed=0 connections_cut=0 long_told=0 long_cut=0 \
                  hooks_failed=1 tasks_failed=0";
    let expected = format!("WARN lameduck: {summary} {fields}");
    let lines = logged::lines();
    let reports: Vec<_> = lines.iter().filter(|it| it.contains("28.000 s")).collect();
    assert_eq!(reports, [&expected], "{lines:#?}");
}

#[tokio::test(start_paused = true)]
async fn log_counts_every_task_that_failed_whatever_the_report_lists() {
    logged::capture();
    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    for at in 0..100 {
        let fails = async |cx: TaskContext| {
            cx.stop_requested().await;
            Err("no")
        };
        shutdown.try_task(format!("fails {at}"), fails).unwrap();
        shutdown.task(format!("late {at}"), |_| pending()).unwrap();
    }

    shutdown.shutdown("deploy");
    shutdown.run().await;

    let lines = logged::lines();
    let counted = lines.iter().any(|line| line.ends_with(" tasks_failed=200"));
    assert!(counted, "{lines:#?}");
}

#[tokio::test(start_paused = true)]
async fn long_error_makes_no_long_line() {
    logged::capture();
    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    let long = || "no space left\n\u{1b}[2J".repeat(50_000);
    let hook = async move || Err(long());
    shutdown.try_hook(Phase::Release, "flush", hook).unwrap();
    let task = async move |_| Err(long());
    shutdown.try_task("importer", task).unwrap();

    shutdown.run().await;

    let lines = logged::lines();
    let failed = lines.iter().filter(|line| line.contains("no space left"));
    // The task, the reason, the hook, and the report.
    assert_eq!(failed.clone().count(), 4, "{}", lines.len());
    for line in failed {
        assert!(
            line.len() < 2_500 && !line.contains("\u{1b}"),
            "{}",
            line.len()
        );
    }
}

#[tokio::test(start_paused = true)]
async fn log_warns_of_everything_that_is_left_behind() {
    logged::capture();

    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    let handle = shutdown.handle();
    let _guard = handle.named_guard("upload 7");
    shutdown
        .task("importer", async |_| pending().await)
        .unwrap();
    shutdown.hook(Phase::Release, "pool", pending).unwrap();

    handle.shutdown("test");
    shutdown.run().await;

    let lines = logged::lines();
    for line in [
        "INFO lameduck: Drain timed out phase=Drain took_ms=11500 left_behind=2",
        "WARN lameduck: left behind: guard `upload 7`, for 11.500 s phase=Drain",
        "WARN lameduck: left behind: task `importer`, for 23.000 s phase=Close",
        "WARN lameduck: hook overran hook=pool phase=Release took_ms=5000",
    ] {
        assert!(lines.iter().any(|it| it == line), "{line}\n{lines:#?}");
    }
}

// Case 16.
#[tokio::test(start_paused = true)]
async fn log_tells_of_a_repeated_trigger() {
    logged::capture();
    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    let handle = shutdown.handle();
    shutdown
        .hook(Phase::Drain, "slow", || sleep(secs(1)))
        .unwrap();

    handle.shutdown("first");
    handle.shutdown("second");
    shutdown.run().await;

    let expected =
        "INFO lameduck: already shutting down: this changes nothing reason=requested: second";
    assert!(logged::lines().iter().any(|line| line == expected));
}

#[tokio::test(start_paused = true)]
async fn log_warns_of_a_coordinator_that_is_dropped_in_the_middle() {
    logged::capture();
    let unused = ShutdownCoordinator::new(Plan::immediate());
    let orphaned = ShutdownCoordinator::new(Plan::immediate());
    let orphan = orphaned.handle();
    let triggered = ShutdownCoordinator::new(Plan::immediate());
    triggered.handle().shutdown("test");

    drop(unused);
    let none = logged::lines();
    drop(triggered);
    let one = logged::lines();
    drop(orphaned);
    let another = logged::lines();
    drop(orphan);

    assert!(!none.iter().any(|line| line.starts_with("WARN")));
    assert_eq!(
        one,
        [
            "WARN lameduck: the coordinator was dropped before its shutdown was over: no phase will run"
        ]
    );
    assert_eq!(another, one, "a handle is left");
}

#[tokio::test(start_paused = true)]
async fn log_warns_when_traffic_had_not_moved_away_in_lame_duck() {
    for (stops, warned) in [(8_500, false), (9_000, false), (9_800, true)] {
        logged::capture();
        let shutdown = ShutdownCoordinator::new(Plan::builder().build().unwrap());
        let handle = shutdown.handle();
        let layer = DrainLayer::new(&handle);

        handle.shutdown("deploy");
        let run = tokio::spawn(shutdown.run());
        sleep(Duration::from_millis(stops)).await;
        request(&layer).await;
        run.await.unwrap();

        let expected = "WARN lameduck: traffic had not moved away when LameDuck was over: a request came 0.200 s before; \
                        unless this pod stays in rotation to its end, set LAME_DUCK_SECONDS to more than 10.0, and \
                        terminationGracePeriodSeconds with it";
        let warnings = warnings();
        assert_eq!(warnings.len(), usize::from(warned), "{warnings:#?}");
        assert!(
            warnings.iter().all(|line| line == expected),
            "{warnings:#?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn log_does_not_warn_of_traffic_when_silence_ended_lame_duck() {
    logged::capture();
    // Its last request is less than a second old when LameDuck is over.
    let early = LeaveEarly::new()
        .quiet(Duration::from_millis(500))
        .min(Duration::ZERO);
    let plan = Plan::builder().leave_early(early).build().unwrap();
    let shutdown = ShutdownCoordinator::new(plan);
    let handle = shutdown.handle();
    let layer = DrainLayer::new(&handle);
    let run = tokio::spawn(shutdown.run());
    for _ in 0..1_000 {
        request(&layer).await;
        sleep(Duration::from_millis(20)).await;
    }

    handle.shutdown("deploy");
    request(&layer).await;
    let report = run.await.unwrap();

    let lame_duck = report.phase(Phase::LameDuck).unwrap();
    assert_eq!(lame_duck.outcome, PhaseOutcome::LeftEarly);
    assert_eq!(lame_duck.took, Duration::from_millis(500));
    assert_eq!(warnings(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn what_exit_spoils_is_said_once_more() {
    logged::capture();
    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    let flush = async || Err::<(), _>("the exporter\nis gone");
    shutdown.try_hook(Phase::Exit, "flush", flush).unwrap();

    shutdown.shutdown("deploy\nnow");
    let report = shutdown.run().await;

    assert!(!report.is_clean());
    let lines = logged::lines();
    assert!(lines.iter().all(|line| !line.contains('\n')), "{lines:#?}");
    let told: Vec<_> = lines.iter().filter(|it| it.contains("exit_code")).collect();
    assert_eq!(told.len(), 2, "{lines:#?}");
    assert!(
        told[0].contains("requested: deploy now: clean"),
        "{told:#?}"
    );
    assert!(told[1].contains("not clean"), "{told:#?}");
    assert!(
        told[1].contains("hook `flush` failed: the exporter is gone"),
        "{told:#?}"
    );
}

#[tokio::test(start_paused = true)]
async fn arrivals_between_the_trigger_and_run_count_in_their_second() {
    let shutdown = ShutdownCoordinator::new(Plan::builder().build().unwrap());
    let handle = shutdown.handle();
    let layer = DrainLayer::new(&handle);

    handle.shutdown("deploy");
    sleep(Duration::from_millis(2_500)).await;
    request(&layer).await;
    let report = shutdown.run().await;

    assert_eq!(report.traffic.per_second, [0, 0, 1]);
}

#[tokio::test(start_paused = true)]
async fn log_does_not_warn_of_traffic_when_lame_duck_has_no_time() {
    logged::capture();
    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    let handle = shutdown.handle();
    let layer = DrainLayer::new(&handle);

    handle.shutdown("deploy");
    request(&layer).await;
    let report = shutdown.run().await;

    assert_eq!(report.traffic.served, 1);
    assert_eq!(warnings(), [""; 0]);
}

/// One request through a layer.
async fn request(layer: &DrainLayer) {
    let service = layer.layer(service_fn(async |_: Request<()>| {
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
    }));
    drop(service.oneshot(Request::new(())).await);
}

fn warnings() -> Vec<String> {
    let mut lines = logged::lines();
    lines.retain(|line| line.starts_with("WARN"));
    lines
}

// Case 53: one event for each batch, not for each connection.
#[tokio::test(start_paused = true)]
async fn log_tells_how_many_long_connections_have_been_told_once_a_second() {
    logged::capture();
    let plan = Plan::builder().long_spread(secs(3)).build().unwrap();
    let shutdown = ShutdownCoordinator::new(plan).seed(7);
    let handle = shutdown.handle();
    for _ in 0..1_000 {
        let (moment, guard) = (handle.moment(), handle.long_guard("socket"));
        tokio::spawn(async move {
            moment.await;
            drop(guard);
        });
    }

    handle.shutdown("deploy");
    shutdown.run().await;

    let lines = logged::lines();
    let told: Vec<u64> = lines
        .iter()
        .filter_map(|line| {
            let rest = line.strip_prefix("INFO lameduck: long connections told to end told=")?;
            rest.split(' ').next()?.parse().ok()
        })
        .collect();
    assert!((3..=4).contains(&told.len()), "{told:?}");
    assert_eq!(told.iter().sum::<u64>(), 1_000);
    assert!(lines.iter().any(|line| line.ends_with(" total=1000")));
}
