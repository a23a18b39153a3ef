//! What a column's rounds come to.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::args::Scenario;
use crate::attempt::{Attempt, Kind, Outcome};
use crate::column::Column;
use crate::round::Round;

/// How much of what a server said is kept, when it did not leave as it should.
const LINES: usize = 30;

/// The sums of one column in one scenario.
#[derive(Debug)]
pub(crate) struct Score {
    pub(crate) scenario: Scenario,
    pub(crate) column: Column,
    pub(crate) rounds: usize,
    /// Rounds that missed the moment that they were about. Their losses count all the same.
    pub(crate) missed: usize,
    pub(crate) outcomes: BTreeMap<Outcome, u64>,
    /// Early answers among the losses.
    pub(crate) lost: Vec<Loss>,
    /// Losses of each round.
    pub(crate) lost_in: Vec<usize>,
    /// Requests that came to a handler twice.
    pub(crate) twice: usize,
    /// Requests that were answered and are in no file: then the file proves nothing.
    pub(crate) unnoted: usize,
    pub(crate) killed: usize,
    /// Exit codes other than 0 of servers that were not killed.
    pub(crate) codes: Vec<String>,
    pub(crate) took: Vec<Duration>,
}

/// A request that was lost.
#[derive(Debug)]
pub(crate) struct Loss {
    pub(crate) ran: bool,
    pub(crate) early: bool,
    pub(crate) what: String,
}

impl Score {
    pub(crate) fn new(scenario: Scenario, column: Column) -> Self {
        Score {
            scenario,
            column,
            rounds: 0,
            missed: 0,
            outcomes: BTreeMap::new(),
            lost: Vec::new(),
            lost_in: Vec::new(),
            twice: 0,
            unnoted: 0,
            killed: 0,
            codes: Vec::new(),
            took: Vec::new(),
        }
    }

    pub(crate) fn add(&mut self, number: usize, round: &Round) {
        let ended = &round.ended;
        let before = self.lost.len();
        for attempt in &round.attempts {
            *self.outcomes.entry(attempt.outcome).or_default() += 1;
            let ran = ended.began.ids.contains(&attempt.ask.id);
            // Behind a listener that stays, nobody is refused.
            let refused = attempt.outcome == Outcome::Refused;
            let waits = self.scenario == Scenario::Restart;
            if attempt.outcome.is_loss(ran) || (refused && waits) {
                self.lost.push(Loss {
                    ran,
                    early: attempt.ask.kind == Kind::Early,
                    what: describe(number, round, attempt, ran),
                });
            }
            if attempt.outcome == Outcome::Answered && !ran {
                self.unnoted += 1;
            }
        }
        self.rounds += 1;
        self.missed += usize::from(round.missed);
        self.lost_in.push(self.lost.len() - before);
        self.twice += ended.began.twice.len();
        self.killed += usize::from(ended.killed);
        self.took.push(ended.took);
        if !ended.killed && ended.code != Some(0) {
            let last = ended.output.len().saturating_sub(LINES);
            let said = ended.output[last..].join("\n");
            let code = ended.code;
            self.codes.push(format!(
                "round {number}: exit code {code:?}, it said:\n{said}"
            ));
        }
    }

    pub(crate) fn requests(&self) -> u64 {
        self.outcomes.values().sum()
    }

    pub(crate) fn of(&self, outcome: Outcome) -> u64 {
        self.outcomes.get(&outcome).copied().unwrap_or_default()
    }

    pub(crate) fn ran(&self) -> usize {
        self.lost.iter().filter(|loss| loss.ran).count()
    }

    pub(crate) fn early(&self) -> usize {
        self.lost.iter().filter(|loss| loss.early).count()
    }

    /// From SIGTERM to the exit: median and worst.
    pub(crate) fn leaving(&self) -> (Duration, Duration) {
        let mut took = self.took.clone();
        took.sort();
        let at = |index: usize| took.get(index).copied().unwrap_or_default();
        (at(took.len() / 2), at(took.len().saturating_sub(1)))
    }
}

fn describe(number: usize, round: &Round, attempt: &Attempt, ran: bool) -> String {
    let ms = |duration: Duration| duration.as_secs_f64() * 1e3;
    let closed = match round.ended.closed {
        None => "the listener never closed".to_owned(),
        Some(closed) => match attempt.began.duration_since(closed) {
            Ok(after) => format!("{:.3} ms after the listener closed", ms(after)),
            Err(before) => format!("{:.3} ms before the listener closed", ms(before.duration())),
        },
    };
    format!(
        "round {number}: {:?} {} {}: {} ({}), the handler {}; begun at T0+{:.3} ms, {closed}; over {:.3} ms later",
        attempt.way,
        attempt.ask.method(),
        attempt.ask.target(),
        attempt.outcome.name(),
        attempt.why,
        if ran { "had run" } else { "had not run" },
        ms(round.after_t0(attempt.began)),
        ms(attempt
            .ended
            .duration_since(attempt.began)
            .unwrap_or_default()),
    )
}
