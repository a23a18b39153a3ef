//! From the numbers that were set to a plan that fits.

use std::ffi::{OsStr, OsString};
use std::time::Duration;

use crate::phase::Phase;
use crate::process::cgroup::CpuQuota;

use super::setting::{LONGEST, Origin, Setting, parse, total};
use super::{
    GRACE_PERIOD_VARIABLE, LAME_DUCK_VARIABLE, LATEST_WATCHDOG, LeaveEarly, PRE_STOP_VARIABLE,
    Plan, PlanError, Platform,
};

/// What Kubernetes grants when the manifest says nothing.
const GRACE_PERIOD: Duration = Duration::from_secs(30);
/// `docker stop` kills after 10 s.
const LOCAL_GRACE_PERIOD: Duration = Duration::from_secs(9);

/// Of the grace period.
const LAME_DUCK: Share = Share::new(10, 3);
/// Of the budget.
const RELEASE: Share = Share::new(5, 6);
/// Of the budget.
const EXIT: Share = Share::new(1, 30);
/// Of the budget.
const RESERVE: Share = Share::new(1, 30);
/// A shorter reserve than this cannot be set: the watchdog wakes, prints and exits in half of it.
const LEAST_RESERVE: Duration = Duration::from_millis(50);
/// Of LameDuck.
const SPREAD: Share = Share::new(5, 2);
/// Of Close: who is told at the end of the long spread still has the other half to linger.
const LINGER: Share = Share::new(1, 2);
/// With a preStop, LameDuck takes this part of the budget at most.
const LAME_DUCK_PART: u32 = 3;

/// How many characters of a variable an error quotes.
const QUOTED: usize = 60;

/// Builds a [`Plan`]. What is not set is derived; the `# Defaults` table of [`Plan`] says how.
///
/// The last call wins: [`env`](PlanBuilder::env) overrides what was set before it and is overridden by what comes after.
/// Zero is legal for everything but the reserve, and means at once. Nothing is checked before [`build`](PlanBuilder::build).
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until it is built"]
pub struct PlanBuilder {
    platform: Option<Platform>,
    grace_period: Option<Setting>,
    pre_stop: Option<Setting>,
    lame_duck: Option<Setting>,
    drain: Option<Setting>,
    close: Option<Setting>,
    release: Option<Setting>,
    exit: Option<Setting>,
    reserve: Option<Setting>,
    spread: Option<Setting>,
    long_phase: Option<Phase>,
    long_spread: Option<Setting>,
    linger: Option<Setting>,
    leave_early: Option<LeaveEarly>,
    cpu_quota: Option<CpuQuota>,
    /// The platform whose variable the environment holds.
    seen: Option<Platform>,
    /// The environment was asked, and holds none of the variables.
    untold: bool,
}

impl PlanBuilder {
    pub(super) const fn new() -> Self {
        PlanBuilder {
            platform: None,
            grace_period: None,
            pre_stop: None,
            lame_duck: None,
            drain: None,
            close: None,
            release: None,
            exit: None,
            reserve: None,
            spread: None,
            long_phase: None,
            long_spread: None,
            linger: None,
            leave_early: None,
            cpu_quota: None,
            seen: None,
            untold: false,
        }
    }

    /// The grace period that `platform` grants by default, and LameDuck as it is of use there: see the table of [`Platform`]. Every
    /// number that is set, before or after this, stays as it is.
    ///
    /// ```
    /// use std::time::Duration;
    /// use lameduck::{Plan, Platform};
    ///
    /// // `kill_timeout = 60` in fly.toml.
    /// let plan = Plan::builder().platform(Platform::Fly).grace_period(Duration::from_secs(60));
    /// assert_eq!(plan.build()?.grace_period(), Duration::from_secs(60));
    /// # Ok::<(), lameduck::PlanError>(())
    /// ```
    pub const fn platform(mut self, platform: Platform) -> Self {
        self.platform = Some(platform);
        self
    }

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

    /// How long to keep serving after the trigger. A preStop hook does not shorten a LameDuck that is set.
    pub const fn lame_duck(mut self, lame_duck: Duration) -> Self {
        self.lame_duck = Some(Setting::by_hand(lame_duck));
        self
    }

