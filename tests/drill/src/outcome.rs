//! What a drill comes to.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::{Serialize, Serializer};

use crate::attempt::{Fate, Way};
use crate::fault::Fault;
use crate::finding::{self, Finding};
use crate::judge::Judged;
use crate::scenario::Scenario;
use crate::settings::{Settings, Signal};
use crate::speaks::Speaks;
use crate::table;

/// What a drill comes to. It prints as a table and a verdict in words; as data it is [`to_json`](Outcome::to_json).
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Outcome {
    /// What the server speaks.
    pub speaks: Speaks,
    /// The signal that told it to stop.
    pub signal: Signal,
    /// What was drawn follows from it.
    pub seed: u64,
    /// From the signal to SIGKILL. In seconds as JSON, as all durations.
    #[serde(serialize_with = "seconds")]
    pub grace: Duration,
    /// From the signal until no new connection was routed to the server.
    #[serde(serialize_with = "seconds")]
    pub propagation: Duration,
    /// What was played, one by one.
    pub scores: Vec<Score>,
    /// What the server did wrong; empty if it did nothing wrong.
    pub findings: Vec<Finding>,
    /// What was not played or cannot be known, and what the drill would need for it.
    pub unknown: Vec<String>,
}

/// All runs of one scenario.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Score {
    /// The scenario.
    pub scenario: Scenario,
    /// What became of the requests and the long connections.
    pub fates: BTreeMap<Fate, u64>,
    /// How often the server told a client, in the protocol's words, that it would end a connection.
    pub told: u64,
    /// How the server left, run by run.
    pub departures: Vec<Departure>,
    /// The lost requests, one by one.
    pub losses: Vec<Loss>,
}

/// How a server left.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Departure {
    /// From the signal to the exit.
    #[serde(serialize_with = "seconds")]
    pub took: Duration,
    /// Its exit code; `None` when a signal ended it, and for a function.
    pub code: Option<i32>,
    /// SIGKILL came before it had left.
    pub killed: bool,
    /// From the first connection that was refused to the exit, as the clients saw it.
    #[serde(serialize_with = "seconds")]
    pub refused_while_alive: Duration,
    /// What was wrong with how it left.
    pub fault: Option<Fault>,
}

/// A request, or a long connection, that was lost.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Loss {
    /// The scenario.
    pub scenario: Scenario,
    /// The number of the run in it, from 1 on.
    pub run: usize,
    /// How it was sent.
    pub way: Way,
    /// What became of it.
    pub fate: Fate,
    /// What the server did wrong.
    pub fault: Fault,
    /// In seconds after the signal; negative before it.
    pub began: f64,
    /// In seconds after the signal; negative before it.
    pub ended: f64,
    /// Whether its handler was entered. `None` without a contract: nobody but the server knows.
    pub entered: Option<bool>,
    /// What its client saw.
    pub why: String,
}

impl Score {
    pub(crate) const fn new(scenario: Scenario) -> Self {
        Score {
            scenario,
            fates: BTreeMap::new(),
            told: 0,
            departures: Vec::new(),
            losses: Vec::new(),
        }
    }

    pub(crate) fn add(&mut self, told: u64, judged: Judged) {
        for (fate, count) in judged.fates {
            *self.fates.entry(fate).or_default() += count;
        }
        self.told += told;
        self.losses.extend(judged.losses);
        self.departures.push(judged.departure);
    }

    /// Requests and long connections, whatever became of them.
    pub fn requests(&self) -> u64 {
        self.fates.values().sum()
    }
}

impl Outcome {
    pub(crate) fn new(
        speaks: Speaks,
        settings: &Settings,
        scores: Vec<Score>,
        unknown: Vec<String>,
    ) -> Self {
        Outcome {
            speaks,
            signal: settings.signal,
            seed: settings.seed,
            grace: settings.grace,
            propagation: settings.propagation,
            findings: finding::find(&scores),
            scores,
            unknown,
        }
    }

    /// Whether nothing was lost, and the server left in time, with all that it had started.
    pub fn is_clean(&self) -> bool {
        self.findings.is_empty()
    }

    /// Requests and long connections, whatever became of them.
    pub fn requests(&self) -> u64 {
        self.scores.iter().map(Score::requests).sum()
    }

    /// How many of them were lost.
    pub fn lost(&self) -> usize {
        self.scores.iter().map(|score| score.losses.len()).sum()
    }

    /// How many servers were stopped.
    pub fn stops(&self) -> usize {
        self.scores.iter().map(|score| score.departures.len()).sum()
    }

    /// How many of them were killed when the grace period was over.
    pub fn killed(&self) -> usize {
        let all = self.scores.iter().flat_map(|score| &score.departures);
        all.filter(|departure| departure.killed).count()
    }

    /// Whether the server was found to do this wrong.
    pub fn has(&self, fault: Fault) -> bool {
        self.findings.iter().any(|finding| finding.fault == fault)
    }

    /// All of it as JSON.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("its keys are text and its numbers finite")
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        table::print(self, f)
    }
}

fn seconds<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(duration.as_secs_f64())
}
