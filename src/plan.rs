//! How long each phase may take: the one place where time is divided.
//!
//! A [`Plan`] takes one number, the grace period, and derives the rest. It is pure: it holds no clock and starts nothing.
//! Every deadline is counted from `T0`, the moment of the trigger, never from the start of a phase.

use std::error::Error;
use std::ffi::OsString;
use std::fmt;
use std::time::Duration;

use crate::phase::Phase;

// The names that are read from the environment.
const GRACE_PERIOD_VARIABLE: &str = "TERMINATION_GRACE_PERIOD_SECONDS";
const PRE_STOP_VARIABLE: &str = "PRE_STOP_SECONDS";
const LAME_DUCK_VARIABLE: &str = "LAME_DUCK_SECONDS";
const KUBERNETES_VARIABLE: &str = "KUBERNETES_SERVICE_HOST";

/// What Kubernetes grants when the manifest says nothing.
const GRACE_PERIOD: Duration = Duration::from_secs(30);
/// `docker stop` kills after 10 s.
const LOCAL_GRACE_PERIOD: Duration = Duration::from_secs(9);
/// Ten years. A later deadline than this could not be added to every clock's now.
const LONGEST: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

/// Of the grace period.
const LAME_DUCK: Share = Share::new(10, 3);
/// Of the budget.
const RELEASE: Share = Share::new(5, 6);
/// Of the budget.
const EXIT: Share = Share::new(1, 30);
/// Of the budget.
const RESERVE: Share = Share::new(1, 30);
/// Of LameDuck.
const SPREAD: Share = Share::new(5, 2);
/// Of Close: who is told at the end of the long spread still has the other half to linger.
const LINGER: Share = Share::new(1, 2);
/// With a preStop, LameDuck takes this part of the budget at most.
const LAME_DUCK_PART: u32 = 3;

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
/// The manifest knows best. [`env`](PlanBuilder::env) comes last, so what the manifest says counts; printed, the plan is a
/// timeline and the manifest lines that fit it:
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
/// | reserve before SIGKILL | the lesser of 1 s and B/30, and whatever no phase takes |
/// | spread | the lesser of 5 s and half of LameDuck; a preStop does not shorten it while it fits into LameDuck |
/// | long spread | half of Close |
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
#[derive(Clone, Debug)]
pub struct Plan {
    grace_period: Setting,
    pre_stop: Setting,
    /// Indexed by [`Phase::index`]. With the reserve they add up to the budget, so no sum of them overflows.
    phases: [Setting; Phase::ALL.len()],
    reserve: Setting,
    spread: Setting,
    long_spread: Setting,
    linger: Setting,
}

