//! The sequence: triggers, deadlines, and what the handle says meanwhile.

use std::future::pending;
use std::sync::{Arc, Barrier};
use std::task::Poll;
use std::time::Duration;

use lameduck::report::{Outcome, PhaseOutcome};
use lameduck::{Phase, Plan, Reason, Report, ShutdownCoordinator, Signal};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep};
use tokio_test::{assert_pending, assert_ready, task};
use tokio_util::sync::CancellationToken;

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

const MILLISECOND: Duration = Duration::from_millis(1);

#[track_caller]
fn took(report: &Report, phase: Phase) -> Duration {
    report.phase(phase).expect("the phase began").took
}

#[tokio::test(start_paused = true)]
async fn cancelled_parent_token_is_a_trigger() {
    let parent = CancellationToken::new();
    let shutdown = ShutdownCoordinator::new(Plan::immediate()).child_of(parent.clone());
    let handle = shutdown.handle();
    let mut run = task::spawn(shutdown.run());
    assert_pending!(run.poll());

    parent.cancel();

    let report = assert_ready!(run.poll());
    assert_eq!(
        report.reason.to_string(),
        "requested: the parent token was cancelled"
    );
    assert!(handle.is_shutting_down());
}

#[tokio::test(start_paused = true)]
async fn coordinator_with_a_parent_token_has_triggers_of_its_own() {
    let parent = CancellationToken::new();
    let shutdown = ShutdownCoordinator::new(Plan::immediate()).child_of(parent.clone());
    shutdown.handle().shutdown("its own");

    let report = shutdown.run().await;

    assert_eq!(report.reason, Reason::from("its own"));
    assert!(!parent.is_cancelled());
}

// Case 14.
#[tokio::test(start_paused = true)]
async fn nobody_to_wait_for_means_at_once() {
    let shutdown = ShutdownCoordinator::new(Plan::builder().build().unwrap());
    let handle = shutdown.handle();
    let mut run = task::spawn(shutdown.run());

    assert_pending!(run.poll());
    sleep(secs(3600)).await;
    assert_pending!(run.poll());
    handle.shutdown(Signal::Terminate);

    assert!(run.is_woken());
    let report = assert_ready!(run.poll());
    assert_eq!(report.reason, Reason::Signal(Signal::Terminate));
    assert_eq!(report.took, Duration::ZERO);
    let phases = report.phases.iter().map(|phase| phase.phase);
    assert!(phases.eq(Phase::ALL.iter().copied()));
    assert!(report.is_clean());
}

// Case 30.
#[tokio::test(start_paused = true)]
async fn local_plan_has_no_delay() {
    let shutdown = ShutdownCoordinator::new(Plan::local());
    let handle = shutdown.handle();
    let guard = handle.guard().unwrap();
    let mut run = task::spawn(shutdown.run());

    handle.shutdown(Signal::Interrupt);
    assert_pending!(run.poll());
    assert_eq!(handle.phase(), Some(Phase::Drain));
    drop(guard);

    assert_ready!(run.poll());
}

// Case 12.
#[tokio::test(start_paused = true)]
async fn zero_budget_ends_without_a_tick() {
    let plan = Plan::builder().grace_period(Duration::ZERO);
    let shutdown = ShutdownCoordinator::new(plan.build().unwrap());
    let t0 = Instant::now();
    for &phase in Phase::ALL {
        shutdown.hook(phase, phase.name(), async || {}).unwrap();
    }
    shutdown.hook(Phase::Release, "endless", pending).unwrap();
    let _guard = shutdown.handle().guard();

    shutdown.handle().shutdown("test");
    let report = shutdown.run().await;

    assert_eq!(t0.elapsed(), Duration::ZERO);
    let done = report.hooks().filter(|hook| hook.outcome.is_done());
    assert_eq!(done.count(), Phase::ALL.len());
    assert_eq!(report.cut, 1);
}

