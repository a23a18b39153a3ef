//! One run: a service, its fault, SIGTERM, its end.

use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use lameduck::Plan;
use rustix::process::Signal;
use tokio::time::{Instant, sleep, sleep_until};

use crate::abuse::{Abuse, Deed, Machine, Now, STOPPED};
use crate::clients::Clients;
use crate::lateness::Lateness;
use crate::process::Process;
use crate::quota::{Cycle, Kind};
use crate::random::Random;
use crate::service::Settings;

/// SIGTERM comes so long after everything is in place.
const LEAD: (Duration, Duration) = (Duration::ZERO, Duration::from_millis(300));
/// A fault with a moment of its own begins up to this part of the grace period after SIGTERM: LameDuck is a third.
const MOMENT: u32 = 4;
/// Who is continued beyond the hard deadline has to be gone so soon.
const AT_ONCE: Duration = Duration::from_millis(250);
const REPEATS: u32 = 50;

/// A run that is over.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) settings: Settings,
    /// From just before SIGTERM until it was waited for.
    pub(crate) took: Duration,
    /// When it had to be gone: the grace period, but for a process that is continued beyond its hard deadline.
    pub(crate) limit: Duration,
    /// SIGKILL came before it had left.
    pub(crate) killed: bool,
    /// `None` when a signal ended it.
    pub(crate) code: Option<i32>,
    pub(crate) said: String,
    /// The machine was late in it, by more than half of what lies between the hard deadline and SIGKILL.
    pub(crate) disturbed: bool,
}

/// What is to be done to a process that has its SIGTERM, counted from that.
struct Script {
    /// The fault begins, if it has not begun before.
    now: Option<Duration>,
    stop: Option<Duration>,
    /// Pauses before more SIGTERMs.
    repeats: Vec<Duration>,
}

impl Run {
    pub(crate) async fn play(
        settings: Settings,
        quota: &Kind,
        lateness: &Lateness,
    ) -> Result<Self, String> {
        let plan = settings.plan().map_err(|error| error.to_string())?;
        let mut random = Random::new(settings.seed);
        let has_quota = settings.abuse.has(Deed::Machine(Machine::Quota));
        // Dropped after the process, also when this is not played to its end: see `Group`.
        let group = match has_quota {
            true => quota.group()?,
            false => None,
        };
        let mut process = Process::start(&settings, group.as_ref())?;
        process.listening().await?;
        let _clients = prepare(settings.abuse, &mut process, &mut random).await?;
        let _cycle = (has_quota && group.is_none()).then(|| Cycle::begin(process.id()));

        let script = Script::new(settings.abuse, &plan, &mut random);
        if settings.abuse.now().next().is_some() && script.now.is_none() {
            process.begin().await?;
        }
        sleep(random.between(LEAD.0, LEAD.1)).await;
        let t0 = Instant::now();
        process.signal(Signal::TERM)?;
        let (limit, killed) = script.play(&mut process, t0, &plan).await?;
        let status = process.exited().await?;
        let took = t0.elapsed();
        let left = plan.budget() - plan.hard_deadline();
        Ok(Run {
            disturbed: lateness.late_since(t0.into_std()) > left / 2,
            took,
            limit: limit.saturating_duration_since(t0),
            // It may have left the very moment in which it was to be killed.
            killed: killed && status.signal() == Some(Signal::KILL.as_raw()),
            code: status.code(),
            said: process.said().await,
            settings,
        })
    }

    pub(crate) fn is_late(&self) -> bool {
        self.killed || self.took > self.limit
    }

    /// The part of its time that it took.
    pub(crate) fn share(&self) -> f64 {
        self.took.as_secs_f64() / self.limit.as_secs_f64()
    }

    /// What was not as it has to be.
    pub(crate) fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let abuse = self.settings.abuse;
        if self.is_late() {
            faults.push(format!("it had to be gone after {:?}", self.limit));
        }
        if !self.killed && !self.code.is_some_and(|code| abuse.codes.contains(&code)) {
            faults.push(format!("it left with {:?}", self.code));
        }
        let missing = abuse
            .words
            .iter()
            .filter(|word| !self.said.contains(**word));
        faults.extend(missing.map(|word| format!("it did not say {word:?}")));
        faults
    }
}

/// Everything that comes before SIGTERM.
async fn prepare(
    abuse: &Abuse,
    process: &mut Process,
    random: &mut Random,
) -> Result<Option<Clients>, String> {
    if abuse.is_early() {
        return Ok(None);
    }
    let address = process.serving().await?;
    let mut clients = Clients::start(address, random).await?;
    let mut heard_of = 0;
    for client in abuse.clients() {
        let begun = clients.abuse(client, address).await;
        begun.map_err(|error| format!("{client:?}: {error}"))?;
        heard_of += usize::from(client.is_heard_of());
    }
    if heard_of > 0 {
        process.suffering(heard_of).await?;
    }
    Ok(Some(clients))
}

impl Script {
    fn new(abuse: &Abuse, plan: &Plan, random: &mut Random) -> Self {
        let budget = plan.budget();
        // What makes it ready has to come after SIGTERM; anything else comes before it as often as after it.
        let has_moment = abuse.now().next().is_some();
        let after = abuse.has(Deed::Now(Now::GoOn)) || random.below(2) == 0;
        let now = random.between(Duration::ZERO, budget / MOMENT);
        let stop = abuse.stop(plan);
        let repeats = abuse.has(Deed::Machine(Machine::Repeats));
        let pause = budget / MOMENT / REPEATS;
        let repeats = (1..REPEATS).filter(|_| repeats);
        Script {
            now: (has_moment && after).then_some(now),
            stop: stop.map(|(first, last)| random.between(first, last)),
            repeats: repeats
                .map(|_| random.between(Duration::ZERO, pause))
                .collect(),
        }
    }

    /// Does it, and waits until the process has left. Returns when it had to be gone, and whether it was killed then.
    async fn play(
        self,
        process: &mut Process,
        t0: Instant,
        plan: &Plan,
    ) -> Result<(Instant, bool), String> {
        let deadline = t0 + plan.hard_deadline();
        let mut limit = t0 + plan.budget();
        if let Some(now) = self.now {
            sleep_until(t0 + now).await;
            process.begin().await?;
        }
        for pause in self.repeats {
            sleep(pause).await;
            process.signal(Signal::TERM)?;
        }
        if let Some(stop) = self.stop {
            sleep_until(t0 + stop).await;
            process.signal(Signal::STOP)?;
            sleep(STOPPED).await;
            let continued = Instant::now();
            process.signal(Signal::CONT)?;
            if continued > deadline {
                limit = continued + AT_ONCE;
            }
        }
        tokio::select! {
            status = process.exited() => status.map(|_| (limit, false)),
            () = sleep_until(limit) => {
                // It may have left this very moment.
                let _ = process.signal(Signal::KILL);
                Ok((limit, true))
            }
        }
    }
}
