//! The trigger: the first one counts, later ones are told and change nothing.

use std::sync::PoisonError;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::phase::Phase;
use crate::reason::Reason;
use crate::sync::{Mutex, MutexGuard, OnceLock};

/// Later triggers are told one by one, up to so many between two looks; more are counted.
const MOST_REPEATS: usize = 16;

/// What began the shutdown.
#[derive(Clone, Debug)]
pub(crate) struct Trigger {
    pub(crate) reason: Reason,
    /// Whether traffic can have been routed here, so that LameDuck has something to wait for.
    pub(crate) routed: bool,
    /// When each phase ends at the latest, counted from T0.
    pub(crate) deadlines: [Duration; Phase::EACH.len()],
    at: At,
}

/// What is fixed at the trigger, beside its reason.
pub(crate) struct Facts {
    pub(crate) routed: bool,
    pub(crate) deadlines: [Duration; Phase::EACH.len()],
}

/// The moment of a trigger.
#[derive(Clone, Copy, Debug)]
enum At {
    Inside(Instant),
    /// Taken outside a runtime, so that a paused clock did not have its say.
    Outside(std::time::Instant),
}

type Call = Box<dyn FnOnce(std::time::Instant) + Send>;

#[derive(Default)]
pub(crate) struct Triggers {
    first: OnceLock<Trigger>,
    /// T0 on the coordinator's clock, once that has looked.
    t0: OnceLock<Instant>,
    repeats: Mutex<Repeats>,
    repeated: Notify,
}

/// What is called at T0, and then gone. Apart from [`Triggers`], which the watchdog keeps: it would keep its own call.
#[derive(Default)]
pub(crate) struct Calls(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    calls: Vec<Call>,
    /// The coordinator was dropped before T0.
    disarmed: bool,
}

/// Triggers that came after the first, until they have been told.
#[derive(Default)]
pub(crate) struct Repeats {
    pub(crate) reasons: Vec<Reason>,
    /// How many more there were.
    pub(crate) more: u64,
}

impl Triggers {
    /// Returns whether this is the first.
    pub(crate) fn pull(
        &self,
        reason: Reason,
        facts: impl FnOnce() -> Facts,
        calls: &Calls,
    ) -> bool {
        if self.first().is_some() {
            self.repeat(reason);
            return false;
        }
        let now = std::time::Instant::now();
        let at = match tokio::runtime::Handle::try_current() {
            Ok(_) => At::Inside(Instant::now()),
            Err(_) => At::Outside(now),
        };
        let Facts { routed, deadlines } = facts();
        let trigger = Trigger {
            reason,
            routed,
            deadlines,
            at,
        };
        if let Err(second) = self.first.set(trigger) {
            self.repeat(second.reason);
            return false;
        }
        let calls = std::mem::take(&mut calls.locked().calls);
        // Outside the lock: all of these run other people's code.
        calls.into_iter().for_each(|call| call(now));
        true
    }

    pub(crate) fn first(&self) -> Option<&Trigger> {
        self.first.get()
    }

    pub(crate) fn t0(&self) -> Option<Instant> {
        let trigger = self.first()?;
        Some(match (self.t0.get(), trigger.at) {
            (Some(&t0), _) | (None, At::Inside(t0)) => t0,
            (None, At::Outside(at)) => Instant::from_std(at),
        })
    }

    /// Takes T0 from this task's clock, from now on. Returns it.
    pub(crate) fn settle(&self) -> Option<Instant> {
        let trigger = self.first()?;
        let t0 = match trigger.at {
            At::Inside(t0) => t0,
            At::Outside(at) => {
                let now = Instant::now();
                now.checked_sub(at.elapsed()).unwrap_or(now)
            }
        };
        let _ = self.t0.set(t0);
        self.t0()
    }

    /// Waits for triggers that came after the first.
    pub(crate) async fn repeats(&self) -> Repeats {
        self.repeated.notified().await;
        std::mem::take(&mut *self.locked_repeats())
    }

    #[cold]
    fn repeat(&self, reason: Reason) {
        let mut repeats = self.locked_repeats();
        match repeats.reasons.len() < MOST_REPEATS {
            true => repeats.reasons.push(reason),
            false => repeats.more += 1,
        }
        drop(repeats);
        self.repeated.notify_one();
    }

    fn locked_repeats(&self) -> MutexGuard<'_, Repeats> {
        self.repeats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Calls {
    /// Calls back at T0; at once if that is past. Dropped uncalled with the coordinator.
    #[cfg(any(feature = "signal", all(unix, feature = "systemd")))]
    pub(crate) fn add(
        &self,
        triggers: &Triggers,
        call: impl FnOnce(std::time::Instant) + Send + 'static,
    ) {
        let mut waiting = self.locked();
        if waiting.disarmed {
            // Not under the lock: what the call owns runs other people's code when it is dropped.
            drop(waiting);
            return;
        }
        // Whoever sets the trigger takes the calls after that, and under the same lock.
        match triggers.first() {
            None => return waiting.calls.push(Box::new(call)),
            Some(_) => drop(waiting),
        }
        let at = triggers.t0().map(Instant::into_std);
        call(at.unwrap_or_else(std::time::Instant::now));
    }

    /// The coordinator is gone. If nothing has been triggered, nobody is called any more.
    pub(crate) fn disarm(&self, triggers: &Triggers) {
        let mut waiting = self.locked();
        if triggers.first().is_some() {
            return;
        }
        waiting.disarmed = true;
        let calls = std::mem::take(&mut waiting.calls);
        drop(waiting);
        drop(calls);
    }

    /// Whether nobody is called any more, though nobody was.
    #[cfg(feature = "signal")]
    pub(crate) fn is_disarmed(&self) -> bool {
        self.locked().disarmed
    }

    fn locked(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(all(test, not(lameduck_loom)))]
mod tests {
    use super::*;

    fn facts() -> Facts {
        Facts {
            routed: false,
            deadlines: Default::default(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn later_triggers_are_bounded_however_many_come() {
        let (triggers, calls) = (Triggers::default(), Calls::default());
        assert!(triggers.pull("first".into(), facts, &calls));

        for _ in 0..1_000 {
            assert!(!triggers.pull("again".into(), facts, &calls));
        }
        let repeats = triggers.repeats().await;

        assert_eq!(triggers.first().unwrap().reason, "first".into());
        assert_eq!(repeats.reasons.len(), MOST_REPEATS);
        assert_eq!(repeats.more, 1_000 - MOST_REPEATS as u64);
    }

    #[test]
    fn trigger_from_outside_a_runtime_is_settled_on_the_coordinators_clock() {
        let triggers = Triggers::default();
        triggers.pull("outside".into(), facts, &Calls::default());
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();

        runtime.block_on(async {
            let now = Instant::now();
            let t0 = triggers.settle().unwrap();

            assert!(t0 <= now);
            assert!(now - t0 < Duration::from_secs(10));
            assert_eq!(triggers.t0(), Some(t0));
        });
    }
}
