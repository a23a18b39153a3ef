//! Hooks: when they start, what they may be refused for, and what stays inside them.

use std::convert::Infallible;
use std::fmt;
use std::future::{pending, ready};
use std::panic::panic_any;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Poll};
use std::time::Duration;

use lameduck::report::{Outcome, PhaseOutcome};
use lameduck::{HookError, Phase, Plan, Report, ShutdownCoordinator, ShutdownHandle};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;
use tokio::task::{spawn_blocking, yield_now};
use tokio::time::{Instant, sleep};
use tokio_test::{assert_pending, assert_ready, task};

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[track_caller]
fn outcome(report: &Report, name: &str) -> Outcome {
    let hook = report.hooks().find(|hook| hook.name == name);
    hook.expect("the hook is in the report").outcome.clone()
}

/// What happened, in order.
#[derive(Clone, Default)]
struct Diary(Arc<Mutex<Vec<&'static str>>>);

impl Diary {
    fn note(&self, what: &'static str) {
        self.0.lock().unwrap().push(what);
    }

    fn noting(&self, what: &'static str) -> impl FnOnce() -> std::future::Ready<()> + use<> {
        let diary = self.clone();
        move || {
            diary.note(what);
            ready(())
        }
    }

    fn entries(&self) -> Vec<&'static str> {
        self.0.lock().unwrap().clone()
    }
}

// Case 1.
#[tokio::test(start_paused = true)]
async fn hooks_start_after_what_they_name_and_otherwise_as_registered() {
    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    let diary = Diary::default();
    let release = || Phase::Release;
    for (when, name) in [
        (release().into(), "a"),
        (release().after("a"), "b"),
        (release().into(), "c"),
        (release().after("b").after("c"), "d"),
        (release().into(), "e"),
        (Phase::Exit.into(), "x"),
        (Phase::Close.into(), "w"),
    ] {
        shutdown.hook(when, name, diary.noting(name)).unwrap();
    }

    shutdown.handle().shutdown("test");
    let report = shutdown.run().await;

    let seen = diary.entries();
    assert_eq!(seen.len(), 7);
    assert_eq!(seen[0], "w");
    assert_eq!(seen[1..4], ["a", "c", "e"]);
    assert_eq!(seen[4..6], ["b", "d"]);
    assert_eq!(seen[6], "x");
    assert!(report.is_clean());
}

#[tokio::test(start_paused = true)]
async fn after_waits_for_the_end_of_the_other_hook() {
    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    let broker = || sleep(secs(2));
    shutdown.hook(Phase::Release, "broker", broker).unwrap();
    let when = Phase::Release.after("broker").timeout(secs(1));
    shutdown
        .hook(when, "database", || sleep(Duration::from_millis(999)))
        .unwrap();

    shutdown.handle().shutdown("test");
    let report = shutdown.run().await;

    let release = report.phase(Phase::Release).unwrap();
    assert_eq!(release.hooks[1].started, Some(secs(2)));
    assert_eq!(release.hooks[1].took, Duration::from_millis(999));
    assert!(report.is_clean());
}

#[tokio::test(start_paused = true)]
async fn hook_starts_also_after_one_that_failed() {
    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    shutdown
        .try_hook(Phase::Close, "first", async || Err("no"))
        .unwrap();
    shutdown
        .hook(Phase::Close.after("first"), "second", async || {})
        .unwrap();

    shutdown.handle().shutdown("test");
    let report = shutdown.run().await;

    assert_eq!(outcome(&report, "second"), Outcome::Done);
}

// Case 2.
#[test]
fn unknown_name_in_after_is_an_error_that_names_both() {
    let shutdown = ShutdownCoordinator::new(Plan::immediate());

    let error = shutdown
        .hook(Phase::Release.after("broker"), "database", async || {})
        .unwrap_err();

    assert!(matches!(error, HookError::UnknownAfter { .. }));
    assert_eq!(
        error.to_string(),
        "hook `database` should come after `broker`, which is not registered (register `broker` first)"
    );
}

#[test]
fn after_a_hook_of_another_phase_is_an_error() {
    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    shutdown.hook(Phase::Close, "broker", async || {}).unwrap();

    let error = shutdown
        .hook(Phase::Release.after("broker"), "database", async || {})
        .unwrap_err();

    assert!(matches!(
        error,
        HookError::AfterOtherPhase {
            phase: Phase::Close,
            ..
        }
    ));
    assert_eq!(
        error.to_string(),
        "hook `database` should come after `broker`, which runs in another phase (Close)"
    );
}