    /// The time for requests and tasks in flight.
    pub const fn drain(mut self, drain: Duration) -> Self {
        self.drain = Some(Setting::by_hand(drain));
        self
    }

    /// The time for connections to end, at least: Close also gets what [no hook of Release needs](Plan#when-requests-are-cut).
    pub const fn close(mut self, close: Duration) -> Self {
        self.close = Some(Setting::by_hand(close));
        self
    }

    /// The time to close pools, brokers and caches. Close gets what [no hook of Release needs](Plan#when-requests-are-cut).
    pub const fn release(mut self, release: Duration) -> Self {
        self.release = Some(Setting::by_hand(release));
        self
    }

    /// The time to flush telemetry.
    pub const fn exit(mut self, exit: Duration) -> Self {
        self.exit = Some(Setting::by_hand(exit));
        self
    }

    /// The time that must be left between Exit's deadline and SIGKILL, at least the lesser of 50 ms and a thirtieth of the
    /// budget. The watchdog acts halfway through it, and 500 ms after Exit's deadline at the latest.
    pub const fn reserve(mut self, reserve: Duration) -> Self {
        self.reserve = Some(Setting::by_hand(reserve));
        self
    }

    /// The window, counted from `T0`, over which short connections are asked to close: not longer than LameDuck.
    pub const fn spread(mut self, spread: Duration) -> Self {
        self.spread = Some(Setting::by_hand(spread));
        self
    }

    /// The phase in which long connections (WebSockets, event streams, calls that stream) are told to end: Close by default.
    ///
    /// LameDuck or Drain gives them a longer window, and their clients more time to find another replica one by one. A long
    /// connection that is opened meanwhile, and whose moment has passed, is told at once.
    pub const fn long_phase(mut self, phase: Phase) -> Self {
        self.long_phase = Some(phase);
        self
    }

    /// The window over which long connections are told, counted from the start of their phase and not longer than it. See
    /// [`Plan::long_spread`].
    pub const fn long_spread(mut self, long_spread: Duration) -> Self {
        self.long_spread = Some(Setting::by_hand(long_spread));
        self
    }

    /// How long an idle HTTP/1 connection stays open in Close. Close's deadline ends it in any case.
    pub const fn linger(mut self, linger: Duration) -> Self {
        self.linger = Some(Setting::by_hand(linger));
        self
    }

    /// Lets LameDuck be over before its time when silence proves that traffic has moved: fewer pods overlap in a rolling
    /// update. Off by default. See [`LeaveEarly`].
    pub const fn leave_early(mut self, early: LeaveEarly) -> Self {
        self.leave_early = Some(early);
        self
    }

    /// The CPU quota under which the process runs: `time` of processor time in each `period`, for all of its threads together. By
    /// default there is none; [`env`](PlanBuilder::env) reads that of the process's cgroup.
    ///
    /// Threads that use the quota up are all stopped until the next period, the watchdog among them. So the reserve that is derived
    /// is widened, at the cost of Drain and Close, by half of their time at most: two periods, and the time in which the quota gives
    /// 30 ms, lie between the watchdog and SIGKILL. That is 0.5 s with a tenth of a core and the usual period of 100 ms. A reserve that is
    /// [set](PlanBuilder::reserve) stays as it is, and with a tenth of a core the usual one is long enough from a grace period of 30 s on.
    /// A period of zero is no quota.
    pub const fn cpu_quota(mut self, time: Duration, period: Duration) -> Self {
        self.cpu_quota = match period.is_zero() {
            true => None,
            false => Some(CpuQuota { time, period }),
        };
        self
    }

