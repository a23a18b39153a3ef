//! One round: a server, its load, its end.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use lameduck::Phase;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::args::{Args, Scenario};
use crate::attempt::{Attempt, Log, Outcome};
use crate::bad;
use crate::burst::Burst;
use crate::column::Column;
use crate::process::{Ended, Process};
use crate::random::Random;
use crate::restart;
use crate::server::Settings;
use crate::traffic::Traffic;

/// SIGTERM comes so long after the load has begun.
const LEAD: (Duration, Duration) = (Duration::from_millis(50), Duration::from_millis(300));
/// After SIGKILL everything is refused: whoever has not noticed by then has a fault of its own.
const AFTER_THE_END: Duration = Duration::from_secs(2);

/// So often a round of `mixed` has connections that are bad on purpose.
const BAD_EVERY: usize = 3;
const MIXED_GAP: (Duration, Duration) = (Duration::from_millis(2), Duration::from_millis(25));
const MIXED_BURST: u32 = 40;
const MIXED_BURST_WIDTH: Duration = Duration::from_millis(20);
/// A burst of `mixed` comes up to so long after LameDuck: the slowest request is over by then.
const MIXED_AFTER: Duration = Duration::from_millis(60);

const KEEP_ALIVE_CONNECTIONS: usize = 48;
const KEEP_ALIVE_GAP: (Duration, Duration) = (Duration::ZERO, Duration::from_millis(6));

const LISTENER_BURST: u32 = 300;
const LISTENER_BURST_WIDTH: Duration = Duration::from_millis(30);
/// Half of the burst has begun so long before the listener can close.
const LISTENER_LEAD: Duration = Duration::from_millis(10);
/// So many of its connections have to come in time, and so many too late, or the burst has missed the closing.
const EITHER_SIDE: usize = 30;

/// What is the same for all rounds of a column.
#[derive(Clone, Debug)]
pub(crate) struct Stage {
    pub(crate) args: Args,
    pub(crate) column: Column,
    pub(crate) directory: PathBuf,
    /// From SIGTERM on the listener is open for so long at least.
    pub(crate) closes_after: Duration,
}

/// A round that is over.
#[derive(Debug)]
pub(crate) struct Round {
    pub(crate) attempts: Vec<Attempt>,
    pub(crate) ended: Ended,
    /// It was about the listener's closing, and missed it.
    pub(crate) missed: bool,
}

impl Stage {
    pub(crate) async fn round(
        &mut self,
        scenario: Scenario,
        number: usize,
    ) -> Result<Round, String> {
        let salt = (number as u64) << 8 | scenario as u64;
        let mut random = Random::new(self.args.seed ^ salt << 8);
        let name = format!("{}-{}-{number}", self.column, scenario.key());
        if scenario == Scenario::Restart {
            let log = Arc::<Log>::default();
            let settings = |which: &str| self.settings(&format!("{name}-{which}"));
            let ended = restart::play(number, settings, &self.directory, &log, &mut random).await?;
            return Ok(Round::new(&log, ended));
        }
        let process = Process::start(self.settings(&name)).await?;
        match scenario {
            Scenario::Mixed | Scenario::Restart => self.mixed(process, number, &mut random).await,
            Scenario::KeepAlive => self.keep_alive(process, &mut random).await,
            Scenario::Listener => self.listener(process, &mut random).await,
        }
    }

    fn settings(&self, name: &str) -> Settings {
        Settings {
            column: self.column,
            entered: self.directory.join(name),
            grace: self.args.grace,
            lame_duck: self.args.lame_duck,
            sleep: self.args.sleep(),
        }
    }