impl Plan {
    /// A builder with a grace period of 30 s and everything else derived.
    ///
    /// It does not look at where the process runs; [`PlanBuilder::env`] does.
    pub const fn builder() -> PlanBuilder {
        PlanBuilder {
            grace_period: None,
            pre_stop: None,
            lame_duck: None,
            drain: None,
            close: None,
            release: None,
            exit: None,
            reserve: None,
            spread: None,
            long_spread: None,
            linger: None,
        }
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

    /// When `phase` ends at the latest, counted from `T0`.
    #[must_use]
    pub fn deadline(&self, phase: Phase) -> Duration {
        total(&self.phases[..=phase.index()])
    }

    /// The time that is planned for `phase`. Time that earlier phases do not use comes on top.
    #[must_use]
    pub fn duration(&self, phase: Phase) -> Duration {
        self.phases[phase.index()].value
    }

    /// When the watchdog ends the process, counted from `T0`: halfway between Exit's deadline and SIGKILL.
    #[must_use]
    pub fn hard_deadline(&self) -> Duration {
        self.deadline(Phase::Exit) + self.reserve.value / 2
    }

    /// The window, counted from `T0`, over which short connections are asked to close.
    #[must_use]
    pub fn spread(&self) -> Duration {
        self.spread.value
    }

    /// The window, counted from the start of Close, over which long connections are told to end.
    #[must_use]
    pub fn long_spread(&self) -> Duration {
        self.long_spread.value
    }

    /// How long an idle HTTP/1 connection stays open in Close, for a request that is already on its way.
    #[must_use]
    pub fn linger(&self) -> Duration {
        self.linger.value
    }

    /// Whether the grace period is a guess.
    ///
    /// True inside Kubernetes when none of the three variables is set, and anywhere when `PRE_STOP_SECONDS` or
    /// `LAME_DUCK_SECONDS` is set and `TERMINATION_GRACE_PERIOD_SECONDS` is not. False once it is set in code.
    #[must_use]
    pub fn is_assumed(&self) -> bool {
        self.grace_period.origin == Origin::Assumed
    }

    /// Every number and where it came from, on one line.
    pub(crate) fn summary(&self) -> String {
        let phases = Phase::ALL.map(|phase| (phase.name(), self.phases[phase.index()]));
        let first = [
            ("grace period", self.grace_period),
            ("preStop", self.pre_stop),
        ];
        let last = [
            ("reserve", self.reserve),
            ("spread", self.spread),
            ("long spread", self.long_spread),
            ("linger", self.linger),
        ];

        let all = first.into_iter().chain(phases).chain(last);
        let words: Vec<String> = all
            .map(|(name, setting)| format!("{name} {setting}"))
            .collect();
        words.join(", ")
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

        for phase in Phase::ALL {
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
        Ok(())
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

/// The plan as a timeline, counted from `T0`, and the manifest lines that fit it (YAML).
impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.fmt_timeline(f)?;
        write!(f, "\n\n")?;
        self.fmt_manifest(f)
    }
}

/// Builds a [`Plan`]. What is not set is derived; the `# Defaults` table of [`Plan`] says how.
///
/// The last call wins: [`env`](PlanBuilder::env) overrides what was set before it and is overridden by what comes after.
/// Zero is legal everywhere and means at once. Nothing is checked before [`build`](PlanBuilder::build).
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until it is built"]
pub struct PlanBuilder {
    grace_period: Option<Setting>,
    pre_stop: Option<Setting>,
    lame_duck: Option<Setting>,
    drain: Option<Setting>,
    close: Option<Setting>,
    release: Option<Setting>,
    exit: Option<Setting>,
    reserve: Option<Setting>,
    spread: Option<Setting>,
    long_spread: Option<Setting>,
    linger: Option<Setting>,
}

impl PlanBuilder {
    /// The grace period, `terminationGracePeriodSeconds` in the manifest: 30 s by default.
    pub const fn grace_period(mut self, grace_period: Duration) -> Self {
        self.grace_period = Some(Setting::by_hand(grace_period));
        self
    }

    /// How long the preStop hook takes: zero by default.
    ///
    /// It spends the same grace period, and routing moves away meanwhile, so it shortens LameDuck first.
    pub const fn pre_stop(mut self, pre_stop: Duration) -> Self {
        self.pre_stop = Some(Setting::by_hand(pre_stop));
        self
    }

    /// How long to keep serving after the trigger. Taken literally: a preStop does not shorten it.
    pub const fn lame_duck(mut self, lame_duck: Duration) -> Self {
        self.lame_duck = Some(Setting::by_hand(lame_duck));
        self
    }

    /// The time for requests and tasks in flight.
    pub const fn drain(mut self, drain: Duration) -> Self {
        self.drain = Some(Setting::by_hand(drain));
        self
    }

    /// The time for long connections to end.
    pub const fn close(mut self, close: Duration) -> Self {
        self.close = Some(Setting::by_hand(close));
        self
    }

    /// The time to close pools, brokers and caches.
    pub const fn release(mut self, release: Duration) -> Self {
        self.release = Some(Setting::by_hand(release));
        self
    }

    /// The time to flush telemetry.
    pub const fn exit(mut self, exit: Duration) -> Self {
        self.exit = Some(Setting::by_hand(exit));
        self
    }

    /// The time that must be left between Exit's deadline and SIGKILL. The watchdog acts halfway through it.
    pub const fn reserve(mut self, reserve: Duration) -> Self {
        self.reserve = Some(Setting::by_hand(reserve));
        self
    }

    /// The window, counted from `T0`, over which short connections are asked to close: not longer than LameDuck.
    pub const fn spread(mut self, spread: Duration) -> Self {
        self.spread = Some(Setting::by_hand(spread));
        self
    }

    /// The window, counted from the start of Close, over which long connections are told: not longer than Close.
    pub const fn long_spread(mut self, long_spread: Duration) -> Self {
        self.long_spread = Some(Setting::by_hand(long_spread));
        self
    }

    /// How long an idle HTTP/1 connection stays open in Close. Close's deadline ends it in any case.
    pub const fn linger(mut self, linger: Duration) -> Self {
        self.linger = Some(Setting::by_hand(linger));
        self
    }

    /// Reads the process environment.
    ///
    /// | variable | sets |
    /// |---|---|
    /// | `TERMINATION_GRACE_PERIOD_SECONDS` | [`grace_period`](PlanBuilder::grace_period), more than zero |
    /// | `PRE_STOP_SECONDS` | [`pre_stop`](PlanBuilder::pre_stop) |
    /// | `LAME_DUCK_SECONDS` | [`lame_duck`](PlanBuilder::lame_duck) |
    ///
    /// A value is a number of seconds such as `15` or `2.5`; white space around it is ignored.
    ///
    /// If only others than the grace period are set, it stays as set in code; if it is not set there either, 30 s are
    /// assumed. If none is set and the code has set no grace period before this call:
    ///
    /// - inside Kubernetes (`KUBERNETES_SERVICE_HOST` is set) 30 s are assumed;
    /// - elsewhere the plan becomes [`Plan::local`], whatever was set before: what is right for a cluster need not fit
    ///   into the 9 s of a laptop.
    ///
    /// # Errors
    ///
    /// [`PlanError::MalformedVariable`] and [`PlanError::ZeroVariable`].
    pub fn env(self) -> Result<Self, PlanError> {
        self.vars(|name| std::env::var_os(name))
    }

    /// Checks the numbers and derives those that are missing.
    ///
    /// # Errors
    ///
    /// - [`PlanError::OutOfRange`]: a number is more than ten years.
    /// - [`PlanError::PreStopTakesAll`]: the preStop hook leaves nothing of the grace period (unless that is zero).
    /// - [`PlanError::TooLong`]: what was set and what Release, Exit and the reserve need do not fit the budget.
    /// - [`PlanError::SpreadTooLong`]: a spread was set that is longer than its phase.
    pub fn build(self) -> Result<Plan, PlanError> {
        self.check_range()?;

        let grace_period = self
            .grace_period
            .unwrap_or(Setting::new(GRACE_PERIOD, Origin::Default));
        let pre_stop = self
            .pre_stop
            .unwrap_or(Setting::new(Duration::ZERO, Origin::Default));
        let budget = budget(grace_period.value, pre_stop.value)?;

        let lame_duck = or_derived(
            self.lame_duck,
            lame_duck(grace_period.value, pre_stop.value),
        );
        let release = or_derived(self.release, RELEASE.of(budget));
        let exit = or_derived(self.exit, EXIT.of(budget));
        let reserve = or_derived(self.reserve, RESERVE.of(budget));
        let rest = self.rest(budget, &[lame_duck, release, exit, reserve])?;
        let (drain, close) = self.drain_and_close(rest);

        let phases = [lame_duck, drain, close, release, exit];
        let plan = Plan {
            grace_period,
            pre_stop,
            phases,
            reserve: reserve.grown_to(budget.saturating_sub(total(&phases))),
            spread: or_derived(
                self.spread,
                spread(grace_period.value, pre_stop.value, lame_duck),
            ),
            long_spread: or_derived(self.long_spread, close.value / 2),
            linger: or_derived(self.linger, LINGER.of(close.value)),
        };
        fits(plan.spread(), Phase::LameDuck, lame_duck.value)?;
        fits(plan.long_spread(), Phase::Close, close.value)?;
        Ok(plan)
    }

    /// The builder of [`Plan::local`].
    fn local() -> Self {
        let mut local = Plan::builder().at_once(Origin::Local);
        local.grace_period = Some(Setting::new(LOCAL_GRACE_PERIOD, Origin::Local));
        local
    }

    /// Without the waits that are there for the sake of others: routers, balancers, peers that come back all at once.
    fn at_once(mut self, origin: Origin) -> Self {
        let zero = Some(Setting::new(Duration::ZERO, origin));
        self.lame_duck = zero;
        self.spread = zero;
        self.long_spread = zero;
        self.linger = zero;
        self
    }

    /// [`env`](PlanBuilder::env) with an environment of one's own.
    fn vars(mut self, lookup: impl Fn(&str) -> Option<OsString>) -> Result<Self, PlanError> {
        let grace_period = variable(GRACE_PERIOD_VARIABLE, &lookup)?;
        let pre_stop = variable(PRE_STOP_VARIABLE, &lookup)?;
        let lame_duck = variable(LAME_DUCK_VARIABLE, &lookup)?;
        if grace_period.is_some_and(|it| it.value.is_zero()) {
            return Err(PlanError::ZeroVariable {
                name: GRACE_PERIOD_VARIABLE,
            });
        }

        let by_hand = self.grace_period.filter(|it| it.origin == Origin::Set);
        let told = grace_period
            .or(pre_stop)
            .or(lame_duck)
            .or(by_hand)
            .is_some();
        if !told && lookup(KUBERNETES_VARIABLE).is_none() {
            return Ok(PlanBuilder::local());
        }

        let assumed = Setting::new(GRACE_PERIOD, Origin::Assumed);
        self.grace_period = grace_period.or(by_hand).or(Some(assumed));
        self.pre_stop = pre_stop.or(self.pre_stop);
        self.lame_duck = lame_duck.or(self.lame_duck);
        Ok(self)
    }

    /// After this check no sum of settings overflows.
    fn check_range(&self) -> Result<(), PlanError> {
        let settings = [
            ("grace period", self.grace_period),
            ("preStop", self.pre_stop),
            ("LameDuck", self.lame_duck),
            ("Drain", self.drain),
            ("Close", self.close),
            ("Release", self.release),
            ("Exit", self.exit),
            ("reserve", self.reserve),
            ("spread", self.spread),
            ("long spread", self.long_spread),
            ("linger", self.linger),
        ];

        for (name, setting) in settings {
            match setting {
                Some(Setting { value, origin }) if value > LONGEST => {
                    let name = origin.variable().unwrap_or(name);
                    return Err(PlanError::OutOfRange { name, value });
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// What `others`, and Drain and Close if they are set, leave of the budget.
    fn rest(&self, budget: Duration, others: &[Setting]) -> Result<Duration, PlanError> {
        let by_hand: Vec<Setting> = self.drain.into_iter().chain(self.close).collect();
        let planned = total(others) + total(&by_hand);

        budget
            .checked_sub(planned)
            .ok_or(PlanError::TooLong { planned, budget })
    }

    fn drain_and_close(&self, rest: Duration) -> (Setting, Setting) {
        match (self.drain, self.close) {
            (Some(drain), Some(close)) => (drain, close),
            (Some(drain), None) => (drain, Setting::derived(rest)),
            (None, Some(close)) => (Setting::derived(rest), close),
            (None, None) => (
                Setting::derived(rest / 2),
                Setting::derived(rest - rest / 2),
            ),
        }
    }
}

/// Why a [`Plan`] could not be made.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum PlanError {
    /// The phases and the reserve do not fit between SIGTERM and SIGKILL.
    TooLong {
        /// What they add up to.
        planned: Duration,
        /// What there is.
        budget: Duration,
    },
    /// The preStop hook leaves no time after SIGTERM.
    PreStopTakesAll {
        /// The preStop hook's time.
        pre_stop: Duration,
        /// The grace period that it is taken from.
        grace_period: Duration,
    },
    /// A spread is longer than the phase that it lies in.
    SpreadTooLong {
        /// LameDuck for the spread, Close for the long spread.
        phase: Phase,
        /// The spread that was set.
        spread: Duration,
        /// The phase's duration.
        duration: Duration,
    },
    /// A variable does not hold a number of seconds.
    MalformedVariable {
        /// The variable's name.
        name: &'static str,
        /// What it holds; what is not unicode is replaced.
        value: String,
    },
    /// A variable is zero that may not be.
    ZeroVariable {
        /// The variable's name.
        name: &'static str,
    },
    /// A number is more than ten years.
    OutOfRange {
        /// What it is: the variable's name if it came from there.
        name: &'static str,
        /// The number; `Duration::MAX` also stands for more than that.
        value: Duration,
    },
}

impl fmt::Display for PlanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PlanError::TooLong { planned, budget } => write!(
                f,
                "the phases and the reserve add up to {}, which is {} more than the {} from SIGTERM to SIGKILL",
                human(*planned),
                human(planned.saturating_sub(*budget)),
                human(*budget),
            ),
            PlanError::PreStopTakesAll {
                pre_stop,
                grace_period,
            } => write!(
                f,
                "preStop takes {} of a grace period of {}, which leaves no time after SIGTERM",
                human(*pre_stop),
                human(*grace_period),
            ),
            PlanError::SpreadTooLong {
                phase,
                spread,
                duration,
            } => write!(
                f,
                "the {} of {} is {} longer than the {} of {phase}",
                if *phase == Phase::Close {
                    "long spread"
                } else {
                    "spread"
                },
                human(*spread),
                human(spread.saturating_sub(*duration)),
                human(*duration),
            ),
            PlanError::MalformedVariable { name, value } => {
                write!(
                    f,
                    "{name} is {value:?}, expected a number of seconds such as \"15\" or \"2.5\""
                )
            }
            PlanError::ZeroVariable { name } => {
                write!(f, "{name} is zero, expected more than 0 s")
            }
            PlanError::OutOfRange { name, value } => {
                let (value, longest) = (human(*value), human(LONGEST));
                write!(
                    f,
                    "{name} is {value}, expected at most ten years ({longest})"
                )
            }
        }
    }
}

impl Error for PlanError {}

/// A number and where it came from.
#[derive(Clone, Copy, Debug)]
struct Setting {
    value: Duration,
    origin: Origin,
}

impl Setting {
    const fn new(value: Duration, origin: Origin) -> Self {
        Setting { value, origin }
    }

    const fn by_hand(value: Duration) -> Self {
        Setting::new(value, Origin::Set)
    }

    const fn derived(value: Duration) -> Self {
        Setting::new(value, Origin::Derived)
    }

    /// A number that had to change is not the one that was set.
    fn grown_to(self, value: Duration) -> Self {
        if value == self.value {
            self
        } else {
            Setting::derived(value)
        }
    }
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", human(self.value), self.origin)
    }
}

/// Where a number came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    Set,
    Variable(&'static str),
    Derived,
    Assumed,
    Local,
    Default,
}

impl Origin {
    fn variable(self) -> Option<&'static str> {
        match self {
            Origin::Variable(name) => Some(name),
            _ => None,
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Origin::Set => "set",
            Origin::Variable(name) => name,
            Origin::Derived => "derived",
            Origin::Assumed => "assumed",
            Origin::Local => "local",
            Origin::Default => "default",
        })
    }
}

