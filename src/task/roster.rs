//! The roster: who is at work under a name, background tasks and named guards.
//!
//! It knows names, ages and ends. Whether the shutdown waits for them is the gauge's business.

use std::sync::{Arc, PoisonError};

use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::in_flight::{Generation, GuardName, Ticket, WeakList};
use crate::report::{Kind, LeftBehind, Outcome, TaskReport};
use crate::sync::{Mutex, MutexGuard};

#[derive(Default)]
pub(crate) struct Roster(Mutex<Names>);

#[derive(Default)]
struct Names {
    tasks: Vec<Task>,
    guards: WeakList<GuardName>,
}

struct Task {
    name: String,
    since: Instant,
    generation: Generation,
    abort: Option<AbortHandle>,
    /// There as soon as it is over.
    outcome: Option<Outcome>,
}

/// Why there is no task of that name.
pub(crate) enum Refused {
    TooLate,
    Duplicate,
}

impl Roster {
    /// Enters a task, with the ticket that it takes. That is taken under the lock: so the cut, which comes when no ticket is
    /// given any more, finds every task that has one.
    pub(crate) fn add_task(
        &self,
        name: &str,
        take: impl FnOnce() -> Option<(Ticket, Generation)>,
    ) -> Result<Ticket, Refused> {
        let mut names = self.names();
        let (ticket, generation) = take().ok_or(Refused::TooLate)?;
        if names.tasks.iter().any(|task| task.name == name) {
            return Err(Refused::Duplicate);
        }
        names.tasks.push(Task {
            name: name.to_owned(),
            since: Instant::now(),
            generation,
            abort: None,
            outcome: None,
        });
        Ok(ticket)
    }

    pub(crate) fn abandon(&self) {}

    pub(crate) fn task_spawned(&self, name: &str, abort: AbortHandle) {
        if let Some(task) = self.names().task(name) {
            // Cut before it was spawned.
            if task.outcome == Some(Outcome::Overran) {
                abort.abort();
            }
            task.abort = Some(abort);
        }
    }

    /// Notes how a task ended. What came first stays.
    pub(crate) fn task_ended(&self, name: &str, outcome: Outcome) {
        if let Some(task) = self.names().task(name) {
            task.outcome.get_or_insert(outcome);
        }
    }

    pub(crate) fn add_guard(&self, guard: &Arc<GuardName>) {
        self.names().guards.add(guard);
    }

    /// Who is still at work: those that began in the generation `latest` or before it. `long`: also those for whom Drain does
    /// not wait.
    pub(crate) fn left_behind(&self, latest: Generation, long: bool, left: &mut Vec<LeftBehind>) {
        let names = self.names();
        let tasks = names
            .unfinished()
            .filter(|task| task.generation <= latest)
            .map(|task| (Kind::Task, &task.name, task.since));
        let guards = names.guards.all();
        let guards = guards
            .iter()
            .filter(|guard| guard.generation <= latest && (long || !guard.long))
            .map(|guard| (Kind::Guard, &guard.name, guard.since));
        left.extend(tasks.chain(guards).map(|(kind, name, since)| LeftBehind {
            kind,
            name: format!("`{name}`"),
            age: since.elapsed(),
        }));
    }

    /// Aborts every task that is not over.
    pub(crate) fn cut(&self) {
        let mut aborts = Vec::new();
        for task in &mut self.names().tasks {
            if task.outcome.is_none() {
                task.outcome = Some(Outcome::Overran);
                aborts.extend(task.abort.clone());
            }
        }
        // Outside the lock: what a task owns may come back here when it is dropped.
        for abort in aborts {
            abort.abort();
        }
    }

    /// How the tasks ended, in the order in which they were started.
    pub(crate) fn reports(&self) -> Vec<TaskReport> {
        let names = self.names();
        let ended = names.tasks.iter().filter_map(|task| {
            Some(TaskReport {
                name: task.name.clone(),
                outcome: task.outcome.clone()?,
            })
        });
        ended.collect()
    }

    /// The tasks that are running now, for a watchdog that must not wait.
    #[cfg(feature = "signal")]
    pub(crate) fn try_running(&self) -> Option<Vec<String>> {
        let names = self.0.try_lock().ok()?;
        let running = names.tasks.iter().filter_map(|task| match task.outcome {
            None => Some(task.name.clone()),
            Some(Outcome::Overran) => {
                let goes_on = task.abort.as_ref().is_some_and(|it| !it.is_finished());
                goes_on.then(|| format!("{} (overran)", task.name))
            }
            Some(_) => None,
        });
        Some(running.collect())
    }

    fn names(&self) -> MutexGuard<'_, Names> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Names {
    fn task(&mut self, name: &str) -> Option<&mut Task> {
        self.tasks.iter_mut().find(|task| task.name == name)
    }

    fn unfinished(&self) -> impl Iterator<Item = &Task> {
        self.tasks.iter().filter(|task| task.outcome.is_none())
    }
}
