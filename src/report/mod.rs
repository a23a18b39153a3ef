//! What happened during a shutdown: the [`Report`] and its parts.
//!
//! # In tests
//!
//! A report is made by a shutdown. For code of yours that judges one, run a shutdown on tokio's paused clock, and change what the
//! test is about: its fields are public.
//!
//! ```
//! use lameduck::{Plan, Report, ShutdownCoordinator};
//!
//! fn needs_a_look(report: &Report) -> bool {
//!     report.cut > 0
//! }
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() {
//! let shutdown = ShutdownCoordinator::new(Plan::immediate());
//! shutdown.handle().shutdown("test");
//! let mut report = Report::clone(&*shutdown.run().await);
//! assert!(!needs_a_look(&report));
//!
//! report.cut = 3;
//! assert!(needs_a_look(&report));
//! # }
//! ```

// `print` is how it is said: as a timeline, and in one line. `log` is how it is logged.
mod exit_policy;
mod log;
mod print;

use std::process::ExitCode;
use std::time::Duration;

use crate::phase::Phase;
use crate::reason::Reason;

pub use exit_policy::ExitPolicy;
#[cfg(feature = "serde")]
pub(crate) use log::milliseconds;
pub(crate) use print::Seconds;

/// The whole story of one shutdown: why, when, and what was left behind.
///
/// [`ShutdownCoordinator::run`](crate::ShutdownCoordinator::run) returns it,
/// [`ShutdownHandle::finished`](crate::ShutdownHandle::finished) gives it to whoever asks. All times count from T0, the
/// moment of the trigger. `Display` is a timeline that fits a terminal of 80 columns; of the hooks of a phase, of the tasks and of what
/// a phase left behind it lists 20 each, and counts the others.
///
/// # Exit codes
///
/// | code | meaning |
/// |---|---|
/// | 0 | clean ([`Report::is_clean`]) |
/// | [`Report::EXIT_UNCLEAN`] (3) | something was cut, failed or overran, or a failure was the reason |
/// | [`Report::EXIT_WATCHDOG`] (4) | the watchdog ended the process at the hard deadline |
/// | [`Report::EXIT_FORCED`] (130) | a person at the terminal sent a second SIGINT; any second signal, if that is set |
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
    /// The background tasks that were running at the trigger, began after it, or did not end as they should, in the order in
    /// which they were started; at most [`Report::MOST_TASKS`]. If there were more, those that ended as they should are left
    /// out first.
    pub tasks: Vec<TaskReport>,
    /// How many background tasks would be in `tasks` if it had no limit, and are not.
    pub tasks_unlisted: u64,
    /// How many background tasks failed, panicked or overran, listed or not.
    pub tasks_failed: u64,
    /// How many background tasks were started, listed or not.
    pub tasks_total: u64,
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
    pub const EXIT_UNCLEAN: u8 = exit_policy::UNCLEAN;
    /// The process's exit code when the watchdog ended it.
    pub const EXIT_WATCHDOG: u8 = exit_policy::WATCHDOG;
    /// The process's exit code after a second signal that forces it: SIGINT at a terminal.
    pub const EXIT_FORCED: u8 = exit_policy::FORCED;
    /// How many background tasks are listed at most.
    pub const MOST_TASKS: usize = 100;

    /// Whether nothing was lost: no request cut, no hook or task failed or overran, and no failure was the reason.
    ///
    /// What lasts may be cut at Close's deadline without spoiling this, and so may a connection on which nothing was in
    /// flight; they are listed all the same.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        !self.reason.is_failure()
            && self.cut == 0
            && self.hooks().all(|hook| hook.outcome.is_done())
            && self.failed_tasks() == 0
    }

    /// What `main` should return: what the [`ExitPolicy`] says of how it went.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.code())
    }

    pub(crate) fn code(&self) -> u8 {
        self.exit.code(self.is_clean(), &self.reason)
    }

    /// Ends the process at once, with [`exit_code`](Report::exit_code) or by the signal that was the reason
    /// ([`ExitPolicy::reraise`]).
    ///
    /// Returning from `main` drops the runtime, which waits for blocking work that is still running; this does not.
    ///
    /// No destructor runs, so a log writer that works in the background (`tracing_appender::non_blocking`) loses what it still
    /// holds, the report with it: drop its guard before this call, or in a hook of [`Phase::Exit`].
    pub fn exit_process(&self) -> ! {
        self.exit.end(self.is_clean(), &self.reason)
    }

    /// The hooks of all phases, in the order of the phases.
    pub fn hooks(&self) -> impl Iterator<Item = &HookReport> {
        self.phases.iter().flat_map(|phase| &phase.hooks)
    }

    /// How many tasks did not end as they should, also when `tasks` was changed since.
    fn failed_tasks(&self) -> u64 {
        self.tasks_failed.max(self.failed_tasks_listed())
    }

    fn failed_tasks_listed(&self) -> u64 {
        let failed = self.tasks.iter().filter(|task| !task.outcome.is_done());
        failed.count() as u64
    }

    /// The report of one phase, if it began.
    #[must_use]
    pub fn phase(&self, phase: Phase) -> Option<&PhaseReport> {
        self.phases.iter().find(|report| report.phase == phase)
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
    /// How many left-behind entries are listed at most, and of how many hooks and tasks `Display` prints a line.
    pub const MOST_NAMED: usize = 20;
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
///
/// Of an error or a panic's message the first 4,096 characters are kept; an ellipsis (`…`) stands for the rest.
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
    /// It had not begun when its phase ended, and never will: what it comes after was not over, or nothing was free to run it.
    NotStarted,
}

impl Outcome {
    /// Whether it ended as it should.
    #[must_use]
    pub const fn is_done(&self) -> bool {
        matches!(self, Outcome::Done)
    }
}

/// Something that a phase was still waiting for at its deadline.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LeftBehind {
    /// What it is.
    pub kind: Kind,
    /// Its name. Of a request the method and the path (`GET /slow`), of a task or guard the name that it was given, of a
    /// connection the peer and what it was doing (`10.1.2.3:57720 (HTTP/1: GET /events)`). `Display` puts the name of a task
    /// or guard in backticks.
    pub name: String,
    /// How long it had been there.
    pub age: Duration,
    /// A connection that was cut with what looks like a gRPC call, which nobody has marked as one that lasts.
    pub(crate) unmarked_call: bool,
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

/// The requests that arrived after T0. Probes are not among them: those of this crate, and those that name themselves.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Traffic {
    /// How many were passed on to the application.
    pub served: u64,
    /// How many were refused: they came in Release or later, or in a phase from which requests are refused
    /// ([`Server::refuse_from`](crate::Server::refuse_from), [`DrainLayer::refuse_from`](crate::DrainLayer::refuse_from)) or
    /// upgrades are ([`Server::refuse_upgrades_from`](crate::Server::refuse_upgrades_from)).
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
