//! Moments: when what lasts is told to end, what it is told, and what waits for it meanwhile.

use std::time::Duration;

use lameduck::report::{Kind, PhaseOutcome};
use lameduck::{Moment, Phase, Plan, PlanBuilder, ShutdownCoordinator};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tokio_test::{assert_pending, assert_ready, task};

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// LameDuck to 10 s, Drain to 16.5 s, Close to 23 s; the long spread is 3.25 s.
fn cluster() -> PlanBuilder {
    Plan::builder()
}

fn coordinator(plan: PlanBuilder) -> ShutdownCoordinator {
    ShutdownCoordinator::new(plan.build().unwrap())
}

/// Makes LameDuck wait, which it does only when requests are served.
#[cfg(feature = "tower")]
fn serves(shutdown: &ShutdownCoordinator) {
    let _ = lameduck::DrainLayer::new(&shutdown.handle());
}

#[tokio::test(start_paused = true)]
async fn moments_come_in_the_first_half_of_close_each_at_its_own_time() {
    let shutdown = coordinator(cluster()).seed(7);
    let handle = shutdown.handle();
    let mut moments = JoinSet::new();
    for _ in 0..1_000 {
        let moment = handle.moment();
        let guard = handle.long_guard("socket").unwrap();
        moments.spawn(async move {
            moment.await;
            drop(guard);
            Instant::now()
        });
    }
    let run = tokio::spawn(shutdown.run());

    handle.shutdown("test");
    handle.reached(Phase::Close).await;
    let close = Instant::now();
    let mut tenths = [0_u32; 10];
    let window = handle.plan().long_spread();
    while let Some(at) = moments.join_next().await {
        let at = at.unwrap() - close;
        assert!(at <= window + Duration::from_millis(1), "{at:?}");
        tenths[((at.as_secs_f64() / window.as_secs_f64() * 10.0) as usize).min(9)] += 1;
    }

    // 100 each, with a standard deviation of 10.
    assert!(tenths.iter().all(|n| (60..150).contains(n)), "{tenths:?}");
    let report = run.await.unwrap();
    assert_eq!((report.long.told, report.long.cut), (1_000, 0));
    assert!(report.is_clean());
}

#[cfg(feature = "tower")]
#[tokio::test(start_paused = true)]
async fn moments_come_in_lame_duck_or_drain_by_option() {
    for (phase, begins, ends) in [
        (Phase::LameDuck, secs(0), secs(10)),
        // Without requests it takes no time, but who lasts is told in its window all the same.
        (Phase::Drain, secs(10), Duration::from_millis(16_500)),
    ] {
        let shutdown = coordinator(cluster().long_phase(phase)).seed(7);
        serves(&shutdown);
        let handle = shutdown.handle();
        let mut moments = JoinSet::new();
        for _ in 0..200 {
            let (moment, guard) = (handle.moment(), handle.long_guard("socket"));
            moments.spawn(async move {
                moment.await;
                drop(guard);
                Instant::now()
            });
        }

        let t0 = Instant::now();
        handle.shutdown("test");
        let run = tokio::spawn(shutdown.run());
        let all: Vec<Duration> = moments.join_all().await.iter().map(|at| *at - t0).collect();

        let (first, last) = (all.iter().min().unwrap(), all.iter().max().unwrap());
        assert!(*first >= begins && *first < begins + secs(1), "{first:?}");
        assert!(*last <= ends && *last > ends - secs(1), "{last:?}");
        assert!(run.await.unwrap().is_clean());
    }
}

#[tokio::test(start_paused = true)]
async fn a_moment_tells_the_reason_and_the_time_that_is_left() {
    let shutdown = coordinator(cluster().long_spread(Duration::ZERO));
    let handle = shutdown.handle();
    let moment = handle.moment();
    // So that Close lasts.
    let _guard = handle.long_guard("socket").unwrap();
    tokio::spawn(shutdown.run());
    let t0 = Instant::now();

    handle.shutdown("deploy 17");
    let told = moment.await;

    assert_eq!(told.reason().to_string(), "requested: deploy 17");
    assert_eq!(told.deadline() - t0, secs(28));
    assert_eq!(told.remaining(), secs(28));
    sleep(secs(3)).await;
    assert_eq!(told.remaining(), secs(25));
    sleep(secs(30)).await;
    assert_eq!(told.remaining(), Duration::ZERO);
}

#[tokio::test]
async fn clients_are_asked_to_come_back_at_different_times() {
    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    let handle = shutdown.handle();
    let moment = handle.moment();
    tokio::spawn(shutdown.run());
    handle.shutdown("test");
    let told = moment.await;

    let waits: Vec<Duration> = (0..100).map(|_| told.retry_after()).collect();

    assert!(waits.iter().all(|wait| (secs(1)..=secs(3)).contains(wait)));
    assert!(
        waits
            .iter()
            .any(|wait| *wait < Duration::from_millis(1_500))
    );
    assert!(
        waits
            .iter()
            .any(|wait| *wait > Duration::from_millis(2_500))
    );
}