// Case 13.
#[tokio::test(start_paused = true)]
async fn each_phase_ends_at_its_deadline_to_the_millisecond() {
    for seconds in [10, 30, 60] {
        let plan = Plan::builder().grace_period(secs(seconds)).build().unwrap();
        for phase in &Phase::ALL[1..] {
            let shutdown = ShutdownCoordinator::new(plan.clone());
            let handle = shutdown.handle();
            shutdown.hook(*phase, "endless", pending).unwrap();
            if *phase != Phase::Release {
                // Or its time would be Close's.
                shutdown.hook(Phase::Release, "pool", async || {}).unwrap();
            }
            let mut run = task::spawn(shutdown.run());

            handle.shutdown("test");
            assert_pending!(run.poll());
            sleep(plan.deadline(*phase) - MILLISECOND).await;
            assert_pending!(run.poll());
            sleep(2 * MILLISECOND).await;
            // A deadline gives what it ends one turn more, and so does each hook.
            let mut turns = 0;
            let report = loop {
                match run.poll() {
                    Poll::Ready(report) => break report,
                    Poll::Pending => tokio::task::yield_now().await,
                }
                turns += 1;
                assert!(turns < 10);
            };

            assert_eq!(
                report.phase(*phase).unwrap().outcome,
                PhaseOutcome::TimedOut
            );
        }
    }
}

// Case 5.
#[tokio::test(start_paused = true)]
async fn every_phase_runs_when_every_phase_overruns() {
    let plan = Plan::builder().build().unwrap();
    let shutdown = ShutdownCoordinator::new(plan.clone());
    for &phase in Phase::ALL {
        shutdown.hook(phase, phase.name(), pending).unwrap();
    }

    shutdown.handle().shutdown("test");
    let report = shutdown.run().await;

    let mut start = Duration::ZERO;
    for (phase, report) in Phase::ALL.iter().zip(&report.phases) {
        assert_eq!(report.phase, *phase);
        assert_eq!(report.started, start);
        assert_eq!(report.started + report.took, plan.deadline(*phase));
        start = plan.deadline(*phase);
    }
    assert_eq!(report.took, secs(29));
    assert!(!report.is_clean());
}

// Case 11.
#[tokio::test(start_paused = true)]
async fn time_that_a_phase_does_not_use_is_left_to_the_next() {
    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    let nearly = Plan::immediate().deadline(Phase::Release) - MILLISECOND;
    shutdown
        .hook(Phase::Release, "pool", move || sleep(nearly))
        .unwrap();

    shutdown.handle().shutdown("test");
    let report = shutdown.run().await;

    assert!(took(&report, Phase::Release) > Plan::immediate().duration(Phase::Release));
    assert_eq!(took(&report, Phase::Release), nearly);
    assert!(report.is_clean());
}

// Case 7.
#[tokio::test(start_paused = true)]
async fn hundred_triggers_run_the_sequence_once_and_share_the_report() {
    const THREADS: usize = 100;
    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    let handle = shutdown.handle();
    let (ran, runs) = std::sync::mpsc::channel();
    shutdown
        .hook(Phase::Release, "pool", async move || ran.send(()).unwrap())
        .unwrap();
    let barrier = Arc::new(Barrier::new(THREADS));

    let threads: Vec<_> = (0..THREADS)
        .map(|i| {
            let (handle, barrier) = (handle.clone(), Arc::clone(&barrier));
            std::thread::spawn(move || {
                barrier.wait();
                handle.shutdown(format!("thread {i}")).then_some(i)
            })
        })
        .collect();
    let first: Vec<usize> = threads
        .into_iter()
        .filter_map(|thread| thread.join().unwrap())
        .collect();
    let waiting: Vec<_> = (0..THREADS)
        .map(|_| {
            let handle = handle.clone();
            tokio::spawn(async move { handle.finished().await })
        })
        .collect();
    let report = shutdown.run().await;

    assert_eq!(first.len(), 1);
    assert_eq!(report.reason, Reason::from(format!("thread {}", first[0])));
    for waiting in waiting {
        assert!(Arc::ptr_eq(&report, &waiting.await.unwrap()));
    }
    assert!(Arc::ptr_eq(&report, &handle.finished().await));
    assert_eq!(runs.iter().count(), 1);
}

// Case 16.
#[tokio::test(start_paused = true)]
async fn second_trigger_does_not_shorten_the_drain() {
    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    let handle = shutdown.handle();
    let guard = handle.guard().unwrap();
    tokio::spawn(async move {
        sleep(secs(9)).await;
        drop(guard);
    });
    let again = handle.clone();
    tokio::spawn(async move {
        sleep(secs(3)).await;
        assert!(!again.shutdown(Signal::Terminate));
    });

    assert!(handle.shutdown("first"));
    let report = shutdown.run().await;

    assert_eq!(report.took, secs(9));
    assert_eq!(report.reason, Reason::from("first"));
    assert_eq!(handle.reason(), Some(Reason::from("first")));
}

