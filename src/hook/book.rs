//! The book of hooks: who is registered, who is due, who is over.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::work::Work;
use super::{HookError, When};
use crate::phase::Phase;
use crate::report::{HookReport, Outcome};
use crate::sync::{Mutex, MutexGuard};

/// The hooks of one coordinator.
#[derive(Default)]
pub(crate) struct Hooks {
    book: Mutex<Book>,
    /// A hook has been registered.
    pub(super) added: Notify,
}

#[derive(Default)]
pub(super) struct Book {
    entries: Vec<Entry>,
    /// How many phases, counted from the first, take no hooks any more.
    over: usize,
}

struct Entry {
    name: String,
    phase: Phase,
    after: Vec<usize>,
    timeout: Option<Duration>,
    state: State,
    /// There while its work is: also when it has overrun and goes on.
    alive: Weak<()>,
}

/// A hook whose turn has come.
pub(super) struct Due {
    pub(super) at: usize,
    pub(super) work: Work,
    pub(super) timeout: Option<Duration>,
    pub(super) alive: Arc<()>,
}

enum State {
    Waiting(Work),
    Running { since: Instant },
    Over(Ended),
}

#[derive(Clone)]
struct Ended {
    since: Option<Instant>,
    took: Duration,
    outcome: Outcome,
}

impl Hooks {
    pub(crate) fn register(&self, when: When, name: String, work: Work) -> Result<(), HookError> {
        let mut work = Some(work);
        let registered = self.book().register(when, name, &mut work);
        // The lock is free again: what a refused hook owns may come back here when it is dropped.
        drop(work);
        registered?;
        self.added.notify_one();
        Ok(())
    }

    /// The hooks that are running now, for a watchdog that must not wait.
    #[cfg(feature = "signal")]
    pub(crate) fn try_running(&self) -> Option<Vec<String>> {
        let book = self.book.try_lock().ok()?;
        let running = book.entries.iter().filter_map(|entry| match &entry.state {
            State::Running { .. } => Some(entry.name.clone()),
            State::Over(ended) if ended.outcome == Outcome::Overran => {
                let goes_on = entry.alive.strong_count() > 0;
                goes_on.then(|| format!("{} (overran)", entry.name))
            }
            State::Waiting(_) | State::Over(_) => None,
        });
        Some(running.collect())
    }

    /// What became of a phase's hooks, in the order in which they were registered.
    pub(crate) fn reports(&self, phase: Phase, t0: Instant) -> Vec<HookReport> {
        self.book()
            .entries
            .iter()
            .filter(|entry| entry.phase == phase)
            .filter_map(|entry| match &entry.state {
                State::Over(ended) => Some(HookReport {
                    name: entry.name.clone(),
                    started: ended.since.map(|since| since - t0),
                    took: ended.took,
                    outcome: ended.outcome.clone(),
                }),
                State::Waiting(_) | State::Running { .. } => None,
            })
            .collect()
    }

    /// How much of a phase's planned time its hooks ask for: all of it, unless each of them has a time of its own.
    pub(crate) fn asked(&self, phase: Phase, planned: Duration) -> Duration {
        let book = self.book();
        let mut ends = HashMap::new();
        for (at, entry) in book.entries.iter().enumerate() {
            if entry.phase != phase {
                continue;
            }
            let Some(timeout) = entry.timeout else {
                return planned;
            };
            // Whoever comes after another was registered after it.
            let after = entry.after.iter().map(|at| ends[at]).max();
            ends.insert(at, timeout.saturating_add(after.unwrap_or_default()));
        }
        ends.into_values().max().unwrap_or_default().min(planned)
    }

    pub(crate) fn abandon(&self) {
        let emptied = std::mem::take(&mut *self.book());
        drop(emptied);
    }

