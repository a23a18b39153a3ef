//! What happens in one simulated shutdown, as data: all that was drawn, nothing that follows from it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

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
    /// When the coordinator is run.
    pub(crate) run_at: u64,
    /// Whether it is a child of a token.
    pub(crate) parent: bool,
    /// What happens, and at which millisecond.
    pub(crate) acts: Vec<(u64, Act)>,
}

/// What somebody does.
#[derive(Clone, Debug)]
pub(crate) enum Act {
    Shutdown(Why),
    CancelParent,
    Hook(Arc<HookSpec>),
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
    Panicked,
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
        writeln!(f, "  {run_at} ms: the coordinator is run{parent}")?;
        for (at, act) in &self.acts {
            writeln!(f, "  {at} ms: {act:?}")?;
        }
        Ok(())
    }
}
