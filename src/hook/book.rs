//! The book of hooks: who is registered, who is due, who is over.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::entries::{Ended, Entries, Entry, HookId, State};
use super::farewell::{Farewell, NeverRun};
use super::work::{Begun, Place, Work};
use super::{HookError, When};
use crate::phase::Phase;
use crate::report::{HookReport, Outcome};
use crate::sync::{Mutex, MutexGuard};

/// The hooks of one coordinator.
#[derive(Default)]
pub(crate) struct Hooks {
    book: Mutex<Book>,
    /// A hook has been registered, or removed.
    pub(super) changed: Notify,
}

#[derive(Default)]
pub(crate) struct Book {
    entries: Entries,
    /// How many phases, counted from the first, take no hooks any more.
    over: usize,
    /// The coordinator is gone, so no hook would run.
    abandoned: bool,
}

impl Hooks {
    pub(crate) fn register(&self, when: When, name: String, work: Work) -> Result<(), HookError> {
        let mut work = Some(work);
        let registered = self.book().register(when, name, &mut work);
        // The lock is free again: what a refused hook owns may come back here when it is dropped.
        drop(work);
        registered?;
        self.changed.notify_one();
        Ok(())
    }

    /// Removes a hook that has not begun. `false` when there is none of that name.
    pub(crate) fn remove(&self, name: &str) -> bool {
        let Some(work) = self.book().remove(name) else {
            return false;
        };
        // The lock is free again: what the hook owns may come back here when it is dropped.
        work.discard(name);
        self.changed.notify_one();
        true
    }

    /// The coordinator is gone: takes no more hooks, and gives those that have not begun.
    pub(crate) fn abandon(&self) -> NeverRun {
        NeverRun::new(self.book().abandon())
    }

    /// How much of a phase's time its hooks ask for: all of it, if one of them has no timeout.
    pub(crate) fn asked(&self, phase: Phase, planned: Duration) -> Duration {
        self.book().asked(phase, planned)
    }

    /// Takes the work of a hook that is due, which begins thereby. `None` when its phase has ended, or the hook was removed.
    pub(crate) fn begin(&self, id: HookId) -> Option<Begun> {
        self.book().begin(id)
    }

    /// The hooks that are running now, for a watchdog that must not wait.
    #[cfg(feature = "signal")]
    pub(crate) fn try_running(&self) -> Option<Vec<String>> {
        let book = self.book.try_lock().ok()?;
        let running = book
            .entries
            .iter()
            .filter_map(|(_, entry)| match &entry.state {
                State::Due => Some(format!("{} (has not begun)", entry.name)),
                State::Running { .. } => Some(entry.name.to_string()),
                State::Over(ended) if ended.outcome == Outcome::Overran => {
                    let goes_on = entry.alive.strong_count() > 0;
                    goes_on.then(|| format!("{} (overran)", entry.name))
                }
                State::Waiting | State::Over(_) => None,
            });
        Some(running.collect())
    }

    /// What became of a phase's hooks, in the order in which they were registered.
    pub(crate) fn reports(&self, phase: Phase, t0: Instant) -> Vec<HookReport> {
        self.book()
            .entries
            .iter()
            .filter(|(_, entry)| entry.phase == phase)
            .filter_map(|(_, entry)| match &entry.state {
                State::Over(ended) => Some(HookReport {
                    name: entry.name.to_string(),
                    started: ended.since.map(|since| since - t0),
                    took: ended.took,
                    outcome: ended.outcome.clone(),
                }),
                State::Waiting | State::Due | State::Running { .. } => None,
            })
            .collect()
    }

