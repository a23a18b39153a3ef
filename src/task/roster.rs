//! The roster: who is at work under a name, background tasks and named guards.
//!
//! It knows names, ages and ends. Whether the shutdown waits for them is the gauge's business.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError};

use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::in_flight::{Generation, GuardName, Ticket, WeakList};
use crate::report::{Kind, LeftBehind, Outcome, Report, TaskReport};
use crate::sync::{Mutex, MutexGuard};

#[derive(Default)]
pub(crate) struct Roster(Mutex<Names>);

/// A task's number. They rise in the order in which tasks are started.
pub(crate) type TaskId = u64;

#[derive(Default)]
struct Names {
    /// The tasks that are at work, and those that were cut.
    tasks: BTreeMap<TaskId, Task>,
    taken: BTreeSet<Arc<str>>,
    /// The tasks that are over and that the report lists: [`Report::MOST_TASKS`] at most.
    over: BTreeMap<TaskId, Over>,
    /// How many are over that the report would list if it had room for all, and how many of those did not end as they should.
    over_total: u64,
    over_failed: u64,
    /// How many tasks there have been, which is the number of the next one.
    started: TaskId,
    guards: WeakList<GuardName>,
    /// The coordinator is gone, so nobody would wait for a task.
    abandoned: bool,
}

struct Task {
    name: Arc<str>,
    since: Instant,
    generation: Generation,
    abort: Option<AbortHandle>,
    /// Its time was up: it has been aborted, and stays here to be reported.
    cut: bool,
}

struct Over {
    name: Arc<str>,
    outcome: Outcome,
}

/// What the report says of the tasks.
pub(crate) struct Tasks {
    /// In the order in which they were started: [`Report::MOST_TASKS`] at most.
    pub(crate) listed: Vec<TaskReport>,
    /// How many had no room in `listed`.
    pub(crate) unlisted: u64,
    /// How many did not end as they should, listed or not.
    pub(crate) failed: u64,
    /// How many there have been.
    pub(crate) total: u64,
}

