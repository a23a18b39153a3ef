//! How long each phase may take: the one place where time is divided.
//!
//! A [`Plan`] takes one number, the grace period, and derives the rest. It is pure: it holds no clock and starts nothing.
//! Every deadline is counted from `T0`, the moment of the trigger, never from the start of a phase.

use std::fmt;
use std::time::Duration;

use crate::phase::Phase;
use crate::process::cgroup::CpuQuota;

use self::setting::{Origin, Setting, decimal, human, total};

mod builder;
mod early;
mod error;
mod platform;
mod setting;
#[cfg(test)]
mod tests;

pub use self::builder::PlanBuilder;
pub use self::early::LeaveEarly;
pub use self::error::PlanError;
pub use self::platform::Platform;

// The names that are read from the environment.
const GRACE_PERIOD_VARIABLE: &str = "TERMINATION_GRACE_PERIOD_SECONDS";
const PRE_STOP_VARIABLE: &str = "PRE_STOP_SECONDS";
const LAME_DUCK_VARIABLE: &str = "LAME_DUCK_SECONDS";

/// How long after Exit's deadline the watchdog waits at most. A process that was not done by then will not be done a minute
/// later either.
const LATEST_WATCHDOG: Duration = Duration::from_millis(500);

/// How long each phase of the shutdown may take, and where each number came from.
///
/// A plan that exists fits its grace period: the phases end before SIGKILL comes.
///
/// ```
/// use std::time::Duration;
/// use lameduck::{Phase, Plan};
///
/// let plan = Plan::builder().build()?;
///
/// assert_eq!(plan.budget(), Duration::from_secs(30));
/// assert_eq!(plan.duration(Phase::LameDuck), Duration::from_secs(10));
/// assert_eq!(plan.deadline(Phase::Exit), Duration::from_secs(29));
/// # Ok::<(), lameduck::PlanError>(())
/// ```
///
/// Call [`env`](PlanBuilder::env) after the numbers that are set in code, so that those of the manifest override them.
/// `Display` prints the plan as a timeline, says when requests are cut, and adds the manifest lines that fit it:
///
/// ```
/// use std::time::Duration;
/// use lameduck::Plan;
///
/// let plan = Plan::builder().lame_duck(Duration::from_secs(15)).env()?.build()?;
///
/// println!("{plan}");
/// # Ok::<(), lameduck::PlanError>(())
/// ```
///
/// # Defaults
///
/// G is the grace period, P the preStop hook's time, B = G - P the budget: the time from SIGTERM to SIGKILL.
///
/// | number | default |
/// |---|---|
/// | grace period G | 30 s |
/// | preStop P | 0 s |
/// | LameDuck | the lesser of 10 s and G/3, less P; with a preStop not less than its spread, not more than B/3 |
/// | Drain, Close | what is left of B, half each; if one is set, the other gets it all |
/// | Release | the lesser of 5 s and B/6 |
/// | Exit | the lesser of 1 s and B/30 |
/// | reserve before SIGKILL | the lesser of 1 s and B/30, and whatever no phase takes; if it is set, at least the lesser of 50 ms and B/30; wider under a [CPU quota](PlanBuilder::cpu_quota) |
/// | watchdog | half of the reserve after Exit, at most 500 ms after it; not later because of a CPU quota |
/// | spread | the lesser of 5 s and half of LameDuck; a preStop does not shorten it while it fits into LameDuck |
/// | phase in which long connections are told | Close |
/// | long spread | half of Close; the whole of LameDuck or Drain, if that is their phase |
/// | linger | the lesser of 1 s and half of Close |
///
/// Without a preStop the phases end at these seconds after `T0`:
///
/// | G | LameDuck | Drain | Close | Release | Exit |
/// |---|---|---|---|---|---|
/// | 2 | 0.67 | 1.10 | 1.53 | 1.87 | 1.93 |
/// | 5 | 1.67 | 2.75 | 3.83 | 4.67 | 4.83 |
/// | 10 | 3.33 | 5.50 | 7.67 | 9.33 | 9.67 |
/// | 15 | 5 | 8.25 | 11.5 | 14 | 14.5 |
/// | 30 | 10 | 16.5 | 23 | 28 | 29 |
/// | 60 | 10 | 31.5 | 53 | 58 | 59 |
/// | 300 | 10 | 151.5 | 293 | 298 | 299 |
///
/// # When requests are cut
///
/// What is in flight is cut at Close's deadline. Each phase ends there at the latest, but for Close: at T0 it gets the time of
/// Release that no hook of Release asks for. With a grace period of 30 s requests are cut
///
/// | hooks of Release at T0 | Close ends |
/// |---|---|
/// | none | 28 s after T0: Release's deadline |
/// | one with a timeout of 2 s | 26 s after T0 |
/// | one with 2 s, and another of 1 s that comes [`after`](crate::When::after) it | 25 s after T0 |
/// | one without a timeout | 23 s after T0, as in the table above |
///
/// No other deadline moves. A hook of Release that is registered after T0 gets the time that Close has left.
/// [`ShutdownHandle::deadline`](crate::ShutdownHandle::deadline) gives the deadlines of a shutdown that has begun.
#[derive(Clone, Debug)]
pub struct Plan {
    grace_period: Setting,
    pre_stop: Setting,
    /// Indexed by [`Phase::index`]. With the reserve they add up to the budget, so no sum of them overflows.
    phases: [Setting; Phase::EACH.len()],
    reserve: Setting,
    /// How late a CPU quota may make the process, as far as the reserve has room for it.
    late: Duration,
    cpu_quota: Option<CpuQuota>,
    /// The platform that was recognised while nobody has given its grace period.
    unnamed: Option<Platform>,
    spread: Setting,
    long_phase: Phase,
    long_spread: Setting,
    linger: Setting,
    leave_early: Option<LeaveEarly>,
}