#[test]
fn hook_after_itself_is_an_error() {
    let shutdown = ShutdownCoordinator::new(Plan::immediate());

    let error = shutdown
        .hook(Phase::Release.after("database"), "database", async || {})
        .unwrap_err();

    assert!(matches!(error, HookError::UnknownAfter { .. }));
}

#[test]
fn duplicate_name_is_an_error_in_any_phase() {
    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    shutdown.hook(Phase::Close, "pool", async || {}).unwrap();

    let error = shutdown
        .hook(Phase::Release, "pool", async || {})
        .unwrap_err();

    assert!(matches!(error, HookError::Duplicate { .. }));
    assert_eq!(error.to_string(), "there is a hook named `pool` already");
}

#[tokio::test(start_paused = true)]
async fn refused_hook_leaves_no_trace() {
    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    shutdown
        .hook(
            Phase::Close.after("nobody"),
            "pool",
            async || unreachable!(),
        )
        .unwrap_err();
    shutdown.hook(Phase::Close, "pool", async || {}).unwrap();

    shutdown.handle().shutdown("test");
    let report = shutdown.run().await;

    assert_eq!(report.hooks().count(), 1);
    assert!(report.is_clean());
}

/// Registers a hook when it is dropped.
struct LastWill {
    handle: ShutdownHandle,
    phase: Phase,
    refused: mpsc::Sender<Option<HookError>>,
}

impl Drop for LastWill {
    fn drop(&mut self) {
        let result = self.handle.hook(self.phase, "last will", async || {});
        self.refused.send(result.err()).unwrap();
    }
}

#[test]
fn refused_hook_may_register_another_when_it_is_dropped() {
    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    let (refused, answer) = mpsc::channel();
    let will = LastWill {
        handle: shutdown.handle(),
        phase: Phase::Close,
        refused,
    };

    // On a thread of its own: it must not wait for a lock that its own caller holds.
    std::thread::spawn(move || {
        let work = async move || drop(will);
        shutdown.hook(Phase::Close.after("nobody"), "pool", work)
    });

    let answer = answer.recv_timeout(secs(10));
    assert_eq!(answer, Ok(None));
}

#[tokio::test(start_paused = true)]
async fn hook_that_is_registered_when_a_late_one_is_dropped_is_refused_and_not_lost() {
    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    let (refused, answer) = mpsc::channel();
    let will = LastWill {
        handle: shutdown.handle(),
        phase: Phase::Close,
        refused,
    };
    shutdown.hook(Phase::Close, "endless", pending).unwrap();
    shutdown
        .hook(Phase::Close.after("endless"), "next", async move || {
            drop(will);
        })
        .unwrap();

    shutdown.handle().shutdown("test");
    let report = shutdown.run().await;

    assert_eq!(outcome(&report, "next"), Outcome::NotStarted);
    let error = answer.try_recv().unwrap().expect("Close is over");
    assert_eq!(
        error.to_string(),
        "hook `last will` is for Close, which is over"
    );
    assert_eq!(report.hooks().count(), 2);
}

// Case 3.
#[tokio::test(start_paused = true)]
async fn hooks_of_a_phase_overlap_and_the_next_phase_waits_for_all() {
    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    shutdown
        .hook(Phase::Close, "short", || sleep(secs(1)))
        .unwrap();
    shutdown
        .hook(Phase::Close, "long", || sleep(secs(3)))
        .unwrap();
    shutdown.hook(Phase::Release, "next", async || {}).unwrap();

    shutdown.handle().shutdown("test");
    let report = shutdown.run().await;

    let close = report.phase(Phase::Close).unwrap();
    assert_eq!(close.hooks[0].started, Some(Duration::ZERO));
    assert_eq!(close.hooks[1].started, Some(Duration::ZERO));
    assert_eq!(close.took, secs(3));
    let release = report.phase(Phase::Release).unwrap();
    assert_eq!(release.hooks[0].started, Some(secs(3)));
}

// Case 4.
#[tokio::test(start_paused = true)]
async fn failing_hook_is_reported_and_later_phases_run() {
    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    shutdown
        .try_hook(Phase::Drain, "offsets", async || Err("broker is gone"))
        .unwrap();
    shutdown.hook(Phase::Exit, "flush", async || {}).unwrap();

    shutdown.handle().shutdown("test");
    let report = shutdown.run().await;

    let failed = Outcome::Failed("broker is gone".to_owned());
    assert_eq!(outcome(&report, "offsets"), failed);
    assert_eq!(outcome(&report, "flush"), Outcome::Done);
    assert_eq!(
        report.phase(Phase::Drain).unwrap().outcome,
        PhaseOutcome::Completed
    );
    assert!(!report.is_clean());
}