/// A part of a whole, up to a limit.
struct Share {
    at_most: Duration,
    part: u32,
}

impl Share {
    const fn new(at_most_seconds: u64, part: u32) -> Self {
        Share {
            at_most: Duration::from_secs(at_most_seconds),
            part,
        }
    }

    fn of(&self, whole: Duration) -> Duration {
        self.at_most.min(whole / self.part)
    }
}

fn total(settings: &[Setting]) -> Duration {
    settings.iter().map(|setting| setting.value).sum()
}

fn or_derived(setting: Option<Setting>, derived: Duration) -> Setting {
    setting.unwrap_or(Setting::derived(derived))
}

fn budget(grace_period: Duration, pre_stop: Duration) -> Result<Duration, PlanError> {
    // A grace period of zero is a wish to end at once, and there is nothing that a hook could take from it.
    if pre_stop >= grace_period && !grace_period.is_zero() {
        return Err(PlanError::PreStopTakesAll {
            pre_stop,
            grace_period,
        });
    }
    Ok(grace_period.saturating_sub(pre_stop))
}

/// LameDuck's default. Routing moves while the preStop hook runs, but connections are only asked to close from `T0` on.
fn lame_duck(grace_period: Duration, pre_stop: Duration) -> Duration {
    let whole = LAME_DUCK.of(grace_period);
    if pre_stop.is_zero() {
        return whole;
    }
    let budget = grace_period.saturating_sub(pre_stop);
    whole
        .saturating_sub(pre_stop)
        .max(SPREAD.of(whole))
        .min(budget / LAME_DUCK_PART)
}