/// Why there is no task of that name.
pub(crate) enum Refused {
    NoCoordinator,
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
    ) -> Result<(TaskId, Ticket), Refused> {
        let mut names = self.names();
        if names.abandoned {
            return Err(Refused::NoCoordinator);
        }
        // Before the ticket is taken: that of a refused task would be counted for a moment.
        if names.taken.contains(name) {
            return Err(Refused::Duplicate);
        }
        let (ticket, generation) = take().ok_or(Refused::TooLate)?;
        let name: Arc<str> = name.into();
        names.taken.insert(Arc::clone(&name));
        let id = names.started;
        names.started += 1;
        let task = Task {
            name,
            since: Instant::now(),
            generation,
            abort: None,
            cut: false,
        };
        names.tasks.insert(id, task);
        Ok((id, ticket))
    }

    /// The coordinator is gone: takes no more tasks. Those at work go on.
    pub(crate) fn abandon(&self) {
        self.names().abandoned = true;
    }

    pub(crate) fn task_spawned(&self, id: TaskId, abort: AbortHandle) {
        let mut names = self.names();
        // Otherwise it is over already.
        if let Some(task) = names.tasks.get_mut(&id) {
            task.abort = Some(abort.clone());
            let cut_before = task.cut;
            drop(names);
            if cut_before {
                abort.abort();
            }
        }
    }

    /// Notes how a task ended, and frees its name. What came first stays: a task that was cut has overrun. `listed`: the
    /// report lists the task even if it is done.
    pub(crate) fn task_ended(&self, id: TaskId, outcome: Outcome, listed: bool) {
        let mut names = self.names();
        if names.tasks.get(&id).is_none_or(|task| task.cut) {
            return;
        }
        let Some(task) = names.tasks.remove(&id) else {
            return;
        };
        names.taken.remove(&task.name);
        if listed || !outcome.is_done() {
            let name = Arc::clone(&task.name);
            names.list(id, Over { name, outcome });
        }
        drop(names);
        // Outside the lock: its handle may be the last that holds the task.
        drop(task);
    }

    pub(crate) fn add_guard(&self, guard: &Arc<GuardName>) {
        self.names().guards.add(guard);
    }

    /// Who is still at work: those that began in the generation `latest` or before it. `long`: also those for whom Drain does
    /// not wait.
    pub(crate) fn left_behind(&self, latest: Generation, long: bool, left: &mut Vec<LeftBehind>) {
        let names = self.names();
        let tasks = names.tasks.values();
        let tasks = tasks
            .filter(|task| !task.cut && task.generation <= latest)
            .map(|task| (Kind::Task, &*task.name, task.since));
        let guards = names.guards.all();
        let guards = guards
            .iter()
            .filter(|guard| guard.generation <= latest && (long || !guard.long))
            .map(|guard| (Kind::Guard, &*guard.name, guard.since));
        left.extend(tasks.chain(guards).map(|(kind, name, since)| LeftBehind {
            kind,
            name: name.to_owned(),
            age: since.elapsed(),
            unmarked_call: false,
        }));
    }

    /// Aborts every task that is not over.
    pub(crate) fn cut(&self) {
        let mut aborts = Vec::new();
        let mut names = self.names();
        for task in names.tasks.values_mut() {
            task.cut = true;
            aborts.extend(task.abort.clone());
        }
        drop(names);
        // Outside the lock: what a task owns may come back here when it is dropped.
        for abort in aborts {
            abort.abort();
        }
    }

    /// How the tasks ended.
    pub(crate) fn report(&self) -> Tasks {
        let names = self.names();
        let over = names.over.iter();
        let over = over.map(|(id, over)| (id, &over.name, &over.outcome));
        let cut = names.tasks.iter().filter(|(_, task)| task.cut);
        let cut: Vec<_> = cut
            .map(|(id, task)| (id, &task.name, &Outcome::Overran))
            .collect();
        let (listable, failed) = (names.over_total, names.over_failed);
        let (listable, failed) = (listable + cut.len() as u64, failed + cut.len() as u64);
        let mut listed: Vec<_> = over.chain(cut).collect();
        listed.sort_by_key(|(id, _, outcome)| (outcome.is_done(), *id));
        listed.truncate(Report::MOST_TASKS);
        listed.sort_by_key(|(id, ..)| *id);
        let report = |(_, name, outcome): (_, &Arc<str>, &Outcome)| TaskReport {
            name: name.to_string(),
            outcome: outcome.clone(),
        };
        Tasks {
            unlisted: listable - listed.len() as u64,
            listed: listed.into_iter().map(report).collect(),
            failed,
            total: names.started,
        }
    }

    /// The tasks that are running now, for a watchdog that must not wait.
    #[cfg(feature = "signal")]
    pub(crate) fn try_running(&self) -> Option<Vec<String>> {
        let names = self.0.try_lock().ok()?;
        let running = names.tasks.values().filter_map(|task| {
            if !task.cut {
                return Some(task.name.to_string());
            }
            let goes_on = task.abort.as_ref().is_some_and(|it| !it.is_finished());
            goes_on.then(|| format!("{} (overran)", task.name))
        });
        Some(running.collect())
    }

    fn names(&self) -> MutexGuard<'_, Names> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Names {
    /// Keeps how a task ended. When there is no room, what did not end as it should takes the place of a task that did.
    fn list(&mut self, id: TaskId, over: Over) {
        self.over_total += 1;
        self.over_failed += u64::from(!over.outcome.is_done());
        if self.over.len() >= Report::MOST_TASKS {
            let mut others = self.over.iter();
            let done = others.find(|(_, other)| other.outcome.is_done());
            let Some((&done, _)) = done.filter(|_| !over.outcome.is_done()) else {
                return;
            };
            self.over.remove(&done);
        }
        self.over.insert(id, over);
    }
}
