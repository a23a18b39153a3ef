//! What is shown: the announcement, the table, what is behind its failures, and the last line.

use std::fmt::Write;

use crate::args::Args;
use crate::column::Column;
use crate::judge::Judged;
use crate::moment::Moment;
use crate::protocol::Protocol;
use crate::shape::Shape;

const NAME: usize = 25;
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
!         not what has to become of that client; below is what was seen of lameduck's
";

/// A row for each shape, a group of columns for each server, a table for each protocol.
pub(crate) fn tables(args: &Args, judged: &[Judged]) -> String {
    let mut tables = String::new();
    for protocol in Protocol::ALL {
        let of_protocol: Vec<&Judged> = judged
            .iter()
            .filter(|one| one.protocol == protocol)
            .collect();
        if !of_protocol.is_empty() {
            let _ = writeln!(tables, "{}", table(args, protocol, &of_protocol));
        }
    }
    tables
}

fn table(args: &Args, protocol: Protocol, judged: &[&Judged]) -> String {
    let columns: Vec<(Column, Moment)> = args
        .columns
        .iter()
        .flat_map(|&column| Moment::ALL.map(|moment| (column, moment)))
        .filter(|&(column, moment)| moment.exists_for(column))
        .filter(|&(column, moment)| {
            let mut judged = judged.iter();
            judged.any(|one| one.column == column && one.moment == moment)
        })
        .collect();
    let mut table = format!("{protocol:<NAME$}");
    let mut last = None;
    for (column, _) in &columns {
        let name = if last.replace(column) == Some(column) {
            ""
        } else {
            column.key()
        };
        let _ = write!(table, " {name:<CELL$}");
    }
    let _ = write!(table, "\n{:<NAME$}", "");
    for (_, moment) in &columns {
        let _ = write!(table, " {moment:<CELL$}");
    }
    for shape in Shape::ALL {
        let row: Vec<String> = columns
            .iter()
            .map(|&(column, moment)| {
                let is_here = |one: &&&Judged| {
                    one.shape == shape && one.column == column && one.moment == moment
                };
                cell(&judged.iter().filter(is_here).copied().collect::<Vec<_>>())
            })
            .collect();
        if row.iter().all(String::is_empty) {
            continue;
        }
        let _ = write!(table, "\n{:<NAME$}", shape.key());
        for cell in row {
            let _ = write!(table, " {cell:<CELL$}");
        }
    }
    table
        .lines()
        .map(|line| format!("{}\n", line.trim_end()))
        .collect()
}

/// The worst of its runs, and how many were wrong if there are several.
fn cell(runs: &[&Judged]) -> String {
    let worst = runs.iter().max_by_key(|one| (!one.is_right, one.verdict));
    let Some(worst) = worst else {
        return String::new();
    };
    let wrong = runs.iter().filter(|one| !one.is_right).count();
    match (wrong, runs.len()) {
        (0, _) => worst.verdict.name().to_owned(),
        (_, 1) => format!("{}!", worst.verdict.name()),
        (wrong, all) => format!("{}! {wrong}/{all}", worst.verdict.name()),
    }
}

/// What was seen of each client of lameduck that has not got its due.
pub(crate) fn behind_failures(judged: &[Judged]) -> String {
    let mut lines = String::new();
    for one in wrong(judged, Column::Lameduck) {
        let _ = writeln!(
            lines,
            "{}! {} {}, {}: {}",
            one.verdict, one.protocol, one.moment, one.shape, one.why
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
