//! Named background work: told at T0, waited for in Drain.

pub(crate) mod roster;

use std::fmt;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use self::roster::{Refused, TaskId};
use crate::handle::{Reached, ShutdownHandle};
use crate::in_flight::{Class, Ticket};
use crate::panic::{Kept, contain, text_of};
use crate::phase::Phase;
use crate::plain::{self, LONGEST_TEXT};
use crate::reason::Reason;
use crate::report::Outcome;

impl ShutdownHandle {
    /// Starts a background task that is part of the service: it is told to stop at T0, waited for in Drain, named in the
    /// report when it is late, and aborted when Close is over. A panic in it triggers the shutdown.
    ///
    /// A task that should go on until Drain waits for `cx.handle().reached(Phase::Drain)` instead.
    ///
    /// ```
    /// # use lameduck::{Plan, ShutdownCoordinator};
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() -> Result<(), lameduck::TaskError> {
    /// # let shutdown = ShutdownCoordinator::new(Plan::immediate());
    /// # let handle = shutdown.handle();
    /// # async fn poll_queue() -> u32 { std::future::pending().await }
    /// # async fn commit(_: u32) {}
    /// handle.task("importer", |cx| async move {
    ///     loop {
    ///         tokio::select! {
    ///             message = poll_queue() => commit(message).await,
    ///             () = cx.stop_requested() => break,
    ///         }
    ///     }
    /// })?;
    /// # handle.shutdown("example");
    /// # assert!(shutdown.run().await.is_clean());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// The name is taken until the task is over. Then another task may have it. A task that its runtime drops is over, too,
    /// and has [overrun](Outcome::Overran).
    ///
    /// # Starting again
    ///
    /// A task that fails triggers the shutdown. If its work may fail and be tried again, try it again inside the task: which
    /// errors are worth that, and how long to wait in between, only the application knows. Through all attempts it stays one
    /// task, which the shutdown tells, waits for and names once.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use lameduck::{Plan, ShutdownCoordinator, TaskContext};
    /// # use std::sync::atomic::{AtomicUsize, Ordering};
    /// # static ATTEMPTS: AtomicUsize = AtomicUsize::new(0);
    /// # async fn import(cx: &TaskContext) -> Result<(), &'static str> {
    /// #     if ATTEMPTS.fetch_add(1, Ordering::Relaxed) < 2 { return Err("no connection"); }
    /// #     cx.handle().shutdown("example");
    /// #     Ok(cx.stop_requested().await)
    /// # }
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() -> Result<(), lameduck::TaskError> {
    /// # let shutdown = ShutdownCoordinator::new(Plan::immediate());
    /// # let handle = shutdown.handle();
    /// handle.task("importer", |cx| async move {
    ///     while let Err(error) = import(&cx).await {
    ///         tracing::warn!(%error, "the importer failed, and starts again in 1 s");
    ///         tokio::select! {
    ///             () = tokio::time::sleep(Duration::from_secs(1)) => {}
    ///             () = cx.stop_requested() => break,
    ///         }
    ///     }
    /// })?;
    /// # assert!(shutdown.run().await.is_clean());
    /// # assert_eq!(ATTEMPTS.load(Ordering::Relaxed), 3);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// To survive a panic as well, spawn each attempt on a [`JoinSet`](tokio::task::JoinSet) inside the task, and look at the
    /// [`JoinError`](tokio::task::JoinError). The set aborts the attempt when the task is aborted.
    ///
    /// # Errors
    ///
    /// A name that is taken, no runtime to spawn on, or a shutdown that has reached Release: see [`TaskError`].
    pub fn task<F, Fut>(&self, name: impl Into<String>, work: F) -> Result<(), TaskError>
    where
        F: FnOnce(TaskContext) -> Fut + Send + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        self.try_task(name, |cx| async {
            work(cx).await;
            Ok::<(), String>(())
        })
    }

    /// Like [`task`](ShutdownHandle::task), for work that can fail. An error triggers the shutdown, too.
    ///
    /// # Errors
    ///
    /// See [`task`](ShutdownHandle::task).
    pub fn try_task<F, Fut, E>(&self, name: impl Into<String>, work: F) -> Result<(), TaskError>
    where
        F: FnOnce(TaskContext) -> Fut + Send + 'static,
        Fut: Future<Output = Result<(), E>> + Send + 'static,
        E: fmt::Display,
    {
        let name = name.into();
        // Whoever is refused gets an error, also when what it captured panics as it is dropped.
        let work = Kept::new(work);
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return Err(TaskError::NoRuntime { name });
        };
        let take = || self.shared.tracker().take_dated(Class::Work);
        let (id, ticket) = match self.shared.roster.add_task(&name, take) {
            Ok(added) => added,
            Err(Refused::NoCoordinator) => return Err(TaskError::NoCoordinator { name }),
            // A name that is taken is of no account any more when it is too late.
            Err(Refused::Duplicate) if self.phase() < Some(Phase::Release) => {
                return Err(TaskError::Duplicate { name });
            }
            Err(Refused::TooLate | Refused::Duplicate) => return Err(TaskError::TooLate { name }),
        };

        let cx = TaskContext {
            handle: self.clone(),
            token: self.token(Phase::LameDuck),
        };
        let owner = format!("task `{name}`");
        let running = Running {
            handle: self.clone(),
            id,
            _ticket: ticket,
        };
        let spawned = runtime.spawn(async move {
            let outcome = match contain(owner, || work.take()(cx)).await {
                Ok(Ok(())) => Outcome::Done,
                Ok(Err(error)) => Outcome::Failed(text_of(error)),
                Err(message) => Outcome::Panicked(message),
            };
            running.end(name, outcome);
        });
        self.shared.roster.task_spawned(id, spawned.abort_handle());
        Ok(())
    }
}