impl Plan {
    /// A builder with a grace period of 30 s and everything else derived.
    ///
    /// It does not look at where the process runs; [`PlanBuilder::env`] does.
    pub const fn builder() -> PlanBuilder {
        PlanBuilder::new()
    }

    /// The plan that the environment asks for: `Plan::builder().env()?.build()`.
    ///
    /// # Errors
    ///
    /// Those of [`PlanBuilder::env`] and [`PlanBuilder::build`].
    pub fn from_env() -> Result<Plan, PlanError> {
        Plan::builder().env()?.build()
    }

    /// The plan outside Kubernetes: 9 s in all, so that Ctrl-C and `docker stop` (10 s) feel right.
    ///
    /// LameDuck, both spreads and linger are zero; the other phases are derived as usual.
    #[must_use]
    pub fn local() -> Plan {
        PlanBuilder::local()
            .build()
            .expect("nine seconds hold the derived phases")
    }

    /// The plan that fits what `platform` does by default: `Plan::builder().platform(platform).build()`. It does not look at the
    /// environment.
    ///
    /// ```
    /// use std::time::Duration;
    /// use lameduck::{Plan, Platform};
    ///
    /// assert_eq!(Plan::on(Platform::Nomad).budget(), Duration::from_secs(5));
    /// ```
    #[must_use]
    pub fn on(platform: Platform) -> Plan {
        Plan::builder()
            .platform(platform)
            .build()
            .expect("each platform's time holds the derived phases")
    }

    /// A plan for tests of one's own shutdown: no wait but for work that is really there.
    ///
    /// The grace period is 30 s. LameDuck, both spreads and linger are zero; the other phases are derived as usual.
    #[must_use]
    pub fn immediate() -> Plan {
        Plan::builder()
            .at_once(Origin::Set)
            .build()
            .expect("thirty seconds hold the derived phases")
    }

    /// The grace period as declared, before the preStop hook's time is taken off.
    #[must_use]
    pub fn grace_period(&self) -> Duration {
        self.grace_period.value
    }

    /// What the preStop hook takes of the grace period.
    #[must_use]
    pub fn pre_stop(&self) -> Duration {
        self.pre_stop.value
    }

    /// The time from `T0` to SIGKILL: the grace period without the preStop hook's time.
    #[must_use]
    pub fn budget(&self) -> Duration {
        self.grace_period().saturating_sub(self.pre_stop())
    }

    /// When `phase` ends at the latest, counted from `T0`, if the hooks of Release need all of its time.
    ///
    /// If they need less, [`Phase::Close`] ends later, at `deadline(Phase::Release)` at the latest: see
    /// [when requests are cut](Plan#when-requests-are-cut). That is known at T0, and
    /// [`ShutdownHandle::deadline`](crate::ShutdownHandle::deadline) tells it then.
    #[must_use]
    pub fn deadline(&self, phase: Phase) -> Duration {
        total(&self.phases[..=phase.index()])
    }