// Cases 4 and 78.
#[tokio::test(start_paused = true)]
async fn panicking_hook_does_not_stop_the_phase() {
    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    shutdown
        .hook(Phase::Drain, "future", async || panic!("in the future"))
        .unwrap();
    let closure = || -> std::future::Ready<()> { panic!("in the {}", "closure") };
    shutdown.hook(Phase::Drain, "closure", closure).unwrap();
    shutdown
        .handle()
        .blocking_hook(Phase::Drain, "thread", || panic!("on the thread"))
        .unwrap();
    shutdown
        .hook(Phase::Drain, "sound", || sleep(secs(1)))
        .unwrap();
    shutdown.hook(Phase::Exit, "flush", async || {}).unwrap();

    shutdown.handle().shutdown("test");
    let report = shutdown.run().await;

    let panicked = |message: &str| Outcome::Panicked(message.to_owned());
    assert_eq!(outcome(&report, "future"), panicked("in the future"));
    assert_eq!(outcome(&report, "closure"), panicked("in the closure"));
    assert_eq!(outcome(&report, "thread"), panicked("on the thread"));
    assert_eq!(outcome(&report, "sound"), Outcome::Done);
    assert_eq!(outcome(&report, "flush"), Outcome::Done);
    assert!(!report.is_clean());
}

// Cases 5, 6 and 74.
#[tokio::test(start_paused = true)]
async fn endless_hook_is_dropped_and_named_at_its_phase_deadline() {
    let t0 = Instant::now();
    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    let (held, dropped) = oneshot::channel::<Infallible>();
    let hang = async move || {
        let _held = held;
        pending::<()>().await;
    };
    let dropped = tokio::spawn(async move {
        dropped.await.unwrap_err();
        t0.elapsed()
    });
    shutdown.hook(Phase::Close, "pool", hang).unwrap();
    let next = || sleep(secs(1));
    shutdown.hook(Phase::Release, "next", next).unwrap();
    shutdown.hook(Phase::Exit, "last", async || {}).unwrap();

    shutdown.handle().shutdown("test");
    let report = shutdown.run().await;

    let deadline = Plan::immediate().deadline(Phase::Close);
    assert_eq!(dropped.await.unwrap(), deadline);
    assert_eq!(report.took, deadline + secs(1));
    let close = report.phase(Phase::Close).unwrap();
    assert_eq!(close.outcome, PhaseOutcome::TimedOut);
    assert_eq!(close.hooks[0].name, "pool");
    assert_eq!(close.hooks[0].outcome, Outcome::Overran);
    assert_eq!(close.hooks[0].took, secs(23));
    assert_eq!(outcome(&report, "next"), Outcome::Done);
    assert_eq!(outcome(&report, "last"), Outcome::Done);
    assert!(!report.is_clean());
}

#[tokio::test(start_paused = true)]
async fn hook_behind_an_endless_one_is_not_started() {
    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    shutdown.hook(Phase::Close, "endless", pending).unwrap();
    let when = Phase::Close.after("endless");
    shutdown
        .hook(when, "behind", async || unreachable!())
        .unwrap();

    shutdown.handle().shutdown("test");
    let report = shutdown.run().await;

    assert_eq!(outcome(&report, "behind"), Outcome::NotStarted);
    assert_eq!(report.phase(Phase::Close).unwrap().hooks[1].started, None);
}

#[tokio::test(start_paused = true)]
async fn timeout_bounds_one_hook_and_not_its_phase() {
    let t0 = Instant::now();
    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    let (held, dropped) = oneshot::channel::<Infallible>();
    let hang = async move || {
        let _held = held;
        pending::<()>().await;
    };
    shutdown
        .hook(Phase::Close.timeout(secs(2)), "hangs", hang)
        .unwrap();
    shutdown
        .hook(Phase::Close, "works", || sleep(secs(3)))
        .unwrap();

    shutdown.handle().shutdown("test");
    let report = shutdown.run().await;

    assert_eq!(t0.elapsed(), secs(3));
    let close = report.phase(Phase::Close).unwrap();
    assert_eq!(close.outcome, PhaseOutcome::Completed);
    assert_eq!(close.hooks[0].outcome, Outcome::Overran);
    assert_eq!(close.hooks[0].took, secs(2));
    assert_eq!(close.hooks[1].outcome, Outcome::Done);
    dropped.await.unwrap_err();
}