/// The spread's default.
fn spread(grace_period: Duration, pre_stop: Duration, lame_duck: Setting) -> Duration {
    if pre_stop.is_zero() || lame_duck.origin != Origin::Derived {
        return SPREAD.of(lame_duck.value);
    }
    SPREAD.of(LAME_DUCK.of(grace_period)).min(lame_duck.value)
}

fn fits(spread: Duration, phase: Phase, duration: Duration) -> Result<(), PlanError> {
    if spread > duration {
        return Err(PlanError::SpreadTooLong {
            phase,
            spread,
            duration,
        });
    }
    Ok(())
}

fn variable(
    name: &'static str,
    lookup: impl Fn(&str) -> Option<OsString>,
) -> Result<Option<Setting>, PlanError> {
    let Some(value) = lookup(name) else {
        return Ok(None);
    };
    match value.to_str().and_then(|text| parse(text.trim())) {
        Some(seconds) => Ok(Some(Setting::new(seconds, Origin::Variable(name)))),
        None => Err(PlanError::MalformedVariable {
            name,
            value: value.to_string_lossy().into_owned(),
        }),
    }
}

/// Digits, or digits, a dot and digits. What is finer than a nanosecond is cut off, what is too much is `Duration::MAX`.
fn parse(text: &str) -> Option<Duration> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let is_digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if !is_digits(whole) || !is_digits(fraction) {
        return None;
    }

    // Only digits are left, so what does not parse is too much.
    let Ok(seconds) = whole.parse() else {
        return Some(Duration::MAX);
    };
    let nanos = format!("{fraction:0<9.9}").parse().ok()?;
    Some(Duration::new(seconds, nanos))
}

