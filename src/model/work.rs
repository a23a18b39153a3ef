//! Tasks and guards that begin while the shutdown runs, or ends them.

use std::future::pending;

use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering};

use super::{Seen, block_on_with, model, no_time, runtime, settle, spawn};
use crate::plan::Plan;
use crate::report::Outcome;
use crate::run::ShutdownCoordinator;
use crate::task::TaskError;

/// A task that starts while tasks are aborted is aborted, and in the report, or it was never started.
#[test]
fn task_that_starts_at_the_cut_is_aborted_or_refused() {
    static STARTED: Seen = Seen::new("task started");
    static REFUSED: Seen = Seen::new("task refused");

    model(|| {
        let runtime = runtime();
        let shutdown = ShutdownCoordinator::new(no_time());
        let handle = shutdown.handle();
        // So that Close is not over by itself, and closes nothing before the cut.
        let _held = handle.guard().unwrap();
        handle.shutdown("model");
        // For both threads: to tokio they are one.
        let _entered = runtime.enter();
        let starter = spawn({
            let handle = handle.clone();
            move || handle.task("late", |_| pending())
        });

        let report = block_on_with(&runtime, shutdown.run());
        let started = starter.join().unwrap();
        settle(&runtime);

        let alive = runtime.metrics().num_alive_tasks();
        let outcomes: Vec<_> = report.tasks.iter().map(|task| &task.outcome).collect();
        assert_eq!(alive, 0, "it was aborted by nobody: {started:?}\n{report}");
        match started {
            Ok(()) => {
                STARTED.note();
                assert_eq!(outcomes, [&Outcome::Overran]);
                assert_eq!(report.cut, 2);
            }
            Err(TaskError::TooLate { .. }) => {
                REFUSED.note();
                assert!(outcomes.is_empty());
                assert_eq!(report.cut, 1);
            }
            Err(error) => panic!("{error}"),
        }
    });
    STARTED.check();
    REFUSED.check();
}

/// A guard that is taken while the phases pass is waited for, and what was done under it is seen afterwards.
#[test]
fn guard_is_waited_for_or_refused() {
    static TAKEN: Seen = Seen::new("guard taken");
    static REFUSED: Seen = Seen::new("guard refused");

    model(|| {
        let runtime = runtime();
        let shutdown = ShutdownCoordinator::new(Plan::immediate());
        let handle = shutdown.handle();
        handle.shutdown("model");
        let working = Arc::new(AtomicUsize::new(0));
        let worker = spawn({
            let (handle, working) = (handle.clone(), Arc::clone(&working));
            move || match handle.named_guard("late") {
                Some(guard) => {
                    TAKEN.note();
                    working.fetch_add(1, Ordering::Relaxed);
                    // Relaxed throughout: only the guard orders this for the one who waits.
                    working.fetch_sub(1, Ordering::Relaxed);
                    drop(guard);
                }
                None => REFUSED.note(),
            }
        });

        let report = block_on_with(&runtime, shutdown.run());

        assert_eq!(working.load(Ordering::Relaxed), 0);
        assert!(report.is_clean(), "{report}");
        worker.join().unwrap();
    });
    TAKEN.check();
    REFUSED.check();
}

/// A guard that is held beyond its time is in the report; one that was refused is not.
#[test]
fn guard_that_is_held_at_the_cut_is_counted_once() {
    static HELD: Seen = Seen::new("guard held");
    static REFUSED: Seen = Seen::new("guard refused at the cut");

    model(|| {
        let runtime = runtime();
        let shutdown = ShutdownCoordinator::new(no_time());
        let handle = shutdown.handle();
        handle.shutdown("model");
        let holder = spawn({
            let handle = handle.clone();
            move || handle.named_guard("late")
        });

        let report = block_on_with(&runtime, shutdown.run());
        let guard = holder.join().unwrap();

        match guard {
            Some(_) => HELD.note(),
            None => REFUSED.note(),
        }
        assert_eq!(report.cut, u64::from(guard.is_some()), "{report}");
    });
    HELD.check();
    REFUSED.check();
}