    /// Reads the process environment, and the CPU quota of the process's cgroup (Linux, both versions of cgroups).
    ///
    /// | variable | sets |
    /// |---|---|
    /// | `TERMINATION_GRACE_PERIOD_SECONDS` | [`grace_period`](PlanBuilder::grace_period), more than zero |
    /// | `PRE_STOP_SECONDS` | [`pre_stop`](PlanBuilder::pre_stop) |
    /// | `LAME_DUCK_SECONDS` | [`lame_duck`](PlanBuilder::lame_duck) |
    ///
    /// A value is a number of seconds such as `15` or `2.5`; white space around it is ignored.
    ///
    /// If `TERMINATION_GRACE_PERIOD_SECONDS` is not set, the grace period is the one that is set in code. If there is none
    /// either:
    ///
    /// - inside Kubernetes (`KUBERNETES_SERVICE_HOST` is set), and anywhere when one of the variables or anything in code is
    ///   set, 30 s are [assumed](Plan::is_assumed). What was set stays as it is;
    /// - elsewhere the plan is [`Plan::local`]: that is what `Plan::builder().env()?.build()` gives on a laptop. Where a
    ///   [`Platform`] is recognised by a variable of its own, the coordinator warns that it was not named: its grace period is never
    ///   guessed.
    ///
    /// A [CPU quota](PlanBuilder::cpu_quota) that is found takes the place of one that was set before. Of nested cgroups the smallest
    /// counts. It is read once; a quota that is changed while the process runs is not seen.
    ///
    /// # Errors
    ///
    /// [`PlanError::MalformedVariable`], [`PlanError::ZeroVariable`] and [`PlanError::VariableOutOfRange`].
    pub fn env(self) -> Result<Self, PlanError> {
        let mut read = self.env_from(|name| std::env::var_os(name))?;
        read.cpu_quota = CpuQuota::of_this_process().or(read.cpu_quota);
        Ok(read)
    }

