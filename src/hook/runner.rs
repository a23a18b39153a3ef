//! Running the hooks, phase by phase.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::Arc;

use tokio::task::{AbortHandle, JoinSet};
use tokio::time::timeout;

use super::book::{Farewell, Hooks};
use crate::phase::Phase;
use crate::report::Outcome;

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
                biased;
                () = &mut condition, if !holds => holds = true,
                Some(ended) = self.tasks.join_next() => self.note(ended.ok()),
                () = self.hooks.added.notified() => {}
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

    /// Ends a phase's registration, and drops the futures of all hooks up to it that are not over.
    pub(crate) fn expire(&mut self, phase: Phase) {
        while let Some(ended) = self.tasks.try_join_next() {
            self.note(ended.ok());
        }
        let ended = self.hooks.book().expire(phase);
        for (at, farewell) in ended {
            if let Some(abort) = self.aborts.remove(&at) {
                abort.abort();
            }
            farewell.say();
        }
    }

    fn start(&mut self, phase: Phase) {
        let due = self.hooks.book().due(phase);
        for due in due {
            let run = due.work.run(due.alive);
            let abort = self.tasks.spawn(async move {
                let outcome = match due.timeout {
                    None => run.await,
                    Some(limit) => timeout(limit, run).await.unwrap_or(Outcome::Overran),
                };
                (due.at, outcome)
            });
            self.aborts.insert(due.at, abort);
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
