//! What was seen while a scenario was played.

use std::fmt;
use std::time::Duration;

use lameduck::{HookError, Phase, TaskError};

use crate::scenario::{Awaited, End, GuardKind, Id};

/// Where the shutdown stands, as a handle says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    Serving,
    In(Phase),
    Over,
}

impl Stage {
    pub(crate) fn begun(self, phase: Phase) -> bool {
        self >= Stage::In(phase)
    }
}

pub(crate) struct Event {
    /// Since the scenario began.
    pub(crate) at: Duration,
    pub(crate) stage: Stage,
    /// What the handle counted just then.
    pub(crate) counted: Counted,
    pub(crate) what: What,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counted {
    pub(crate) in_flight: u64,
    pub(crate) long: u64,
    pub(crate) connections: u64,
}

/// Who plays a script.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Actor {
    Hook(Id),
    Task(Id),
    Connection(Id),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum What {
    Ran,
    /// The future of `run` was dropped.
    RunDropped,
    /// `run` returned, or the report came to whoever waited in its place.
    RunReturned,
    /// The coordinator is about to be dropped,
    Abandons,
    /// and was.
    Abandoned,
    /// Something else of that number is about to be done: a trigger, a guard, a request, a connection.
    Tries(Id),
    /// A guard or a request is about to end.
    LetsGo(Id),
    Triggered {
        id: Id,
        why: String,
        first: bool,
    },
    ParentCancelled,
    Layered,
    Listening(Id),
    /// A listener was told to close,
    ToldToClose(Id),
    /// and did.
    ListenerClosed(Id),
    NotReady(Id),
    Ready(Id),
    /// A panic of what somebody owns came out of the library.
    PanicEscaped,
    /// A hook or a task is about to be registered.
    Offers(Actor),
    HookRegistered(Id, Result<(), HookError>),
    /// A hook is about to be removed, by name.
    Removes(Id, String),
    Removed(Id, bool),
    TaskStarted(Id, Result<(), TaskError>),
    GuardTaken {
        id: Id,
        kind: GuardKind,
        taken: bool,
    },
    GuardCloned {
        id: Id,
        of: Id,
    },
    GuardReleased(Id),
    Connected {
        id: Id,
        counted: bool,
    },
    ConnectionOver {
        id: Id,
        cut: bool,
    },
    Requested {
        id: Id,
        served: bool,
    },
    RequestOver(Id),
    StaleRequest {
        served: bool,
    },
    Began(Actor),
    Returned(Actor, End),
    /// The future, or the closure that would have made it.
    Dropped(Actor),
    Waits(Actor, Awaited),
    Heard(Actor, Awaited),
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Event {
            at,
            stage,
            counted,
            what,
        } = self;
        let stage = match stage {
            Stage::Serving => "–",
            Stage::In(phase) => phase.name(),
            Stage::Over => "over",
        };
        let Counted {
            in_flight,
            long,
            connections,
        } = counted;
        write!(
            f,
            "  {at:>10?} {stage:<8} {in_flight:>2} {long:>2} {connections:>2}  {what:?}"
        )
    }
}