    /// When each phase ends at the latest, counted from `T0`, if nobody has asked for so much of Release's time.
    pub(crate) fn deadlines(&self, unasked: Duration) -> [Duration; Phase::EACH.len()] {
        let mut deadlines = Phase::EACH.map(|phase| self.deadline(phase));
        deadlines[Phase::Close.index()] += unasked.min(self.duration(Phase::Release));
        deadlines
    }

    /// The time that is planned for `phase`. Time that earlier phases do not use comes on top.
    #[must_use]
    pub fn duration(&self, phase: Phase) -> Duration {
        self.phases[phase.index()].value
    }

    /// When the watchdog ends the process, counted from `T0`: halfway between Exit's deadline and SIGKILL, and 500 ms after
    /// Exit's deadline at the latest. What the reserve keeps for a [CPU quota](PlanBuilder::cpu_quota) lies behind it.
    #[must_use]
    pub fn hard_deadline(&self) -> Duration {
        let reserve = self.reserve.value;
        let latest = LATEST_WATCHDOG.min(reserve - self.late);
        self.deadline(Phase::Exit) + latest.min(reserve / 2)
    }

    /// What to say of a platform whose grace period nobody has given.
    pub(crate) fn unnamed(&self) -> Option<String> {
        // Of Kubernetes the plan says that its number is assumed.
        let platform = self.unnamed.filter(|it| *it != Platform::Kubernetes)?;
        Some(format!(
            "this is {platform} ({} is set), which kills {} after its signal by default, and the plan takes {}: nobody has given the \
             grace period; set {GRACE_PERIOD_VARIABLE} to what it grants, or name it with `PlanBuilder::platform(Platform::{platform:?})`",
            platform.variable().unwrap_or_default(),
            human(platform.grace_period()),
            human(self.grace_period()),
        ))
    }

    /// What to say if a CPU quota leaves the watchdog too little time before SIGKILL: `found` is that of the process, which the plan
    /// need not know.
    #[cfg(feature = "signal")]
    pub(crate) fn too_late_under(&self, found: Option<CpuQuota>) -> Option<String> {
        let quota = self.cpu_quota.or(found)?;
        let left = self.budget().saturating_sub(self.hard_deadline());
        let advice = match self.cpu_quota {
            Some(_) => "give it a longer grace period, or a longer reserve",
            None => "`PlanBuilder::env` reads the quota, and widens the reserve",
        };
        (left < quota.lateness()).then(|| {
            format!(
                "the process has {quota}, and its plan leaves {} between the watchdog and SIGKILL: threads that use the quota up make it \
                 {} late; {advice}",
                human(left),
                human(quota.lateness()),
            )
        })
    }

    /// The window, counted from `T0`, over which short connections are asked to close.
    #[must_use]
    pub fn spread(&self) -> Duration {
        self.spread.value
    }

    /// The phase in which long connections are told to end.
    #[must_use]
    pub fn long_phase(&self) -> Phase {
        self.long_phase
    }

    /// The window, counted from the start of their phase, over which long connections are told to end, each at a
    /// [`Moment`](crate::Moment) of its own.
    #[must_use]
    pub fn long_spread(&self) -> Duration {
        self.long_spread.value
    }

    /// How long an idle HTTP/1 connection stays open in Close, for a request that is already on its way.
    #[must_use]
    pub fn linger(&self) -> Duration {
        self.linger.value
    }

    /// Whether LameDuck may be over before its time, and when.
    #[must_use]
    pub fn leave_early(&self) -> Option<LeaveEarly> {
        self.leave_early
    }

    /// Whether the grace period is a guess.
    ///
    /// True when [`PlanBuilder::env`] found no `TERMINATION_GRACE_PERIOD_SECONDS` and the code sets no grace period either,
    /// inside Kubernetes or with any other number set. False for [`Plan::local`].
    #[must_use]
    pub fn is_assumed(&self) -> bool {
        self.grace_period.origin == Origin::Assumed
    }

