//! The sequence: one loop over the phases.

use std::convert::Infallible;
use std::fmt;
use std::fs::OpenOptions;
use std::future::poll_fn;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::drain::{Class, Count, Generation};
use crate::handle::{Shared, ShutdownHandle, Trigger};
use crate::hook::{HookError, Runner, When};
use crate::phase::Phase;
use crate::plan::Plan;
use crate::report::{Kind, PhaseOutcome, PhaseReport, Report, Traffic};
use crate::task::{TaskContext, TaskError};

/// Owns the shutdown of a process: waits for the trigger, then runs the phases.
///
/// ```
/// use lameduck::{Phase, Plan, ShutdownCoordinator};
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let shutdown = ShutdownCoordinator::new(Plan::immediate());
/// let handle = shutdown.handle();
/// shutdown.hook(Phase::Release, "pool", async || { /* pool.close().await */ })?;
///
/// handle.shutdown("end of the example"); // a service calls `lameduck::signal::listen(&handle)` instead
/// let report = shutdown.run().await;
/// assert!(report.is_clean());
/// # Ok(())
/// # }
/// ```
// Not `Clone`: two coordinators would each believe they own the sequence.
pub struct ShutdownCoordinator {
    handle: ShutdownHandle,
    parent: Option<CancellationToken>,
    termination_log: PathBuf,
}

impl ShutdownCoordinator {
    /// A coordinator with this plan. Logs the plan, and where each of its numbers came from.
    #[must_use]
    pub fn new(plan: Plan) -> Self {
        tracing::info!(target: "lameduck", "plan: {}", plan.summary());
        if plan.is_assumed() {
            tracing::warn!(
                target: "lameduck",
                "the grace period is assumed to be {} s: nobody tells a process; \
                 set TERMINATION_GRACE_PERIOD_SECONDS to the pod's terminationGracePeriodSeconds",
                plan.grace_period().as_secs_f64()
            );
        }
        ShutdownCoordinator {
            handle: ShutdownHandle::new(plan),
            parent: None,
            termination_log: PathBuf::from("/dev/termination-log"),
        }
    }

    /// Triggers the shutdown when `parent` is cancelled: for a program that has a token already.
    #[must_use]
    pub fn child_of(mut self, parent: CancellationToken) -> Self {
        self.parent = Some(parent);
        self
    }

    /// Where the report's summary line goes when that file exists and can be written: the container's
    /// `terminationMessagePath`. By default Kubernetes' own default, `/dev/termination-log`. It is never created.
    #[must_use]
    pub fn termination_log(mut self, path: impl Into<PathBuf>) -> Self {
        self.termination_log = path.into();
        self
    }

    /// A handle, for everybody who asks about the shutdown or takes part in it.
    #[must_use]
    pub fn handle(&self) -> ShutdownHandle {
        self.handle.clone()
    }

    /// Registers a hook. See [`ShutdownHandle::hook`].
    ///
    /// # Errors
    ///
    /// See [`HookError`].
    pub fn hook<F, Fut>(
        &self,
        when: impl Into<When>,
        name: impl Into<String>,
        work: F,
    ) -> Result<(), HookError>
    where
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        self.handle.hook(when, name, work)
    }

    /// Registers a hook that can fail. See [`ShutdownHandle::try_hook`].
    ///
    /// # Errors
    ///
    /// See [`HookError`].
    pub fn try_hook<F, Fut, E>(
        &self,
        when: impl Into<When>,
        name: impl Into<String>,
        work: F,
    ) -> Result<(), HookError>
    where
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = Result<(), E>> + Send + 'static,
        E: fmt::Display,
    {
        self.handle.try_hook(when, name, work)
    }

    /// Starts a background task. See [`ShutdownHandle::task`].
    ///
    /// # Errors
    ///
    /// See [`TaskError`].
    pub fn task<F, Fut>(&self, name: impl Into<String>, work: F) -> Result<(), TaskError>
    where
        F: FnOnce(TaskContext) -> Fut + Send + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        self.handle.task(name, work)
    }

    /// Starts a background task that can fail. See [`ShutdownHandle::try_task`].
    ///
    /// # Errors
    ///
    /// See [`TaskError`].
    pub fn try_task<F, Fut, E>(&self, name: impl Into<String>, work: F) -> Result<(), TaskError>
    where
        F: FnOnce(TaskContext) -> Fut + Send + 'static,
        Fut: Future<Output = Result<(), E>> + Send + 'static,
        E: fmt::Display,
    {
        self.handle.try_task(name, work)
    }

    /// Waits for the trigger, runs the phases, and says what happened.
    ///
    /// With nothing registered it waits for the trigger all the same, and then returns at once.
    ///
    /// # Cancel safety
    ///
    /// Not cancel safe: dropping this future stops the sequence where it is. Hooks of later phases never run.
    pub async fn run(self) -> Arc<Report> {
        let trigger = self.triggered().await;
        tracing::info!(target: "lameduck", reason = %trigger.reason, "shutting down");

        let sequence = Sequence {
            runner: Runner::new(Arc::clone(&self.handle.shared.hooks)),
            shared: &self.handle.shared,
            trigger,
            phases: Vec::new(),
            termination_log: &self.termination_log,
        };
        tokio::select! {
            report = sequence.run() => report,
            never = log_repeats(&self.handle.shared) => match never {},
        }
    }

    async fn triggered(&self) -> Trigger {
        if let Some(parent) = &self.parent {
            tokio::select! {
                () = parent.cancelled() => {
                    self.handle.shutdown("the parent token was cancelled");
                }
                () = self.handle.reached(Phase::LameDuck) => {}
            }
        }
        self.handle.shared.triggered().await
    }
}