    pub(super) fn book(&self) -> MutexGuard<'_, Book> {
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
        if phase.index() < self.over {
            return Err(HookError::PhaseOver { name, phase });
        }
        if self.entries.iter().any(|entry| entry.name == name) {
            return Err(HookError::Duplicate { name });
        }
        let after = after
            .into_iter()
            .map(|after| self.find(phase, &name, after))
            .collect::<Result<_, _>>()?;
        self.entries.push(Entry {
            name,
            phase,
            after,
            timeout,
            state: State::Waiting(work.take().expect("a hook is registered once")),
            alive: Weak::new(),
        });
        Ok(())
    }

    fn find(&self, phase: Phase, name: &str, after: String) -> Result<usize, HookError> {
        let name = || name.to_owned();
        match self.entries.iter().position(|entry| entry.name == after) {
            None => Err(HookError::UnknownAfter {
                name: name(),
                after,
            }),
            Some(at) if self.entries[at].phase != phase => Err(HookError::AfterOtherPhase {
                name: name(),
                after,
                phase: self.entries[at].phase,
            }),
            Some(at) => Ok(at),
        }
    }

    /// Whether hooks of `phase`, or of one before it, are not over yet.
    pub(super) fn unfinished(&self, phase: Phase) -> bool {
        self.entries
            .iter()
            .any(|entry| entry.phase <= phase && !matches!(entry.state, State::Over(_)))
    }

    /// Takes the work of every hook whose turn has come, in the order in which they were registered.
    pub(super) fn due(&mut self, phase: Phase) -> Vec<Due> {
        let turn = |entry: &Entry| {
            entry.phase <= phase
                && matches!(entry.state, State::Waiting(_))
                && entry
                    .after
                    .iter()
                    .all(|&at| matches!(self.entries[at].state, State::Over(_)))
        };
        let due: Vec<usize> = (0..self.entries.len())
            .filter(|&at| turn(&self.entries[at]))
            .collect();
        due.into_iter()
            .filter_map(|at| {
                let entry = &mut self.entries[at];
                let since = Instant::now();
                let state = std::mem::replace(&mut entry.state, State::Running { since });
                let State::Waiting(work) = state else {
                    return None;
                };
                let alive = Arc::new(());
                entry.alive = Arc::downgrade(&alive);
                Some(Due {
                    at,
                    work,
                    timeout: entry.timeout,
                    alive,
                })
            })
            .collect()
    }

    /// Takes no more hooks for `phase`.
    pub(super) const fn close(&mut self, phase: Phase) {
        self.over = phase.index() + 1;
    }

    /// Ends every hook up to `phase` that is not over, and takes no more for it: in one step, or a hook that came in between
    /// would be ended by nobody.
    pub(super) fn expire(&mut self, phase: Phase) -> Vec<(usize, Farewell)> {
        self.close(phase);
        let mut ended = Vec::new();
        for at in 0..self.entries.len() {
            let entry = &self.entries[at];
            if entry.phase > phase {
                continue;
            }
            let outcome = match entry.state {
                State::Waiting(_) => Outcome::NotStarted,
                State::Running { .. } | State::Over(_) => Outcome::Overran,
            };
            if let Some(farewell) = self.end(at, outcome) {
                ended.push((at, farewell));
            }
        }
        ended
    }

    /// Notes how a hook ended. What came first stays: an overrun hook that still returns changes nothing.
    pub(super) fn end(&mut self, at: usize, outcome: Outcome) -> Option<Farewell> {
        let entry = &mut self.entries[at];
        let since = match entry.state {
            State::Over(_) => return None,
            State::Running { since } => Some(since),
            State::Waiting(_) => None,
        };
        let ended = Ended {
            since,
            took: since.map_or(Duration::ZERO, |since| since.elapsed()),
            outcome,
        };
        Some(Farewell {
            name: entry.name.clone(),
            phase: entry.phase,
            ended: ended.clone(),
            _work: std::mem::replace(&mut entry.state, State::Over(ended)),
        })
    }
}

/// A hook that has just ended: what to log, and what to drop, once the lock is free.
pub(super) struct Farewell {
    name: String,
    phase: Phase,
    ended: Ended,
    _work: State,
}

impl Farewell {
    pub(super) fn say(self) {
        let Farewell {
            name, phase, ended, ..
        } = self;
        let took_ms = ended.took.as_millis() as u64;
        match ended.outcome {
            Outcome::Done => {
                tracing::debug!(target: "lameduck", hook = %name, %phase, took_ms, "hook done");
            }
            outcome => {
                tracing::warn!(target: "lameduck", hook = %name, %phase, took_ms, "hook {outcome}");
            }
        }
    }
}