    /// Every number and where it came from, and when requests are cut, on one line.
    pub(crate) fn summary(&self) -> String {
        let phases = Phase::EACH.map(|phase| (phase.name(), self.phases[phase.index()]));
        let first = [
            ("grace period", self.grace_period),
            ("preStop", self.pre_stop),
        ];
        let long_spread = match self.long_phase {
            Phase::LameDuck => "long spread in LameDuck",
            Phase::Drain => "long spread in Drain",
            _ => "long spread",
        };
        let last = [
            ("reserve", self.reserve),
            ("spread", self.spread),
            (long_spread, self.long_spread),
            ("linger", self.linger),
        ];

        let all = first.into_iter().chain(phases).chain(last);
        let early = self.leave_early.map(|early| {
            let (min, quiet) = (human(early.minimum()), human(early.quiet_time()));
            format!("LameDuck over early after {min} and a silence of {quiet}")
        });
        let words: Vec<String> = all
            .map(|(name, setting)| format!("{name} {setting}"))
            .chain(early)
            .collect();
        let quota = self.cpu_quota.map(|quota| {
            let left = human(self.budget().saturating_sub(self.hard_deadline()));
            format!("{quota}: the watchdog acts {left} before SIGKILL")
        });
        let parts = [Some(words.join(", ")), quota, Some(self.cut().join(", "))];
        parts.into_iter().flatten().collect::<Vec<_>>().join("; ")
    }

    /// When requests are cut. Close's deadline is later when no hook of Release has asked for its time by T0.
    fn cut(&self) -> Vec<String> {
        let [earliest, latest] = [Phase::Close, Phase::Release].map(|phase| self.deadline(phase));
        let mut cut = vec![format!(
            "requests are cut {} after SIGTERM",
            human(earliest)
        )];
        if latest > earliest {
            cut.push(format!(
                "or after {} if no hook of Release needs the time",
                human(latest)
            ));
        }
        cut
    }

    /// The environment entries that lead [`Plan::from_env`] back to this budget and this LameDuck.
    fn variables(&self) -> Vec<(&'static str, Duration)> {
        // Nothing to say: a grace period of zero is not accepted from the environment.
        if self.grace_period().is_zero() {
            return Vec::new();
        }

        let mut variables = vec![(GRACE_PERIOD_VARIABLE, self.grace_period())];
        if !self.pre_stop().is_zero() {
            variables.push((PRE_STOP_VARIABLE, self.pre_stop()));
        }
        if self.phases[Phase::LameDuck.index()].origin != Origin::Derived {
            variables.push((LAME_DUCK_VARIABLE, self.duration(Phase::LameDuck)));
        }
        variables
    }

    fn fmt_timeline(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} from SIGTERM to SIGKILL", human(self.budget()))?;
        if !self.pre_stop().is_zero() {
            let (grace_period, pre_stop) = (human(self.grace_period()), human(self.pre_stop()));
            write!(f, "\n(grace period {grace_period}, preStop {pre_stop})")?;
        }
        writeln!(f)?;

        for phase in Phase::EACH {
            let to = self.deadline(phase);
            let from = to.saturating_sub(self.duration(phase)).as_secs_f64();
            let (to, name, purpose) = (to.as_secs_f64(), phase.name(), phase.purpose());
            write!(f, "\n{from:>8.2} s {to:>8.2} s  {name:<8}  {purpose}")?;
        }
        let (watchdog, sigkill) = (self.hard_deadline(), self.budget());
        for (at, name, purpose) in [
            (watchdog, "watchdog", "end the process if it is still there"),
            (sigkill, "SIGKILL", "the grace period is over"),
        ] {
            let at = at.as_secs_f64();
            write!(f, "\n{:>10} {at:>8.2} s  {name:<8}  {purpose}", "")?;
        }
        write!(f, "\n\n{}", self.cut().join(",\n"))
    }

    fn fmt_manifest(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Kubernetes takes whole seconds. Rounded down they would end before the plan does.
        let whole =
            self.grace_period().as_secs() + u64::from(self.grace_period().subsec_nanos() > 0);
        write!(f, "# pod\nterminationGracePeriodSeconds: {whole}")?;

        let variables = self.variables();
        if !variables.is_empty() {
            write!(f, "\n# container\nenv:")?;
        }
        for (name, value) in variables {
            write!(f, "\n  - name: {name}\n    value: \"{}\"", decimal(value))?;
        }
        Ok(())
    }
}

/// The plan as a timeline, counted from `T0`, when requests are cut, and the manifest lines that fit it (YAML).
impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.fmt_timeline(f)?;
        write!(f, "\n\n")?;
        self.fmt_manifest(f)
    }
}
