//! What happened while the process left.

use std::fmt;
use std::process::ExitCode;
use std::time::Duration;

use crate::exit::{self, ExitPolicy};
use crate::phase::Phase;
use crate::plain::is_plain;
use crate::reason::Reason;

/// The whole story of one shutdown: why, when, and what was left behind.
///
/// [`ShutdownCoordinator::run`](crate::ShutdownCoordinator::run) returns it,
/// [`ShutdownHandle::finished`](crate::ShutdownHandle::finished) gives it to whoever asks. All times count from T0, the
/// moment of the trigger. `Display` is a timeline that fits a terminal of 80 columns.
///
/// # Exit codes
///
/// | code | meaning |
/// |---|---|
/// | 0 | clean ([`Report::is_clean`]) |
/// | [`Report::EXIT_UNCLEAN`] (3) | something was cut, failed or overran, or a failure was the reason |
/// | [`Report::EXIT_WATCHDOG`] (4) | the watchdog ended the process at the hard deadline |
/// | [`Report::EXIT_FORCED`] (130) | a person at the terminal sent a second SIGINT |
///
/// The first two can be set: [`ExitPolicy`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Report {
    /// Why the process left: the first trigger's reason.
    pub reason: Reason,
    /// The time from the trigger to the end of the last phase that is in `phases`.
    pub took: Duration,
    /// The time that the plan had from the trigger to the SIGKILL.
    pub budget: Duration,
    /// Every phase that began, in order.
    pub phases: Vec<PhaseReport>,
    /// Every background task, in the order in which they were started.
    pub tasks: Vec<TaskReport>,
    /// The requests that arrived after the trigger.
    pub traffic: Traffic,
    /// The connections that were open after the trigger.
    pub connections: ConnectionCounts,
    /// What lasts: WebSockets, event streams, calls that stream.
    pub long: LongCounts,
    /// How many requests, guards and tasks were still in flight when Close was over, and HTTP/1 responses not yet sent whole.
    /// They were cut. What lasts is not among them: see `long`.
    pub cut: u64,
    pub(crate) exit: ExitPolicy,
}

impl Report {
    /// The process's exit code when something was cut, failed or overran.
    pub const EXIT_UNCLEAN: u8 = exit::UNCLEAN;
    /// The process's exit code when the watchdog ended it.
    pub const EXIT_WATCHDOG: u8 = exit::WATCHDOG;
    /// The process's exit code after a second SIGINT.
    pub const EXIT_FORCED: u8 = exit::FORCED;

    /// Whether nothing was lost: no request cut, no hook or task failed or overran, and no failure was the reason.
    ///
    /// What lasts may be cut at Close's deadline without spoiling this, and so may a connection on which nothing was in
    /// flight; they are listed all the same.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        !self.reason.is_failure()
            && self.cut == 0
            && self.hooks().all(|hook| hook.outcome.is_done())
            && self.tasks.iter().all(|task| task.outcome.is_done())
    }

    /// What `main` should return: what the [`ExitPolicy`] says of how it went.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.exit.code(self.is_clean(), &self.reason))
    }

    /// Ends the process at once, with [`exit_code`](Report::exit_code) or by the signal that was the reason
    /// ([`ExitPolicy::reraise`]).
    ///
    /// Returning from `main` drops the runtime, which waits for blocking work that is still running; this does not.
    pub fn exit_process(&self) -> ! {
        self.exit.end(self.is_clean(), &self.reason)
    }

    /// The hooks of all phases, in the order of the phases.
    pub fn hooks(&self) -> impl Iterator<Item = &HookReport> {
        self.phases.iter().flat_map(|phase| &phase.hooks)
    }

    /// The report of one phase, if it began.
    #[must_use]
    pub fn phase(&self, phase: Phase) -> Option<&PhaseReport> {
        self.phases.iter().find(|report| report.phase == phase)
    }

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

/// One phase of a [`Report`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PhaseReport {
    /// The phase.
    pub phase: Phase,
    /// When it began, counted from T0.
    pub started: Duration,
    /// How long it lasted.
    pub took: Duration,
    /// Whether it ended by itself or at its deadline.
    pub outcome: PhaseOutcome,
    /// Its hooks, in the order in which they were registered.
    pub hooks: Vec<HookReport>,
    /// What it was still waiting for at its deadline, oldest first, as far as it has a name; at most
    /// [`PhaseReport::MOST_NAMED`] entries.
    pub left_behind: Vec<LeftBehind>,
    /// How many it was still waiting for at its deadline, named or not.
    pub left_behind_total: u64,
}

impl PhaseReport {
    /// How many left-behind entries are listed at most.
    pub const MOST_NAMED: usize = 20;
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

/// How a phase ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PhaseOutcome {
    /// Its own condition held and its hooks had returned. For LameDuck: its time was up.
    Completed,
    /// LameDuck alone: silence had proved that traffic had moved ([`LeaveEarly`](crate::LeaveEarly)).
    LeftEarly,
    /// Its deadline came first.
    TimedOut,
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

/// One hook of a [`PhaseReport`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct HookReport {
    /// The name it was registered under.
    pub name: String,
    /// When it was started, counted from T0; `None` if it never was.
    pub started: Option<Duration>,
    /// How long it ran.
    pub took: Duration,
    /// How it ended.
    pub outcome: Outcome,
}

/// One background task of a [`Report`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TaskReport {
    /// The name it was started under.
    pub name: String,
    /// How it ended.
    pub outcome: Outcome,
}

/// How a hook or a task ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// It returned, without an error.
    Done,
    /// It returned this error.
    Failed(String),
    /// It panicked with this message.
    Panicked(String),
    /// Its time was up first; its future was dropped, or, if it blocks a thread, left running.
    Overran,
    /// Its turn never came: what it had to come after was not over in time.
    NotStarted,
}

impl Outcome {
    /// Whether it ended as it should.
    #[must_use]
    pub const fn is_done(&self) -> bool {
        matches!(self, Outcome::Done)
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

/// Something that a phase was still waiting for at its deadline.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LeftBehind {
    /// What it is.
    pub kind: Kind,
    /// Its name: a request's method and path, a task's or guard's name, a connection's peer and what it was doing.
    pub name: String,
    /// How long it had been there.
    pub age: Duration,
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

/// What kind of thing was left behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// A request whose response was not over.
    Request,
    /// A background task.
    Task,
    /// A guard that the application took.
    Guard,
    /// A connection.
    Connection,
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

/// The requests that arrived after T0. Probes are not among them: those of this crate, and those that name themselves.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Traffic {
    /// How many were passed on to the application.
    pub served: u64,
    /// How many were refused: they came in Release or later, or asked for an upgrade that is refused by then
    /// ([`Server::refuse_upgrades_from`](crate::Server::refuse_upgrades_from)).
    pub refused: u64,
    /// When the last one was passed on, counted from T0.
    pub last_arrival: Option<Duration>,
    /// How many of `served` arrived in each second from T0 on, up to the last one that had any; the first 60 at most. Where
    /// it falls to nothing is how long LameDuck has to be.
    pub per_second: Vec<u64>,
}

/// What became of the connections that were open after T0, on servers of ours.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct ConnectionCounts {
    /// How many ended before Close's deadline.
    pub closed: u64,
    /// How many were cut at Close's deadline.
    pub cut: u64,
}

/// What became of what lasts: upgraded connections, event streams, calls that stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LongCounts {
    /// How many were told to end: those that waited for their [`Moment`](crate::Moment), and the streams that the library
    /// ended.
    pub told: u64,
    /// How many were cut at Close's deadline, told or not.
    pub cut: u64,
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

    use super::*;
    use crate::cases;

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
