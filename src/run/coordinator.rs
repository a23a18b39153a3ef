//! The coordinator: owns the shutdown of a process.

use std::convert::Infallible;
use std::fmt;
use std::future::pending;
use std::ops::Deref;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::future::Run;
use super::sequence::Sequence;
use super::silence::History;
use crate::handle::ShutdownHandle;
use crate::hook::NeverRun;
#[cfg(feature = "tower")]
use crate::lease::Leases;
#[cfg(feature = "tower")]
use crate::long_lived::EventStreams;
use crate::phase::Phase;
use crate::plain::{self, LONGEST_TEXT};
use crate::plan::Plan;
use crate::progress::Trigger;
use crate::report::{ExitPolicy, Report};
use crate::shared::Shared;

/// Owns the shutdown of a process: waits for the trigger, then runs the phases.
///
/// It is also a [`ShutdownHandle`]: hooks and tasks can be registered with either.
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
///
/// # Dropping it
///
/// Keep it until [`run`](ShutdownCoordinator::run): a coordinator that is dropped without having been run can run no phase.
/// Its hooks are dropped. Its handles refuse what would need a phase: a hook is
/// [`HookError::NoCoordinator`](crate::HookError::NoCoordinator), a task
/// [`TaskError::NoCoordinator`](crate::TaskError::NoCoordinator), a guard is `None`, and `signal::listen` an error.
/// [`finished`](ShutdownHandle::finished) is never ready. The log warns if anything counted on it: a handle, a server, or a
/// trigger.
///
/// ```
/// # use lameduck::{HookError, Phase, Plan, ShutdownCoordinator};
/// let handle = ShutdownCoordinator::new(Plan::immediate()).handle(); // the coordinator is gone
///
/// let refused = handle.hook(Phase::Release, "pool", async || {});
/// assert!(matches!(refused, Err(HookError::NoCoordinator { .. })));
/// assert!(handle.guard().is_none());
/// ```
// Not `Clone`: two coordinators would each believe they own the sequence.
pub struct ShutdownCoordinator {
    /// Dropped before the handle, which may be the last one then.
    #[cfg(feature = "tower")]
    leases: Option<Arc<Leases>>,
    handle: ShutdownHandle,
    parent: Option<CancellationToken>,
    exit: ExitPolicy,
    /// Dropped behind the handle. If that is the last one, signals have their defaults back before anything of the
    /// application's is dropped.
    never_run: NeverRun,
}

impl ShutdownCoordinator {
    /// A coordinator with this plan. Logs the plan, where each of its numbers came from, and when requests are cut; warns when
    /// the grace period is [assumed](Plan::is_assumed), and when a [`Platform`](crate::Platform) is recognised whose grace period
    /// nobody has given.
    ///
    /// It needs no runtime yet, and installs and starts nothing.
    #[must_use]
    pub fn new(plan: Plan) -> Self {
        tracing::info!(target: "lameduck", "plan: {}", plan.summary());
        if plan.is_assumed() {
            tracing::warn!(
                target: "lameduck",
                "the grace period is assumed to be {} s: nobody tells a process; \
                 set TERMINATION_GRACE_PERIOD_SECONDS to the pod's terminationGracePeriodSeconds, \
                 or to what another platform grants",
                plan.grace_period().as_secs_f64()
            );
        }
        if let Some(unnamed) = plan.unnamed() {
            tracing::warn!(target: "lameduck", "{unnamed}");
        }
        let handle = ShutdownHandle::new(plan);
        ShutdownCoordinator {
            #[cfg(feature = "tower")]
            leases: Some(Leases::new(&handle.shared)),
            handle,
            parent: None,
            exit: ExitPolicy::new(),
            never_run: NeverRun::default(),
        }
    }

    /// Triggers the shutdown when `parent` is cancelled: for a program that has a token already. Only
    /// [`run`](ShutdownCoordinator::run) looks at it.
    #[must_use]
    pub fn child_of(mut self, parent: CancellationToken) -> Self {
        self.parent = Some(parent);
        self
    }

