//! A hook that is registered, or begins, while its phase runs, or ends.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::time::Instant;

use super::{Seen, block_on_with, model, no_time, runtime, settle, spawn};
use crate::hook::{HookError, Hooks, Work};
use crate::phase::Phase;
use crate::plan::Plan;
use crate::report::{Outcome, Report};
use crate::run::ShutdownCoordinator;

/// How the hook of a model is called.
const LATE: &str = "late";

fn outcomes(report: &Report) -> Vec<Outcome> {
    let late = report.hooks().filter(|hook| hook.name == LATE);
    late.map(|hook| hook.outcome.clone()).collect()
}

/// Its phase ends because nothing is left to wait for: whoever registers gets an error, or the hook runs once, in its phase.
fn registered_while_its_phase_ends(phase: Phase, taken: &'static Seen, refused: &'static Seen) {
    model(move || {
        let runtime = runtime();
        let shutdown = ShutdownCoordinator::new(Plan::immediate());
        let handle = shutdown.handle();
        handle.shutdown("model");
        let ran = Arc::new(AtomicUsize::new(0));
        let registrar = spawn({
            let (handle, ran) = (handle.clone(), Arc::clone(&ran));
            move || {
                let asks = handle.clone();
                handle.hook(phase, LATE, async move || {
                    assert_eq!(asks.phase(), Some(phase), "it ran in another phase");
                    ran.fetch_add(1, Ordering::Relaxed);
                })
            }
        });

        let report = block_on_with(&runtime, shutdown.run());
        let registered = registrar.join().unwrap();
        settle(&runtime);

        match registered {
            Ok(()) => {
                taken.note();
                assert_eq!(outcomes(&report), [Outcome::Done]);
                assert_eq!(ran.load(Ordering::Relaxed), 1);
            }
            Err(HookError::PhaseOver { .. }) => {
                refused.note();
                assert_eq!(outcomes(&report), []);
                assert_eq!(ran.load(Ordering::Relaxed), 0);
            }
            Err(error) => panic!("{error}"),
        }
    });
    taken.check();
    refused.check();
}

#[test]
fn hook_for_drain_runs_once_or_is_refused() {
    static TAKEN: Seen = Seen::new("taken in Drain");
    static REFUSED: Seen = Seen::new("refused after Drain");

    registered_while_its_phase_ends(Phase::Drain, &TAKEN, &REFUSED);
}

#[test]
fn hook_for_the_last_phase_runs_once_or_is_refused() {
    static TAKEN: Seen = Seen::new("taken in Exit");
    static REFUSED: Seen = Seen::new("refused after Exit");

    registered_while_its_phase_ends(Phase::Exit, &TAKEN, &REFUSED);
}

/// Its phase waits for what only the hook ends: whoever registers wakes the phase.
#[test]
fn hook_that_its_phase_waits_for_is_started() {
    model(|| {
        let runtime = runtime();
        let shutdown = ShutdownCoordinator::new(Plan::immediate());
        let handle = shutdown.handle();
        let guard = handle.guard().unwrap();
        handle.shutdown("model");
        let registrar = spawn(move || handle.hook(Phase::Drain, LATE, async move || drop(guard)));

        let report = block_on_with(&runtime, shutdown.run());

        assert_eq!(outcomes(&report), [Outcome::Done]);
        registrar.join().unwrap().unwrap();
    });
}

/// Its phase ends at its deadline: a hook that was taken is in the report, whether it ran or not, and is not run later.
fn registered_at_the_deadline(phase: Phase, taken: &'static Seen, refused: &'static Seen) {
    model(move || {
        let runtime = runtime();
        let shutdown = ShutdownCoordinator::new(no_time());
        let handle = shutdown.handle();
        shutdown.hook(phase, "stuck", pending).unwrap();
        handle.shutdown("model");
        let ran = Arc::new(AtomicUsize::new(0));
        let registrar = spawn({
            let (handle, ran) = (handle.clone(), Arc::clone(&ran));
            move || {
                let asks = handle.clone();
                handle.hook(phase, LATE, async move || {
                    assert_eq!(asks.phase(), Some(phase), "it ran in another phase");
                    ran.fetch_add(1, Ordering::Relaxed);
                })
            }
        });

        let report = block_on_with(&runtime, shutdown.run());
        let registered = registrar.join().unwrap();
        settle(&runtime);

        let outcomes = outcomes(&report);
        let ran = ran.load(Ordering::Relaxed);
        if registered.is_ok() {
            taken.note();
            assert_eq!(outcomes.len(), 1, "it is lost: {report}");
            assert!(ran <= 1);
            assert_eq!(ran == 0, outcomes[0] == Outcome::NotStarted);
        } else {
            refused.note();
            assert_eq!((outcomes.len(), ran), (0, 0));
        }
        assert_eq!(runtime.metrics().num_alive_tasks(), 0);
    });
    taken.check();
    refused.check();
}

#[test]
fn hook_at_the_deadline_of_drain_is_in_the_report_or_refused() {
    static TAKEN: Seen = Seen::new("taken at Drain's deadline");
    static REFUSED: Seen = Seen::new("refused after Drain's deadline");

    registered_at_the_deadline(Phase::Drain, &TAKEN, &REFUSED);
}

#[test]
fn hook_at_the_deadline_of_the_last_phase_is_in_the_report_or_refused() {
    static TAKEN: Seen = Seen::new("taken at Exit's deadline");
    static REFUSED: Seen = Seen::new("refused after Exit's deadline");

    registered_at_the_deadline(Phase::Exit, &TAKEN, &REFUSED);
}

/// A hook that is due begins, or its phase ends: one of the two has the work, and the report agrees.
#[test]
fn hook_that_is_due_begins_or_is_not_started() {
    static BEGUN: Seen = Seen::new("begun before its phase ended");
    static EXPIRED: Seen = Seen::new("not begun when its phase ended");

    model(|| {
        let hooks = Arc::new(Hooks::default());
        let t0 = Instant::now();
        let work = Work::future(|| Box::pin(pending()));
        hooks
            .register(Phase::Close.into(), LATE.to_owned(), work)
            .unwrap();
        let due = hooks.book().due(Phase::Close);
        let [(id, _)] = due[..] else {
            panic!("{} hooks are due", due.len())
        };
        let beginner = spawn({
            let hooks = Arc::clone(&hooks);
            move || hooks.begin(id).is_some()
        });

        let ended = hooks.book().expire(Phase::Close);
        let begun = beginner.join().unwrap();

        assert_eq!(ended.len(), 1, "it is ended once");
        let reports = hooks.reports(Phase::Close, t0);
        assert_eq!(reports[0].started.is_some(), begun);
        let dropped = ended[0].1.never_began();
        assert!(begun != dropped, "one of the two has the work");
        if begun {
            BEGUN.note();
            assert_eq!(reports[0].outcome, Outcome::Overran);
        } else {
            EXPIRED.note();
            assert_eq!(reports[0].outcome, Outcome::NotStarted);
        }
        assert!(hooks.begin(id).is_none(), "it begins once");
    });
    BEGUN.check();
    EXPIRED.check();
}