#[tokio::test(start_paused = true)]
async fn time_counts_from_the_trigger_and_not_from_run() {
    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    let handle = shutdown.handle();
    let _guard = handle.guard().unwrap();

    handle.shutdown("test");
    sleep(secs(5)).await;
    let started = Instant::now();
    let report = shutdown.run().await;

    assert_eq!(started.elapsed(), secs(23));
    assert_eq!(report.phase(Phase::LameDuck).unwrap().started, secs(5));
    assert_eq!(report.took, secs(28));
}

// Case 80.
#[tokio::test(start_paused = true)]
async fn trigger_before_run_is_kept() {
    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    let handle = shutdown.handle();
    let mut told = task::spawn(handle.reached(Phase::LameDuck));

    assert!(handle.shutdown("early"));
    assert_ready!(told.poll());
    assert_eq!(handle.phase(), Some(Phase::LameDuck));
    let report = shutdown.run().await;

    assert_eq!(report.reason, Reason::from("early"));
}

// Case 80.
#[tokio::test(start_paused = true)]
async fn trigger_comes_from_a_thread_without_a_runtime() {
    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    let handle = shutdown.handle();
    let _guard = handle.guard().unwrap();
    // The paused clock and the one on the wall part here.
    sleep(secs(3600)).await;
    let elsewhere = handle.clone();

    let first = std::thread::spawn(move || elsewhere.shutdown("thread"));
    assert!(first.join().unwrap());
    let started = Instant::now();
    let report = shutdown.run().await;

    let close = Plan::immediate().deadline(Phase::Release);
    assert!(started.elapsed() <= close);
    assert!(started.elapsed() >= close - secs(1));
    assert!(report.took - close < secs(1));
    assert_eq!(report.reason, Reason::from("thread"));
}

// Case 80.
#[tokio::test(start_paused = true)]
async fn trigger_from_inside_a_hook_changes_nothing() {
    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    let handle = shutdown.handle();
    let (said, first) = oneshot::channel();
    let again = async move || said.send(handle.shutdown("again")).unwrap();
    shutdown.hook(Phase::Drain, "again", again).unwrap();

    shutdown.handle().shutdown("first");
    let report = shutdown.run().await;

    assert!(!first.await.unwrap());
    assert_eq!(report.reason, Reason::from("first"));
    assert_eq!(report.phases.len(), Phase::ALL.len());
    assert!(report.is_clean());
}

// Case 21.
#[tokio::test(start_paused = true)]
async fn work_that_waits_for_the_report_under_a_guard_is_cut_and_told() {
    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    let handle = shutdown.handle();
    let guard = handle.guard().unwrap();
    let handler = tokio::spawn(async move {
        handle.shutdown("from a handler");
        let report = handle.finished().await;
        drop(guard);
        report
    });

    let report = shutdown.run().await;

    assert_eq!(report.took, Plan::immediate().deadline(Phase::Release));
    assert_eq!(report.cut, 1);
    assert!(Arc::ptr_eq(&report, &handler.await.unwrap()));
}

#[tokio::test(start_paused = true)]
async fn handle_tells_the_phase_the_reason_and_the_time() {
    let plan = Plan::builder().build().unwrap();
    let shutdown = ShutdownCoordinator::new(plan.clone());
    let handle = shutdown.handle();
    assert!(!handle.is_shutting_down());
    assert_eq!(handle.phase(), None);
    assert_eq!(handle.reason(), None);
    assert_eq!(handle.remaining(), None);
    assert_eq!(handle.deadline(Phase::Exit), None);
    for &phase in Phase::ALL {
        let nearly = secs(1) - MILLISECOND;
        shutdown
            .hook(phase, phase.name(), move || sleep(nearly))
            .unwrap();
    }
    let mut run = task::spawn(shutdown.run());

    let t0 = Instant::now();
    handle.shutdown("test");
    assert!(handle.is_shutting_down());
    for &phase in Phase::ALL {
        assert_pending!(run.poll());
        assert_eq!(handle.phase(), Some(phase));
        assert_eq!(handle.deadline(phase), Some(t0 + plan.deadline(phase)));
        assert_eq!(handle.remaining(), Some(secs(23) - t0.elapsed()));
        sleep(secs(1)).await;
    }

    assert_ready!(run.poll());
    assert_eq!(handle.phase(), Some(Phase::Exit));
    sleep(secs(60)).await;
    assert_eq!(handle.remaining(), Some(Duration::ZERO));
}