#[tokio::test(start_paused = true)]
async fn hook_of_lame_duck_starts_at_the_trigger_and_may_go_on_into_drain() {
    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    shutdown
        .hook(Phase::LameDuck, "deregister", || sleep(secs(3)))
        .unwrap();

    shutdown.handle().shutdown("test");
    let report = shutdown.run().await;

    let lame_duck = report.phase(Phase::LameDuck).unwrap();
    assert_eq!(lame_duck.took, Duration::ZERO);
    assert_eq!(lame_duck.outcome, PhaseOutcome::Completed);
    assert_eq!(lame_duck.hooks[0].started, Some(Duration::ZERO));
    assert_eq!(lame_duck.hooks[0].took, secs(3));
    assert_eq!(report.phase(Phase::Drain).unwrap().took, secs(3));
    assert!(report.is_clean());
}

#[tokio::test(start_paused = true)]
async fn hook_of_lame_duck_ends_with_drain() {
    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    shutdown
        .hook(Phase::LameDuck, "deregister", pending)
        .unwrap();

    shutdown.handle().shutdown("test");
    let report = shutdown.run().await;

    let drain = report.phase(Phase::Drain).unwrap();
    assert_eq!(drain.outcome, PhaseOutcome::TimedOut);
    assert_eq!(drain.left_behind_total, 0);
    assert_eq!(outcome(&report, "deregister"), Outcome::Overran);
    assert_eq!(report.took, Plan::immediate().deadline(Phase::Drain));
}

// Case 8.
#[tokio::test(start_paused = true)]
async fn hook_registered_by_a_hook_runs_in_its_later_phase() {
    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    let handle = shutdown.handle();
    let register = async move || handle.hook(Phase::Release, "pool", async || {});
    shutdown.try_hook(Phase::Drain, "finds", register).unwrap();

    shutdown.handle().shutdown("test");
    let report = shutdown.run().await;

    assert_eq!(outcome(&report, "pool"), Outcome::Done);
    assert!(report.is_clean());
}

// Case 8.
#[tokio::test(start_paused = true)]
async fn hook_for_a_phase_that_is_over_is_refused() {
    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    let handle = shutdown.handle();
    let register = async move || handle.hook(Phase::Close, "late", async || unreachable!());
    shutdown
        .try_hook(Phase::Release, "finds", register)
        .unwrap();
    let handle = shutdown.handle();

    handle.shutdown("test");
    let report = shutdown.run().await;

    let message = "hook `late` is for Close, which is over";
    assert_eq!(
        outcome(&report, "finds"),
        Outcome::Failed(message.to_owned())
    );
    let error = handle.hook(Phase::Exit, "later", async || {}).unwrap_err();
    assert!(matches!(
        error,
        HookError::PhaseOver {
            phase: Phase::Exit,
            ..
        }
    ));
}

#[tokio::test(start_paused = true)]
async fn hook_of_the_running_phase_starts_at_once() {
    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    let handle = shutdown.handle();
    let guard = handle.guard().unwrap();
    let mut run = task::spawn(shutdown.run());

    handle.shutdown("test");
    assert_pending!(run.poll());
    sleep(secs(1)).await;
    handle
        .hook(Phase::Drain, "late", || sleep(secs(1)))
        .unwrap();
    assert!(run.is_woken());
    assert_pending!(run.poll());
    sleep(secs(4)).await;
    drop(guard);
    let report = assert_ready!(run.poll());

    let hook = &report.phase(Phase::Drain).unwrap().hooks[0];
    assert_eq!(hook.started, Some(secs(1)));
    assert_eq!(hook.outcome, Outcome::Done);
    assert_eq!(report.took, secs(5));
}

#[tokio::test(start_paused = true)]
async fn phase_waits_for_a_hook_that_joins_it_late() {
    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    let handle = shutdown.handle();
    let register = async move || handle.hook(Phase::Close, "second", || sleep(secs(2)));
    shutdown.try_hook(Phase::Close, "first", register).unwrap();

    shutdown.handle().shutdown("test");
    let report = shutdown.run().await;

    assert_eq!(report.phase(Phase::Close).unwrap().took, secs(2));
    assert_eq!(outcome(&report, "second"), Outcome::Done);
}