    /// [`env`](PlanBuilder::env) with variables from elsewhere: a configuration, or a test that must not change the
    /// environment of its process.
    ///
    /// `lookup` is asked for the three variables of [`env`](PlanBuilder::env), and for those by which a [`Platform`] is recognised.
    /// No cgroup is looked at.
    ///
    /// ```
    /// use std::time::Duration;
    /// use lameduck::Plan;
    ///
    /// let plan = Plan::builder().env_from(|name| match name {
    ///     "TERMINATION_GRACE_PERIOD_SECONDS" => Some("60".into()),
    ///     _ => None,
    /// })?;
    ///
    /// assert_eq!(plan.build()?.grace_period(), Duration::from_secs(60));
    /// # Ok::<(), lameduck::PlanError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`env`](PlanBuilder::env).
    pub fn env_from(
        mut self,
        lookup: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Self, PlanError> {
        let grace_period = variable(GRACE_PERIOD_VARIABLE, &lookup)?;
        let pre_stop = variable(PRE_STOP_VARIABLE, &lookup)?;
        let lame_duck = variable(LAME_DUCK_VARIABLE, &lookup)?;
        if grace_period.is_some_and(|it| it.value.is_zero()) {
            return Err(PlanError::ZeroVariable {
                name: GRACE_PERIOD_VARIABLE,
            });
        }

        let told = grace_period.or(pre_stop).or(lame_duck).is_some();
        self.seen = Platform::seen(&lookup);
        self.untold = !told && self.seen != Some(Platform::Kubernetes);
        self.grace_period = grace_period.or(self.grace_period);
        if !self.untold {
            self.assume_a_grace_period();
        }
        self.pre_stop = pre_stop.or(self.pre_stop);
        self.lame_duck = lame_duck.or(self.lame_duck);
        Ok(self)
    }

    /// Checks the numbers and derives those that are missing.
    ///
    /// # Errors
    ///
    /// - [`PlanError::OutOfRange`]: a number is more than ten years, those of [`LeaveEarly`] included.
    /// - [`PlanError::PreStopTakesAll`]: the preStop hook leaves nothing of the grace period (unless that is zero).
    /// - [`PlanError::TooLong`]: what was set and what Release, Exit and the reserve need do not fit the budget.
    /// - [`PlanError::ReserveTooShort`]: the reserve that was set leaves the watchdog no time before SIGKILL.
    /// - [`PlanError::SpreadTooLong`]: a spread was set that is longer than its phase.
    /// - [`PlanError::QuietTooShort`]: the silence after which LameDuck may be over early is less than 0.1 s.
    /// - [`PlanError::TooLateForLong`]: long connections were to be told after Close.
    pub fn build(self) -> Result<Plan, PlanError> {
        let this = match self.untold {
            true => self.where_nothing_is_told(),
            false => self,
        };
        this.check_and_derive()
    }

    fn check_and_derive(self) -> Result<Plan, PlanError> {
        self.check_range()?;
        let long_phase = self.long_phase.unwrap_or(Phase::Close);
        if long_phase > Phase::Close {
            return Err(PlanError::TooLateForLong { phase: long_phase });
        }
        if let Some(early) = self.leave_early {
            let quiet = early.quiet_time();
            if quiet < LeaveEarly::SHORTEST {
                return Err(PlanError::QuietTooShort { quiet });
            }
        }

        let grace_period = self.grace_period_or_default();
        let is_given = !matches!(grace_period.origin, Origin::Assumed | Origin::Local);
        let pre_stop = self
            .pre_stop
            .unwrap_or(Setting::new(Duration::ZERO, Origin::Default));
        let budget = budget(grace_period.value, pre_stop.value)?;

        let lame_duck = self.lame_duck_or_default(grace_period.value, pre_stop.value);
        let release = or_derived(self.release, RELEASE.of(budget));
        let exit = or_derived(self.exit, EXIT.of(budget));
        let reserve = reserve(self.reserve, budget)?;
        let rest = self.rest(budget, &[lame_duck, release, exit, reserve])?;
        let (reserve, late) = self.widened(reserve, rest);
        let rest = self.rest(budget, &[lame_duck, release, exit, reserve])?;
        let (drain, close) = self.drain_and_close(rest);

        let phases = [lame_duck, drain, close, release, exit];
        // Never less than what was asked for, or `rest` would have failed.
        let left = budget.saturating_sub(total(&phases));
        let reserve = if left > reserve.value {
            Setting::derived(left)
        } else {
            reserve
        };
        let plan = Plan {
            grace_period,
            pre_stop,
            phases,
            reserve,
            late,
            cpu_quota: self.cpu_quota,
            unnamed: self.seen.filter(|_| !is_given),
            spread: or_derived(
                self.spread,
                spread(grace_period.value, pre_stop.value, lame_duck),
            ),
            long_phase,
            long_spread: or_derived(
                self.long_spread,
                long_spread(long_phase, phases[long_phase.index()].value),
            ),
            linger: or_derived(self.linger, LINGER.of(close.value)),
            leave_early: self.leave_early,
        };
        plan.fits("spread", plan.spread(), Phase::LameDuck)?;
        plan.fits("long spread", plan.long_spread(), plan.long_phase())?;
        Ok(plan)
    }

    /// The builder of [`Plan::local`].
    pub(super) fn local() -> Self {
        let mut local = Plan::builder().at_once(Origin::Local);
        local.grace_period = Some(Setting::new(LOCAL_GRACE_PERIOD, Origin::Local));
        local
    }

    /// Without the waits that are there for the sake of others: routers, balancers, peers that come back all at once.
    pub(super) fn at_once(mut self, origin: Origin) -> Self {
        let zero = Some(Setting::new(Duration::ZERO, origin));
        self.lame_duck = zero;
        self.spread = zero;
        self.long_spread = zero;
        self.linger = zero;
        self
    }

    /// The builder of a process that nobody told anything: on a laptop, or on a platform without variables of ours.
    fn where_nothing_is_told(mut self) -> Self {
        let numbers = self.settings().into_iter().any(|(_, set)| set.is_some());
        let others = self.platform.is_some() || self.long_phase.is_some();
        if !numbers && !others && self.leave_early.is_none() {
            return PlanBuilder {
                cpu_quota: self.cpu_quota,
                seen: self.seen,
                ..PlanBuilder::local()
            };
        }
        self.assume_a_grace_period();
        self
    }

    /// What is only assumed gives way to a platform that was named.
    fn grace_period_or_default(&self) -> Setting {
        let named = self
            .platform
            .map(|platform| Setting::new(platform.grace_period(), Origin::Platform(platform)));
        let set = self
            .grace_period
            .filter(|set| named.is_none() || set.origin != Origin::Assumed);
        set.or(named)
            .unwrap_or(Setting::new(GRACE_PERIOD, Origin::Default))
    }

    fn lame_duck_or_default(&self, grace_period: Duration, pre_stop: Duration) -> Setting {
        let derived = lame_duck(grace_period, pre_stop);
        let named = self.platform.and_then(|platform| {
            let lame_duck = platform.lame_duck()?.min(derived);
            Some(Setting::new(lame_duck, Origin::Platform(platform)))
        });
        or_derived(self.lame_duck.or(named), derived)
    }

    /// Not before it is certain that nobody has set one.
    fn assume_a_grace_period(&mut self) {
        let assumed = Setting::new(GRACE_PERIOD, Origin::Assumed);
        self.grace_period.get_or_insert(assumed);
    }

    const fn settings(&self) -> [(&'static str, Option<Setting>); 11] {
        [
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
        ]
    }

    /// After this check no sum of settings overflows, and each of them can be added to every clock's now.
    fn check_range(&self) -> Result<(), PlanError> {
        let early = |number: fn(LeaveEarly) -> Duration| {
            self.leave_early
                .map(|early| Setting::by_hand(number(early)))
        };
        let early = [
            ("LeaveEarly::min", early(LeaveEarly::minimum)),
            ("LeaveEarly::quiet", early(LeaveEarly::quiet_time)),
        ];

        for (name, setting) in self.settings().into_iter().chain(early) {
            match setting {
                Some(Setting { value, .. }) if value > LONGEST => {
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

    /// The reserve with room for threads that a CPU quota stops, and how much of it that is. Drain and Close give at most one half of
    /// what they have, so a plan that fits without a quota fits with one.
    fn widened(&self, reserve: Setting, rest: Duration) -> (Setting, Duration) {
        let (Some(quota), None) = (self.cpu_quota, self.reserve) else {
            return (reserve, Duration::ZERO);
        };
        let before = LATEST_WATCHDOG.min(reserve.value / 2);
        let spare = match (self.drain, self.close) {
            (Some(_), Some(_)) => rest,
            _ => rest / 2,
        };
        let wanted = before.saturating_add(quota.lateness());
        let more = wanted.saturating_sub(reserve.value).min(spare);
        let reserve = Setting::derived(reserve.value + more);
        (reserve, quota.lateness().min(reserve.value - before))
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

fn reserve(set: Option<Setting>, budget: Duration) -> Result<Setting, PlanError> {
    let derived = RESERVE.of(budget);
    let reserve = or_derived(set, derived);
    // What is derived is never too short, so a grace period of zero needs no case of its own.
    let least = LEAST_RESERVE.min(derived);
    if reserve.value < least {
        return Err(PlanError::ReserveTooShort {
            reserve: reserve.value,
            least,
        });
    }
    Ok(reserve)
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

/// The long spread's default: the whole phase, when another one comes in which they can end; of Close one half.
fn long_spread(phase: Phase, duration: Duration) -> Duration {
    match phase {
        Phase::Close => duration / 2,
        _ => duration,
    }
}

impl Plan {
    fn fits(&self, name: &'static str, spread: Duration, phase: Phase) -> Result<(), PlanError> {
        let duration = self.duration(phase);
        if spread > duration {
            return Err(PlanError::SpreadTooLong {
                name,
                phase,
                spread,
                duration,
            });
        }
        Ok(())
    }
}

fn variable(
    name: &'static str,
    lookup: impl Fn(&str) -> Option<OsString>,
) -> Result<Option<Setting>, PlanError> {
    let Some(value) = lookup(name) else {
        return Ok(None);
    };
    match value.to_str().and_then(|text| parse(text.trim())) {
        Some(seconds) if seconds > LONGEST => Err(PlanError::VariableOutOfRange {
            name,
            value: quoted(&value),
        }),
        Some(seconds) => Ok(Some(Setting::new(seconds, Origin::Variable(name)))),
        None => Err(PlanError::MalformedVariable {
            name,
            value: quoted(&value),
        }),
    }
}

/// The text of a variable, for an error that must stay short.
fn quoted(value: &OsStr) -> String {
    let text = value.to_string_lossy();
    match text.char_indices().nth(QUOTED) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.into_owned(),
    }
}