    async fn mixed(
        &self,
        mut process: Process,
        number: usize,
        random: &mut Random,
    ) -> Result<Round, String> {
        let is_bad = number % BAD_EVERY == 0;
        let log = Arc::<Log>::default();
        let bad = match is_bad {
            true => bad::open(process.address).await,
            false => Ok(JoinSet::new()),
        };
        let bad = bad.map_err(|error| format!("a bad connection: {error}"))?;
        let mut clients = self.traffic(&process, &log, MIXED_GAP).mixed(random);

        sleep(random.between(LEAD.0, LEAD.1)).await;
        let t0 = process.terminate().await?;
        for after in self.mixed_bursts(is_bad, random) {
            let burst = Burst {
                middle: t0 + after,
                width: MIXED_BURST_WIDTH,
                connections: MIXED_BURST,
                until_refused: 0,
            };
            clients.spawn(burst.send(process.address, Arc::clone(&log), random.split()));
        }
        let ended = process.wait().await?;
        joined(clients).await?;
        drop(bad);
        Ok(Round::new(&log, ended))
    }

    /// Where the listener may close, from SIGTERM: with nothing that holds the server up, and at the latest.
    fn mixed_bursts(&self, is_bad: bool, random: &mut Random) -> Vec<Duration> {
        let early = self.args.closes_after(self.column);
        let mut bursts = vec![random.between(early, early + MIXED_AFTER)];
        if let (Column::Lameduck, true, Ok(plan)) = (self.column, is_bad, self.args.plan()) {
            // What phases.md says of a listener that waits: a fifth of Close is left for what it accepts last.
            let last = plan.duration(Phase::Close) / 5;
            bursts.push(plan.deadline(Phase::Close).saturating_sub(last));
        }
        bursts
    }

    async fn keep_alive(&self, mut process: Process, random: &mut Random) -> Result<Round, String> {
        let log = Arc::<Log>::default();
        let clients = self
            .traffic(&process, &log, KEEP_ALIVE_GAP)
            .keep_alive(KEEP_ALIVE_CONNECTIONS, random);

        sleep(random.between(LEAD.0, LEAD.1)).await;
        process.terminate().await?;
        let ended = process.wait().await?;
        joined(clients).await?;
        Ok(Round::new(&log, ended))
    }

    async fn listener(
        &mut self,
        mut process: Process,
        random: &mut Random,
    ) -> Result<Round, String> {
        let log = Arc::<Log>::default();
        let mut clients = JoinSet::new();
        let t0 = process.terminate().await?;
        let burst = Burst {
            // It begins before the listener can close, and goes on until it is seen to have closed.
            middle: t0 + self.closes_after.saturating_sub(LISTENER_LEAD),
            width: LISTENER_BURST_WIDTH,
            connections: LISTENER_BURST,
            until_refused: 2 * EITHER_SIDE,
        };
        clients.spawn(burst.send(process.address, Arc::clone(&log), random.split()));
        let ended = process.wait().await?;
        joined(clients).await?;
        let mut round = Round::new(&log, ended);
        round.missed = !round.straddles();
        Ok(round)
    }

    fn traffic(&self, process: &Process, log: &Arc<Log>, gap: (Duration, Duration)) -> Traffic {
        Traffic {
            address: process.address,
            log: Arc::clone(log),
            until: Instant::now() + LEAD.1 + self.args.grace + AFTER_THE_END,
            gap,
        }
    }
}

impl Round {
    fn new(log: &Log, ended: Ended) -> Self {
        Round {
            attempts: log.take(),
            ended,
            missed: false,
        }
    }

    fn straddles(&self) -> bool {
        let count = |end| {
            let ended = |attempt: &&Attempt| attempt.outcome == end;
            self.attempts.iter().filter(ended).count()
        };
        count(Outcome::Answered) >= EITHER_SIDE && count(Outcome::Refused) >= EITHER_SIDE
    }

    /// From SIGTERM, as the server heard of it.
    pub(crate) fn after_t0(&self, at: SystemTime) -> Duration {
        let stopping = self.ended.stopping.unwrap_or(at);
        at.duration_since(stopping).unwrap_or_default()
    }
}

async fn joined(mut clients: JoinSet<()>) -> Result<(), String> {
    while let Some(client) = clients.join_next().await {
        client.map_err(|error| format!("a client: {error}"))?;
    }
    Ok(())
}
