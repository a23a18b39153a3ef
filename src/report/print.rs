//! How a report is printed: as a timeline for a terminal, and in one line for a log.

use std::fmt;
use std::time::Duration;

use super::{Kind, LeftBehind, LongCounts, Outcome, PhaseOutcome, PhaseReport, Report};
use crate::plain::is_plain;

impl Report {
    /// The report in one line, for a log or `/dev/termination-log`.
    #[must_use]
    pub fn summary(&self) -> String {
        let unwell = self
            .hooks()
            .filter(|hook| !hook.outcome.is_done())
            .map(|hook| format!(", hook `{}` {}", hook.name, hook.outcome))
            .chain(
                self.tasks
                    .iter()
                    .filter(|task| !task.outcome.is_done())
                    .map(|task| format!(", task `{}` {}", task.name, task.outcome)),
            )
            .collect::<String>();
        one_line(format_args!(
            "{}: {} in {} of {}; requests after it: {}, refused: {}, cut: {}{unwell}",
            self.reason,
            self.verdict(),
            Seconds(self.took),
            Seconds(self.budget),
            self.traffic.served,
            self.traffic.refused,
            self.cut,
        ))
    }

    fn verdict(&self) -> &'static str {
        if self.is_clean() {
            "clean"
        } else {
            "not clean"
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        line(
            f,
            format_args!(
                "left in {} of {}, {}: {}",
                Seconds(self.took),
                Seconds(self.budget),
                self.verdict(),
                self.reason
            ),
        )?;
        self.phases.iter().try_for_each(|phase| phase.fmt(f))?;
        for task in &self.tasks {
            line(f, format_args!("  task `{}` {}", task.name, task.outcome))?;
        }
        line(
            f,
            format_args!(
                "  requests after T0: {} served, {} refused, {} cut; last arrival {}",
                self.traffic.served,
                self.traffic.refused,
                self.cut,
                self.traffic
                    .last_arrival
                    .map_or_else(|| "none".to_owned(), |at| format!("T0+{}", Seconds(at))),
            ),
        )?;
        if !self.traffic.per_second.is_empty() {
            let each: Vec<String> = self.traffic.per_second.iter().map(u64::to_string).collect();
            line(f, format_args!("  a second from T0 on: {}", each.join(" ")))?;
        }
        write!(
            f,
            "  connections after T0: {} closed, {} cut",
            self.connections.closed, self.connections.cut
        )?;
        match self.long {
            LongCounts { told: 0, cut: 0 } => Ok(()),
            LongCounts { told, cut } => write!(f, "\n  long-lived: {told} told to end, {cut} cut"),
        }
    }
}

impl fmt::Display for PhaseReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        line(
            f,
            format_args!(
                "  {:<8} T0+{} to T0+{}  {}",
                self.phase,
                Seconds(self.started),
                Seconds(self.started + self.took),
                self.outcome
            ),
        )?;
        for hook in &self.hooks {
            line(
                f,
                format_args!(
                    "    hook `{}` {} after {}",
                    hook.name,
                    hook.outcome,
                    Seconds(hook.took)
                ),
            )?;
        }
        for left in &self.left_behind {
            line(f, format_args!("    left behind: {left}"))?;
        }
        match self.left_behind_total - self.left_behind.len() as u64 {
            0 => Ok(()),
            more if self.left_behind.is_empty() => {
                line(f, format_args!("    left behind: {more} without a name"))
            }
            more => line(f, format_args!("    left behind: {more} more")),
        }
    }
}

impl fmt::Display for PhaseOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PhaseOutcome::Completed => "completed",
            PhaseOutcome::LeftEarly => "left early",
            PhaseOutcome::TimedOut => "timed out",
        })
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::Done => f.write_str("done"),
            Outcome::Failed(error) => write!(f, "failed: {error}"),
            Outcome::Panicked(message) => write!(f, "panicked: {message}"),
            Outcome::Overran => f.write_str("overran"),
            Outcome::NotStarted => f.write_str("was not started"),
        }
    }
}