// Case 9: there is no cancel, so the promise is that a hook runs once if it was taken, and never if it was refused.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hook_that_races_with_its_phase_end_runs_once_or_is_refused() {
    for round in 0..10_000 {
        let shutdown = ShutdownCoordinator::new(Plan::immediate());
        let handle = shutdown.handle();
        let runs = Arc::new(AtomicUsize::new(0));
        let count = {
            let runs = Arc::clone(&runs);
            async move || {
                runs.fetch_add(1, Ordering::Relaxed);
            }
        };

        handle.shutdown("test");
        let race = tokio::spawn(async move {
            // Spread over the time that the sequence takes.
            (0..round % 50 * 10).for_each(|_| std::hint::spin_loop());
            handle.hook(Phase::Release, "late", count).is_ok()
        });
        let report = shutdown.run().await;
        let taken = race.await.unwrap();

        assert_eq!(runs.load(Ordering::Relaxed), usize::from(taken));
        assert_eq!(report.hooks().count(), usize::from(taken));
        assert!(report.is_clean());
    }
}

// Cases 21 and 80.
#[tokio::test(start_paused = true)]
async fn hook_that_waits_for_the_report_is_ended_by_its_deadline() {
    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    let handle = shutdown.handle();
    let wait = async move || drop(handle.finished().await);
    shutdown.hook(Phase::Release, "circle", wait).unwrap();

    shutdown.handle().shutdown("test");
    let report = shutdown.run().await;

    assert_eq!(outcome(&report, "circle"), Outcome::Overran);
    assert_eq!(report.took, Plan::immediate().deadline(Phase::Release));
}

#[tokio::test(start_paused = true)]
async fn blocking_hook_runs_on_a_thread_of_its_own() {
    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    let handle = shutdown.handle();
    let here = std::thread::current().id();
    shutdown
        .blocking_hook(Phase::Release, "flush", move || {
            assert_ne!(std::thread::current().id(), here);
        })
        .unwrap();
    shutdown
        .try_blocking_hook(Phase::Release, "sync", || Err("disk full"))
        .unwrap();

    handle.shutdown("test");
    let report = shutdown.run().await;

    assert_eq!(outcome(&report, "flush"), Outcome::Done);
    let failed = Outcome::Failed("disk full".to_owned());
    assert_eq!(outcome(&report, "sync"), failed);
}

#[tokio::test(start_paused = true)]
async fn blocking_hook_that_overruns_is_left_running() {
    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    let handle = shutdown.handle();
    let (release, block) = mpsc::channel::<()>();
    let (begins, begun) = oneshot::channel();
    let flush = move || {
        begins.send(()).unwrap();
        block.recv().unwrap_or(());
    };
    handle
        .blocking_hook(Phase::Release, "flush", flush)
        .unwrap();
    let mut run = task::spawn(shutdown.run());

    handle.shutdown("test");
    assert_pending!(run.poll());
    begun.await.unwrap();
    // By hand: the clock does not move on by itself while a thread blocks.
    tokio::time::advance(secs(28)).await;
    // A deadline gives what it ends a turn or two more.
    let mut polls = (0..10).map(|_| run.poll());
    let report = polls.find_map(|polled| match polled {
        Poll::Ready(report) => Some(report),
        Poll::Pending => None,
    });
    let report = report.expect("the deadline has passed");
    drop(release);

    assert_eq!(outcome(&report, "flush"), Outcome::Overran);
    assert_eq!(report.took, secs(28));
}

#[tokio::test(start_paused = true)]
async fn hook_never_runs_without_a_trigger() {
    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    shutdown
        .hook(Phase::LameDuck, "pool", async || unreachable!())
        .unwrap();
    let mut run = task::spawn(shutdown.run());

    assert_pending!(run.poll());
    sleep(secs(3600)).await;

    assert_pending!(run.poll());
}

/// A plan whose deadlines have all passed at T0.
fn no_time() -> Plan {
    let plan = Plan::builder().grace_period(Duration::ZERO);
    plan.build().unwrap()
}

/// Runs many hooks in each phase of a plan without time, and ends the runtime. Every hook must have begun, or be reported as
/// not started. Returns how many began.
fn hooks_without_time(runtime: Runtime, hooks: usize) -> usize {
    let shutdown = ShutdownCoordinator::new(no_time());
    let mut begun = Vec::new();
    for &phase in Phase::ALL {
        for number in 0..hooks {
            let began = Arc::new(AtomicBool::new(false));
            begun.push((format!("{phase} {number}"), Arc::clone(&began)));
            let work = move || {
                began.store(true, Ordering::Relaxed);
                pending()
            };
            let name = format!("{phase} {number}");
            shutdown.hook(phase, name, work).unwrap();
        }
    }
    shutdown.handle().shutdown("test");

    let report = runtime.block_on(shutdown.run());
    // Ends the polls that are going on.
    drop(runtime);

    assert_eq!(report.hooks().count(), begun.len());
    for (hook, (name, began)) in report.hooks().zip(&begun) {
        assert_eq!(hook.name, *name);
        let expected = match began.load(Ordering::Relaxed) {
            true => Outcome::Overran,
            false => Outcome::NotStarted,
        };
        assert_eq!(hook.outcome, expected, "{name}");
        assert_eq!(hook.started.is_some(), expected == Outcome::Overran);
    }
    let begun = begun.iter();
    begun
        .filter(|(_, began)| began.load(Ordering::Relaxed))
        .count()
}