/// Exact seconds: what [`parse`] reads back.
fn decimal(duration: Duration) -> String {
    let text = format!("{}.{:09}", duration.as_secs(), duration.subsec_nanos());
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Seconds to the millisecond, with the unit; exact if nothing would be left of them.
fn human(duration: Duration) -> String {
    const HALF: Duration = Duration::from_micros(500);

    let rounded = duration.saturating_add(HALF);
    let below = Duration::from_nanos(u64::from(rounded.subsec_nanos() % 1_000_000));
    match rounded.saturating_sub(below) {
        Duration::ZERO => format!("{} s", decimal(duration)),
        rounded => format!("{} s", decimal(rounded)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KUBERNETES: (&str, &str) = (KUBERNETES_VARIABLE, "10.0.0.1");

    const fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn with_vars(builder: PlanBuilder, vars: &[(&str, &str)]) -> Result<PlanBuilder, PlanError> {
        builder.vars(|name| {
            let found = vars.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| OsString::from(value))
        })
    }

    fn plan_from(vars: &[(&str, &str)]) -> Result<Plan, PlanError> {
        with_vars(Plan::builder(), vars)?.build()
    }

    #[track_caller]
    fn assert_ends(plan: &Plan, expected: [f64; 5]) {
        for (phase, expected) in Phase::ALL.into_iter().zip(expected) {
            let seen = plan.deadline(phase).as_secs_f64();
            assert!(
                (seen - expected).abs() <= 0.005,
                "{phase}: {seen}, expected {expected}"
            );
        }
    }

    #[test]
    fn defaults_are_those_of_the_table() {
        let table = [
            (2, [0.67, 1.10, 1.53, 1.87, 1.93]),
            (5, [1.67, 2.75, 3.83, 4.67, 4.83]),
            (10, [3.33, 5.50, 7.67, 9.33, 9.67]),
            (15, [5.0, 8.25, 11.5, 14.0, 14.5]),
            (30, [10.0, 16.5, 23.0, 28.0, 29.0]),
            (60, [10.0, 31.5, 53.0, 58.0, 59.0]),
            (300, [10.0, 151.5, 293.0, 298.0, 299.0]),
        ];

        for (grace_period, ends) in table {
            let plan = Plan::builder()
                .grace_period(secs(grace_period))
                .build()
                .unwrap();

            assert_ends(&plan, ends);
        }
    }

    #[test]
    fn phases_and_reserve_use_the_whole_budget() {
        for millis in 0..2_000 {
            let grace_period = Duration::from_millis(millis * 37);
            let plan = Plan::builder().grace_period(grace_period).build().unwrap();

            assert_eq!(
                plan.deadline(Phase::Exit) + plan.reserve.value,
                plan.budget()
            );
            assert_eq!(plan.reserve.value, RESERVE.of(grace_period));
        }
    }

    #[test]
    fn the_default_plan_has_its_windows() {
        let plan = Plan::builder().build().unwrap();

        assert_eq!(plan.grace_period(), secs(30));
        assert_eq!(plan.spread(), secs(5));
        assert_eq!(plan.long_spread(), plan.duration(Phase::Close) / 2);
        assert_eq!(plan.linger(), secs(1));
        assert_eq!(plan.hard_deadline(), Duration::from_millis(29_500));
        assert!(!plan.is_assumed());
    }

    #[test]
    fn too_long_a_plan_says_by_how_much() {
        let error = Plan::builder()
            .lame_duck(secs(15))
            .drain(secs(18))
            .build()
            .unwrap_err();

        assert_eq!(
            error,
            PlanError::TooLong {
                planned: secs(40),
                budget: secs(30)
            }
        );
        assert_eq!(
            error.to_string(),
            "the phases and the reserve add up to 40 s, which is 10 s more than the 30 s from SIGTERM to SIGKILL"
        );
    }

    #[test]
    fn a_nanosecond_too_much_is_too_long() {
        let plan = |drain| Plan::builder().drain(drain).close(Duration::ZERO).build();

        assert!(plan(secs(13)).is_ok());
        let error = plan(secs(13) + Duration::from_nanos(1)).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("0.000000001 s more than the 30 s"),
            "{error}"
        );
    }

    #[test]
    fn pre_stop_leaves_lame_duck_its_spread() {
        let plan = Plan::builder().pre_stop(secs(15)).build().unwrap();

        assert_eq!(plan.budget(), secs(15));
        assert_eq!(plan.duration(Phase::LameDuck), secs(5));
        assert_eq!(plan.spread(), secs(5));
        assert!(plan.deadline(Phase::Exit) <= secs(15));
        assert!(plan.hard_deadline() < secs(15));
    }

    #[test]
    fn short_pre_stop_is_taken_off_lame_duck() {
        let plan = Plan::builder().pre_stop(secs(2)).build().unwrap();

        assert_eq!(plan.duration(Phase::LameDuck), secs(8));
        assert_eq!(plan.spread(), secs(5));
    }

    #[test]
    fn long_pre_stop_leaves_lame_duck_a_third() {
        let plan = Plan::builder().pre_stop(secs(27)).build().unwrap();

        assert_eq!(plan.duration(Phase::LameDuck), secs(1));
        assert_eq!(plan.spread(), secs(1));
    }

    #[test]
    fn pre_stop_that_takes_all_is_an_error() {
        for pre_stop in [30, 31] {
            let error = Plan::builder()
                .pre_stop(secs(pre_stop))
                .build()
                .unwrap_err();

            let expected = format!(
                "preStop takes {pre_stop} s of a grace period of 30 s, which leaves no time after SIGTERM"
            );
            assert_eq!(error.to_string(), expected);
        }
    }

    #[test]
    fn lame_duck_by_hand_is_taken_literally() {
        let plan = Plan::builder()
            .lame_duck(secs(10))
            .pre_stop(secs(10))
            .build()
            .unwrap();

        assert_eq!(plan.duration(Phase::LameDuck), secs(10));
        assert_eq!(plan.spread(), secs(5));
    }

    #[test]
    fn the_one_that_is_derived_gets_the_rest() {
        let drain = Plan::builder().drain(secs(3)).build().unwrap();
        let close = Plan::builder().close(secs(3)).build().unwrap();

        assert_ends(&drain, [10.0, 13.0, 23.0, 28.0, 29.0]);
        assert_ends(&close, [10.0, 20.0, 23.0, 28.0, 29.0]);
    }

    #[test]
    fn what_no_phase_takes_is_reserve() {
        let builder = Plan::builder()
            .lame_duck(secs(1))
            .drain(secs(2))
            .close(secs(3));
        let plan = builder
            .release(secs(4))
            .exit(secs(5))
            .reserve(secs(1))
            .build()
            .unwrap();

        assert_ends(&plan, [1.0, 3.0, 6.0, 10.0, 15.0]);
        assert_eq!(plan.hard_deadline(), Duration::from_millis(22_500));
        assert!(plan.summary().contains("reserve 15 s (derived)"));
    }

    #[test]
    fn spread_longer_than_its_phase_says_by_how_much() {
        let spread = Plan::builder().spread(secs(12)).build().unwrap_err();
        let long = Plan::builder()
            .close(secs(2))
            .long_spread(secs(5))
            .build()
            .unwrap_err();

        assert_eq!(
            spread.to_string(),
            "the spread of 12 s is 2 s longer than the 10 s of LameDuck"
        );
        assert_eq!(
            long.to_string(),
            "the long spread of 5 s is 3 s longer than the 2 s of Close"
        );
    }

    #[test]
    fn grace_period_is_assumed_inside_kubernetes() {
        for host in ["10.0.0.1", ""] {
            let plan = plan_from(&[(KUBERNETES_VARIABLE, host)]).unwrap();

            assert!(plan.is_assumed());
            assert_ends(&plan, [10.0, 16.5, 23.0, 28.0, 29.0]);
        }
    }

    #[test]
    fn grace_period_is_assumed_when_only_others_are_set() {
        for place in [KUBERNETES, ("HOME", "/root")] {
            let plan = plan_from(&[place, (LAME_DUCK_VARIABLE, "15")]).unwrap();

            assert!(plan.is_assumed());
            assert_eq!(plan.grace_period(), secs(30));
            assert_eq!(plan.duration(Phase::LameDuck), secs(15));
        }
    }

    #[test]
    fn plan_is_local_outside_kubernetes() {
        let plan = plan_from(&[]).unwrap();

        assert_eq!(plan.budget(), secs(9));
        assert_eq!(plan.summary(), Plan::local().summary());
        assert_ends(&plan, [0.0, 3.45, 6.9, 8.4, 8.7]);
        assert_eq!(
            [plan.spread(), plan.long_spread(), plan.linger()],
            [Duration::ZERO; 3]
        );
        assert!(!plan.is_assumed());
    }

    #[test]
    fn what_fits_a_cluster_only_does_not_fail_outside() {
        let cluster = Plan::builder().lame_duck(secs(15)).pre_stop(secs(9));

        let plan = with_vars(cluster, &[]).unwrap().build().unwrap();

        assert_eq!(plan.summary(), Plan::local().summary());
    }

    #[test]
    fn immediate_waits_for_nothing_but_work() {
        let plan = Plan::immediate();

        assert_eq!(plan.budget(), secs(30));
        assert_ends(&plan, [0.0, 11.5, 23.0, 28.0, 29.0]);
        assert_eq!(
            [plan.spread(), plan.long_spread(), plan.linger()],
            [Duration::ZERO; 3]
        );
    }

    #[test]
    fn variables_are_read() {
        let vars = [
            (GRACE_PERIOD_VARIABLE, "60"),
            (PRE_STOP_VARIABLE, " 2.5\n"),
            (LAME_DUCK_VARIABLE, "0"),
        ];

        let plan = plan_from(&vars).unwrap();

        assert_eq!(plan.grace_period(), secs(60));
        assert_eq!(plan.pre_stop(), Duration::from_millis(2_500));
        assert_eq!(plan.duration(Phase::LameDuck), Duration::ZERO);
        assert!(!plan.is_assumed());
    }

    #[test]
    fn malformed_values_are_named() {
        let values = [
            "", " ", "15s", "-1", "+1", "NaN", "inf", "1e3", ".5", "5.", ".", "1.2.3", "1,5",
            "1 5", "0x10", "1_0", "٣",
        ];

        for name in [GRACE_PERIOD_VARIABLE, PRE_STOP_VARIABLE, LAME_DUCK_VARIABLE] {
            for value in values {
                let error = plan_from(&[(name, value)]).unwrap_err();

                assert_eq!(
                    error,
                    PlanError::MalformedVariable {
                        name,
                        value: value.to_owned()
                    }
                );
            }
        }
    }

    #[test]
    fn malformed_value_says_what_was_expected() {
        let error = plan_from(&[(LAME_DUCK_VARIABLE, "15s")]).unwrap_err();

        assert_eq!(
            error.to_string(),
            r#"LAME_DUCK_SECONDS is "15s", expected a number of seconds such as "15" or "2.5""#
        );
    }

    #[cfg(unix)]
    #[test]
    fn value_that_is_not_unicode_is_malformed() {
        use std::os::unix::ffi::OsStringExt;

        let builder = Plan::builder().vars(|_| Some(OsString::from_vec(vec![b'1', 0xff])));

        let value = "1\u{fffd}".to_owned();
        let name = GRACE_PERIOD_VARIABLE;
        assert_eq!(
            builder.unwrap_err(),
            PlanError::MalformedVariable { name, value }
        );
    }

    #[test]
    fn zero_grace_period_in_a_variable_is_an_error() {
        for zero in ["0", "0.0", "000"] {
            let error = plan_from(&[(GRACE_PERIOD_VARIABLE, zero)]).unwrap_err();

            assert_eq!(
                error,
                PlanError::ZeroVariable {
                    name: GRACE_PERIOD_VARIABLE
                }
            );
        }
    }

    #[test]
    fn variable_overrides_what_was_set_before() {
        let builder = Plan::builder()
            .grace_period(secs(20))
            .lame_duck(secs(1))
            .pre_stop(secs(1));

        let builder = with_vars(
            builder,
            &[(GRACE_PERIOD_VARIABLE, "60"), (LAME_DUCK_VARIABLE, "7")],
        );
        let plan = builder.unwrap().build().unwrap();

        assert_eq!(plan.grace_period(), secs(60));
        assert_eq!(plan.duration(Phase::LameDuck), secs(7));
        assert_eq!(plan.pre_stop(), secs(1));
    }

    #[test]
    fn what_is_set_after_overrides_the_variable() {
        let builder = with_vars(Plan::builder(), &[(GRACE_PERIOD_VARIABLE, "60")]).unwrap();

        let plan = builder
            .grace_period(secs(40))
            .grace_period(secs(20))
            .build()
            .unwrap();

        assert_eq!(plan.grace_period(), secs(20));
    }

    #[test]
    fn grace_period_by_hand_is_never_assumed() {
        for vars in [&[][..], &[KUBERNETES], &[(PRE_STOP_VARIABLE, "5")]] {
            let before = with_vars(Plan::builder().grace_period(secs(20)), vars).unwrap();
            let after = with_vars(Plan::builder(), vars)
                .unwrap()
                .grace_period(secs(20));

            for plan in [before.build().unwrap(), after.build().unwrap()] {
                assert_eq!(plan.grace_period(), secs(20));
                assert!(!plan.is_assumed());
            }
        }
    }

    #[test]
    fn zero_grace_period_means_at_once() {
        for pre_stop in [0, 5] {
            let builder = Plan::builder().grace_period(Duration::ZERO);
            let plan = builder.pre_stop(secs(pre_stop)).build().unwrap();

            assert_ends(&plan, [0.0; 5]);
            let rest = [
                plan.budget(),
                plan.hard_deadline(),
                plan.spread(),
                plan.long_spread(),
                plan.linger(),
            ];
            assert_eq!(rest, [Duration::ZERO; 5]);
            assert!(
                plan.to_string()
                    .ends_with("\nterminationGracePeriodSeconds: 0")
            );
        }
    }

    type Setter = fn(PlanBuilder, Duration) -> PlanBuilder;

    const SETTERS: [Setter; 11] = [
        PlanBuilder::grace_period,
        PlanBuilder::pre_stop,
        PlanBuilder::lame_duck,
        PlanBuilder::drain,
        PlanBuilder::close,
        PlanBuilder::release,
        PlanBuilder::exit,
        PlanBuilder::reserve,
        PlanBuilder::spread,
        PlanBuilder::long_spread,
        PlanBuilder::linger,
    ];

    #[test]
    fn more_than_ten_years_is_out_of_range() {
        for setter in SETTERS {
            for value in [LONGEST + Duration::from_nanos(1), Duration::MAX] {
                let error = setter(Plan::builder(), value).build().unwrap_err();

                assert!(matches!(error, PlanError::OutOfRange { .. }), "{error}");
            }
        }
    }

    #[test]
    fn variable_out_of_range_is_named() {
        for value in [
            "315360001",
            "18446744073709551615.9999999999",
            "99999999999999999999999",
        ] {
            let error = plan_from(&[(PRE_STOP_VARIABLE, value)]).unwrap_err();

            assert!(
                error.to_string().starts_with("PRE_STOP_SECONDS is "),
                "{error}"
            );
            assert!(
                error
                    .to_string()
                    .ends_with(", expected at most ten years (315360000 s)"),
                "{error}"
            );
        }
    }

    #[test]
    fn extremes_do_not_panic() {
        let extremes = [
            Duration::ZERO,
            Duration::from_nanos(1),
            secs(31),
            LONGEST,
            Duration::MAX,
        ];

        for first in SETTERS {
            for second in SETTERS {
                for (a, b) in extremes.iter().flat_map(|a| extremes.map(|b| (*a, b))) {
                    match second(first(Plan::builder(), a), b).build() {
                        Ok(plan) => {
                            assert!(plan.deadline(Phase::Exit) <= plan.hard_deadline());
                            assert!(plan.hard_deadline() <= plan.budget());
                            let _ = (plan.to_string(), plan.summary());
                        }
                        Err(error) => assert!(!error.to_string().ends_with('.')),
                    }
                }
            }
        }
    }

    #[test]
    fn printed_plan_is_a_timeline_and_a_manifest() {
        let vars = [(PRE_STOP_VARIABLE, "15"), (LAME_DUCK_VARIABLE, "2.5")];

        let plan = plan_from(&vars).unwrap();

        let expected = r#"
15 s from SIGTERM to SIGKILL
(grace period 30 s, preStop 15 s)

    0.00 s     2.50 s  LameDuck  keep serving
    2.50 s     7.00 s  Drain     finish what is in flight
    7.00 s    11.50 s  Close     end long connections
   11.50 s    14.00 s  Release   close pools
   14.00 s    14.50 s  Exit      flush telemetry
              14.75 s  watchdog  end the process if it is still there
              15.00 s  SIGKILL   the grace period is over

# pod
terminationGracePeriodSeconds: 30
# container
env:
  - name: TERMINATION_GRACE_PERIOD_SECONDS
    value: "30"
  - name: PRE_STOP_SECONDS
    value: "15"
  - name: LAME_DUCK_SECONDS
    value: "2.5""#;
        assert_eq!(format!("\n{plan}"), expected);
    }

    #[test]
    fn printed_plan_leaves_out_what_is_derived() {
        let text = Plan::builder().build().unwrap().to_string();

        assert!(text.contains("TERMINATION_GRACE_PERIOD_SECONDS\n    value: \"30\""));
        assert!(!text.contains(PRE_STOP_VARIABLE));
        assert!(!text.contains(LAME_DUCK_VARIABLE));
    }

    #[test]
    fn printed_plan_fits_eighty_columns() {
        let odd = LONGEST - Duration::from_nanos(123_456_789);
        let longest = Plan::builder()
            .grace_period(odd)
            .pre_stop(odd / 3)
            .lame_duck(odd / 7);

        for plan in [longest.build().unwrap(), Plan::local(), Plan::immediate()] {
            for line in plan.to_string().lines() {
                assert!(line.chars().count() <= 80, "{line}");
            }
        }
    }

    #[test]
    fn manifest_has_whole_seconds_that_suffice() {
        let plan = Plan::builder()
            .grace_period(Duration::from_millis(2_500))
            .build()
            .unwrap();

        let text = plan.to_string();

        assert!(text.contains("\nterminationGracePeriodSeconds: 3\n"));
        assert!(text.contains("value: \"2.5\""));
    }

    #[test]
    fn printed_variables_lead_back_to_the_plan() {
        let by_hand = Plan::builder().lame_duck(Duration::new(3, 141_592_653));
        let pre_stop = Plan::builder().pre_stop(secs(7));

        for plan in [
            by_hand.build().unwrap(),
            pre_stop.build().unwrap(),
            Plan::local(),
        ] {
            let values = plan
                .variables()
                .into_iter()
                .map(|(name, value)| (name, decimal(value)));
            let values: Vec<(&str, String)> = values.collect();
            let vars: Vec<(&str, &str)> = values
                .iter()
                .map(|(name, value)| (*name, value.as_str()))
                .collect();
            let again = plan_from(&vars).unwrap();

            for phase in Phase::ALL {
                assert_eq!(again.deadline(phase), plan.deadline(phase));
            }
        }
    }

    #[test]
    fn summary_names_origins() {
        let vars = [(GRACE_PERIOD_VARIABLE, "30"), (PRE_STOP_VARIABLE, "15")];
        let builder = with_vars(Plan::builder(), &vars).unwrap().drain(secs(3));

        let summary = builder.build().unwrap().summary();

        assert_eq!(
            summary,
            "grace period 30 s (TERMINATION_GRACE_PERIOD_SECONDS), preStop 15 s (PRE_STOP_SECONDS), \
             LameDuck 5 s (derived), Drain 3 s (set), Close 3.5 s (derived), Release 2.5 s (derived), \
             Exit 0.5 s (derived), reserve 0.5 s (derived), spread 5 s (derived), \
             long spread 1.75 s (derived), linger 1 s (derived)"
        );
    }

    #[test]
    fn summary_tells_default_assumed_and_local_apart() {
        let default = Plan::builder().build().unwrap().summary();
        let assumed = plan_from(&[KUBERNETES]).unwrap().summary();

        assert!(default.starts_with(
            "grace period 30 s (default), preStop 0 s (default), LameDuck 10 s (derived)"
        ));
        assert!(assumed.starts_with("grace period 30 s (assumed)"));
        assert!(
            Plan::local()
                .summary()
                .starts_with("grace period 9 s (local)")
        );
        assert!(Plan::local().summary().contains("LameDuck 0 s (local)"));
    }
}
