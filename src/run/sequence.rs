//! The sequence: one loop over the phases.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, sleep_until};

use super::close::{EARLY_TRAFFIC, LATE_TRAFFIC, closed};
use super::deadline::within;
use crate::hook::Runner;
use crate::in_flight::{Class, Count, Generation};
#[cfg(feature = "metrics")]
use crate::integrations::metrics;
use crate::phase::Phase;
use crate::plan::LeaveEarly;
use crate::process::standard_error::{self, PATIENCE};
use crate::progress::Trigger;
use crate::report::{ExitPolicy, Kind, PhaseOutcome, PhaseReport, Report, Seconds, Traffic};
use crate::shared::Shared;

const EARLY_WORK: Count = (Class::Work, Generation::Early);
const LATE_WORK: Count = (Class::Work, Generation::Late);
const EARLY_LONG: Count = (Class::Long, Generation::Early);
const LATE_LONG: Count = (Class::Long, Generation::Late);
const EARLY_CONNECTIONS: Count = (Class::Connection, Generation::Early);
const LATE_CONNECTIONS: Count = (Class::Connection, Generation::Late);

/// Traffic that came so shortly before has not moved away.
const JUST_NOW: Duration = Duration::from_secs(1);

/// How often it is said how many long connections have been told, and what the metrics are.
const BATCH: Duration = Duration::from_secs(1);

/// One shutdown, while it runs.
pub(crate) struct Sequence {
    shared: Arc<Shared>,
    runner: Runner,
    trigger: Trigger,
    t0: Instant,
    /// When LameDuck may be over before its time, if silence would prove anything.
    early: Option<LeaveEarly>,
    phases: Vec<PhaseReport>,
    /// Ready when the summary has been written to standard error.
    said: Option<oneshot::Receiver<()>>,
    /// Whether it has been told that all went well.
    told_clean: bool,
    exit: ExitPolicy,
}

impl Sequence {
    pub(crate) fn new(
        shared: Arc<Shared>,
        trigger: Trigger,
        t0: Instant,
        early: Option<LeaveEarly>,
        exit: ExitPolicy,
    ) -> Self {
        shared.termination_log.open();
        Sequence {
            runner: Runner::new(Arc::clone(&shared.hooks)),
            shared,
            trigger,
            t0,
            early,
            phases: Vec::new(),
            said: None,
            told_clean: false,
            exit,
        }
    }

    pub(crate) async fn run(mut self) -> Arc<Report> {
        for phase in Phase::EACH {
            if phase == Phase::Exit {
                // Before Exit's flush, or it would never leave the process.
                self.tell();
            }
            self.enter(phase);
            #[cfg(feature = "metrics")]
            metrics::publish(&self.shared);
            let report = self.run_phase(phase).await;
            self.phases.push(report);
        }
        let report = Arc::new(self.report());
        if self.told_clean && !report.is_clean() {
            // Exit's hooks have spoiled what was said before them.
            self.tell();
        }
        self.said().await;
        self.shared.finish(Arc::clone(&report));
        #[cfg(feature = "metrics")]
        metrics::publish(&self.shared);
        report
    }