impl fmt::Display for LeftBehind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let age = Seconds(self.age);
        f.write_str(&one_line(format_args!(
            "{} {}, for {age}",
            self.kind, self.name
        )))
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Request => "request",
            Kind::Task => "task",
            Kind::Guard => "guard",
            Kind::Connection => "connection",
        })
    }
}

/// Seconds with three decimals.
pub(crate) struct Seconds(pub(crate) Duration);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.3} s", self.0.as_secs_f64())
    }
}

/// What applications say may have several lines, and what they pass on from others may be anything that is UTF-8: also what
/// moves a terminal's cursor.
fn one_line(text: fmt::Arguments<'_>) -> String {
    text.to_string().replace(|it| !is_plain(it), " ")
}

/// One line of a terminal: what does not fit is cut off, and says so.
fn line(f: &mut fmt::Formatter<'_>, text: fmt::Arguments<'_>) -> fmt::Result {
    const COLUMNS: usize = 80;
    let text = one_line(text);
    match text.char_indices().nth(COLUMNS) {
        None => writeln!(f, "{text}"),
        Some(_) => writeln!(f, "{}…", text.chars().take(COLUMNS - 1).collect::<String>()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{ConnectionCounts, ExitPolicy, HookReport, TaskReport, Traffic};
    use super::*;
    use crate::cases;
    use crate::phase::Phase;
    use crate::reason::Reason;

    fn report(text: &str, numbers: [u64; 4]) -> Report {
        let [served, closed, told, more] = numbers;
        let took = Duration::from_secs(more);
        let outcomes = [
            Outcome::Failed(text.to_owned()),
            Outcome::Panicked(text.to_owned()),
            Outcome::Done,
        ];
        let hooks = outcomes.clone().map(|outcome| HookReport {
            name: text.to_owned(),
            started: None,
            took,
            outcome,
        });
        let tasks = outcomes.map(|outcome| TaskReport {
            name: text.to_owned(),
            outcome,
        });
        let left = LeftBehind {
            kind: Kind::Request,
            name: text.to_owned(),
            age: took,
        };
        Report {
            reason: Reason::from(text.to_owned()),
            took,
            budget: took,
            phases: vec![PhaseReport {
                phase: Phase::Close,
                started: took,
                took,
                outcome: PhaseOutcome::TimedOut,
                hooks: hooks.into(),
                left_behind: vec![left],
                left_behind_total: more.max(1),
            }],
            tasks: tasks.into(),
            tasks_total: 3,
            exit: ExitPolicy::new(),
            traffic: Traffic {
                served,
                refused: served,
                last_arrival: Some(took),
                per_second: vec![served; 60],
            },
            connections: ConnectionCounts {
                closed,
                cut: closed,
            },
            long: LongCounts { told, cut: told },
            cut: served,
        }
    }

    #[test]
    fn any_name_fits_a_line_of_a_terminal() {
        let odd = "[\x00-\x20\x7f-\u{a0}\u{61c}\u{200e}-\u{202e}\u{2066}-\u{2069}a-c\u{e4}]{0,100}";
        let texts = prop_oneof![odd, any::<String>()];
        let small = 0..1_000_000_000_000_u64;
        let numbers = [small.clone(), small.clone(), small.clone(), small];
        cases::check(500, (texts, numbers), |(text, numbers)| {
            let report = report(&text, numbers);

            let printed = report.to_string();
            let lines: Vec<&str> = printed.split('\n').collect();

            // The head, the phase, its hooks, what was left behind and how much more, the tasks, requests in all and a
            // second, connections, what lasts.
            let more = usize::from(report.phases[0].left_behind_total > 1);
            let long = usize::from(numbers[2] > 0);
            assert_eq!(lines.len(), 1 + 1 + 3 + 1 + more + 3 + 3 + long);
            for line in lines {
                assert!(line.chars().count() <= 80, "{line}");
                assert!(line.chars().all(is_plain), "{line:?}");
            }
            assert!(report.summary().chars().all(is_plain));
            let left = report.phases[0].left_behind[0].to_string();
            assert!(left.chars().all(is_plain));
        });
    }
}