/// A task that is not over. The runtime may drop it, also before it has run.
struct Running {
    handle: ShutdownHandle,
    id: TaskId,
    /// Put back when its end is in the roster.
    _ticket: Ticket,
}

impl Running {
    fn end(self, name: String, outcome: Outcome) {
        self.note(outcome.clone());
        match outcome {
            Outcome::Failed(error) | Outcome::Panicked(error) => {
                let line = plain::line(format_args!("{error}"), LONGEST_TEXT);
                tracing::error!(target: "lameduck", task = %name, error = %line, "task failed");
                self.handle.shutdown(Reason::TaskFailed { name, error });
            }
            _ => tracing::debug!(target: "lameduck", task = %name, "task done"),
        }
    }

    fn note(&self, outcome: Outcome) {
        // What is done in normal service is no part of the shutdown.
        let listed = self.handle.is_shutting_down();
        let roster = &self.handle.shared.roster;
        roster.task_ended(self.id, outcome, listed);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Does nothing after its end.
        self.note(Outcome::Overran);
    }
}

/// What a background task is given: it asks here whether it should stop.
#[derive(Debug)]
pub struct TaskContext {
    handle: ShutdownHandle,
    token: CancellationToken,
}

impl TaskContext {
    /// Waits until the task should stop taking new work: T0.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub fn stop_requested(&self) -> Reached {
        self.handle.reached(Phase::LameDuck)
    }

    /// Whether the task should stop taking new work.
    #[must_use]
    pub fn is_stop_requested(&self) -> bool {
        self.handle.is_shutting_down()
    }

    /// A token that is cancelled when the task should stop taking new work.
    #[must_use]
    pub fn token(&self) -> &CancellationToken {
        &self.token
    }

    /// How long the task may still take before it is aborted; `None` in normal service.
    #[must_use]
    pub fn remaining(&self) -> Option<Duration> {
        self.handle.remaining()
    }

    /// The shutdown's handle: to take guards, register hooks, ask for the reason.
    #[must_use]
    pub fn handle(&self) -> &ShutdownHandle {
        &self.handle
    }
}

/// Why a background task was not started.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum TaskError {
    /// Another task of this coordinator has the name, and is not over.
    #[non_exhaustive]
    Duplicate {
        /// The name.
        name: String,
    },
    /// It was started from a thread that is in no tokio runtime.
    #[non_exhaustive]
    NoRuntime {
        /// The task's name.
        name: String,
    },
    /// The shutdown has reached Release: what the task needs is being closed.
    #[non_exhaustive]
    TooLate {
        /// The task's name.
        name: String,
    },
    /// The coordinator was dropped, so nothing would tell the task to stop.
    #[non_exhaustive]
    NoCoordinator {
        /// The task's name.
        name: String,
    },
}

// The sentence, too: it is what a `main` prints that returns the error.
impl fmt::Debug for TaskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for TaskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TaskError::Duplicate { name } => write!(f, "there is a task named `{name}` already"),
            TaskError::NoRuntime { name } => {
                write!(f, "task `{name}` was started outside a tokio runtime")
            }
            TaskError::TooLate { name } => {
                write!(f, "task `{name}` comes too late: Release has begun")
            }
            TaskError::NoCoordinator { name } => {
                write!(
                    f,
                    "task `{name}` would never be told to stop: its coordinator was dropped"
                )
            }
        }
    }
}

impl std::error::Error for TaskError {}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;
    use crate::plan::Plan;
    use crate::run::ShutdownCoordinator;

    #[tokio::test]
    async fn abandoned_roster_takes_no_task_and_keeps_those_at_work() {
        let shutdown = ShutdownCoordinator::new(Plan::immediate());
        let handle = shutdown.handle();
        handle.task("at work", |_| pending()).unwrap();

        handle.shared.roster.abandon();
        let refused = handle.task("late", async |_| {}).unwrap_err();

        assert!(matches!(refused, TaskError::NoCoordinator { .. }));
        assert_eq!(
            refused.to_string(),
            "task `late` would never be told to stop: its coordinator was dropped"
        );
        assert_eq!(handle.in_flight(), 1);
    }
}