#[test]
fn hook_without_time_begins_or_is_not_started_on_many_threads() {
    for _ in 0..10 {
        let mut runtime = Builder::new_multi_thread();
        let runtime = runtime.worker_threads(2).enable_time().build();
        hooks_without_time(runtime.unwrap(), 300);
    }
}

#[test]
fn hook_without_time_begins_or_is_not_started_on_one_thread() {
    let runtime = || Builder::new_current_thread().enable_time().build().unwrap();

    assert_eq!(hooks_without_time(runtime(), 20), 20 * Phase::ALL.len());
    hooks_without_time(runtime(), 300);
}

/// A paused clock, and one thread for blocking work, which is busy until the sender is dropped.
fn busy_pool() -> (Runtime, mpsc::Sender<Infallible>) {
    let runtime = Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .max_blocking_threads(1)
        .build()
        .unwrap();
    let (free, busy) = mpsc::channel();
    runtime.spawn_blocking(move || busy.recv().err());
    (runtime, free)
}

#[test]
fn blocking_hook_that_has_not_begun_by_its_deadline_never_begins() {
    let (runtime, free) = busy_pool();
    runtime.block_on(async {
        let shutdown = ShutdownCoordinator::new(Plan::immediate());
        let handle = shutdown.handle();
        let began = Arc::new(AtomicBool::new(false));
        let begins = Arc::clone(&began);
        shutdown
            .blocking_hook(Phase::Close, "flush", move || {
                begins.store(true, Ordering::Relaxed);
            })
            .unwrap();
        let mut run = task::spawn(shutdown.run());

        handle.shutdown("test");
        assert_pending!(run.poll());
        tokio::time::advance(Plan::immediate().deadline(Phase::Release)).await;
        let report = run.await;
        assert_eq!(Arc::strong_count(&began), 1, "its closure is dropped");
        drop(free);
        // Whatever stood before this in the queue has had the thread.
        spawn_blocking(|| {}).await.unwrap();

        assert_eq!(outcome(&report, "flush"), Outcome::NotStarted);
        let close = report.phase(Phase::Close).unwrap();
        assert_eq!(close.hooks[0].started, None);
        assert!(!began.load(Ordering::Relaxed));
    });
}

#[test]
fn timeout_of_a_blocking_hook_counts_from_when_it_begins() {
    let (runtime, free) = busy_pool();
    runtime.block_on(async {
        let shutdown = ShutdownCoordinator::new(Plan::immediate());
        let handle = shutdown.handle();
        let when = Phase::Close.timeout(secs(1));
        shutdown.blocking_hook(when, "flush", || {}).unwrap();
        let mut run = task::spawn(shutdown.run());

        handle.shutdown("test");
        assert_pending!(run.poll());
        tokio::time::advance(secs(5)).await;
        // A timeout that ran already would be noticed here.
        yield_now().await;
        assert_pending!(run.poll());
        drop(free);
        let report = run.await;

        assert_eq!(outcome(&report, "flush"), Outcome::Done);
        let close = report.phase(Phase::Close).unwrap();
        assert_eq!(close.hooks[0].started, Some(secs(5)));
    });
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

impl Future for Mine {
    type Output = ();

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        Poll::Ready(())
    }
}

#[tokio::test(start_paused = true)]
async fn hook_that_panics_when_it_is_dropped_is_over_at_its_timeout() {
    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    let mine = Mine;
    let hangs = async move || {
        let _mine = mine;
        pending::<()>().await;
    };
    shutdown
        .hook(Phase::Release.timeout(secs(1)), "hangs", hangs)
        .unwrap();
    shutdown.hook(Phase::Exit, "flush", async || {}).unwrap();

    shutdown.handle().shutdown("test");
    let report = shutdown.run().await;

    let release = report.phase(Phase::Release).unwrap();
    assert_eq!(release.took, secs(1));
    assert_eq!(release.hooks[0].outcome, Outcome::Overran);
    assert_eq!(release.hooks[0].took, secs(1));
    assert_eq!(outcome(&report, "flush"), Outcome::Done);
}

