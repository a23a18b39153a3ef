//! What is said and dropped for a hook that is over or never runs, once the book's lock is free: what a hook owns may come back
//! to the book when it is dropped.

use std::sync::{Arc, Mutex, PoisonError};

use super::entries::Ended;
use super::work::Work;
use crate::phase::Phase;
use crate::plain::{self, LONGEST_TEXT};
use crate::report::Outcome;

/// A hook that has just ended.
pub(crate) struct Farewell {
    pub(super) name: Arc<str>,
    pub(super) phase: Phase,
    pub(super) ended: Ended,
    /// That of a hook that never began.
    pub(super) work: Option<Work>,
}

impl Farewell {
    #[cfg(all(test, lameduck_loom))]
    pub(crate) const fn never_began(&self) -> bool {
        self.work.is_some()
    }

    pub(super) fn say(self) {
        let Farewell {
            name,
            phase,
            ended,
            work,
        } = self;
        let took_ms = ended.took.as_millis() as u64;
        match ended.outcome {
            Outcome::Done => {
                tracing::debug!(target: "lameduck", hook = %name, %phase, took_ms, "hook done");
            }
            outcome => {
                let outcome = plain::line(format_args!("{outcome}"), LONGEST_TEXT);
                tracing::warn!(target: "lameduck", hook = %name, %phase, took_ms, "hook {outcome}");
            }
        }
        if let Some(work) = work {
            work.discard(&name);
        }
    }
}

/// The hooks of a coordinator that is gone. In a lock, because the coordinator is `Sync`, and they are not.
#[must_use]
#[derive(Default)]
pub(crate) struct NeverRun(Mutex<Vec<(Arc<str>, Work)>>);

impl NeverRun {
    pub(super) fn new(works: Vec<(Arc<str>, Work)>) -> Self {
        NeverRun(Mutex::new(works))
    }
}

impl Drop for NeverRun {
    fn drop(&mut self) {
        let never_run = self.0.get_mut().unwrap_or_else(PoisonError::into_inner);
        for (name, work) in never_run.drain(..) {
            work.discard(&name);
        }
    }
}