#[tokio::test(start_paused = true)]
async fn phase_is_reached_when_it_begins_and_for_ever_after() {
    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    let handle = shutdown.handle();
    let guard = handle.guard().unwrap();
    let mut drain = task::spawn(handle.reached(Phase::Drain));
    let mut close = task::spawn(handle.reached(Phase::Close));
    let mut run = task::spawn(shutdown.run());
    assert_pending!(drain.poll());
    assert_pending!(close.poll());

    handle.shutdown("test");
    assert_pending!(run.poll());
    assert!(drain.is_woken());
    assert_ready!(drain.poll());
    assert_pending!(close.poll());
    drop(guard);
    assert_ready!(run.poll());

    assert_ready!(close.poll());
    assert_ready!(task::spawn(handle.reached(Phase::Drain)).poll());
}

#[tokio::test(start_paused = true)]
async fn reached_is_static_and_cancel_safe() {
    fn owned<F: Future<Output = ()> + Send + Sync + 'static>(reached: F) -> F {
        reached
    }
    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    let handle = shutdown.handle();
    let mut dropped = task::spawn(owned(handle.reached(Phase::Exit)));
    let mut kept = task::spawn(owned(handle.reached(Phase::Exit)));

    assert_pending!(dropped.poll());
    assert_pending!(kept.poll());
    drop(dropped);
    handle.shutdown("test");
    drop(handle);
    shutdown.run().await;

    assert!(kept.is_woken());
    assert_ready!(kept.poll());
}

#[tokio::test(start_paused = true)]
async fn token_is_cancelled_when_its_phase_begins() {
    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    let handle = shutdown.handle();
    let guard = handle.guard().unwrap();
    let drain = handle.token(Phase::Drain);
    let close = handle.token(Phase::Close);
    let mut run = task::spawn(shutdown.run());

    handle.shutdown("test");
    assert!(!drain.is_cancelled());
    assert_pending!(run.poll());
    assert!(drain.is_cancelled());
    assert!(!close.is_cancelled());
    drop(guard);
    assert_ready!(run.poll());

    assert!(close.is_cancelled());
    assert!(handle.token(Phase::Exit).is_cancelled());
}

#[tokio::test(start_paused = true)]
async fn cancelling_a_token_affects_nobody_else() {
    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    let handle = shutdown.handle();
    let other = handle.token(Phase::LameDuck);
    let mut run = task::spawn(shutdown.run());

    handle.token(Phase::LameDuck).cancel();

    assert_pending!(run.poll());
    assert!(!other.is_cancelled());
    assert!(!handle.token(Phase::LameDuck).is_cancelled());
    assert_pending!(task::spawn(handle.reached(Phase::LameDuck)).poll());
    assert_eq!(handle.phase(), None);
}

#[test]
fn not_ready_is_said_until_the_token_is_dropped() {
    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    let handle = shutdown.handle();
    assert!(handle.not_ready_because().is_empty());

    let migrations = handle.not_ready("migrations");
    let cache = handle.not_ready("cache");
    assert_eq!(handle.not_ready_because(), ["migrations", "cache"]);
    drop(migrations);
    assert_eq!(handle.not_ready_because(), ["cache"]);
    drop(cache);

    assert!(handle.not_ready_because().is_empty());
}

#[tokio::test(start_paused = true)]
async fn finished_is_cancel_safe_and_never_ready_before_the_end() {
    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    let handle = shutdown.handle();
    let guard = handle.guard().unwrap();
    let mut run = task::spawn(shutdown.run());
    let mut dropped = task::spawn(handle.finished());
    let mut kept = task::spawn(handle.finished());

    handle.shutdown("test");
    assert_pending!(run.poll());
    assert_pending!(dropped.poll());
    assert_pending!(kept.poll());
    drop((dropped, guard));
    let report = assert_ready!(run.poll());

    assert!(kept.is_woken());
    assert!(Arc::ptr_eq(&report, &assert_ready!(kept.poll())));
}

