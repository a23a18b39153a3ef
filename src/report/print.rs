//! How a report is printed: as a timeline for a terminal, and in one line for a log.

use std::fmt;
use std::time::Duration;

use super::{Kind, LeftBehind, LongCounts, Outcome, PhaseOutcome, PhaseReport, Report, TaskReport};
use crate::plain::{self, LONGEST_TEXT};

/// The room for a last `, … and N more`.
const AND_MORE: usize = ", … and 18446744073709551615 more".len();

impl Report {
    /// How long [`summary`](Report::summary) is at most, in bytes.
    ///
    /// Kubernetes shows the last 4,096 bytes of a container's termination message, and two lines may come: this one and the
    /// watchdog's. The line in `/dev/termination-log` is `lameduck: `, the summary and an end of line, so it has half of that.
    pub const SUMMARY_BYTES: usize = 2_048 - "lameduck: \n".len();

    /// The report in one line of at most [`SUMMARY_BYTES`](Report::SUMMARY_BYTES), for a log or `/dev/termination-log`.
    ///
    /// It names the hooks and tasks that did not end as they should, as far as they fit, and counts the others: `… and 12 more`.
    #[must_use]
    pub fn summary(&self) -> String {
        let reason = plain::line(format_args!("{}", self.reason), LONGEST_TEXT);
        let mut summary = format!(
            "{reason}: {} in {} of {}; requests after it: {}, refused: {}, cut: {}",
            self.verdict(),
            Seconds(self.took),
            Seconds(self.budget),
            self.traffic.served,
            self.traffic.refused,
            self.cut,
        );
        let hooks = self.phases.iter().flat_map(endings_of_hooks);
        let tasks = endings_of_tasks(&self.tasks);
        let unwell: Vec<_> = hooks.chain(tasks).filter(|it| !it.is_done()).collect();
        let without_a_line = self.tasks_without_a_line().failed;
        let mut more = without_a_line.saturating_add(unwell.len() as u64);
        for ending in unwell {
            let ending = plain::line(format_args!(", {ending}"), LONGEST_TEXT);
            if summary.len() + ending.len() + AND_MORE > Self::SUMMARY_BYTES {
                break;
            }
            summary += &ending;
            more -= 1;
        }
        if more > 0 {
            summary += &format!(", … and {more} more");
        }
        summary
    }

    /// The tasks that `tasks` had no room for.
    fn tasks_without_a_line(&self) -> Others {
        let failed = self.failed_tasks() - self.failed_tasks_listed();
        Others {
            total: self.tasks_unlisted.max(failed),
            failed,
        }
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
        list(
            f,
            "  tasks",
            endings_of_tasks(&self.tasks).collect(),
            self.tasks_without_a_line(),
        )?;
        line(
            f,
            format_args!(
                "  requests after T0: {} served, {} refused; last arrival {}",
                self.traffic.served,
                self.traffic.refused,
                self.traffic
                    .last_arrival
                    .map_or_else(|| "none".to_owned(), |at| format!("T0+{}", Seconds(at))),
            ),
        )?;
        if !self.traffic.per_second.is_empty() {
            let each: Vec<String> = self.traffic.per_second.iter().map(u64::to_string).collect();
            line(f, format_args!("  a second from T0 on: {}", each.join(" ")))?;
        }
        let cut = self.cut;
        line(
            f,
            format_args!("  cut at the end of Close: {cut} requests, tasks and guards"),
        )?;
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
                Seconds(self.started.saturating_add(self.took)),
                self.outcome
            ),
        )?;
        let hooks = endings_of_hooks(self).collect();
        list(f, "    hooks", hooks, Others::default())?;
        let named = self.left_behind.iter().take(PhaseReport::MOST_NAMED);
        for left in named.clone() {
            line(f, format_args!("    left behind: {left}"))?;
        }
        let total = self.left_behind_total.max(self.left_behind.len() as u64);
        match total - named.len() as u64 {
            0 => {}
            more if self.left_behind.is_empty() => {
                line(f, format_args!("    left behind: {more} without a name"))?;
            }
            more => line(f, format_args!("    left behind: {more} more"))?,
        }
        match self.hint() {
            Some(hint) => line(f, format_args!("    {hint}")),
            None => Ok(()),
        }
    }
}

impl PhaseReport {
    /// What to do about what was cut.
    pub(crate) fn hint(&self) -> Option<&'static str> {
        let cuts_call = self.left_behind.iter().any(|left| left.unmarked_call);
        cuts_call.then_some("mark gRPC calls that stream with LongLivedLayer: see LongLived")
    }
}

