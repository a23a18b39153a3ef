//! The trigger against everybody who triggers, asks or waits.

use super::{Seen, block_on, model, spawn};
use crate::handle::ShutdownHandle;
use crate::phase::Phase;
use crate::plan::Plan;
use crate::reason::Reason;

/// Of two triggers one counts; its reason stays, and the other's is kept for the log. After either the shutdown has begun.
#[test]
fn one_of_two_triggers_counts() {
    static SECOND: Seen = Seen::new("the second thread was first");

    model(|| {
        let handle = ShutdownHandle::new(Plan::immediate());
        let other = spawn({
            let handle = handle.clone();
            move || {
                let first = handle.shutdown("other");
                assert!(handle.is_shutting_down());
                first
            }
        });

        let mine = handle.shutdown("mine");
        assert!(handle.is_shutting_down());
        let others = other.join().unwrap();

        assert!(mine != others, "{mine} {others}");
        let (first, second) = match mine {
            true => ("mine", "other"),
            false => ("other", "mine"),
        };
        if others {
            SECOND.note();
        }
        assert_eq!(handle.reason(), Some(Reason::from(first)));
        let repeats = block_on(handle.shared.progress.triggers().repeats());
        assert_eq!(repeats.reasons, [Reason::from(second)]);
    });
    SECOND.check();
}

/// Whoever sees that the shutdown has begun sees why, and until when.
#[test]
fn who_sees_the_trigger_sees_its_reason_and_its_deadlines() {
    static SERVING: Seen = Seen::new("asked before the trigger");
    static LEAVING: Seen = Seen::new("asked after the trigger");

    model(|| {
        let handle = ShutdownHandle::new(Plan::immediate());
        let asker = spawn({
            let handle = handle.clone();
            move || {
                if handle.is_shutting_down() {
                    LEAVING.note();
                    assert!(handle.reason().is_some());
                    assert!(handle.deadline(Phase::Close).is_some());
                } else {
                    SERVING.note();
                }
            }
        });
        let waiter = spawn({
            let handle = handle.clone();
            move || {
                block_on(handle.reached(Phase::LameDuck));
                assert!(handle.reason().is_some());
            }
        });

        assert!(handle.shutdown("model"));

        asker.join().unwrap();
        waiter.join().unwrap();
    });
    SERVING.check();
    LEAVING.check();
}

/// What is to be called at the trigger is called once, whether it came before or after.
#[cfg(all(feature = "signal", unix))]
#[test]
fn on_trigger_calls_once() {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    model(|| {
        let handle = ShutdownHandle::new(Plan::immediate());
        let calls = Arc::new(AtomicUsize::new(0));
        let watchdog = spawn({
            let (handle, calls) = (handle.clone(), Arc::clone(&calls));
            move || {
                handle.shared.on_trigger(move |_| {
                    calls.fetch_add(1, Ordering::Relaxed);
                });
            }
        });
        let other = spawn({
            let handle = handle.clone();
            move || handle.shutdown("other")
        });

        handle.shutdown("mine");
        watchdog.join().unwrap();
        other.join().unwrap();

        assert_eq!(calls.load(Ordering::Relaxed), 1);
    });
}
