//! Named background work: told at T0, waited for in Drain.

pub(crate) mod roster;

use std::fmt;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use self::roster::Refused;
use crate::handle::{Reached, ShutdownHandle};
use crate::in_flight::Class;
use crate::panic::{contain, text_of};
use crate::phase::Phase;
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
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return Err(TaskError::NoRuntime { name });
        };
        let take = || self.shared.tracker().take_dated(Class::Work);
        let ticket = match self.shared.roster.add_task(&name, take) {
            Ok(ticket) => ticket,
            Err(Refused::TooLate) => return Err(TaskError::TooLate { name }),
            Err(Refused::Duplicate) => return Err(TaskError::Duplicate { name }),
        };

        let handle = self.clone();
        let cx = TaskContext {
            handle: self.clone(),
            token: self.token(Phase::LameDuck),
        };
        let spawned = runtime.spawn({
            let name = name.clone();
            async move {
                let outcome = match contain(format!("task `{name}`"), || work(cx)).await {
                    Ok(Ok(())) => Outcome::Done,
                    Ok(Err(error)) => Outcome::Failed(text_of(error)),
                    Err(message) => Outcome::Panicked(message),
                };
                handle.task_over(name, outcome);
                drop(ticket);
            }
        });
        self.shared
            .roster
            .task_spawned(&name, spawned.abort_handle());
        Ok(())
    }

    fn task_over(&self, name: String, outcome: Outcome) {
        self.shared.roster.task_ended(&name, outcome.clone());
        match outcome {
            Outcome::Failed(error) | Outcome::Panicked(error) => {
                tracing::error!(target: "lameduck", task = %name, %error, "task failed");
                self.shutdown(Reason::TaskFailed { name, error });
            }
            _ => tracing::debug!(target: "lameduck", task = %name, "task done"),
        }
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
    /// Another task of this coordinator has the name.
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
        }
    }
}

impl std::error::Error for TaskError {}
