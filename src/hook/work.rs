//! What a hook does, and how that ends.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use crate::panic::{Kept, call, contain, drop_contained};
use crate::report::Outcome;

/// What a hook does.
pub(crate) enum Work {
    Async(Kept<Build>),
    Blocking(Kept<Call>),
}

type Build = Box<dyn FnOnce() -> WorkFuture + Send>;
type Call = Box<dyn FnOnce() -> Result<(), String> + Send>;

pub(crate) type WorkFuture = Pin<Box<dyn Future<Output = Result<(), String>> + Send>>;

/// Where a hook runs.
#[derive(Clone, Copy)]
pub(crate) enum Place {
    Task,
    Thread,
}

/// A hook that has begun.
pub(crate) struct Begun {
    pub(super) name: Arc<str>,
    pub(super) work: Work,
    pub(super) timeout: Option<Duration>,
    /// Dropped with the work: by a blocking one when it returns, whether or not it is waited for.
    pub(super) alive: Arc<()>,
}

impl Work {
    pub(crate) fn future(build: impl FnOnce() -> WorkFuture + Send + 'static) -> Self {
        Work::Async(Kept::new(Box::new(build)))
    }

    pub(crate) fn blocking(call: impl FnOnce() -> Result<(), String> + Send + 'static) -> Self {
        Work::Blocking(Kept::new(Box::new(call)))
    }

    pub(super) const fn place(&self) -> Place {
        match self {
            Work::Async(_) => Place::Task,
            Work::Blocking(_) => Place::Thread,
        }
    }

    /// Drops what never ran.
    pub(super) fn discard(self, name: &str) {
        let owner = format!("hook `{name}`, which never ran,");
        match self {
            Work::Async(build) => drop_contained(owner, build.take()),
            Work::Blocking(call) => drop_contained(owner, call.take()),
        }
    }
}

impl Begun {
    /// Runs it in a task.
    pub(super) async fn run(self) -> Outcome {
        let Work::Async(build) = self.work else {
            unreachable!("a hook that blocks has a thread")
        };
        let _alive = self.alive;
        let run = contain(format!("hook `{}`", self.name), build.take());
        match self.timeout {
            None => outcome(run.await),
            Some(limit) => tokio::time::timeout(limit, run)
                .await
                .map_or(Outcome::Overran, outcome),
        }
    }

    /// Runs it on this thread.
    pub(super) fn call(self) -> Outcome {
        let Work::Blocking(work) = self.work else {
            unreachable!("a hook that is async has a task")
        };
        let _alive = self.alive;
        outcome(call(work.take()))
    }
}

fn outcome(ended: Result<Result<(), String>, String>) -> Outcome {
    match ended {
        Ok(Ok(())) => Outcome::Done,
        Ok(Err(error)) => Outcome::Failed(error),
        Err(message) => Outcome::Panicked(message),
    }
}
