//! Named hooks: what an application wants done in a phase.
//!
//! Hooks of a phase run together, each in a task of its own, at most once. A hook's panic, error or overrun stays in that
//! hook and goes into the report.

use std::collections::HashMap;
use std::fmt;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, timeout};

use crate::panic::contain;
use crate::phase::Phase;
use crate::report::{HookReport, Outcome};

/// When a hook runs: in a phase, after other hooks of it, for so long at most.
///
/// A [`Phase`] is a `When` without conditions.
///
/// ```
/// # use std::time::Duration;
/// # use lameduck::{Phase, Plan, ShutdownCoordinator};
/// let shutdown = ShutdownCoordinator::new(Plan::immediate());
/// shutdown.hook(Phase::Release, "broker", async || { /* flush */ })?;
/// shutdown.hook(
///     Phase::Release.after("broker").timeout(Duration::from_secs(2)),
///     "database",
///     async || { /* close the pool */ },
/// )?;
/// # Ok::<(), lameduck::HookError>(())
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct When {
    phase: Phase,
    after: Vec<String>,
    timeout: Option<Duration>,
}

impl When {
    /// Starts the hook when the hook `name` is over, however that one ended.
    ///
    /// `name` must be a hook of the same phase that is registered already, so a circle cannot be written.
    pub fn after(mut self, name: impl Into<String>) -> Self {
        self.after.push(name.into());
        self
    }

    /// Gives the hook so long at most, counted from its start. Its phase's deadline bounds it in any case.
    pub const fn timeout(mut self, limit: Duration) -> Self {
        self.timeout = Some(limit);
        self
    }
}

impl From<Phase> for When {
    fn from(phase: Phase) -> Self {
        When {
            phase,
            after: Vec::new(),
            timeout: None,
        }
    }
}

impl Phase {
    /// In this phase, when the hook `name` is over. See [`When::after`].
    pub fn after(self, name: impl Into<String>) -> When {
        When::from(self).after(name)
    }

    /// In this phase, for so long at most. See [`When::timeout`].
    pub fn timeout(self, limit: Duration) -> When {
        When::from(self).timeout(limit)
    }
}

/// Why a hook was not registered.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HookError {
    /// Another hook of this coordinator has the name.
    #[non_exhaustive]
    Duplicate {
        /// The name.
        name: String,
    },
    /// It should come after a hook that is not registered.
    #[non_exhaustive]
    UnknownAfter {
        /// The hook that was to be registered.
        name: String,
        /// The hook that it should come after.
        after: String,
    },
    /// It should come after a hook of another phase.
    #[non_exhaustive]
    AfterOtherPhase {
        /// The hook that was to be registered.
        name: String,
        /// The hook that it should come after.
        after: String,
        /// That hook's phase.
        phase: Phase,
    },
    /// Its phase is over already, so it would never run.
    #[non_exhaustive]
    PhaseOver {
        /// The hook that was to be registered.
        name: String,
        /// Its phase.
        phase: Phase,
    },
}

impl fmt::Display for HookError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HookError::Duplicate { name } => {
                write!(f, "there is a hook named `{name}` already")
            }
            HookError::UnknownAfter { name, after } => write!(
                f,
                "hook `{name}` should come after `{after}`, which is not registered (register `{after}` first)"
            ),
            HookError::AfterOtherPhase { name, after, phase } => write!(
                f,
                "hook `{name}` should come after `{after}`, which runs in another phase ({phase})"
            ),
            HookError::PhaseOver { name, phase } => {
                write!(f, "hook `{name}` is for {phase}, which is over")
            }
        }
    }
}

impl std::error::Error for HookError {}

/// What a hook does.
pub(crate) enum Work {
    Async(Box<dyn FnOnce() -> WorkFuture + Send>),
    Blocking(Box<dyn FnOnce() -> Result<(), String> + Send>),
}

pub(crate) type WorkFuture = Pin<Box<dyn Future<Output = Result<(), String>> + Send>>;

impl Work {
    async fn run(self) -> Outcome {
        let ended = match self {
            Work::Async(build) => contain(build).await,
            Work::Blocking(call) => tokio::task::spawn_blocking(call).await.map_err(|error| {
                error
                    .try_into_panic()
                    .map_or_else(|error| error.to_string(), crate::panic::message)
            }),
        };
        match ended {
            Ok(Ok(())) => Outcome::Done,
            Ok(Err(error)) => Outcome::Failed(error),
            Err(message) => Outcome::Panicked(message),
        }
    }
}

/// The hooks of one coordinator.
#[derive(Default)]
pub(crate) struct Hooks {
    book: Mutex<Book>,
    added: Notify,
}

