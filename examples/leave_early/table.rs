//! The tables.

use std::fmt::Write;

use crate::args::Args;
use crate::chance;
use crate::clock::{Column, Millis, SECOND};
use crate::judge::{Judged, Seen};
use crate::rules::Rule;
use crate::traffic::NODES;

const NAME: usize = 26;
const CELL: usize = 15;
/// The same, of the rules' table.
const RULE: usize = 18;

/// What is played.
pub(crate) fn announcement(args: &Args) -> String {
    format!(
        "LameDuck may be over after 5 s and a silence of 3 s, if each of the last 20 quiet times had 14 requests.\n\
         Traffic goes on coming until the moment in the table's head, or for ever. {} shutdowns of the crate in each cell,\n\
         seed {}.\n",
        args.seeds, args.seed
    )
}

/// How often the crate left while traffic was still routed here.
pub(crate) fn wrong(judged: &[Judged]) -> String {
    let mut text = String::from(
        "1. Left while traffic was still routed here, percent of shutdowns (with 95 % confidence less than)\n\n",
    );
    head_of_columns(&mut text);
    for one in judged {
        row(&mut text, one, &one.cells, CELL, share);
    }
    text
}

/// How long LameDuck took, and what that saves.
pub(crate) fn saved(judged: &[Judged], fixed: &[Millis]) -> String {
    let mut text = String::from(
        "2. LameDuck on average, in seconds, the longest, and the pod-seconds saved, percent of the fixed wait\n\n",
    );
    head_of_columns(&mut text);
    let fixed: Vec<String> = fixed.iter().map(|&fixed| seconds(fixed as f64)).collect();
    let _ = write!(text, "{:<NAME$}", "without `leave_early`");
    for fixed in fixed {
        let _ = write!(text, "{fixed:>CELL$}");
    }
    text.push('\n');
    for one in judged {
        let _ = write!(text, "{:<NAME$}", one.traffic.name);
        for (column, seen) in Column::ALL.into_iter().zip(&one.cells) {
            let (mean, longest) = (seconds(seen.mean()), seconds(seen.longest as f64));
            let part = format!("{mean} {longest} {:>2.0}%", 100.0 * saving(seen, column));
            let _ = write!(text, "{part:>CELL$}");
        }
        text.push('\n');
    }
    text
}

/// Other rules over the same traffic.
pub(crate) fn rules(judged: &[Judged], args: &Args) -> String {
    let mut text = format!(
        "3. Other rules, as arithmetic over {} shutdowns each\n\n   Left while traffic was still routed here; it never moves. LameDuck 10 s\n\n",
        args.drawn
    );
    head_of_rules(&mut text);
    for one in judged {
        row(&mut text, one, &one.never, RULE, share);
    }
    text.push_str("\n   Saved where traffic moves after 2 s, of LameDuck's 10 s\n\n");
    head_of_rules(&mut text);
    for one in judged {
        row(&mut text, one, &one.usual, RULE, |seen| {
            format!("{:.0}%", 100.0 * saving(seen, Column::USUAL))
        });
    }
    text
}

/// What no simulation sees.
pub(crate) fn worked_out() -> String {
    let mut text =
        String::from("4. Worked out: the worst of all steady rates, if traffic never moves\n\n");
    for column in [Column::NEVER, Column::NEVER_LONG] {
        let lame_duck = seconds(column.lame_duck as f64);
        let (rate, chance) = chance::worst_of_steady(1.0, column);
        let _ = writeln!(
            text,
            "   LameDuck {lame_duck} s: at {rate:.1} a second, less than 1 in {}",
            round(1.0 / chance)
        );
        let (rate, chance) = chance::worst_of_steady(1.0 / NODES as f64, column);
        let _ = writeln!(
            text,
            "     one of {NODES} equal routes does not move: at {rate:.1} a second, less than {:.0}%",
            100.0 * chance
        );
    }
    text
}

/// Where the rule is wrong.
pub(crate) fn weak(judged: &[Judged]) -> String {
    let mut text = String::new();
    for one in judged {
        let never = one.never[0];
        if never.wrong == 0 {
            continue;
        }
        let _ = writeln!(
            text,
            "WEAK {}: left in {} while traffic was still routed here; {} with 200 windows, {} with 140 in each",
            one.traffic.name,
            share(&never),
            share(&one.never[3]),
            share(&one.never[4]),
        );
    }
    if !text.is_empty() {
        text.push_str(
            "A silence that comes more seldom than once in 20 quiet times (a minute) is not in the history; nor is a route by which\n\
             little comes. Who comes after that is refused as soon as the listener is closed: at once, if no connection is open.\n\
             Better: 200 quiet times of 14, and 14 for each of the routes that move by themselves.\n",
        );
    }
    text
}

fn head_of_columns(text: &mut String) {
    let _ = write!(text, "{:<NAME$}", "LameDuck");
    for column in Column::ALL {
        let lame_duck = format!("{} s", column.lame_duck / SECOND);
        let _ = write!(text, "{lame_duck:>CELL$}");
    }
    text.push('\n');
    let _ = write!(text, "{:<NAME$}", "traffic moves after");
    for column in Column::ALL {
        let moves = match column.moves {
            Some(moves) => format!("{} s", moves / SECOND),
            None => "never".to_owned(),
        };
        let _ = write!(text, "{moves:>CELL$}");
    }
    text.push('\n');
}

fn head_of_rules(text: &mut String) {
    for line in 0..2 {
        let _ = write!(text, "{:<NAME$}", "");
        for rule in Rule::ALL {
            let _ = write!(text, "{:>RULE$}", rule.name[line]);
        }
        text.push('\n');
    }
}

fn row(
    text: &mut String,
    one: &Judged,
    cells: &[Seen],
    width: usize,
    show: impl Fn(&Seen) -> String,
) {
    let _ = write!(text, "{:<NAME$}", one.traffic.name);
    for seen in cells {
        let _ = write!(text, "{:>width$}", show(seen));
    }
    text.push('\n');
}

/// The share of shutdowns that went wrong, and what it may be.
fn share(seen: &Seen) -> String {
    let most = percent(chance::at_most(seen.wrong, seen.shutdowns));
    match seen.wrong {
        0 => format!("0 (<{most})"),
        wrong => {
            let share = percent(wrong as f64 / seen.shutdowns as f64);
            format!("{share} (<{most})")
        }
    }
}

/// Of the fixed wait.
pub(crate) fn saving(seen: &Seen, column: Column) -> f64 {
    1.0 - seen.mean() / column.lame_duck as f64
}

fn percent(share: f64) -> String {
    let percent = 100.0 * share;
    match percent {
        10.0.. => format!("{percent:.0}%"),
        1.0.. => format!("{percent:.1}%"),
        _ => format!("{percent:.2}%"),
    }
}

fn seconds(millis: f64) -> String {
    format!("{:.1}", millis / SECOND as f64)
}

/// With two digits that count.
fn round(number: f64) -> String {
    let digits = number.log10().floor() - 1.0;
    let step = 10f64.powf(digits);
    format!("{:.0}", (number / step).floor() * step)
}
