//! What is shown: the announcement, the table, what is behind its failures, and the last line.

use std::fmt::Write;

use crate::args::Args;
use crate::column::Column;
use crate::judge::{Exit, Judged};
use crate::moment::Moment;
use crate::play::Outcome;
use crate::protocol::Protocol;
use crate::shape::{Cast, Shape};

const NAME: usize = 26;
const CELL: usize = 10;

pub(crate) fn announcement(args: &Args) -> String {
    let columns: Vec<_> = args.columns.iter().map(|column| column.key()).collect();
    let scenes = args.scenes();
    let cells: usize = scenes.iter().map(|scene| scene.shapes.len()).sum();
    format!(
        "Clients of every shape are caught in the middle of their actions, as real sockets to real processes on this machine.\n\
         \n\
         servers  {}\n\
         cells    {cells}, with {} processes, {} at a time\n\
         runs     {}\n\
         seed     {}",
        columns.join(", "),
        scenes.len(),
        args.parallel,
        args.runs,
        args.seed,
    )
}

pub(crate) const LEGEND: &str = "\
whole     every byte arrived, and the connection's end was in order
unbegun   no handler was called, and the connection ended
named     cut, and the report names the request or the connection
given up  the client gave it up, and the server left in time
!         not what has to become of that client (a number says in how many runs):
lost      a handler was called, not every byte arrived, and the report says nothing
orphaned  every byte arrived, but the last of them from the kernel, when the process was gone
early     the connection ended unannounced while everything had to be served
reset     every byte arrived, and then the connection was torn off
late      the process outlived its grace period
hung      the client saw no end
refused   nobody listened
missed    the phase did not come in the middle of the client's action
";

/// A table for each protocol, with a group of columns for each server.
pub(crate) fn tables(args: &Args, outcome: &Outcome) -> String {
    let mut tables = String::new();
    for protocol in Protocol::ALL {
        let columns = columns(args, protocol, outcome);
        if !columns.is_empty() {
            let _ = writeln!(tables, "{}", table(protocol, &columns, outcome));
        }
    }
    tables
}

/// The columns in which something was played.
fn columns(args: &Args, protocol: Protocol, outcome: &Outcome) -> Vec<(Column, Moment)> {
    let all = args
        .columns
        .iter()
        .flat_map(|&column| Moment::ALL.map(|moment| (column, moment)));
    let is_played = |&(column, moment): &(Column, Moment)| {
        let mut exits = outcome.exits.iter();
        exits.any(|exit| (exit.column, exit.protocol, exit.moment) == (column, protocol, moment))
    };
    all.filter(is_played).collect()
}

/// A row for each shape, and for the exit of each cast's server.
fn table(protocol: Protocol, columns: &[(Column, Moment)], outcome: &Outcome) -> String {
    let mut last = None;
    let servers = columns
        .iter()
        .map(|&(column, _)| match last.replace(column) {
            Some(last) if last == column => String::new(),
            _ => column.to_string(),
        });
    let mut table = row(protocol.key(), servers);
    let moments = columns.iter().map(|(_, moment)| moment.to_string());
    table.push_str(&row("", moments));
    for shape in Shape::ALL {
        let cells: Vec<String> = columns
            .iter()
            .map(|&(column, moment)| {
                let is_here = |one: &&Judged| {
                    (one.shape, one.protocol) == (shape, protocol)
                        && (one.column, one.moment) == (column, moment)
                };
                cell(&outcome.judged.iter().filter(is_here).collect::<Vec<_>>())
            })
            .collect();
        if cells.iter().any(|cell| !cell.is_empty()) {
            table.push_str(&row(&shape.key(), cells.into_iter()));
        }
    }
    for (cast, name) in [
        (Cast::Ending, "the server left after"),
        (Cast::Stuck, "with those that never end"),
    ] {
        let exits = columns.iter().map(|&(column, moment)| {
            let is_here = |exit: &&Exit| {
                (exit.protocol, exit.cast) == (protocol, cast)
                    && (exit.column, exit.moment) == (column, moment)
            };
            left(outcome.exits.iter().filter(is_here))
        });
        table.push_str(&row(name, exits));
    }
    table
}

fn row(name: &str, cells: impl Iterator<Item = String>) -> String {
    let mut row = format!("{name:<NAME$}");
    for cell in cells {
        let _ = write!(row, " {cell:<CELL$}");
    }
    format!("{}\n", row.trim_end())
}

/// The longest time from SIGTERM.
fn left<'a>(mut exits: impl Iterator<Item = &'a Exit>) -> String {
    let Some(first) = exits.next() else {
        return String::new();
    };
    let longest = exits.try_fold(first.took, |longest, exit| {
        longest
            .zip(exit.took)
            .map(|(longest, took)| Some(longest.max(took)))
    });
    match longest.flatten() {
        Some(took) => format!("{:.1} s", took.as_secs_f64()),
        None => "killed!".to_owned(),
    }
}

/// The worst of its runs, and in how many it was wrong, if there are several.
fn cell(runs: &[&Judged]) -> String {
    let worst = runs.iter().max_by_key(|one| (!one.is_right, one.verdict));
    let Some(worst) = worst else {
        return String::new();
    };
    let wrong = runs.iter().filter(|one| !one.is_right).count();
    match (wrong, runs.len()) {
        (0, _) => worst.verdict.name().to_owned(),
        (_, 1) => format!("{}!", worst.verdict.name()),
        (wrong, _) => format!("{}!{wrong}", worst.verdict.name()),
    }
}

/// What was seen of each client that has not got its due.
pub(crate) fn behind_failures(column: Column, judged: &[Judged]) -> String {
    let mut lines = String::new();
    for one in wrong(judged, column) {
        let _ = writeln!(
            lines,
            "{}! {} {} {} {}: {}",
            one.verdict, one.column, one.protocol, one.moment, one.shape, one.why
        );
    }
    lines
}

/// `lameduck: N of N cells right; axum: N of N; hyper-util: N of N`
pub(crate) fn last_line(args: &Args, judged: &[Judged]) -> String {
    let parts: Vec<String> = args
        .columns
        .iter()
        .map(|&column| {
            let all = judged.iter().filter(|one| one.column == column).count();
            let wrong = wrong(judged, column).count();
            format!("{column}: {all} clients, {wrong} wronged")
        })
        .collect();
    parts.join("; ")
}

pub(crate) fn wrong(judged: &[Judged], column: Column) -> impl Iterator<Item = &Judged> {
    judged
        .iter()
        .filter(move |one| one.column == column && !one.is_right)
}