/// How a hook or a task ended.
struct Ending<'a> {
    what: &'static str,
    name: &'a str,
    outcome: &'a Outcome,
    took: Option<Duration>,
}

fn endings_of_hooks(phase: &PhaseReport) -> impl Iterator<Item = Ending<'_>> {
    phase.hooks.iter().map(|hook| Ending {
        what: "hook",
        name: &hook.name,
        outcome: &hook.outcome,
        took: Some(hook.took),
    })
}

fn endings_of_tasks(tasks: &[TaskReport]) -> impl Iterator<Item = Ending<'_>> {
    tasks.iter().map(|task| Ending {
        what: "task",
        name: &task.name,
        outcome: &task.outcome,
        took: None,
    })
}

impl Ending<'_> {
    const fn is_done(&self) -> bool {
        self.outcome.is_done()
    }
}

impl fmt::Display for Ending<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} `{}` {}", self.what, self.name, self.outcome)
    }
}

/// How many are counted, and not listed.
#[derive(Default)]
struct Others {
    total: u64,
    /// How many of `total` did not end as they should.
    failed: u64,
}

/// Lists endings, a line each, and counts those for which there is no room, and `others`. What went wrong has room first.
fn list(
    f: &mut fmt::Formatter<'_>,
    title: &str,
    mut endings: Vec<Ending<'_>>,
    others: Others,
) -> fmt::Result {
    if endings.len() > PhaseReport::MOST_NAMED {
        endings.sort_by_key(Ending::is_done);
    }
    let indent = title.len() - title.trim_start().len();
    for ending in endings.iter().take(PhaseReport::MOST_NAMED) {
        match ending.took.map(Seconds) {
            None => line(f, format_args!("{:indent$}{ending}", ""))?,
            Some(took) => line(f, format_args!("{:indent$}{ending} after {took}", ""))?,
        }
    }
    let rest = endings.get(PhaseReport::MOST_NAMED..).unwrap_or_default();
    let unwell = rest.iter().filter(|it| !it.is_done()).count();
    let unwell = others.failed.saturating_add(unwell as u64);
    match (others.total.saturating_add(rest.len() as u64), unwell) {
        (0, _) => Ok(()),
        (more, 0) => line(f, format_args!("{title}: {more} more, all done")),
        (more, unwell) => line(
            f,
            format_args!("{title}: {more} more, {unwell} of them not done"),
        ),
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
        let name = plain::line(format_args!("{}", self.name), LONGEST_TEXT);
        let quote = match self.kind {
            Kind::Task | Kind::Guard => "`",
            Kind::Request | Kind::Connection => "",
        };
        let age = Seconds(self.age);
        write!(f, "{} {quote}{name}{quote}, for {age}", self.kind)
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

/// One line of a terminal. What applications say may have several, and what they pass on from others may be anything that is
/// UTF-8: also what moves a cursor.
fn line(f: &mut fmt::Formatter<'_>, text: fmt::Arguments<'_>) -> fmt::Result {
    const COLUMNS: usize = 80;
    writeln!(f, "{}", plain::line(text, COLUMNS))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{ConnectionCounts, ExitPolicy, HookReport, TaskReport, Traffic};
    use super::*;
    use crate::cases;
    use crate::phase::Phase;
    use crate::plain::is_plain;
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
            unmarked_call: more % 2 == 0,
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
            tasks_unlisted: 0,
            tasks_failed: 2,
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
        let long = "[a-z\u{1f600}]{0,2000}";
        let texts = prop_oneof![odd, long, any::<String>()];
        let number = prop_oneof![0..1_000_000_000_000_u64, any::<u64>()];
        let numbers = [number.clone(), number.clone(), number.clone(), number];
        cases::check(500, (texts, numbers), |(text, numbers)| {
            let report = report(&text, numbers);

            let printed = report.to_string();
            let lines: Vec<&str> = printed.split('\n').collect();

            // The head, the phase, its hooks, what was left behind, how much more and a hint, the tasks, requests in all and
            // a second, what was cut, connections, what lasts.
            let more = usize::from(report.phases[0].left_behind_total > 1);
            let long = usize::from(numbers[2] > 0);
            let hint = usize::from(report.phases[0].hint().is_some());
            assert_eq!(lines.len(), 1 + 1 + 3 + 1 + more + hint + 3 + 4 + long);
            for line in lines {
                assert!(line.chars().count() <= 80, "{line}");
                assert!(line.chars().all(is_plain), "{line:?}");
            }
            let summary = report.summary();
            assert!(summary.chars().all(is_plain));
            assert!(summary.len() <= Report::SUMMARY_BYTES);
            let left = report.phases[0].left_behind[0].to_string();
            assert!(left.chars().all(is_plain));
        });
    }
}
