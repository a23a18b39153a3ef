//! Guards: what Drain and Close wait for, who is refused, and what is named when time runs out.

use std::time::Duration;

use lameduck::report::{Kind, PhaseOutcome};
use lameduck::{Phase, Plan, ShutdownCoordinator};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep};
use tokio_test::{assert_pending, assert_ready, task};

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[tokio::test(start_paused = true)]
async fn drain_waits_for_the_guard() {
    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    let handle = shutdown.handle();
    let guard = handle.guard().unwrap();
    let mut run = task::spawn(shutdown.run());

    handle.shutdown("test");
    assert_pending!(run.poll());
    assert_eq!(handle.phase(), Some(Phase::Drain));
    assert_eq!(handle.in_flight(), 1);
    drop(guard);

    assert!(run.is_woken());
    let report = assert_ready!(run.poll());
    assert!(report.is_clean());
    assert_eq!(handle.in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn drain_waits_for_every_clone() {
    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    let handle = shutdown.handle();
    let guard = handle.guard().unwrap();
    let clone = guard.clone();
    let mut run = task::spawn(shutdown.run());

    handle.shutdown("test");
    assert_pending!(run.poll());
    drop(guard);
    assert_pending!(run.poll());
    drop(clone);

    assert_ready!(run.poll());
}

#[tokio::test(start_paused = true)]
async fn drain_waits_for_guards_of_all_threads() {
    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    let handle = shutdown.handle();
    let take = || {
        let handle = handle.clone();
        std::thread::spawn(move || handle.guard().unwrap())
    };
    let threads: Vec<_> = (0..20).map(|_| take()).collect();
    let mut guards: Vec<_> = threads.into_iter().map(|it| it.join().unwrap()).collect();
    let mut run = task::spawn(shutdown.run());

    handle.shutdown("test");
    assert_eq!(handle.in_flight(), 20);
    while let Some(guard) = guards.pop() {
        assert_pending!(run.poll());
        std::thread::spawn(move || drop(guard)).join().unwrap();
    }

    assert_ready!(run.poll());
}

// Case 28.
#[tokio::test(start_paused = true)]
async fn long_work_is_not_cut_when_nothing_else_arrives() {
    let shutdown = ShutdownCoordinator::new(Plan::builder().build().unwrap());
    let handle = shutdown.handle();
    let guard = handle.guard().unwrap();
    tokio::spawn(async move {
        sleep(secs(10)).await;
        drop(guard);
    });

    handle.shutdown("test");
    let report = shutdown.run().await;

    assert_eq!(report.took, secs(10));
    assert_eq!(report.cut, 0);
    assert!(report.is_clean());
}

// Case 61.
#[tokio::test(start_paused = true)]
async fn detached_work_is_waited_for_only_with_a_guard() {
    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    let handle = shutdown.handle();
    let guard = handle.guard().unwrap();
    let (done, guarded) = oneshot::channel();
    let (_never, unguarded) = oneshot::channel::<()>();
    let detached = guard.clone();
    tokio::spawn(async move {
        sleep(secs(4)).await;
        done.send(()).unwrap();
        drop(detached);
    });
    tokio::spawn(unguarded);

    handle.shutdown("test");
    drop(guard);
    let report = shutdown.run().await;

    assert_eq!(report.phase(Phase::Drain).unwrap().took, secs(4));
    assert_eq!(report.took, secs(4));
    guarded.await.unwrap();
}

// Case 63.
#[tokio::test(start_paused = true)]
async fn pool_is_closed_only_after_the_work_that_uses_it() {
    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    let handle = shutdown.handle();
    let guard = handle.guard().unwrap();
    shutdown.hook(Phase::Release, "pool", async || {}).unwrap();
    tokio::spawn(async move {
        sleep(secs(6)).await;
        drop(guard);
    });

    handle.shutdown("test");
    let report = shutdown.run().await;

    let release = report.phase(Phase::Release).unwrap();
    assert_eq!(release.hooks[0].started, Some(secs(6)));
}

#[tokio::test(start_paused = true)]
async fn guard_that_is_taken_in_drain_is_waited_for_in_close() {
    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    let handle = shutdown.handle();
    let early = handle.guard().unwrap();
    let mut run = task::spawn(shutdown.run());

    handle.shutdown("test");
    assert_pending!(run.poll());
    let late = handle.guard().unwrap();
    drop(early);
    assert_pending!(run.poll());

    assert_eq!(handle.phase(), Some(Phase::Close));
    drop(late);
    let report = assert_ready!(run.poll());
    assert!(report.is_clean());
}

#[tokio::test(start_paused = true)]
async fn guard_that_is_taken_in_lame_duck_is_waited_for_in_drain() {
    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    let handle = shutdown.handle();

    handle.shutdown("test");
    let guard = handle.guard().unwrap();
    let mut run = task::spawn(shutdown.run());
    assert_pending!(run.poll());

    assert_eq!(handle.phase(), Some(Phase::Drain));
    drop(guard);
    assert_ready!(run.poll());
}

#[tokio::test(start_paused = true)]
async fn drain_ends_while_new_guards_keep_coming() {
    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    let handle = shutdown.handle();
    let traffic = handle.clone();
    tokio::spawn(async move {
        // Two overlapping at any time, so that there is never none.
        while let Some(guard) = traffic.guard() {
            tokio::spawn(async move {
                sleep(Duration::from_millis(200)).await;
                drop(guard);
            });
            sleep(Duration::from_millis(100)).await;
        }
    });
    sleep(secs(1)).await;

    handle.shutdown("test");
    let report = shutdown.run().await;

    let drain = report.phase(Phase::Drain).unwrap();
    assert_eq!(drain.outcome, PhaseOutcome::Completed);
    assert!(drain.took <= Duration::from_millis(200));
}

#[tokio::test(start_paused = true)]
async fn guard_is_refused_from_release_on() {
    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    let handle = shutdown.handle();
    let hold = || sleep(secs(1));
    shutdown.hook(Phase::Release, "pool", hold).unwrap();
    let mut run = task::spawn(shutdown.run());

    handle.shutdown("test");
    assert_pending!(run.poll());

    assert_eq!(handle.phase(), Some(Phase::Release));
    assert!(handle.guard().is_none());
    assert!(handle.named_guard("late").is_none());
    assert_eq!(handle.in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn guard_is_given_for_as_long_as_close_lasts() {
    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    let handle = shutdown.handle();
    let hold = || sleep(secs(2));
    shutdown.hook(Phase::Close, "sockets", hold).unwrap();
    let mut run = task::spawn(shutdown.run());

    handle.shutdown("test");
    assert_pending!(run.poll());
    sleep(secs(1)).await;
    assert_eq!(handle.phase(), Some(Phase::Close));
    let late = handle.guard().unwrap();
    sleep(secs(3)).await;
    assert_pending!(run.poll());
    drop(late);
    let report = assert_ready!(run.poll());

    assert_eq!(report.phase(Phase::Close).unwrap().took, secs(4));
    assert!(report.is_clean());
}

#[tokio::test(start_paused = true)]
async fn clone_of_a_guard_is_given_at_any_time() {
    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    let handle = shutdown.handle();
    let guard = handle.named_guard("upload").unwrap();

    handle.shutdown("test");
    shutdown.run().await;
    let clone = guard.clone();

    assert_eq!(handle.in_flight(), 2);
    drop((guard, clone));
    assert_eq!(handle.in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn guard_that_is_left_behind_is_named_and_spoils_the_exit() {
    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    let handle = shutdown.handle();
    let named = handle.named_guard("upload 7").unwrap();
    sleep(secs(2)).await;
    let unnamed = handle.guard().unwrap();

    handle.shutdown("test");
    let report = shutdown.run().await;

    let plan = Plan::immediate();
    // No hook has asked for Release's time, so it is Close's.
    let deadlines = [
        (Phase::Drain, plan.deadline(Phase::Drain)),
        (Phase::Close, plan.deadline(Phase::Release)),
    ];
    for (phase, deadline) in deadlines {
        let report = report.phase(phase).unwrap();
        assert_eq!(report.outcome, PhaseOutcome::TimedOut);
        assert_eq!(report.left_behind_total, 2);
        assert_eq!(report.left_behind.len(), 1);
        let left = &report.left_behind[0];
        assert_eq!(left.kind, Kind::Guard);
        assert_eq!(left.age, secs(2) + deadline);
        assert!(left.to_string().starts_with("guard `upload 7`, for "));
    }
    assert_eq!(report.cut, 2);
    assert!(!report.is_clean());
    drop((named, unnamed));
}

#[tokio::test(start_paused = true)]
async fn guards_without_a_name_are_said_to_have_none() {
    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    let handle = shutdown.handle();
    let guards = (handle.guard(), handle.guard());

    handle.shutdown("test");
    let report = shutdown.run().await;

    let words = "left behind: 2 without a name\n";
    assert_eq!(report.to_string().matches(words).count(), 2);
    drop(guards);
}

#[tokio::test(start_paused = true)]
async fn drain_names_only_guards_that_it_waits_for() {
    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    let handle = shutdown.handle();
    let early = handle.named_guard("early").unwrap();
    let mut run = task::spawn(shutdown.run());

    handle.shutdown("test");
    assert_pending!(run.poll());
    let late = handle.named_guard("late").unwrap();
    let report = run.await;

    let names = |phase| {
        let left = &report.phase(phase).unwrap().left_behind;
        left.iter().map(|it| it.name.clone()).collect::<Vec<_>>()
    };
    assert_eq!(report.phase(Phase::Drain).unwrap().left_behind_total, 1);
    assert_eq!(names(Phase::Drain), ["early"]);
    assert_eq!(names(Phase::Close), ["early", "late"]);
    drop((early, late));
}

#[tokio::test(start_paused = true)]
async fn more_than_the_report_names_is_counted() {
    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    let handle = shutdown.handle();
    let guard = |i| handle.named_guard(format!("upload {i}")).unwrap();
    let guards: Vec<_> = (0..100).map(guard).collect();

    handle.shutdown("test");
    let report = shutdown.run().await;

    let drain = report.phase(Phase::Drain).unwrap();
    assert_eq!(drain.left_behind.len(), 20);
    assert_eq!(drain.left_behind_total, 100);
    // The oldest.
    let first = [0, 1, 2].map(|i| format!("upload {i}"));
    let names = drain.left_behind.iter().map(|left| &left.name);
    assert!(names.take(3).eq(&first), "{:?}", drain.left_behind);
    assert!(report.to_string().contains("left behind: 80 more\n"));
    drop(guards);
}

#[tokio::test(start_paused = true)]
async fn guard_that_outlives_its_coordinator_is_harmless() {
    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    let stale = shutdown.handle().guard().unwrap();
    drop(shutdown);

    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    let handle = shutdown.handle();
    assert_eq!(handle.in_flight(), 0);
    let guard = handle.guard().unwrap();
    let clone = stale.clone();
    drop((stale, clone));
    assert_eq!(handle.in_flight(), 1);
    drop(guard);

    handle.shutdown("test");
    let t0 = Instant::now();
    let report = shutdown.run().await;
    assert_eq!(t0.elapsed(), Duration::ZERO);
    assert!(report.is_clean());
}

#[tokio::test(start_paused = true)]
async fn counts_of_ten_thousand_coordinators_do_not_mix() {
    let mut stale = Vec::new();
    for round in 0..10_000 {
        let shutdown = ShutdownCoordinator::new(Plan::immediate());
        let handle = shutdown.handle();
        assert_eq!(handle.phase(), None);
        assert_eq!(handle.in_flight(), 0);
        let guard = handle.guard().unwrap();
        if round % 1_000 == 0 {
            stale.push(handle.guard().unwrap());
            drop(shutdown);
            assert_eq!(handle.in_flight(), 2);
            continue;
        }

        let mut run = task::spawn(shutdown.run());
        handle.shutdown("test");
        assert_pending!(run.poll());
        drop(guard);
        let report = assert_ready!(run.poll());

        assert!(report.is_clean());
        assert!(handle.guard().is_none());
    }
    drop(stale);

    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    assert_eq!(shutdown.handle().in_flight(), 0);
}
