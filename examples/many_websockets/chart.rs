//! What is shown of a run.

use std::fmt::Write;
use std::time::Duration;

use crate::leaving::{Count, Leaving};

/// How long the line of the highest part is.
const WIDTH: usize = 40;

/// What came when, and the figures.
pub(crate) fn chart(leaving: &Leaving) -> String {
    let parts = leaving.parts();
    let most = parts.iter().copied().max().unwrap_or_default().max(1);
    let mut chart = format!(
        "{:>10}{:>12}{:>12}{:>12}\n",
        "window", "told", "still held", "counted"
    );
    for (part, &told) in parts.iter().enumerate() {
        let from = leaving.part() * part as u32;
        let (held, counted) = match last_count(leaving, part) {
            Some(count) => (count.held.to_string(), count.counted.to_string()),
            None => ("-".to_owned(), "-".to_owned()),
        };
        let bar = "#".repeat(told * WIDTH / most);
        let _ = writeln!(
            chart,
            "{:>8.2} s{told:>12}{held:>12}{counted:>12}  {bar}",
            from.as_secs_f64()
        );
    }
    let _ = writeln!(
        chart,
        "{} opened in {}; told with 1012: {}, the last {} into the window of {}; peak {:.2} times the mean",
        leaving.ends.len(),
        seconds(leaving.opened_in),
        leaving.told(),
        seconds(leaving.last()),
        seconds(leaving.spread),
        leaving.peak(),
    );
    let _ = writeln!(
        chart,
        "counted {} times while they left, {} times fewer than held; SIGTERM to exit {}, exit code {}",
        leaving.counted_meanwhile(),
        leaving.counted_too_few(),
        seconds(leaving.ended.took),
        leaving
            .ended
            .code
            .map_or("none".to_owned(), |code| code.to_string()),
    );
    chart
}

/// The last count in a part of the window.
fn last_count(leaving: &Leaving, part: usize) -> Option<Count> {
    let there = |count: &&Count| count.at >= leaving.window && leaving.part_of(count.at) == part;
    leaving.counts.iter().rfind(there).copied()
}

fn seconds(duration: Duration) -> String {
    format!("{:.2} s", duration.as_secs_f64())
}