    /// How event streams end, on servers of ours and under a [`DrainLayer`](crate::DrainLayer). The defaults are
    /// those of [`EventStreams`].
    #[cfg(feature = "tower")]
    #[cfg_attr(docsrs, doc(cfg(feature = "tower")))]
    #[must_use]
    pub fn event_streams(self, streams: EventStreams) -> Self {
        self.handle.shared.set_event_streams(streams);
        self
    }

    /// Adds user agents that are probes, by how they begin: what probes your service and names itself is no traffic. The kubelet
    /// (`kube-probe/`), AWS's (`ELB-HealthChecker/`) and Google's balancers (`GoogleHC/`) are known. By default no others.
    ///
    /// A probe is served and counted like any request, but its arrival is no evidence of traffic: not in the report, and not for
    /// [`LeaveEarly`](crate::LeaveEarly). For requests that are not to be waited for either there is
    /// [`Server::exempt`](crate::Server::exempt).
    ///
    /// It holds for servers and layers that are made later. A second call replaces the first. The list is `'static`, so that
    /// no request has to lock anything to look at it; `Vec::leak` makes one of what is only known at run time.
    ///
    /// ```
    /// # use lameduck::{Plan, ShutdownCoordinator};
    /// let shutdown = ShutdownCoordinator::new(Plan::immediate())
    ///     .probe_user_agents(&["Consul Health Check", "Envoy/HC"]);
    /// ```
    ///
    /// # Panics
    ///
    /// If one of `agents` is empty: every user agent begins like that.
    #[cfg(feature = "tower")]
    #[cfg_attr(docsrs, doc(cfg(feature = "tower")))]
    #[must_use]
    pub fn probe_user_agents(self, agents: &'static [&'static str]) -> Self {
        assert!(
            agents.iter().all(|agent| !agent.is_empty()),
            "an empty user agent would make a probe of every request"
        );
        self.handle.shared.set_probe_agents(agents);
        self
    }

    /// The file that gets the report's summary line and the watchdog's last words: the container's `terminationMessagePath`. By
    /// default Kubernetes' own default, `/dev/termination-log`. A file that does not exist or cannot be written gets nothing; it
    /// is never created. A line is cut to 2 KiB, because the kubelet shows 4 KiB.
    #[must_use]
    pub fn termination_log(self, path: impl Into<PathBuf>) -> Self {
        self.handle.shared.termination_log.set_path(path.into());
        self
    }

    /// The exit codes of [`Report::exit_code`]: by default 0 for a clean shutdown and 3 for one that is not.
    #[must_use]
    pub fn exit_policy(mut self, policy: ExitPolicy) -> Self {
        self.exit = policy;
        self
    }

    /// Makes the spreads repeatable, for tests: the n-th connection of the m-th server always gets the same moments in them,
    /// and the n-th [`Moment`](crate::Moment) of a handle. Call it before servers are made. By default each process has its own.
    #[must_use]
    pub fn seed(self, seed: u64) -> Self {
        self.handle.shared.draws.set_seed(seed);
        self
    }

    /// A handle, for code that asks about the shutdown or takes part in it.
    #[must_use]
    pub fn handle(&self) -> ShutdownHandle {
        self.handle.clone()
    }

    /// Waits for the trigger, runs the phases, and returns the report.
    ///
    /// With nothing registered it waits for the trigger all the same, and then returns at once.
    ///
    /// # Panics
    ///
    /// The future panics when it is polled outside a tokio runtime, or in one without timers, and when it is polled after it
    /// was ready.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future does not stop the shutdown: it goes on in a task of the runtime in which `run` was called, be it
    /// before the trigger or in any phase, and whether or not the future was polled. So `run` may stand in a `select!`. Only a
    /// future that never met a runtime is a coordinator that was [dropped](ShutdownCoordinator#dropping-it).
    ///
    /// A `main` that returns ends the runtime, and with it a shutdown that goes on in a task. So wait for the report with
    /// [`ShutdownHandle::finished`], and return its exit code:
    ///
    /// ```
    /// # use lameduck::{Plan, ShutdownCoordinator};
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() {
    /// # let shutdown = ShutdownCoordinator::new(Plan::immediate());
    /// # async fn work() {}
    /// let handle = shutdown.handle();
    /// tokio::select! {
    ///     _ = shutdown.run() => {}
    ///     () = work() => {
    ///         handle.shutdown("the work is done");
    ///     }
    /// }
    /// let report = handle.finished().await; // whichever branch was ready first
    /// # assert!(report.is_clean());
    /// # let _exit_code =
    /// report.exit_code()
    /// # ;
    /// # }
    /// ```
    pub fn run(self) -> Run {
        Run::new(self.sequence())
    }

    async fn sequence(self) -> Arc<Report> {
        let shared = &self.handle.shared;
        shared.progress.run_is_called();
        #[cfg(all(unix, feature = "systemd"))]
        shared.routing.look_again();
        let mut history = History::default();
        let (trigger, t0) = tokio::select! {
            biased;
            triggered = self.triggered() => triggered,
            never = follow_traffic(shared, &mut history) => match never {},
        };
        let reason = plain::line(format_args!("{}", trigger.reason), LONGEST_TEXT);
        tracing::info!(target: "lameduck", %reason, "shutting down");
        shared.progress.phases_begin();

        let early = shared.plan.leave_early();
        let early = early.filter(|_| history.makes_silence_significant());
        let owned = Arc::clone(shared);
        let sequence = Sequence::new(owned, trigger, t0, early, self.exit);
        tokio::select! {
            biased;
            report = sequence.run() => report,
            never = log_repeats(shared) => match never {},
        }
    }

    /// Waits for the first trigger. Gives T0 on this task's clock.
    async fn triggered(&self) -> (Trigger, Instant) {
        if let Some(parent) = &self.parent {
            tokio::select! {
                () = parent.cancelled() => {
                    self.handle.shutdown("the parent token was cancelled");
                }
                () = self.handle.reached(Phase::LameDuck) => {}
            }
        }
        // Whoever was first may not have entered it yet: nobody else may go on before.
        self.handle.reached(Phase::LameDuck).await;
        let shared = &self.handle.shared;
        let progress = &shared.progress;
        let t0 = progress.triggers().settle();
        shared.gauge.begin(t0);
        let trigger = progress.trigger().cloned();
        trigger
            .zip(t0)
            .expect("the trigger is set before LameDuck is entered")
    }
}