#[tokio::test(start_paused = true)]
async fn shutdown_goes_on_when_run_is_dropped_in_any_phase_or_before_the_trigger() {
    let phases = Phase::ALL.iter().copied().map(Some);
    for dropped_in in phases.chain([None]) {
        let shutdown = ShutdownCoordinator::new(Plan::immediate());
        let handle = shutdown.handle();
        for &phase in Phase::ALL {
            let hook = async || sleep(secs(1)).await;
            shutdown.hook(phase, phase.name(), hook).unwrap();
        }
        let mut run = task::spawn(shutdown.run());
        assert_pending!(run.poll());
        match dropped_in {
            None => drop(run),
            Some(phase) => {
                handle.shutdown("test");
                while handle.phase() != Some(phase) {
                    sleep(secs(1)).await;
                    assert_pending!(run.poll());
                }
                drop(run);
            }
        }
        handle.shutdown("again, or at last");

        let report = handle.finished().await;

        assert!(report.is_clean(), "{dropped_in:?}: {report}");
        assert_eq!(report.hooks().count(), Phase::ALL.len());
    }
}

// What people write: a server that ends first takes no hook with it.
#[tokio::test(flavor = "multi_thread")]
async fn shutdown_survives_a_select_in_which_the_server_ends_first() {
    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    let handle = shutdown.handle();
    let (closed, pool) = oneshot::channel();
    shutdown
        .hook(Phase::Release, "pool", async || closed.send(()).unwrap())
        .unwrap();
    let server = handle.reached(Phase::Drain);
    handle.shutdown("test");

    tokio::select! {
        biased;
        () = server => {}
        _ = shutdown.run() => {}
    }

    pool.await.unwrap();
    assert!(handle.finished().await.is_clean());
}

#[tokio::test(start_paused = true)]
async fn shutdown_goes_on_when_run_is_dropped_before_it_was_polled() {
    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    let handle = shutdown.handle();
    shutdown.hook(Phase::Release, "pool", async || {}).unwrap();

    drop(shutdown.run());
    handle.shutdown("test");

    assert_eq!(handle.finished().await.hooks().count(), 1);
}

#[test]
fn run_that_never_met_a_runtime_is_a_coordinator_that_was_dropped() {
    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    let handle = shutdown.handle();

    drop(shutdown.run());

    assert!(handle.guard().is_none());
    assert!(handle.named_guard("late").is_none());
    assert!(handle.long_guard("late").is_none());
}

#[cfg(feature = "signal")]
#[tokio::test(start_paused = true)]
async fn nobody_listens_to_signals_for_a_coordinator_that_was_dropped() {
    let handle = ShutdownCoordinator::new(Plan::immediate()).handle();

    let refused = lameduck::signal::listen(&handle).unwrap_err();

    assert_eq!(
        refused.to_string(),
        "the coordinator was dropped: a signal would begin no phase"
    );
}

#[tokio::test(start_paused = true)]
async fn what_was_registered_is_dropped_with_its_coordinator() {
    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    let handle = shutdown.handle();
    let owned = Arc::new(());
    // It holds a handle, so only the coordinator can end the circle.
    let (kept, held) = (handle.clone(), Arc::clone(&owned));
    let hook = async move || drop((kept, held));
    shutdown.hook(Phase::Release, "circle", hook).unwrap();

    drop(shutdown);

    assert_eq!(Arc::strong_count(&owned), 1);
}

#[tokio::test(start_paused = true)]
async fn time_that_no_hook_of_release_has_asked_for_is_for_what_is_in_flight() {
    let thirty = || ShutdownCoordinator::new(Plan::builder().build().unwrap());
    let deadline = async |shutdown: ShutdownCoordinator| {
        let handle = shutdown.handle();
        let guard = handle.guard().unwrap();
        handle.shutdown("test");
        let until = handle.remaining().unwrap();
        let report = shutdown.run().await;
        drop(guard);
        assert_eq!(report.cut, 1);
        assert_eq!(handle.phase(), Some(Phase::Exit));
        let close = report.phase(Phase::Close).unwrap();
        assert_eq!(close.started + close.took, until);
        (until, report)
    };

    let (nothing, _) = deadline(thirty()).await;
    assert_eq!(nothing, secs(28));

    let shutdown = thirty();
    shutdown.hook(Phase::Release, "pool", pending).unwrap();
    let (whole, report) = deadline(shutdown).await;
    assert_eq!(whole, secs(23));
    assert_eq!(report.phase(Phase::Release).unwrap().took, secs(5));

    let shutdown = thirty();
    let two = Phase::Release.timeout(secs(2));
    shutdown.hook(two, "pool", pending).unwrap();
    let (part, report) = deadline(shutdown).await;
    assert_eq!(part, secs(26));
    assert_eq!(report.phase(Phase::Release).unwrap().took, secs(2));
}