#[tokio::test(start_paused = true)]
async fn hook_that_panics_when_it_is_dropped_at_its_phase_deadline_overran() {
    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    let mine = Mine;
    let hangs = async move || {
        let _mine = mine;
        pending::<()>().await;
    };
    shutdown.hook(Phase::Release, "hangs", hangs).unwrap();
    shutdown.hook(Phase::Exit, "flush", async || {}).unwrap();

    shutdown.handle().shutdown("test");
    let report = shutdown.run().await;

    assert_eq!(outcome(&report, "hangs"), Outcome::Overran);
    assert_eq!(outcome(&report, "flush"), Outcome::Done);
}

#[tokio::test(start_paused = true)]
async fn hook_that_panics_when_it_is_dropped_at_its_end_panicked() {
    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    shutdown.hook(Phase::Release, "returns", || Mine).unwrap();

    shutdown.handle().shutdown("test");
    let report = shutdown.run().await;

    let panicked = Outcome::Panicked("dropped".to_owned());
    assert_eq!(outcome(&report, "returns"), panicked);
    assert!(report.took < secs(1));
}

#[tokio::test(start_paused = true)]
async fn hook_that_never_ran_and_panics_when_it_is_dropped_stops_nothing() {
    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    shutdown.hook(Phase::Close, "endless", pending).unwrap();
    for name in ["behind", "as well"] {
        let mine = Mine;
        let behind = async move || drop(mine);
        shutdown
            .hook(Phase::Close.after("endless"), name, behind)
            .unwrap();
    }
    let mine = Mine;
    shutdown
        .blocking_hook(Phase::Close.after("endless"), "thread", || drop(mine))
        .unwrap();
    shutdown.hook(Phase::Exit, "flush", async || {}).unwrap();

    shutdown.handle().shutdown("test");
    let report = shutdown.run().await;

    for name in ["behind", "as well", "thread"] {
        assert_eq!(outcome(&report, name), Outcome::NotStarted);
    }
    assert_eq!(outcome(&report, "flush"), Outcome::Done);
}

#[test]
fn refused_hook_that_panics_when_it_is_dropped_is_an_error() {
    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    let mine = Mine;

    let refused = shutdown.hook(Phase::Close.after("nobody"), "pool", async || drop(mine));

    assert!(matches!(refused, Err(HookError::UnknownAfter { .. })));
}

#[test]
fn dropped_coordinator_drops_its_hooks_without_a_panic() {
    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    for name in ["one", "two"] {
        let mine = Mine;
        shutdown
            .hook(Phase::Close, name, async move || drop(mine))
            .unwrap();
    }

    drop(shutdown);
}

#[tokio::test(start_paused = true)]
async fn hook_whose_error_cannot_be_printed_has_failed() {
    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    shutdown
        .try_hook(Phase::Close, "async", async || Err(Unprintable))
        .unwrap();
    shutdown
        .try_blocking_hook(Phase::Close, "thread", || Err(Unprintable))
        .unwrap();

    shutdown.handle().shutdown("test");
    let report = shutdown.run().await;

    let failed = Outcome::Failed("an error that panicked when it was printed: printed".to_owned());
    assert_eq!(outcome(&report, "async"), failed);
    assert_eq!(outcome(&report, "thread"), failed);
}

#[tokio::test(start_paused = true)]
async fn panic_whose_payload_panics_when_it_is_dropped_stays_in_the_hook() {
    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    shutdown
        .hook(Phase::Close, "async", async || panic_any(Mine))
        .unwrap();
    shutdown
        .blocking_hook(Phase::Close, "thread", || panic_any(Mine))
        .unwrap();

    shutdown.handle().shutdown("test");
    let report = shutdown.run().await;

    let panicked = Outcome::Panicked("no message".to_owned());
    assert_eq!(outcome(&report, "async"), panicked);
    assert_eq!(outcome(&report, "thread"), panicked);
    assert!(report.took < secs(1));
}

#[tokio::test(start_paused = true)]
async fn removed_hook_never_runs_and_is_not_in_the_report() {
    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    let handle = shutdown.handle();
    let owned = Arc::new(());
    let owns = Arc::clone(&owned);
    shutdown
        .hook(Phase::Release, "pool", async move || {
            let _owns = owns;
            unreachable!()
        })
        .unwrap();

    assert!(handle.remove_hook("pool"));
    assert_eq!(Arc::strong_count(&owned), 1, "its closure is dropped");
    assert!(!handle.remove_hook("pool"));
    handle.shutdown("test");
    let report = shutdown.run().await;

    assert_eq!(report.hooks().count(), 0);
    assert!(report.is_clean());
}