/// What a handle can do, its coordinator can.
impl Deref for ShutdownCoordinator {
    type Target = ShutdownHandle;

    fn deref(&self) -> &ShutdownHandle {
        &self.handle
    }
}

impl Drop for ShutdownCoordinator {
    fn drop(&mut self) {
        let shared = &self.handle.shared;
        if shared.progress.report().is_some() {
            return;
        }
        self.never_run = shared.abandon();
        #[cfg(feature = "tower")]
        drop(self.leases.take());
        let is_counted_on =
            shared.progress.trigger().is_some() || shared.routing.is_serving() || !shared.is_only();
        if is_counted_on {
            tracing::warn!(
                target: "lameduck",
                "the coordinator was dropped before its shutdown was over: no phase will run"
            );
        }
    }
}

impl fmt::Debug for ShutdownCoordinator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ShutdownCoordinator")
            .field("handle", &self.handle)
            .finish_non_exhaustive()
    }
}

/// Counts arrivals before the trigger, if LameDuck may be over early.
async fn follow_traffic(shared: &Shared, history: &mut History) -> Infallible {
    let Some(early) = shared.plan.leave_early() else {
        return pending().await;
    };
    let mut clock = interval(early.quiet_time());
    // A runtime that was held up has counted more than one quiet time's arrivals in one.
    clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        clock.tick().await;
        history.note(shared.gauge.arrived());
    }
}

async fn log_repeats(shared: &Shared) -> Infallible {
    loop {
        let repeats = shared.progress.triggers().repeats().await;
        for reason in repeats.reasons {
            let reason = plain::line(format_args!("{reason}"), LONGEST_TEXT);
            tracing::info!(
                target: "lameduck", %reason,
                "already shutting down: this changes nothing"
            );
        }
        if repeats.more > 0 {
            let more = repeats.more;
            tracing::info!(target: "lameduck", more, "already shutting down: more triggers came");
        }
    }
}
