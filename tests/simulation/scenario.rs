//! What happens in one simulated shutdown, as data: all that was drawn, nothing that follows from it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use lameduck::report::Outcome;
use lameduck::{Phase, Plan, Reason, Signal};

/// Names one thing of a scenario: a hook, a task, a guard, a connection, a request.
pub(crate) type Id = u32;

pub(crate) const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

#[derive(Clone, Debug)]
pub(crate) struct Scenario {
    pub(crate) seed: u64,
    pub(crate) plan: Plan,
    /// When the coordinator is run, or dropped,
    pub(crate) run_at: u64,
    /// and which of them.
    pub(crate) fate: Fate,
    /// Whether that is done where `block_on` polls it, as in `main`, or in a task.
    pub(crate) in_main: bool,
    /// Whether it is a child of a token.
    pub(crate) parent: bool,
    /// What happens, and at which millisecond.
    pub(crate) acts: Vec<(u64, Act)>,
}

/// What becomes of the coordinator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is run to its end.
    Run,
    /// It is run, and the future is dropped so long after.
    RunDropped { after: u64 },
    /// It is dropped, and was never run.
    Dropped,
}

/// What somebody does.
#[derive(Clone, Debug)]
pub(crate) enum Act {
    Shutdown(Id, Why),
    /// The same, from a thread that is in no runtime. On real time only: T0 is taken on another clock there.
    ShutdownOutside(Id, Why),
    CancelParent,
    Hook(Arc<HookSpec>),
    /// Removes the hook of that name.
    Remove(Id, String),
    Task(Arc<TaskSpec>),
    Guard(Arc<GuardSpec>),
    /// Makes a `ConnectionGroup`. Its listener closes so long after it was told.
    Listen {
        id: Id,
        closes_after: Option<u64>,
    },
    Connect(Arc<ConnectionSpec>),
    /// Makes a `DrainLayer`.
    Layer,
    Request(RequestSpec),
    /// A request under the layer of a coordinator that is gone.
    StaleRequest,
    /// Keeps a thread for blocking work busy for so long. On real time only: a paused clock would not move.
    Hog(u64),
    /// Holds a not-ready token.
    NotReady {
        id: Id,
        hold: u64,
    },
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Why {
    Signal(Signal),
    Requested(Id),
}

impl From<Why> for Reason {
    fn from(why: Why) -> Self {
        match why {
            Why::Signal(signal) => Reason::from(signal),
            Why::Requested(id) => Reason::from(format!("why {id}")),
        }
    }
}

#[derive(Debug)]
pub(crate) struct HookSpec {
    pub(crate) id: Id,
    pub(crate) name: String,
    pub(crate) phase: Phase,
    pub(crate) after: Vec<String>,
    pub(crate) timeout: Option<u64>,
    /// On a thread for blocking work. On real time only: a paused clock does not move while such a thread works.
    pub(crate) blocking: bool,
    pub(crate) script: Script,
}

#[derive(Debug)]
pub(crate) struct TaskSpec {
    pub(crate) id: Id,
    pub(crate) name: String,
    pub(crate) script: Script,
}

#[derive(Debug)]
pub(crate) struct GuardSpec {
    pub(crate) id: Id,
    pub(crate) kind: GuardKind,
    pub(crate) hold: Hold,
    /// Clones, each taken so long after the one before.
    pub(crate) clones: Vec<(u64, Id, Hold)>,
    /// What is held beside it panics when it is dropped.
    pub(crate) bomb: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GuardKind {
    Plain,
    Named,
    Long,
}

/// How long a guard is held.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Hold {
    For(u64),
    /// As long as who took it lives.
    Owned,
    /// Until the shutdown is over.
    Forever,
}

#[derive(Debug)]
pub(crate) struct ConnectionSpec {
    pub(crate) id: Id,
    /// The group that accepts it.
    pub(crate) group: Id,
    pub(crate) script: Script,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct RequestSpec {
    pub(crate) id: Id,
    /// How long the handler takes,
    pub(crate) handler: u64,
    /// and then the body.
    pub(crate) body: u64,
}

/// What a hook, a task or a connection does.
#[derive(Debug)]
pub(crate) struct Script {
    /// Panics where its future is made.
    pub(crate) stillborn: bool,
    pub(crate) steps: Vec<Step>,
    pub(crate) end: End,
    /// What is done when its future, or the closure that would have made it, is dropped before its end.
    pub(crate) on_drop: Option<Act>,
    /// Panics then, after that.
    pub(crate) bomb: bool,
    /// Its future panics when it is dropped behind its end. Not a connection's: a panic there would be its owner's.
    pub(crate) bomb_behind: bool,
}

#[derive(Debug)]
pub(crate) enum Step {
    Sleep(u64),
    Yield,
    Act(Act),
    Await(Awaited),
    Forever,
}

/// What one may wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Awaited {
    /// T0, as a task is told.
    Stop,
    Phase(Phase),
    /// A phase's token.
    Token(Phase),
    /// A moment in the spread of what is long.
    Moment,
    Report,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Done,
    Failed,
    /// With an error that panics when it is printed, and when it is dropped.
    Unprintable,
    Panicked,
}

impl End {
    /// What the report should say.
    pub(crate) fn outcome(self) -> Outcome {
        match self {
            End::Done => Outcome::Done,
            End::Failed | End::Unprintable => Outcome::Failed(self.error().to_owned()),
            End::Panicked => Outcome::Panicked(self.error().to_owned()),
        }
    }

    /// How the error is printed.
    pub(crate) const fn error(self) -> &'static str {
        match self {
            End::Unprintable => "an error that panicked when it was printed: drawn",
            _ => "drawn",
        }
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plan = &self.plan;
        for &phase in Phase::ALL {
            let deadline = plan.deadline(phase);
            writeln!(f, "  {phase:<8} ends at T0+{deadline:?} at the latest")?;
        }
        let (long_phase, long_spread) = (plan.long_phase(), plan.long_spread());
        writeln!(
            f,
            "  long ones are told in {long_phase}, in {long_spread:?}"
        )?;
        let run_at = self.run_at;
        let parent = if self.parent { ", with a parent" } else { "" };
        let place = if self.in_main { " in `main`" } else { "" };
        match self.fate {
            Fate::Run => writeln!(f, "  {run_at} ms: the coordinator is run{place}{parent}")?,
            Fate::RunDropped { after } => {
                let dropped_at = run_at + after;
                writeln!(f, "  {run_at} ms: the coordinator is run{place}{parent}")?;
                writeln!(f, "  {dropped_at} ms: its future is dropped")?;
            }
            Fate::Dropped => writeln!(f, "  {run_at} ms: the coordinator is dropped")?,
        }
        for (at, act) in &self.acts {
            writeln!(f, "  {at} ms: {act:?}")?;
        }
        Ok(())
    }
}
