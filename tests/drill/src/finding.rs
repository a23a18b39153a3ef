//! The findings: the losses, gathered by the server's fault, in words.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::fault::Fault;
use crate::outcome::{Loss, Score};
use crate::scenario::Scenario;

/// One thing that a server did wrong, and what to change.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Finding {
    /// What it did wrong.
    pub fault: Fault,
    /// How many requests were lost by it; of faults in how it left, how many servers had it.
    pub count: usize,
    /// The scenarios that show it.
    pub scenarios: Vec<Scenario>,
    /// What it did, when and how often, in words.
    pub what: String,
    /// What to change.
    pub remedy: String,
}

/// In the order of [`Fault`].
pub(crate) fn find(scores: &[Score]) -> Vec<Finding> {
    let mut losses: BTreeMap<Fault, Vec<&Loss>> = BTreeMap::new();
    for loss in scores.iter().flat_map(|score| &score.losses) {
        losses.entry(loss.fault).or_default().push(loss);
    }
    let mut exits: BTreeMap<Fault, Vec<Scenario>> = BTreeMap::new();
    for score in scores {
        let faults = score.departures.iter().filter_map(|one| one.fault);
        faults.for_each(|fault| exits.entry(fault).or_default().push(score.scenario));
    }
    let stops = scores.iter().map(|score| score.departures.len()).sum();
    let losses = losses
        .into_iter()
        .map(|(fault, losses)| of_losses(fault, &losses));
    let exits = exits
        .into_iter()
        .map(|(fault, exits)| of_exits(fault, exits, stops));
    losses.chain(exits).collect()
}

fn of_losses(fault: Fault, losses: &[&Loss]) -> Finding {
    let least = losses
        .iter()
        .map(|loss| loss.began)
        .fold(f64::INFINITY, f64::min);
    let most = losses
        .iter()
        .map(|loss| loss.ended)
        .fold(f64::NEG_INFINITY, f64::max);
    let count = losses.len();
    let lost = match count {
        1 => "one request was lost".to_owned(),
        _ => format!("{count} requests were lost"),
    };
    let deed = fault.deed();
    let entered = entered(losses);
    let what = format!(
        "The server {deed}: {lost}, {least:.3} s to {most:.3} s after the signal{entered}."
    );
    finding(fault, count, losses.iter().map(|loss| loss.scenario), what)
}

/// What cannot be sent again without being done twice.
fn entered(losses: &[&Loss]) -> String {
    let known: Vec<bool> = losses.iter().filter_map(|loss| loss.entered).collect();
    match known.iter().filter(|entered| **entered).count() {
        0 => String::new(),
        count => format!("; the handlers of {count} had been entered"),
    }
}

fn of_exits(fault: Fault, scenarios: Vec<Scenario>, stops: usize) -> Finding {
    let count = scenarios.len();
    let what = format!("The server {}: {count} of {stops} times.", fault.deed());
    finding(fault, count, scenarios.into_iter(), what)
}

fn finding(
    fault: Fault,
    count: usize,
    scenarios: impl Iterator<Item = Scenario>,
    what: String,
) -> Finding {
    let mut scenarios: Vec<_> = scenarios.collect();
    scenarios.sort();
    scenarios.dedup();
    Finding {
        fault,
        count,
        scenarios,
        what,
        remedy: fault.remedy().to_owned(),
    }
}