#[tokio::test(start_paused = true)]
async fn name_of_a_removed_hook_can_be_used_again() {
    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    let handle = shutdown.handle();
    shutdown
        .hook(Phase::Release, "pool", async || unreachable!())
        .unwrap();

    handle.remove_hook("pool");
    shutdown.hook(Phase::Close, "pool", async || {}).unwrap();
    handle.shutdown("test");
    let report = shutdown.run().await;

    assert_eq!(outcome(&report, "pool"), Outcome::Done);
    assert_eq!(report.phase(Phase::Close).unwrap().hooks.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn hook_after_a_removed_one_does_not_wait_for_it() {
    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    let handle = shutdown.handle();
    shutdown
        .hook(Phase::Release, "slow", || sleep(secs(2)))
        .unwrap();
    shutdown
        .hook(Phase::Release.after("slow"), "broker", pending)
        .unwrap();
    shutdown
        .hook(Phase::Release.after("broker"), "pool", async || {})
        .unwrap();
    let mut run = task::spawn(shutdown.run());

    handle.shutdown("test");
    assert_pending!(run.poll());
    yield_now().await;
    assert_pending!(run.poll());
    assert_eq!(handle.phase(), Some(Phase::Release));
    assert!(handle.remove_hook("broker"));
    assert!(run.is_woken());
    let report = run.await;

    let hooks = &report.phase(Phase::Release).unwrap().hooks;
    assert_eq!(hooks.len(), 2);
    assert_eq!(hooks[1].name, "pool");
    assert_eq!(hooks[1].started, Some(Duration::ZERO));
    assert!(report.is_clean());
}

#[tokio::test(start_paused = true)]
async fn hook_that_has_begun_cannot_be_removed() {
    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    let handle = shutdown.handle();
    let removes = async move || assert!(!handle.remove_hook("pool"));
    shutdown.hook(Phase::Release, "pool", removes).unwrap();
    let handle = shutdown.handle();

    handle.shutdown("test");
    let report = shutdown.run().await;

    assert_eq!(outcome(&report, "pool"), Outcome::Done);
    assert!(!handle.remove_hook("pool"));
    assert_eq!(outcome(&report, "pool"), Outcome::Done);
}

#[test]
fn removed_hook_may_register_another_when_it_is_dropped() {
    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    let handle = shutdown.handle();
    let (refused, answer) = mpsc::channel();
    let will = LastWill {
        handle: shutdown.handle(),
        phase: Phase::Close,
        refused,
    };
    let work = async move || drop(will);
    shutdown.hook(Phase::Close, "pool", work).unwrap();

    // On a thread of its own: it must not wait for a lock that its own caller holds.
    std::thread::spawn(move || handle.remove_hook("pool"));

    let answer = answer.recv_timeout(secs(10));
    assert_eq!(answer, Ok(None));
}

#[test]
fn removed_hook_that_panics_when_it_is_dropped_is_removed() {
    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    let mine = Mine;
    shutdown
        .hook(Phase::Close, "pool", async move || drop(mine))
        .unwrap();

    assert!(shutdown.handle().remove_hook("pool"));
}

// A runtime that sleeps has to wake its workers first.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hook_without_time_has_its_turn_on_many_threads() {
    let plan = Plan::builder()
        .grace_period(Duration::ZERO)
        .build()
        .unwrap();
    let mut done = 0;
    for _ in 0..200 {
        // So long that they sleep.
        sleep(Duration::from_millis(1)).await;
        let shutdown = ShutdownCoordinator::new(plan.clone());
        shutdown.hook(Phase::Release, "pool", async || {}).unwrap();
        shutdown.shutdown("test");
        let report = shutdown.run().await;
        done += u32::from(outcome(&report, "pool") == Outcome::Done);
    }

    // Nearly all; a machine that does much else may not give a worker its turn.
    assert!(done > 100, "{done} of 200");
}

#[tokio::test(start_paused = true)]
async fn many_hooks_in_a_row_cost_each_what_the_first_one_costs() {
    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    let begun = std::time::Instant::now();

    shutdown.hook(Phase::Release, "0", async || {}).unwrap();
    for at in 1..10_000 {
        let after = Phase::Release.after((at - 1).to_string());
        shutdown.hook(after, at.to_string(), async || {}).unwrap();
    }
    shutdown.shutdown("test");
    let report = shutdown.run().await;
    let took = begun.elapsed();

    assert!(report.is_clean());
    assert_eq!(report.hooks().count(), 10_000);
    // A search through all of them takes half a minute.
    assert!(took < secs(10), "{took:?}");
}
