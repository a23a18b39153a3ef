//! What is printed: a table, and a verdict in words.

use std::fmt;
use std::time::Duration;

use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, Table};

use crate::attempt::Fate;
use crate::outcome::{Outcome, Score};

pub(crate) fn print(outcome: &Outcome, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    writeln!(
        f,
        "{}; {}, SIGKILL after {}, out of rotation after {}; seed {}\n",
        outcome.speaks,
        outcome.signal.name(),
        seconds(outcome.grace),
        seconds(outcome.propagation),
        outcome.seed,
    )?;
    writeln!(f, "{}\n", table(&outcome.scores).trim_fmt())?;
    for finding in &outcome.findings {
        let scenarios: Vec<_> = finding.scenarios.iter().map(|one| one.name()).collect();
        writeln!(f, "{} ({})", finding.what, scenarios.join(", "))?;
        if let Some(first) = &finding.first {
            writeln!(f, "  {first}")?;
        }
        writeln!(f, "  {}", finding.remedy)?;
    }
    for unknown in &outcome.unknown {
        writeln!(f, "Not known: {unknown}")?;
    }
    write!(f, "{}", verdict(outcome))
}

/// The last line.
fn verdict(outcome: &Outcome) -> String {
    let (stops, requests) = (outcome.stops(), outcome.requests());
    let lost = match outcome.lost() {
        0 => "nothing was lost".to_owned(),
        lost => format!("{lost} were lost"),
    };
    let killed = match outcome.killed() {
        0 => "each time the server left in time".to_owned(),
        killed => format!("the server was killed in {killed} of them"),
    };
    format!("{requests} requests in {stops} stops, {lost}; {killed}")
}

fn table(scores: &[Score]) -> Table {
    let mut table = Table::new();
    table.load_preset(NOTHING);
    let mut row = |name: &str, value: &dyn Fn(&Score) -> String| {
        let values = scores.iter().map(value);
        table.add_row(std::iter::once(name.to_owned()).chain(values));
    };
    row("", &|score| score.scenario.to_string());
    row("stopped", &|score| score.departures.len().to_string());
    row("requests", &|score| score.requests().to_string());
    for fate in Fate::ALL {
        let count = |score: &Score| score.fates.get(&fate).copied().unwrap_or_default();
        // What never happened is left out.
        if fate == Fate::Answered || scores.iter().any(|score| count(score) > 0) {
            row(&format!("  {fate}"), &|score| count(score).to_string());
        }
    }
    row("lost", &|score| score.losses.len().to_string());
    row("told that the connection ends", &|score| {
        score.told.to_string()
    });
    row("refused while alive, longest", &|score| {
        let all = score.departures.iter().map(|one| one.refused_while_alive);
        seconds(all.max().unwrap_or_default())
    });
    row("signal to exit, median", &|score| seconds(leaving(score).0));
    row("signal to exit, longest", &|score| {
        seconds(leaving(score).1)
    });
    row("killed", &|score| {
        let killed = score.departures.iter().filter(|one| one.killed);
        killed.count().to_string()
    });
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// Median and longest.
fn leaving(score: &Score) -> (Duration, Duration) {
    let mut took: Vec<_> = score.departures.iter().map(|one| one.took).collect();
    took.sort();
    let median = took.get(took.len() / 2).copied().unwrap_or_default();
    (median, took.last().copied().unwrap_or_default())
}

fn seconds(duration: Duration) -> String {
    format!("{:.2} s", duration.as_secs_f64())
}