impl fmt::Debug for ShutdownCoordinator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ShutdownCoordinator")
            .field("handle", &self.handle)
            .finish_non_exhaustive()
    }
}

const EARLY_WORK: Count = (Class::Work, Generation::Early);
const LATE_WORK: Count = (Class::Work, Generation::Late);
const EARLY_CONNECTIONS: Count = (Class::Connection, Generation::Early);
const LATE_CONNECTIONS: Count = (Class::Connection, Generation::Late);
const ALL_TRAFFIC: [Count; 4] = [EARLY_WORK, LATE_WORK, EARLY_CONNECTIONS, LATE_CONNECTIONS];
const LISTENERS: Count = (Class::Listener, Generation::Early);

/// One shutdown, while it runs.
struct Sequence<'a> {
    shared: &'a Shared,
    runner: Runner,
    trigger: Trigger,
    phases: Vec<PhaseReport>,
    termination_log: &'a Path,
}

impl Sequence<'_> {
    async fn run(mut self) -> Arc<Report> {
        for phase in Phase::ALL {
            if phase == Phase::Exit {
                // Before Exit's flush, or it would never leave the process.
                self.tell();
            }
            self.enter(phase);
            let report = self.run_phase(phase).await;
            self.phases.push(report);
        }
        let report = Arc::new(self.report());
        self.shared.finish(Arc::clone(&report));
        report
    }

    fn enter(&self, phase: Phase) {
        let gauge = &self.shared.gauge;
        match phase {
            // The trigger has entered it already, from whatever thread it came.
            Phase::LameDuck => return,
            Phase::Drain => gauge.close(EARLY_WORK),
            Phase::Close => gauge.close(EARLY_CONNECTIONS),
            Phase::Release => {
                // In this order, or a task that starts in between would be aborted by nobody.
                self.close_late();
                self.shared.cut();
            }
            Phase::Exit => {}
        }
        self.shared.enter(phase);
    }

    async fn run_phase(&mut self, phase: Phase) -> PhaseReport {
        let started = Instant::now();
        let deadline = self.trigger.at + self.shared.plan.deadline(phase);

        let in_time = within(deadline, self.settled(phase)).await;
        if phase != Phase::LameDuck {
            // LameDuck's hooks may take until Drain is over: with no time for routing there would be none for them.
            self.runner.expire(phase);
        }
        self.runner.close(phase);

        let timed_out = in_time.is_none() && phase != Phase::LameDuck;
        let mut report = PhaseReport {
            phase,
            started: started.saturating_duration_since(self.trigger.at),
            took: started.elapsed(),
            outcome: if timed_out {
                PhaseOutcome::TimedOut
            } else {
                PhaseOutcome::Completed
            },
            hooks: Vec::new(),
            left_behind: Vec::new(),
            left_behind_total: 0,
        };
        if timed_out {
            self.name_left_behind(&mut report);
        }
        log(&report);
        report
    }

    /// The phase's own condition holds, and its hooks have returned.
    async fn settled(&mut self, phase: Phase) {
        loop {
            let condition = condition(self.shared, &self.trigger, phase);
            self.runner.finished(phase, condition).await;
            if self.sealed(phase) && self.runner.try_close(phase) {
                return;
            }
        }
    }

    /// Close's last look: with the counts closed, their zero can be believed. `false` when somebody slipped in before.
    fn sealed(&self, phase: Phase) -> bool {
        if phase != Phase::Close {
            return true;
        }
        self.close_late();
        ALL_TRAFFIC
            .iter()
            .all(|&count| self.shared.count(count) == 0)
    }

    fn close_late(&self) {
        self.shared.gauge.close(LATE_WORK);
        self.shared.gauge.close(LATE_CONNECTIONS);
    }

    fn name_left_behind(&self, report: &mut PhaseReport) {
        let count = |count| self.shared.count(count);
        let named = match report.phase {
            Phase::Drain => {
                report.left_behind_total = count(EARLY_WORK);
                self.shared
                    .left_behind(&[Kind::Request, Kind::Task, Kind::Guard], Generation::Early)
            }
            Phase::Close => {
                // A connection says itself which request it was busy with.
                let told_by_connections = self
                    .shared
                    .left_behind(&[Kind::Request], Generation::Late)
                    .len() as u64;
                let work = count(EARLY_WORK) + count(LATE_WORK);
                report.left_behind_total = count(EARLY_CONNECTIONS)
                    + count(LATE_CONNECTIONS)
                    + work.saturating_sub(told_by_connections);
                self.shared.left_behind(
                    &[Kind::Connection, Kind::Task, Kind::Guard],
                    Generation::Late,
                )
            }
            Phase::LameDuck | Phase::Release | Phase::Exit => Vec::new(),
        };
        report.left_behind_total = report.left_behind_total.max(named.len() as u64);
        report.left_behind = named;
        report.left_behind.truncate(PhaseReport::MOST_NAMED);
    }

    /// The report as it stands.
    fn report(&self) -> Report {
        let t0 = self.trigger.at;
        let arrivals = self.shared.arrivals();
        let phases: Vec<PhaseReport> = self
            .phases
            .iter()
            .map(|phase| PhaseReport {
                hooks: self.shared.hooks.reports(phase.phase, t0),
                ..phase.clone()
            })
            .collect();
        Report {
            reason: self.trigger.reason.clone(),
            took: t0.elapsed(),
            budget: self.shared.plan.budget(),
            phases,
            tasks: self.shared.tasks(),
            traffic: Traffic {
                served: arrivals.served,
                refused: arrivals.refused,
                last_arrival: arrivals.last.map(|at| at.saturating_duration_since(t0)),
            },
            connections: self.shared.connections.counts(),
            cut: self.shared.cut_count(),
        }
    }

    fn tell(&self) {
        let report = self.report();
        let summary = report.summary();
        tracing::info!(target: "lameduck", clean = report.is_clean(), "{summary}\n{report}");
        write_termination_log(self.termination_log, &summary);
    }
}