#[tokio::test(start_paused = true)]
async fn in_normal_service_no_moment_comes() {
    let shutdown = coordinator(cluster());
    let moment = shutdown.handle().moment();

    let waited = timeout(secs(3_600), moment).await;

    assert!(waited.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_moment_that_is_asked_for_after_it_has_come_is_ready_at_once() {
    let shutdown = coordinator(cluster().long_spread(Duration::ZERO));
    let handle = shutdown.handle();
    let _guard = handle.long_guard("socket").unwrap();
    tokio::spawn(shutdown.run());
    handle.shutdown("test");
    handle.reached(Phase::Close).await;

    let mut late = task::spawn(handle.moment());

    assert_ready!(late.poll());
    // And whenever it is asked again.
    assert_ready!(late.poll());
    handle.reached(Phase::Exit).await;
    assert_ready!(task::spawn(handle.moment()).poll());
}

#[tokio::test(start_paused = true)]
async fn a_clone_has_the_same_moment() {
    let shutdown = coordinator(cluster());
    let handle = shutdown.handle();
    let _guard = handle.long_guard("socket").unwrap();
    let moments: Vec<Moment> = vec![handle.moment(); 5];
    tokio::spawn(shutdown.run());
    handle.shutdown("test");

    let mut each = JoinSet::new();
    for moment in moments {
        each.spawn(async move {
            moment.await;
            Instant::now()
        });
    }
    let each = each.join_all().await;

    assert!(each.windows(2).all(|pair| pair[0] == pair[1]), "{each:?}");
}

#[tokio::test(start_paused = true)]
async fn moments_are_repeatable_with_a_seed() {
    let moments = async |seed| {
        let shutdown = coordinator(cluster()).seed(seed);
        let handle = shutdown.handle();
        let _guard = handle.long_guard("socket").unwrap();
        let moments: Vec<Moment> = (0..4).map(|_| handle.moment()).collect();
        let t0 = Instant::now();
        tokio::spawn(shutdown.run());
        handle.shutdown("test");
        let mut at = Vec::new();
        for moment in moments {
            at.push(
                timeout(secs(100), moment.clone())
                    .await
                    .map(|_| t0.elapsed())
                    .unwrap(),
            );
        }
        at
    };

    assert_eq!(moments(1).await, moments(1).await);
    assert_ne!(moments(1).await, moments(2).await);
}

#[tokio::test(start_paused = true)]
async fn the_local_plan_tells_all_at_once() {
    let shutdown = ShutdownCoordinator::new(Plan::local());
    let handle = shutdown.handle();
    let moments: Vec<Moment> = (0..100).map(|_| handle.moment()).collect();
    let _guard = handle.long_guard("socket").unwrap();
    tokio::spawn(shutdown.run());
    let t0 = Instant::now();

    handle.shutdown("test");
    for moment in moments {
        moment.await;
    }

    assert_eq!(t0.elapsed(), Duration::ZERO);
}

// Guards for what lasts.

#[tokio::test(start_paused = true)]
async fn a_long_guard_holds_close_and_not_drain() {
    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    let handle = shutdown.handle();
    let guard = handle.long_guard("socket").unwrap();
    assert_eq!((handle.in_flight(), handle.long_lived()), (1, 1));
    let mut run = task::spawn(shutdown.run());

    handle.shutdown("test");
    assert_pending!(run.poll());
    assert_eq!(handle.phase(), Some(Phase::Close));
    let clone = guard.clone();
    drop(guard);
    assert_pending!(run.poll());
    drop(clone);

    assert!(assert_ready!(run.poll()).is_clean());
    assert_eq!((handle.in_flight(), handle.long_lived()), (0, 0));
}

// Case 57, for a protocol of one's own under an accept loop of one's own.
#[tokio::test(start_paused = true)]
async fn a_long_guard_at_the_deadline_is_listed_and_clean() {
    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    let handle = shutdown.handle();
    let guard = handle.long_guard("socket 7").unwrap();

    handle.shutdown("test");
    let report = shutdown.run().await;

    assert!(report.is_clean(), "{report}");
    assert_eq!((report.cut, report.long.cut, report.long.told), (0, 1, 0));
    assert_eq!(
        report.phase(Phase::Drain).unwrap().outcome,
        PhaseOutcome::Completed
    );
    let close = report.phase(Phase::Close).unwrap();
    assert_eq!(close.outcome, PhaseOutcome::TimedOut);
    assert_eq!(close.left_behind_total, 1);
    assert_eq!(close.left_behind[0].kind, Kind::Guard);
    assert_eq!(close.left_behind[0].name, "socket 7");
    assert!(
        report
            .to_string()
            .ends_with("long-lived: 0 told to end, 1 cut"),
        "{report}"
    );
    drop(guard);
}

#[tokio::test(start_paused = true)]
async fn drain_does_not_name_a_long_guard() {
    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    let handle = shutdown.handle();
    let long = handle.long_guard("socket").unwrap();
    let short = handle.named_guard("upload").unwrap();

    handle.shutdown("test");
    let report = shutdown.run().await;

    let drain = report.phase(Phase::Drain).unwrap();
    assert_eq!(drain.left_behind_total, 1);
    assert_eq!(drain.left_behind[0].name, "upload");
    assert_eq!(report.phase(Phase::Close).unwrap().left_behind_total, 2);
    assert!(!report.is_clean());
    drop((long, short));
}

#[tokio::test(start_paused = true)]
async fn a_long_guard_taken_in_close_is_waited_for_and_in_release_refused() {
    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    let handle = shutdown.handle();
    let early = handle.long_guard("early").unwrap();
    let mut run = task::spawn(shutdown.run());
    handle.shutdown("test");
    assert_pending!(run.poll());

    let late = handle.long_guard("late").unwrap();
    drop(early);
    assert_pending!(run.poll());
    drop(late);
    assert_ready!(run.poll());

    assert!(handle.long_guard("too late").is_none());
}