#[derive(Default)]
struct Book {
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
        self.book().register(when, name, work)?;
        self.added.notify_one();
        Ok(())
    }

    /// The hooks that are running now, for a watchdog that must not wait.
    #[cfg(all(feature = "signal", unix))]
    pub(crate) fn try_running(&self) -> Option<Vec<String>> {
        let book = self.book.try_lock().ok()?;
        Some(
            book.entries
                .iter()
                .filter(|entry| matches!(entry.state, State::Running { .. }))
                .map(|entry| entry.name.clone())
                .collect(),
        )
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

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Book {
    fn register(&mut self, when: When, name: String, work: Work) -> Result<(), HookError> {
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
            state: State::Waiting(work),
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
    fn unfinished(&self, phase: Phase) -> bool {
        self.entries
            .iter()
            .any(|entry| entry.phase <= phase && !matches!(entry.state, State::Over(_)))
    }

    /// Takes the work of every hook whose turn has come, in the order in which they were registered.
    fn due(&mut self, phase: Phase) -> Vec<(usize, Work, Option<Duration>)> {
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
                match std::mem::replace(&mut entry.state, State::Running { since }) {
                    State::Waiting(work) => Some((at, work, entry.timeout)),
                    State::Running { .. } | State::Over(_) => None,
                }
            })
            .collect()
    }

    /// Notes how a hook ended. What came first stays: an overrun hook that still returns changes nothing.
    fn end(&mut self, at: usize, outcome: Outcome) -> Option<Farewell> {
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
struct Farewell {
    name: String,
    phase: Phase,
    ended: Ended,
    _work: State,
}

impl Farewell {
    fn say(self) {
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

/// Runs the hooks of one coordinator, phase by phase. Dropping it aborts those that run.
pub(crate) struct Runner {
    hooks: Arc<Hooks>,
    tasks: JoinSet<(usize, Outcome)>,
    aborts: HashMap<usize, AbortHandle>,
}

impl Runner {
    pub(crate) fn new(hooks: Arc<Hooks>) -> Self {
        Runner {
            hooks,
            tasks: JoinSet::new(),
            aborts: HashMap::new(),
        }
    }

    /// Starts what is due up to `phase`, hooks that are registered meanwhile included, and returns when all of it is over
    /// and `condition` holds.
    pub(crate) async fn finished(&mut self, phase: Phase, condition: impl Future<Output = ()>) {
        let mut condition = pin!(condition);
        let mut holds = false;
        loop {
            self.start(phase);
            if holds && !self.hooks.book().unfinished(phase) {
                return;
            }
            tokio::select! {
                () = &mut condition, if !holds => holds = true,
                Some(ended) = self.tasks.join_next() => self.note(ended.ok()),
                () = self.hooks.added.notified() => {}
            }
        }
    }

    /// Ends a phase's registration. `false` when a hook slipped in that has not run yet: wait for it first.
    pub(crate) fn try_close(&self, phase: Phase) -> bool {
        let mut book = self.hooks.book();
        if book.unfinished(phase) {
            return false;
        }
        book.over = phase.index() + 1;
        true
    }

    /// Ends a phase's registration whatever still runs.
    pub(crate) fn close(&self, phase: Phase) {
        self.hooks.book().over = phase.index() + 1;
    }

    /// Drops the futures of all hooks up to `phase` that are not over.
    pub(crate) fn expire(&mut self, phase: Phase) {
        while let Some(ended) = self.tasks.try_join_next() {
            self.note(ended.ok());
        }
        let mut ended = Vec::new();
        let mut book = self.hooks.book();
        for at in 0..book.entries.len() {
            let entry = &book.entries[at];
            if entry.phase > phase {
                continue;
            }
            let outcome = match entry.state {
                State::Waiting(_) => Outcome::NotStarted,
                State::Running { .. } | State::Over(_) => Outcome::Overran,
            };
            ended.extend(book.end(at, outcome));
            if let Some(abort) = self.aborts.remove(&at) {
                abort.abort();
            }
        }
        drop(book);
        ended.into_iter().for_each(Farewell::say);
    }

    fn start(&mut self, phase: Phase) {
        let due = self.hooks.book().due(phase);
        for (at, work, limit) in due {
            let abort = self.tasks.spawn(async move {
                let outcome = match limit {
                    None => work.run().await,
                    Some(limit) => timeout(limit, work.run()).await.unwrap_or(Outcome::Overran),
                };
                (at, outcome)
            });
            self.aborts.insert(at, abort);
        }
    }

    fn note(&mut self, ended: Option<(usize, Outcome)>) {
        if let Some((at, outcome)) = ended {
            self.aborts.remove(&at);
            let ended = self.hooks.book().end(at, outcome);
            ended.into_iter().for_each(Farewell::say);
        }
    }
}

impl fmt::Debug for Hooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hooks").finish_non_exhaustive()
    }
}