    pub(crate) fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Book {
    /// Takes the work only if nothing is wrong with the hook.
    fn register(
        &mut self,
        when: When,
        name: String,
        work: &mut Option<Work>,
    ) -> Result<(), HookError> {
        let When {
            phase,
            after,
            timeout,
        } = when;
        if self.abandoned {
            return Err(HookError::NoCoordinator { name });
        }
        if phase.index() < self.over {
            return Err(HookError::PhaseOver { name, phase });
        }
        if self.entries.find(&name).is_some() {
            return Err(HookError::Duplicate { name });
        }
        let after: Vec<HookId> = after
            .into_iter()
            .map(|after| self.find(phase, &name, after))
            .collect::<Result<_, _>>()?;
        self.entries
            .insert(name, phase, after, timeout, work.take());
        Ok(())
    }

    /// Takes the work of a hook that has not begun, and forgets the hook.
    fn remove(&mut self, name: &str) -> Option<Work> {
        let found = self.entries.find(name);
        let (id, _) = found.filter(|(_, entry)| entry.work.is_some())?;
        self.entries.remove(id)?.work
    }

    /// Takes the work of every hook that has not begun, and forgets the hooks.
    fn abandon(&mut self) -> Vec<(Arc<str>, Work)> {
        self.abandoned = true;
        let waiting = self.entries.iter();
        let waiting = waiting.filter(|(_, entry)| entry.work.is_some());
        let waiting: Vec<HookId> = waiting.map(|(id, _)| id).collect();
        let entries = waiting.into_iter().filter_map(|id| self.entries.remove(id));
        entries
            .filter_map(|entry| Some((entry.name, entry.work?)))
            .collect()
    }

    /// The longest chain of timeouts among the hooks of `phase` that are not over, `planned` at most.
    fn asked(&self, phase: Phase, planned: Duration) -> Duration {
        let mut ends: BTreeMap<HookId, Duration> = BTreeMap::new();
        for (id, entry, waits_for) in self.entries.unfinished_of(phase) {
            let Some(timeout) = entry.timeout else {
                return planned;
            };
            // Those before it have a smaller number. One that is over, or was removed, is not among them.
            let before = waits_for.iter().filter_map(|id| ends.get(id));
            let starts = before.max().copied().unwrap_or_default();
            ends.insert(id, starts.saturating_add(timeout));
        }
        let last = ends.into_values().max().unwrap_or_default();
        last.min(planned)
    }

    fn find(&self, phase: Phase, name: &str, after: String) -> Result<HookId, HookError> {
        let name = || name.to_owned();
        match self.entries.find(&after) {
            None => Err(HookError::UnknownAfter {
                name: name(),
                after,
            }),
            Some((_, other)) if other.phase != phase => Err(HookError::AfterOtherPhase {
                name: name(),
                after,
                phase: other.phase,
            }),
            Some((id, _)) => Ok(id),
        }
    }

    /// Whether hooks of `phase`, or of one before it, are not over yet.
    pub(super) fn unfinished(&self, phase: Phase) -> bool {
        self.entries.has_unfinished(phase)
    }

    /// The hooks whose turn has come, in the order in which they were registered, and where to run each. From now on they are
    /// due: their work stays here until they [`begin`](Book::begin).
    pub(crate) fn due(&mut self, phase: Phase) -> Vec<(HookId, Place)> {
        let ready = self.entries.ready(phase).into_iter();
        ready
            .filter_map(|id| {
                let place = self.entries.update(id, |entry| {
                    entry.state = State::Due;
                    entry.work.as_ref().map(Work::place)
                })?;
                Some((id, place?))
            })
            .collect()
    }

    fn begin(&mut self, id: HookId) -> Option<Begun> {
        let begin = |entry: &mut Entry| {
            let work = entry.work.take()?;
            let since = Instant::now();
            let alive = Arc::new(());
            let first_turn = matches!(work.place(), Place::Task);
            entry.state = State::Running { since, first_turn };
            entry.alive = Arc::downgrade(&alive);
            Some(Begun {
                name: Arc::clone(&entry.name),
                work,
                timeout: entry.timeout,
                alive,
            })
        };
        self.entries.update(id, begin)?
    }

    /// A hook has been polled for the first time, and is not over.
    pub(super) fn had_its_turn(&mut self, id: HookId) {
        self.entries.update(id, |entry| {
            if let State::Running { first_turn, .. } = &mut entry.state {
                *first_turn = false;
            }
        });
    }

    /// Whether hooks of `phase`, or of one before it, are due and have not had their first turn.
    pub(super) fn awaits_a_turn(&self, phase: Phase) -> bool {
        self.entries.awaits_a_turn(phase)
    }

    /// Takes no more hooks for `phase`.
    pub(super) const fn close(&mut self, phase: Phase) {
        self.over = phase.index() + 1;
    }

    /// Ends every hook up to `phase` that is not over, and takes no more for it: in one step, or a hook that came in between
    /// would be ended by nobody.
    pub(crate) fn expire(&mut self, phase: Phase) -> Vec<(HookId, Farewell)> {
        self.close(phase);
        let unfinished = self.entries.unfinished(phase).into_iter();
        unfinished
            .filter_map(|id| Some((id, self.end(id, Outcome::Overran)?)))
            .collect()
    }

    /// Notes how a hook ended; what has not begun was not started. What came first stays: an overrun hook that still returns
    /// changes nothing.
    pub(super) fn end(&mut self, id: HookId, outcome: Outcome) -> Option<Farewell> {
        let end = |entry: &mut Entry| {
            let (since, outcome) = match entry.state {
                State::Over(_) => return None,
                State::Running { since, .. } => (Some(since), outcome),
                State::Waiting | State::Due => (None, Outcome::NotStarted),
            };
            let ended = Ended {
                since,
                took: since.map_or(Duration::ZERO, |since| since.elapsed()),
                outcome,
            };
            entry.state = State::Over(ended.clone());
            Some(Farewell {
                name: Arc::clone(&entry.name),
                phase: entry.phase,
                ended,
                work: entry.work.take(),
            })
        };
        self.entries.update(id, end)?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLANNED: Duration = Duration::from_secs(10);

    const fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn idle() -> Work {
        Work::blocking(|| Ok(()))
    }

    /// A hook for each.
    fn hooks(all: impl IntoIterator<Item = (&'static str, When)>) -> Hooks {
        let hooks = Hooks::default();
        for (name, when) in all {
            hooks.register(when, name.to_owned(), idle()).unwrap();
        }
        hooks
    }

    #[test]
    fn phase_without_hooks_is_asked_for_no_time() {
        let hooks = hooks([("pool", Phase::Release.into())]);

        assert_eq!(hooks.asked(Phase::Exit, PLANNED), Duration::ZERO);
        assert_eq!(hooks.asked(Phase::Release, PLANNED), PLANNED);
    }

    #[test]
    fn hook_without_a_timeout_asks_for_the_whole_phase() {
        let hooks = hooks([
            ("pool", Phase::Release.timeout(secs(1))),
            ("cache", Phase::Release.into()),
        ]);

        assert_eq!(hooks.asked(Phase::Release, PLANNED), PLANNED);
        assert!(hooks.remove("cache"));
        assert_eq!(hooks.asked(Phase::Release, PLANNED), secs(1));
    }

    #[test]
    fn hooks_ask_for_their_longest_chain_of_timeouts() {
        let release = |limit| Phase::Release.timeout(secs(limit));
        let hooks = hooks([
            ("a", release(1)),
            ("b", release(4)),
            ("c", release(2).after("a")),
            ("d", release(2).after("c").after("b")),
            ("e", release(3)),
        ]);

        assert_eq!(hooks.asked(Phase::Release, PLANNED), secs(6));
        assert_eq!(hooks.asked(Phase::Release, secs(5)), secs(5));
    }

    #[test]
    fn timeout_without_end_asks_for_the_whole_phase() {
        let long = || Phase::Release.timeout(Duration::MAX);
        let hooks = hooks([("a", long()), ("b", long().after("a"))]);

        assert_eq!(hooks.asked(Phase::Release, PLANNED), PLANNED);
    }

    #[test]
    fn hook_that_is_over_asks_for_nothing() {
        let hooks = hooks([
            ("a", Phase::Release.timeout(secs(1))),
            ("b", Phase::Release.timeout(secs(2)).after("a")),
        ]);
        let [(first, _)] = hooks.book().due(Phase::Release)[..] else {
            panic!("the first is due alone")
        };

        hooks.begin(first).expect("it is due").call();
        hooks.book().end(first, Outcome::Done);

        assert_eq!(hooks.asked(Phase::Release, PLANNED), secs(2));
    }

    #[test]
    fn abandoned_book_drops_what_has_not_begun_and_takes_no_more() {
        let owned = Arc::new(());
        let work = || {
            let owned = Arc::clone(&owned);
            Work::blocking(move || {
                drop(owned);
                Ok(())
            })
        };
        let hooks = Hooks::default();
        let register = |phase: Phase, name: &str| {
            let registered = hooks.register(phase.into(), name.to_owned(), work());
            registered.map_err(|error| error.to_string())
        };
        register(Phase::Close, "begun").unwrap();
        let [(begun, _)] = hooks.book().due(Phase::Close)[..] else {
            panic!("it is due")
        };
        let running = hooks.begin(begun).expect("it is due");
        register(Phase::Close, "due").unwrap();
        let [(due, _)] = hooks.book().due(Phase::Close)[..] else {
            panic!("it is due")
        };
        register(Phase::Release, "waiting").unwrap();

        drop(hooks.abandon());

        // The test's own, and that of the hook that has begun.
        assert_eq!(Arc::strong_count(&owned), 2);
        assert!(hooks.begin(due).is_none());
        assert!(hooks.book().end(begun, running.call()).is_some());
        assert_eq!(
            register(Phase::Exit, "late"),
            Err("hook `late` would never run: its coordinator was dropped".to_owned())
        );
        assert_eq!(Arc::strong_count(&owned), 1);
    }

    #[test]
    fn abandoned_book_may_be_used_by_what_it_drops() {
        struct LastWill(Arc<Hooks>);
        impl Drop for LastWill {
            fn drop(&mut self) {
                let refused = self.0.register(Phase::Exit.into(), String::new(), idle());
                assert!(matches!(refused, Err(HookError::NoCoordinator { .. })));
                panic!("dropped");
            }
        }
        let hooks = Arc::new(Hooks::default());
        let will = LastWill(Arc::clone(&hooks));
        let work = Work::blocking(move || {
            drop(will);
            Ok(())
        });
        hooks
            .register(Phase::Close.into(), "will".to_owned(), work)
            .unwrap();

        drop(hooks.abandon());

        assert_eq!(Arc::strong_count(&hooks), 1);
    }
}