/// What a phase waits for, beside its hooks.
async fn condition(shared: &Shared, trigger: &Trigger, phase: Phase) {
    match phase {
        Phase::LameDuck if trigger.routed => {
            sleep_until(trigger.at + shared.plan.deadline(Phase::LameDuck)).await;
        }
        Phase::Drain => shared.gauge.empty(&[EARLY_WORK]).await,
        Phase::Close => closed(shared, trigger).await,
        Phase::LameDuck | Phase::Release | Phase::Exit => {}
    }
}

/// What stood before Close ends first, then the listeners close, then what they last accepted ends.
async fn closed(shared: &Shared, trigger: &Trigger) {
    let gauge = &shared.gauge;
    let tail = last_served(shared.plan.duration(Phase::Close));
    let latest = (trigger.at + shared.plan.deadline(Phase::Close))
        .checked_sub(tail)
        .unwrap_or(trigger.at);

    within(latest, gauge.empty(&[EARLY_WORK, EARLY_CONNECTIONS])).await;
    shared.close_listeners.cancel();
    gauge.empty(&[LISTENERS]).await;
    gauge.empty(&ALL_TRAFFIC).await;
}

/// The part of Close that is kept for what the listeners accept last.
fn last_served(close: Duration) -> Duration {
    (close / 5).min(Duration::from_secs(1))
}

/// Runs `work` until `deadline`. `None` when that came first.
async fn within<F: Future>(deadline: Instant, work: F) -> Option<F::Output> {
    // What was spawned for the phase starts before its time is looked at: no time means at once, not never.
    let mut work = pin!(work);
    let mut late = pin!(sleep_until(deadline));
    let mut yielded = false;
    poll_fn(|cx| {
        if let Poll::Ready(output) = work.as_mut().poll(cx) {
            return Poll::Ready(Some(output));
        }
        if !yielded && Instant::now() >= deadline {
            yielded = true;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if Instant::now() >= deadline {
            return Poll::Ready(None);
        }
        late.as_mut().poll(cx).map(|()| None)
    })
    .await
}

async fn log_repeats(shared: &Shared) -> Infallible {
    loop {
        for reason in shared.repeats().await {
            tracing::info!(
                target: "lameduck", %reason,
                "already shutting down: this changes nothing"
            );
        }
    }
}

fn log(report: &PhaseReport) {
    let PhaseReport {
        phase,
        took,
        outcome,
        left_behind_total: left_behind,
        ..
    } = report;
    let took_ms = took.as_millis() as u64;
    tracing::info!(target: "lameduck", %phase, took_ms, left_behind, "{phase} {outcome}");
    for left in &report.left_behind {
        tracing::warn!(target: "lameduck", %phase, "left behind: {left}");
    }
}

fn write_termination_log(path: &Path, summary: &str) {
    // Opened, never created: outside Kubernetes there is no such file, and none is wanted.
    let written = OpenOptions::new()
        .append(true)
        .open(path)
        .and_then(|mut file| writeln!(file, "lameduck: {summary}"));
    if let Err(error) = written {
        tracing::debug!(target: "lameduck", path = %path.display(), %error, "no termination log");
    }
}
