//! The command line.

use std::time::Duration;

use lameduck::{LeaveEarly, Plan, PlanError};

use crate::column::Column;
use crate::proxy::Kind;

pub(crate) const HELP: &str = "\
rolling_update: a rolling update, played on this machine, under traffic

  --replicas N           replicas a column (3)
  --rate N               requests a second a column (300)
  --requests N           requests a column, at least (10000)
  --rounds N             ordinary rounds; one more follows, in which a stopped replica stays in rotation until it is dead (1)
  --grace SECONDS        from the deletion (SIGTERM, without --pre-stop) to SIGKILL (8); 30 is Kubernetes' own
  --propagation SECONDS  how long a stopped replica still gets new connections (1.5)
  --only COLUMN          axum, axum-sleep or lameduck: that column alone
  --lame-duck SECONDS    instead of the LameDuck that lameduck derives from the grace period
  --leave-early          lameduck's replicas may leave LameDuck when silence proves that traffic has moved
  --pre-stop SECONDS     the preStop hook's sleep, between the deletion and SIGTERM; it spends the grace period
  --proxy PROXY          nginx or haproxy: the real one, installed here, in front of each column; without HTTP/2
  --plain                steady traffic only, nothing that holds a replica up
  --json                 the result as JSON on standard output, the progress on standard error
  --help                 this
";

/// The silence after which LameDuck may be over, with `--leave-early`. It proves something only after 20 times as long with
/// traffic, so the default would want a minute of it.
pub(crate) const QUIET: Duration = Duration::from_millis(500);

/// What is going to be played.
#[derive(Clone, Debug)]
pub(crate) struct Args {
    pub(crate) replicas: usize,
    /// Requests a second, a column.
    pub(crate) rate: u32,
    /// The run goes on until each column has had so many.
    pub(crate) requests: u64,
    /// Ordinary rounds, without the last one.
    pub(crate) rounds: usize,
    pub(crate) grace: Duration,
    pub(crate) propagation: Duration,
    pub(crate) columns: Vec<Column>,
    pub(crate) lame_duck: Option<Duration>,
    pub(crate) leave_early: bool,
    pub(crate) pre_stop: Duration,
    pub(crate) proxy: Option<Kind>,
    pub(crate) plain: bool,
    pub(crate) json: bool,
}

impl Default for Args {
    fn default() -> Self {
        Args {
            replicas: 3,
            rate: 300,
            requests: 10_000,
            rounds: 1,
            grace: Duration::from_secs(8),
            propagation: Duration::from_millis(1_500),
            columns: Column::ALL.to_vec(),
            lame_duck: None,
            leave_early: false,
            pre_stop: Duration::ZERO,
            proxy: None,
            plain: false,
            json: false,
        }
    }
}

impl Args {
    /// `None` when help is asked for.
    pub(crate) fn parse(mut given: impl Iterator<Item = String>) -> Result<Option<Self>, String> {
        let mut args = Args::default();
        while let Some(option) = given.next() {
            let mut value = || given.next().ok_or(format!("{option} wants a value"));
            match option.as_str() {
                "--replicas" => args.replicas = number(&option, &value()?, 1, 50)? as usize,
                "--rate" => args.rate = number(&option, &value()?, 1, 100_000)? as u32,
                "--requests" => args.requests = number(&option, &value()?, 0, 100_000_000)?,
                "--rounds" => args.rounds = number(&option, &value()?, 1, 100)? as usize,
                "--grace" => args.grace = seconds(&option, &value()?)?,
                "--propagation" => args.propagation = seconds(&option, &value()?)?,
                "--lame-duck" => args.lame_duck = Some(seconds(&option, &value()?)?),
                "--only" => {
                    let key = value()?;
                    let column = Column::parse(&key).ok_or(format!("{key} is no column"))?;
                    args.columns = vec![column];
                }
                "--leave-early" => args.leave_early = true,
                "--pre-stop" => args.pre_stop = seconds(&option, &value()?)?,
                "--proxy" => {
                    let name = value()?;
                    let kind = Kind::parse(&name).ok_or(format!("{name} is no proxy"))?;
                    kind.program().ok_or(format!("{name} is not installed"))?;
                    args.proxy = Some(kind);
                }
                "--plain" => args.plain = true,
                "--json" => args.json = true,
                "--help" | "-h" => return Ok(None),
                _ => return Err(format!("{option} is unknown; try --help")),
            }
        }
        args.plan().map_err(|error| error.to_string())?;
        Ok(Some(args))
    }

    /// What a replica derives from its environment, derived here as well: the sleep is as long as its LameDuck.
    pub(crate) fn plan(&self) -> Result<Plan, PlanError> {
        let mut builder = Plan::builder()
            .grace_period(self.grace)
            .pre_stop(self.pre_stop);
        if let Some(lame_duck) = self.lame_duck {
            builder = builder.lame_duck(lame_duck);
        }
        if let Some(least) = self.early() {
            builder = builder.leave_early(early(least));
        }
        builder.build()
    }

    /// How long LameDuck takes at least, with `--leave-early`: the same part of the grace period as by default of 30 s.
    pub(crate) fn early(&self) -> Option<Duration> {
        self.leave_early.then_some(self.grace / 6)
    }
}

pub(crate) const fn early(least: Duration) -> LeaveEarly {
    LeaveEarly::new().min(least).quiet(QUIET)
}

fn number(option: &str, text: &str, least: u64, most: u64) -> Result<u64, String> {
    text.parse()
        .ok()
        .filter(|number| (least..=most).contains(number))
        .ok_or(format!("{option} wants a number from {least} to {most}"))
}

fn seconds(option: &str, text: &str) -> Result<Duration, String> {
    const MOST: f64 = 3_600.0;
    text.parse()
        .ok()
        .filter(|seconds| (0.0..=MOST).contains(seconds))
        .map(Duration::from_secs_f64)
        .ok_or(format!("{option} wants seconds, 0 to {MOST}"))
}
