//! The command line.

use std::time::Duration;

use lameduck::{Plan, PlanError};

use crate::column::Column;
use crate::server::Settings;

pub(crate) const HELP: &str = "\
stop_under_load: a real server is told to stop under load, again and again, and every request is accounted for

  --scenario NAME      mixed, keep-alive, listener or restart: that one alone
  --rounds N           rounds of mixed, a column (200)
  --runs N             runs of keep-alive, of listener and of restart, a column (50)
  --only COLUMN        lameduck, axum or hyper-util: that column alone
  --seed N             what is left to chance comes from it (1)
  --grace SECONDS      from SIGTERM to SIGKILL (3)
  --lame-duck SECONDS  lameduck's LameDuck, and how long the peers sleep before they begin (0.6)
  --no-sleep           the peers begin at SIGTERM
  --help               this

  mixed       load of every kind, SIGTERM at a random moment; in every third round some connections that are bad on purpose
  keep-alive  48 connections, a request every 0 to 6 ms on each, until nobody listens
  listener    300 connections in 30 ms around the moment at which the listener closes
  restart     300 requests a second, while lameduck's server is replaced behind a listener that its parent holds: TCP and Unix
              by turns, and of each with a successor that comes afterwards, and with one that overlaps
";

/// What can be done to a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scenario {
    Mixed,
    KeepAlive,
    Listener,
    Restart,
}

impl Scenario {
    pub(crate) const ALL: [Scenario; 4] = [
        Scenario::Mixed,
        Scenario::KeepAlive,
        Scenario::Listener,
        Scenario::Restart,
    ];

    pub(crate) const fn key(self) -> &'static str {
        match self {
            Scenario::Mixed => "mixed",
            Scenario::KeepAlive => "keep-alive",
            Scenario::Listener => "listener",
            Scenario::Restart => "restart",
        }
    }

    /// Whether it is about a race that the peers are known to lose.
    pub(crate) const fn is_race(self) -> bool {
        matches!(self, Scenario::KeepAlive | Scenario::Listener)
    }

    /// Whether this column has anything to show in it.
    pub(crate) fn has(self, column: Column) -> bool {
        self != Scenario::Restart || column == Column::Lameduck
    }
}

/// What is going to be done.
#[derive(Clone, Debug)]
pub(crate) struct Args {
    pub(crate) scenarios: Vec<Scenario>,
    pub(crate) rounds: usize,
    pub(crate) runs: usize,
    pub(crate) columns: Vec<Column>,
    pub(crate) seed: u64,
    pub(crate) grace: Duration,
    pub(crate) lame_duck: Duration,
    /// Whether the peers sleep as long as LameDuck is.
    pub(crate) sleep: bool,
}

impl Default for Args {
    fn default() -> Self {
        Args {
            scenarios: Scenario::ALL.to_vec(),
            rounds: 200,
            runs: 50,
            columns: Column::ALL.to_vec(),
            seed: 1,
            grace: Duration::from_secs(3),
            lame_duck: Duration::from_millis(600),
            sleep: true,
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
                "--scenario" => {
                    let key = value()?;
                    let scenario = Scenario::ALL.into_iter().find(|one| one.key() == key);
                    args.scenarios = vec![scenario.ok_or(format!("{key} is no scenario"))?];
                }
                "--only" => {
                    let key = value()?;
                    let column = Column::parse(&key).ok_or(format!("{key} is no column"))?;
                    args.columns = vec![column];
                }
                "--rounds" => args.rounds = number(&option, &value()?, 1, 10_000)? as usize,
                "--runs" => args.runs = number(&option, &value()?, 1, 10_000)? as usize,
                "--seed" => args.seed = number(&option, &value()?, 0, u64::MAX)?,
                "--grace" => args.grace = seconds(&option, &value()?)?,
                "--lame-duck" => args.lame_duck = seconds(&option, &value()?)?,
                "--no-sleep" => args.sleep = false,
                "--help" | "-h" => return Ok(None),
                _ => return Err(format!("{option} is unknown; try --help")),
            }
        }
        args.plan().map_err(|error| error.to_string())?;
        Ok(Some(args))
    }

    /// The one that lameduck's server has.
    pub(crate) fn plan(&self) -> Result<Plan, PlanError> {
        Settings::plan(self.grace, self.lame_duck)
    }

    pub(crate) fn sleep(&self) -> Duration {
        match self.sleep {
            true => self.lame_duck,
            false => Duration::ZERO,
        }
    }

    /// When a column's listener closes, if nothing holds it up, from SIGTERM.
    pub(crate) fn closes_after(&self, column: Column) -> Duration {
        match column {
            Column::Lameduck => self.lame_duck,
            Column::Axum | Column::HyperUtil => self.sleep(),
        }
    }
}

fn number(option: &str, text: &str, least: u64, most: u64) -> Result<u64, String> {
    text.parse()
        .ok()
        .filter(|number| (least..=most).contains(number))
        .ok_or(format!("{option} wants a number from {least} to {most}"))
}

fn seconds(option: &str, text: &str) -> Result<Duration, String> {
    const MOST: f64 = 60.0;
    text.parse()
        .ok()
        .filter(|seconds| (0.0..=MOST).contains(seconds))
        .map(Duration::from_secs_f64)
        .ok_or(format!("{option} wants seconds, 0 to {MOST}"))
}
