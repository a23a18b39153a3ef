//! Running the hooks, phase by phase.

use std::collections::HashMap;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tokio::task::{self, AbortHandle, JoinError, JoinSet, spawn_blocking, yield_now};
use tokio::time::timeout;

use super::book::Hooks;
use super::entries::HookId;
use super::farewell::Farewell;
use super::work::Place;
use crate::phase::Phase;
use crate::report::Outcome;

/// How long hooks whose time is up are given to begin, in real time: the workers of a runtime that sleeps have to wake.
const TURN: Duration = Duration::from_millis(5);

/// A hook's task, and how it ended; without an outcome if the hook never began.
type Ended = (task::Id, Option<Outcome>);

/// Runs the hooks of one coordinator, phase by phase. Dropping it aborts those that run.
pub(crate) struct Runner {
    hooks: Arc<Hooks>,
    tasks: JoinSet<Option<Outcome>>,
    /// Whose each task is.
    owners: HashMap<task::Id, HookId>,
    aborts: HashMap<HookId, AbortHandle>,
}

impl Runner {
    pub(crate) fn new(hooks: Arc<Hooks>) -> Self {
        Runner {
            hooks,
            tasks: JoinSet::new(),
            owners: HashMap::new(),
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
                biased;
                () = &mut condition, if !holds => holds = true,
                Some(ended) = self.tasks.join_next_with_id() => {
                    self.note(ended);
                    // Many end together: one look for all of them.
                    self.note_ended();
                }
                () = self.hooks.changed.notified() => {}
            }
        }
    }

    /// Ends a phase's registration. `false` when a hook slipped in that has not run yet: wait for it first.
    pub(crate) fn try_close(&self, phase: Phase) -> bool {
        let mut book = self.hooks.book();
        let free = !book.unfinished(phase);
        if free {
            book.close(phase);
        }
        free
    }

    /// Ends a phase's registration. What still runs goes on.
    pub(crate) fn close(&self, phase: Phase) {
        self.hooks.book().close(phase);
    }

    /// Gives what is due its first turn, though its time is up: a phase without time starts its hooks all the same. What is done
    /// in that turn is not late. A worker that is busy, or a thread that is not free, is waited for no longer than [`TURN`].
    pub(crate) async fn give_a_turn(&mut self, phase: Phase) {
        let since = Instant::now();
        while self.note_ended().book().awaits_a_turn(phase) && since.elapsed() < TURN {
            yield_now().await;
        }
    }

    /// Notes every hook that has ended by now.
    fn note_ended(&mut self) -> &Hooks {
        while let Some(ended) = self.tasks.try_join_next_with_id() {
            self.note(ended);
        }
        &self.hooks
    }

    /// Ends a phase's registration, and drops the futures of all hooks up to it that are not over. A hook that has not begun
    /// never does.
    pub(crate) fn expire(&mut self, phase: Phase) {
        let ended = self.note_ended().book().expire(phase);
        for (id, farewell) in ended {
            if let Some(abort) = self.aborts.remove(&id) {
                abort.abort();
            }
            farewell.say();
        }
    }

    fn start(&mut self, phase: Phase) {
        let due = self.hooks.book().due(phase);
        for (id, place) in due {
            let hooks = Arc::clone(&self.hooks);
            let abort = self.tasks.spawn(async move {
                match place {
                    Place::Task => in_its_task(&hooks, id).await,
                    Place::Thread => on_a_thread(hooks, id).await,
                }
            });
            self.owners.insert(abort.id(), id);
            self.aborts.insert(id, abort);
        }
    }

    fn note(&mut self, ended: Result<Ended, JoinError>) {
        // A task without an outcome was cancelled with its runtime, or aborted at its phase's end and noted there.
        let (task, outcome) = ended.unwrap_or_else(|error| (error.id(), None));
        let Some(id) = self.owners.remove(&task) else {
            return;
        };
        self.aborts.remove(&id);
        let outcome = outcome.unwrap_or(Outcome::Overran);
        let farewell = self.hooks.book().end(id, outcome);
        farewell.into_iter().for_each(Farewell::say);
    }
}

async fn in_its_task(hooks: &Hooks, id: HookId) -> Option<Outcome> {
    // The first poll: whoever ends the phase before it finds the work in the book.
    let begun = hooks.begin(id)?;
    let mut run = pin!(begun.run());
    let mut first = true;
    let outcome = poll_fn(|cx| {
        let polled = run.as_mut().poll(cx);
        if std::mem::take(&mut first) && polled.is_pending() {
            hooks.book().had_its_turn(id);
        }
        polled
    });
    Some(outcome.await)
}

async fn on_a_thread(hooks: Arc<Hooks>, id: HookId) -> Option<Outcome> {
    let (begins, began) = oneshot::channel();
    let thread = spawn_blocking(move || {
        // Not before it has a thread: it may have waited for one for longer than its phase lasts.
        let begun = hooks.begin(id)?;
        let _ = begins.send(begun.timeout);
        Some(begun.call())
    });
    // An error when it never begins.
    let returned = match began.await.ok()? {
        None => thread.await,
        Some(limit) => match timeout(limit, thread).await {
            Ok(returned) => returned,
            Err(_) => return Some(Outcome::Overran),
        },
    };
    returned.ok()?
}
