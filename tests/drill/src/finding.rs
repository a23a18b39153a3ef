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
    /// How many requests were lost by it. A fault in how it left may lose none.
    pub lost: usize,
    /// The scenarios that show it.
    pub scenarios: Vec<Scenario>,
    /// What it did, when and how often, in words.
    pub what: String,
    /// The first of the lost requests, in words.
    pub first: Option<String>,
    /// What to change.
    pub remedy: String,
}

/// What shows a fault.
#[derive(Default)]
struct Evidence<'a> {
    losses: Vec<&'a Loss>,
    /// The scenarios of servers that had it when they left, once for each server.
    exits: Vec<Scenario>,
}

/// In the order of [`Fault`].
pub(crate) fn find(scores: &[Score]) -> Vec<Finding> {
    let mut found: BTreeMap<Fault, Evidence<'_>> = BTreeMap::new();
    for score in scores {
        for loss in &score.losses {
            found.entry(loss.fault).or_default().losses.push(loss);
        }
        for fault in score.departures.iter().filter_map(|one| one.fault) {
            found.entry(fault).or_default().exits.push(score.scenario);
        }
    }
    let stops = scores.iter().map(|score| score.departures.len()).sum();
    let findings = found.into_iter();
    findings
        .map(|(fault, evidence)| evidence.finding(fault, stops))
        .collect()
}

impl Evidence<'_> {
    fn finding(&self, fault: Fault, stops: usize) -> Finding {
        let mut shown = Vec::new();
        if !self.exits.is_empty() {
            shown.push(format!("in {} of {stops} stops", self.exits.len()));
        }
        if !self.losses.is_empty() {
            shown.push(self.lost());
        }
        let in_losses = self.losses.iter().map(|loss| loss.scenario);
        let mut scenarios: Vec<_> = self.exits.iter().copied().chain(in_losses).collect();
        scenarios.sort();
        scenarios.dedup();
        Finding {
            fault,
            lost: self.losses.len(),
            scenarios,
            what: format!("The server {}: {}.", fault.deed(), shown.join("; ")),
            first: self.first(),
            remedy: fault.remedy().to_owned(),
        }
    }

    fn lost(&self) -> String {
        let began = self.losses.iter().map(|loss| loss.began);
        let ended = self.losses.iter().map(|loss| loss.ended);
        let least = began.fold(f64::INFINITY, f64::min);
        let most = ended.fold(f64::NEG_INFINITY, f64::max);
        let lost = match self.losses.len() {
            1 => "one request was lost".to_owned(),
            count => format!("{count} requests were lost"),
        };
        format!("{lost}, {}{}", range(least, most), self.entered())
    }

    fn first(&self) -> Option<String> {
        let losses = self.losses.iter();
        let first = losses.min_by(|a, b| a.began.total_cmp(&b.began))?;
        let entered = match first.entered {
            None => "",
            Some(true) => "; its handler had been entered",
            Some(false) => "; its handler had not been entered",
        };
        let why = match first.why.as_str() {
            "" => String::new(),
            why => format!(" ({why})"),
        };
        Some(format!(
            "The first of them: {} run {}, {}, {}: {}{why}{entered}.",
            first.scenario,
            first.run,
            first.way.name(),
            range(first.began, first.ended),
            first.fate,
        ))
    }

    /// What cannot be sent again without being done twice.
    fn entered(&self) -> String {
        let entered = self.losses.iter().filter(|loss| loss.entered == Some(true));
        match entered.count() {
            0 => String::new(),
            1 => "; the handler of one had been entered".to_owned(),
            count => format!("; the handlers of {count} had been entered"),
        }
    }
}

/// In seconds after the signal; negative before it.
fn range(least: f64, most: f64) -> String {
    match (least < 0.0, most < 0.0) {
        (false, _) => format!("{least:.3} s to {most:.3} s after the signal"),
        (true, false) => {
            let before = -least;
            format!("{before:.3} s before the signal to {most:.3} s after it")
        }
        (true, true) => format!("{:.3} s to {:.3} s before the signal", -least, -most),
    }
}
