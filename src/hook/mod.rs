//! Named hooks: what an application wants done in a phase.
//!
//! Hooks of a phase run together, each in a task of its own, at most once. A hook's panic, error or overrun stays in that
//! hook and goes into the report; so does a panic when what it owns is dropped, or when its error is printed.

mod book;
mod entries;
mod farewell;
mod runner;
mod work;

use std::fmt;
use std::time::Duration;

pub(crate) use book::Hooks;
pub(crate) use farewell::NeverRun;
pub(crate) use runner::Runner;
pub(crate) use work::{Work, WorkFuture};

use crate::phase::Phase;

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

    /// Gives the hook so long at most, counted from when it begins: when its future is polled for the first time, or, for a
    /// [blocking hook](crate::ShutdownHandle::blocking_hook), when its closure is called on its thread. Its phase's deadline
    /// bounds it in any case.
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
#[derive(Clone, PartialEq, Eq)]
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
    /// The coordinator was dropped, so no phase will run.
    #[non_exhaustive]
    NoCoordinator {
        /// The hook that was to be registered.
        name: String,
    },
}

// The sentence, too: it is what a `main` prints that returns the error.
impl fmt::Debug for HookError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
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
            HookError::NoCoordinator { name } => {
                write!(
                    f,
                    "hook `{name}` would never run: its coordinator was dropped"
                )
            }
        }
    }
}

impl std::error::Error for HookError {}