    fn enter(&self, phase: Phase) {
        let gauge = &self.shared.gauge;
        match phase {
            // The trigger has entered it already, from whatever thread it came.
            Phase::LameDuck => return,
            Phase::Drain => gauge.close(EARLY_WORK),
            Phase::Close => {
                gauge.close(EARLY_LONG);
                gauge.close(EARLY_CONNECTIONS);
            }
            Phase::Release => {
                // Close may have had no time to.
                self.shared.progress.close_listeners().cancel();
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
        let deadline = self.deadline(phase);

        let shared = Arc::clone(&self.shared);
        let in_time = within(deadline, async {
            tokio::select! {
                biased;
                () = self.settled(phase) => {}
                never = each_second(&shared) => match never {},
            }
        })
        .await;
        log_told(&shared);
        let mut late = in_time.is_none();
        if late {
            self.runner.give_a_turn(phase).await;
            // What was done in that turn is not late.
            late = within(deadline, self.settled(phase)).await.is_none();
        }
        match phase {
            // Its hooks may take until Drain is over: with no time for routing there would be none for them.
            Phase::LameDuck => self.runner.close(phase),
            _ => self.runner.expire(phase),
        }

        let timed_out = late && phase != Phase::LameDuck;
        let mut report = PhaseReport {
            phase,
            started: started.saturating_duration_since(self.t0),
            took: started.elapsed(),
            outcome: match timed_out {
                true => PhaseOutcome::TimedOut,
                false if self.left_early(phase, deadline) => PhaseOutcome::LeftEarly,
                false => PhaseOutcome::Completed,
            },
            hooks: Vec::new(),
            left_behind: Vec::new(),
            left_behind_total: 0,
        };
        if timed_out {
            self.name_left_behind(&mut report);
        }
        log(&report);
        #[cfg(feature = "metrics")]
        metrics::phase_over(&report);
        if phase == Phase::LameDuck && report.outcome == PhaseOutcome::Completed {
            self.warn_of_traffic();
        }
        report
    }

    fn deadline(&self, phase: Phase) -> Instant {
        self.t0 + self.trigger.deadlines[phase.index()]
    }

    fn left_early(&self, phase: Phase, deadline: Instant) -> bool {
        phase == Phase::LameDuck && self.trigger.routed && Instant::now() < deadline
    }

    /// The phase's own condition holds, and its hooks have returned.
    async fn settled(&mut self, phase: Phase) {
        loop {
            let condition = Condition {
                shared: &self.shared,
                t0: self.t0,
                deadline: self.deadline(phase),
                routed: self.trigger.routed,
                early: self.early,
            };
            self.runner.finished(phase, condition.holds(phase)).await;
            if self.sealed(phase) && self.runner.try_close(phase) {
                return;
            }
        }
    }

    /// Close's last look: with the counts closed, their zero can be believed. `false` when somebody slipped in before, while
    /// hooks still ran and somebody else's listener was open: not closed then, so that others who come are not refused.
    fn sealed(&self, phase: Phase) -> bool {
        if phase != Phase::Close {
            return true;
        }
        let nobody = || self.sum(&EARLY_TRAFFIC) + self.sum(&LATE_TRAFFIC) == 0;
        if !nobody() {
            return false;
        }
        self.close_late();
        nobody()
    }

    fn close_late(&self) {
        for count in LATE_TRAFFIC {
            self.shared.gauge.close(count);
        }
    }

    fn sum(&self, counts: &[Count]) -> u64 {
        counts.iter().map(|&count| self.shared.count(count)).sum()
    }

    fn name_left_behind(&self, report: &mut PhaseReport) {
        let named = match report.phase {
            Phase::Drain => {
                report.left_behind_total = self.sum(&[EARLY_WORK]);
                self.shared
                    .left_behind(&[Kind::Request, Kind::Task, Kind::Guard], Generation::Early)
            }
            Phase::Close => {
                // A connection says itself which request it was busy with.
                let told_by_connections = self.shared.requests();
                let work = self.sum(&[EARLY_WORK, LATE_WORK, EARLY_LONG, LATE_LONG]);
                let connections = self.sum(&[EARLY_CONNECTIONS, LATE_CONNECTIONS]);
                report.left_behind_total = connections + work.saturating_sub(told_by_connections);
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

    /// LameDuck is for traffic to move away. Says so when it has not, and what to set.
    fn warn_of_traffic(&self) {
        let lame_duck = self.shared.plan.duration(Phase::LameDuck);
        let last = self.shared.gauge.last_arrival();
        let ago = last.map_or(Duration::MAX, |last| last.elapsed());
        if self.trigger.routed && !lame_duck.is_zero() && ago < JUST_NOW {
            tracing::warn!(
                target: "lameduck",
                "traffic had not moved away when LameDuck was over: a request came {} before; unless this pod stays in \
                 rotation to its end, set LAME_DUCK_SECONDS to more than {:.1}, and terminationGracePeriodSeconds with it",
                Seconds(ago),
                lame_duck.as_secs_f64(),
            );
        }
    }

    /// The report as it stands.
    fn report(&self) -> Report {
        let t0 = self.t0;
        let arrivals = self.shared.arrivals();
        let tasks = self.shared.roster.report();
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
            tasks: tasks.listed,
            tasks_unlisted: tasks.unlisted,
            tasks_failed: tasks.failed,
            tasks_total: tasks.total,
            traffic: Traffic {
                served: arrivals.served,
                refused: arrivals.refused,
                last_arrival: arrivals.last.map(|at| at.saturating_duration_since(t0)),
                per_second: arrivals.per_second,
            },
            connections: self.shared.connections.counts(),
            long: self.shared.long_counts(),
            cut: self.shared.cut_count(),
            exit: self.exit,
        }
    }

    /// Says how it went: to the log, to the termination log, and on standard error if the process would end without a word.
    fn tell(&mut self) {
        let logs = tracing::enabled!(target: "lameduck", tracing::Level::INFO);
        let unheard = !tracing::enabled!(target: "lameduck", tracing::Level::ERROR);
        let speaks = unheard && self.shared.owns_process();
        if !logs && !speaks && !self.shared.termination_log.is_there() {
            return;
        }
        let report = self.report();
        self.told_clean = report.is_clean();
        let summary = report.summary();
        report.log(&summary);
        self.shared.termination_log.write(&summary);
        if speaks {
            let (said, heard) = oneshot::channel::<()>();
            standard_error::say(move || format!("lameduck: {summary}\n"), said);
            self.said = Some(heard);
        }
    }

    /// Waits until the summary has been written, but not into the reserve: the watchdog would take that for a process that hangs.
    async fn said(&mut self) {
        if let Some(heard) = self.said.take() {
            let deadline = self.deadline(Phase::Exit);
            within(deadline.min(Instant::now() + PATIENCE), heard).await;
        }
    }
}

/// What a phase waits for, beside its hooks.
struct Condition<'a> {
    shared: &'a Shared,
    t0: Instant,
    /// The phase's.
    deadline: Instant,
    routed: bool,
    early: Option<LeaveEarly>,
}

impl Condition<'_> {
    async fn holds(self, phase: Phase) {
        match phase {
            Phase::LameDuck if self.routed => {
                let its_time = sleep_until(self.deadline);
                match self.early {
                    None => its_time.await,
                    Some(early) => tokio::select! {
                        biased;
                        () = its_time => {}
                        () = self.silence(early) => {}
                    },
                }
            }
            Phase::Drain => self.shared.gauge.empty(&[EARLY_WORK]).await,
            Phase::Close => closed(self.shared, self.deadline).await,
            Phase::LameDuck | Phase::Release | Phase::Exit => {}
        }
    }

    /// Nothing has arrived for long enough, though much had before.
    async fn silence(&self, early: LeaveEarly) {
        let not_before = self.t0 + early.minimum();
        loop {
            let last = self.shared.gauge.last_arrival().unwrap_or(self.t0);
            let quiet = last.max(self.t0) + early.quiet_time();
            if Instant::now() >= quiet.max(not_before) {
                return;
            }
            sleep_until(quiet.max(not_before)).await;
        }
    }
}

/// Says how far it has come.
async fn each_second(shared: &Shared) -> Infallible {
    loop {
        sleep(BATCH).await;
        log_told(shared);
        #[cfg(feature = "metrics")]
        metrics::publish(shared);
    }
}

/// One event for all that were told since the last one.
fn log_told(shared: &Shared) {
    let told = shared.notices.batch();
    if told > 0 {
        let total = shared.notices.told();
        tracing::info!(target: "lameduck", told, total, "long connections told to end");
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
    if let Some(hint) = report.hint() {
        tracing::warn!(target: "lameduck", %phase, "{hint}");
    }
}
