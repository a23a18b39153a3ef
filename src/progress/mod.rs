//! Where the shutdown is: its trigger, T0, the phase, and the tokens that say so.
//!
//! [`Progress`] is the only writer of all of these. Reading takes no lock: in normal service every question costs one load.

mod trigger;
mod watch;

use std::sync::Arc;

use tokio::sync::watch::{Receiver, Sender};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::in_flight::{FINISHED, Stage, StageWriter};
use crate::phase::Phase;
use crate::report::Report;
use crate::sync::OnceLock;
use crate::sync::atomic::{AtomicBool, Ordering};

use self::trigger::Triggers;

pub(crate) use self::trigger::{Calls, Facts, Trigger};
pub use self::watch::{ProgressWatch, Snapshot};

/// See the [module](self).
pub(crate) struct Progress {
    /// Where each request reads it.
    stage: StageWriter,
    triggers: Triggers,
    phases: [Begun; Phase::EACH.len()],
    close_listeners: CancellationToken,
    close_admin: CancellationToken,
    over: CancellationToken,
    report: OnceLock<Arc<Report>>,
    /// Changed after everything else, whenever the stage moves.
    moved: Sender<Stage>,
    /// The coordinator's `run` has been polled.
    run_called: AtomicBool,
    /// Its phases have begun.
    phases_begun: AtomicBool,
    /// The coordinator is gone: no phase will begin any more.
    abandoned: AtomicBool,
}

/// When a phase began.
#[derive(Default)]
struct Begun {
    at: OnceLock<Instant>,
    token: CancellationToken,
}

impl Progress {
    pub(crate) fn new(stage: StageWriter) -> Self {
        Progress {
            stage,
            triggers: Triggers::default(),
            phases: Default::default(),
            close_listeners: CancellationToken::new(),
            close_admin: CancellationToken::new(),
            over: CancellationToken::new(),
            report: OnceLock::new(),
            moved: Sender::new(0),
            run_called: AtomicBool::new(false),
            phases_begun: AtomicBool::new(false),
            abandoned: AtomicBool::new(false),
        }
    }

    /// Who triggered the shutdown, and who did so later.
    pub(crate) const fn triggers(&self) -> &Triggers {
        &self.triggers
    }

    /// What began the shutdown; `None` in normal service.
    pub(crate) fn trigger(&self) -> Option<&Trigger> {
        self.triggers.first()
    }

    /// The moment of the trigger.
    pub(crate) fn t0(&self) -> Option<Instant> {
        self.triggers.t0()
    }

    /// The instant at which `phase` ends at the latest.
    pub(crate) fn deadline(&self, phase: Phase) -> Option<Instant> {
        let trigger = self.trigger()?;
        Some(self.t0()? + trigger.deadlines[phase.index()])
    }

    /// Whoever asks sees from now on that the shutdown has begun, if nobody has said so before.
    pub(crate) fn begin(&self) {
        self.stage.begin();
    }

    /// Begins a phase. `tell` tells those who cannot wait for a token, before those who can are woken.
    pub(crate) fn enter(&self, phase: Phase, tell: impl FnOnce()) {
        let begun = &self.phases[phase.index()];
        // Before anybody can see that it has begun. LameDuck's is T0, which may have been taken on another clock.
        if phase != Phase::LameDuck {
            let _ = begun.at.set(Instant::now());
        }
        let stage = phase.index() as Stage + 1;
        self.stage.set(stage);
        tell();
        begun.token.cancel();
        self.moved.send_replace(stage);
    }

    /// The last phase is over.
    pub(crate) fn finish(&self, report: Arc<Report>, tell: impl FnOnce()) {
        let _ = self.report.set(report);
        self.stage.set(FINISHED);
        tell();
        self.moved.send_replace(FINISHED);
        self.close_admin.cancel();
        self.over.cancel();
    }

    /// When `phase` began.
    pub(crate) fn begun_at(&self, phase: Phase) -> Option<Instant> {
        match phase {
            Phase::LameDuck => self.t0(),
            _ => self.phases[phase.index()].at.get().copied(),
        }
    }

    /// Cancelled when `phase` begins.
    pub(crate) const fn begun(&self, phase: Phase) -> &CancellationToken {
        &self.phases[phase.index()].token
    }

    /// Cancelled when it is time to empty and close the listeners.
    pub(crate) const fn close_listeners(&self) -> &CancellationToken {
        &self.close_listeners
    }

    /// Cancelled when it is time to close those of admin servers, which stay to the end.
    #[cfg(feature = "net")]
    pub(crate) const fn close_admin(&self) -> &CancellationToken {
        &self.close_admin
    }

    /// Cancelled when the last phase is over: what stays to the end may go.
    pub(crate) const fn over(&self) -> &CancellationToken {
        &self.over
    }

    /// The report, once the last phase is over.
    pub(crate) fn report(&self) -> Option<&Arc<Report>> {
        self.report.get()
    }

    /// Changes when the stage has moved.
    pub(crate) fn moved(&self) -> Receiver<Stage> {
        self.moved.subscribe()
    }

    /// The coordinator waits for the trigger.
    pub(crate) fn run_is_called(&self) {
        self.run_called.store(true, Ordering::Release);
    }

    #[cfg(any(feature = "signal", all(unix, feature = "systemd")))]
    pub(crate) fn is_run_called(&self) -> bool {
        self.run_called.load(Ordering::Acquire)
    }

    /// The coordinator runs the phases.
    pub(crate) fn phases_begin(&self) {
        self.phases_begun.store(true, Ordering::Release);
    }

    #[cfg(feature = "signal")]
    pub(crate) fn have_phases_begun(&self) -> bool {
        self.phases_begun.load(Ordering::Acquire)
    }

    /// The coordinator is gone.
    pub(crate) fn abandon(&self) {
        self.abandoned.store(true, Ordering::Release);
        self.moved.send_modify(|_| {});
    }

    /// Whether the coordinator is gone, so that nobody acts on a trigger.
    pub(crate) fn is_abandoned(&self) -> bool {
        self.abandoned.load(Ordering::Acquire)
    }
}
