//! What is shown: the announcement, a table for each scenario, and the last line.

use std::fmt::Write;
use std::time::Duration;

use crate::args::{Args, Scenario};
use crate::attempt::Outcome;
use crate::column::Column;
use crate::score::Score;

pub(crate) fn announcement(args: &Args) -> String {
    let columns: Vec<_> = args.columns.iter().map(|column| column.key()).collect();
    let peers = match args.sleep {
        true => "sleep as long, then begin their graceful shutdown",
        false => "begin their graceful shutdown at SIGTERM",
    };
    format!(
        "Servers are told to stop under load, as real processes with real sockets and signals, on this machine.\n\
         \n\
         columns   {}; the same router, the same load, the same backlog\n\
         schedule  SIGTERM, SIGKILL after {}\n\
         lameduck  LameDuck is {}, everything else is derived; the peers {peers}\n\
         seed      {}\n",
        columns.join(", "),
        seconds(args.grace),
        seconds(args.lame_duck),
        args.seed,
    )
}

/// One scenario's table.
pub(crate) fn table(scenario: Scenario, scores: &[Score]) -> String {
    let mut table = String::new();
    let mut row = |name: &str, value: &dyn Fn(&Score) -> String| {
        let mut line = format!("{name:<38}");
        for score in scores {
            let _ = write!(line, "{:>16}", value(score));
        }
        let _ = writeln!(table, "{line}");
    };
    row(scenario.key(), &|score| score.column.to_string());
    row("servers stopped", &|score| score.rounds.to_string());
    row("requests", &|score| score.requests().to_string());
    for outcome in Outcome::ALL {
        let name = match outcome {
            Outcome::Dismissed => "  dismissed (1)".to_owned(),
            Outcome::GivenUp => "  given up (3)".to_owned(),
            _ => format!("  {}", outcome.name()),
        };
        row(&name, &|score| score.of(outcome).to_string());
    }
    row("lost", &|score| score.lost.len().to_string());
    row("  in a round, least to most", &|score| {
        least_to_most(&score.lost_in)
    });
    row("  the handler had run", &|score| score.ran().to_string());
    row("  early answers to uploads", &|score| {
        score.early().to_string()
    });
    row("came to a handler twice", &|score| score.twice.to_string());
    row("SIGKILLed", &|score| score.killed.to_string());
    row("other exit codes than 0", &|score| {
        score.codes.len().to_string()
    });
    row("SIGTERM to exit, median", &|score| {
        seconds(score.leaving().0)
    });
    row("SIGTERM to exit, worst", &|score| {
        seconds(score.leaving().1)
    });
    if scenario == Scenario::Listener {
        row("bursts that missed the closing (2)", &|score| {
            score.missed.to_string()
        });
    }
    table
}

pub(crate) const LEGEND: &str = "\
(1) Pipelined behind a request whose answer said close, and not begun: HTTP gives it no answer.
(2) Nearly all of it was answered, or nearly all was refused. Each such round was repeated, and its losses count.
(3) By hyper's client, which resets a request that it has just sent when a GOAWAY comes in the same instant.
";

/// `lameduck: 300 rounds, N requests, 0 lost; axum: N lost; hyper-util: N lost`
pub(crate) fn last_line(columns: &[Column], scores: &[Score]) -> String {
    let parts: Vec<String> = columns
        .iter()
        .map(|column| {
            let scores = || scores.iter().filter(|score| score.column == *column);
            let lost: usize = scores().map(|score| score.lost.len()).sum();
            let rounds: usize = scores().map(|score| score.rounds).sum();
            let requests: u64 = scores().map(Score::requests).sum();
            match column {
                Column::Lameduck => {
                    format!("{column}: {rounds} rounds, {requests} requests, {lost} lost")
                }
                _ => format!("{column}: {lost} lost"),
            }
        })
        .collect();
    parts.join("; ")
}

fn least_to_most(counts: &[usize]) -> String {
    let least = counts.iter().min().copied().unwrap_or_default();
    let most = counts.iter().max().copied().unwrap_or_default();
    format!("{least} to {most}")
}

fn seconds(duration: Duration) -> String {
    format!("{:.2} s", duration.as_secs_f64())
}