#[tokio::test(start_paused = true)]
async fn hook_that_comes_after_the_trigger_gets_what_close_has_left_of_release() {
    let shutdown = ShutdownCoordinator::new(Plan::builder().build().unwrap());
    let handle = shutdown.handle();
    let guard = handle.guard().unwrap();
    handle.shutdown("test");
    let run = tokio::spawn(shutdown.run());
    handle.reached(Phase::Close).await;
    handle.hook(Phase::Release, "late", pending).unwrap();
    sleep(secs(9)).await;
    drop(guard);

    let report = run.await.unwrap();

    let release = report.phase(Phase::Release).unwrap();
    assert_eq!(release.started + release.took, secs(28));
    assert_eq!(release.hooks.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn hook_that_comes_when_close_has_taken_all_of_release_is_polled_once() {
    let shutdown = ShutdownCoordinator::new(Plan::builder().build().unwrap());
    let handle = shutdown.handle();
    let _guard = handle.guard().unwrap();
    handle.shutdown("test");
    let run = tokio::spawn(shutdown.run());
    handle.reached(Phase::Close).await;
    handle.hook(Phase::Release, "quick", async || {}).unwrap();
    handle.hook(Phase::Release, "endless", pending).unwrap();

    let report = run.await.unwrap();

    let release = report.phase(Phase::Release).unwrap();
    assert_eq!((release.started, release.took), (secs(28), Duration::ZERO));
    let outcomes = release.hooks.iter().map(|hook| hook.outcome.clone());
    assert!(outcomes.eq([Outcome::Done, Outcome::Overran]));
}

#[tokio::test(start_paused = true)]
async fn progress_gives_each_phase_and_then_ends() {
    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    let handle = shutdown.handle();
    for &phase in Phase::ALL {
        let hook = async || sleep(secs(1)).await;
        shutdown.hook(phase, phase.name(), hook).unwrap();
    }
    let guard = handle.guard().unwrap();
    let mut progress = handle.progress();
    assert_eq!(progress.now().phase, None);
    assert_eq!(progress.now().elapsed, None);
    assert_eq!(progress.now().in_flight, 1);
    let seen = tokio::spawn(async move {
        let mut seen = Vec::new();
        while let Some(now) = progress.changed().await {
            seen.push((now.phase, now.is_over, now.elapsed));
        }
        seen
    });
    tokio::task::yield_now().await;

    handle.shutdown("test");
    drop(guard);
    shutdown.run().await;

    let at = |phase, is_over, seconds| (Some(phase), is_over, Some(secs(seconds)));
    // LameDuck has no time here, and its hook goes on in Drain.
    let expected = [
        at(Phase::LameDuck, false, 0),
        at(Phase::Drain, false, 0),
        at(Phase::Close, false, 1),
        at(Phase::Release, false, 2),
        at(Phase::Exit, false, 3),
        at(Phase::Exit, true, 4),
    ];
    assert_eq!(seen.await.unwrap(), expected);
    assert_eq!(handle.progress().changed().await, None);
    assert!(handle.progress().now().is_over);
}

#[tokio::test(start_paused = true)]
async fn progress_ends_when_its_coordinator_is_gone() {
    for triggered in [false, true] {
        let shutdown = ShutdownCoordinator::new(Plan::immediate());
        let handle = shutdown.handle();
        if triggered {
            handle.shutdown("test");
        }
        let mut progress = handle.progress();
        let mut changed = task::spawn(progress.changed());
        assert_pending!(changed.poll());

        drop(shutdown);

        assert_eq!(assert_ready!(changed.poll()), None);
        drop(changed);
        assert_eq!(progress.changed().await, None);
    }
}

#[test]
fn failure_whose_error_cannot_be_printed_is_a_trigger_all_the_same() {
    struct Unprintable;
    impl std::fmt::Display for Unprintable {
        fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            panic!("no words")
        }
    }
    let shutdown = ShutdownCoordinator::new(Plan::immediate());

    assert!(shutdown.shutdown(Reason::failed("database", Unprintable)));

    let reason = shutdown.reason().unwrap().to_string();
    assert!(reason.starts_with("`database` failed: "), "{reason}");
}
