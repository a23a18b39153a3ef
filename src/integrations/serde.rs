//! The report and the plan as data, for whatever `serde` writes.
//!
//! The shape stands here and not at the types, so that it changes only on purpose: names are snake_case, a duration is a whole number
//! of milliseconds, rounded down, and its name ends in `_ms`. Each type is taken apart field by field, so a field that is added to it
//! does not compile until it has a place here.

use std::fmt;

use serde::de::{Error, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::phase::Phase;
use crate::plan::{LeaveEarly, Plan};
use crate::reason::{Reason, Signal};
use crate::report::{
    ConnectionCounts, HookReport, Kind, LeftBehind, LongCounts, Outcome, PhaseOutcome, PhaseReport,
    Report, TaskReport, Traffic, milliseconds,
};

/// Not all of it can be read back: the exit code stands for the policy that gave it.
impl Serialize for Report {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        #[serde(rename = "Report")]
        struct Shape<'a> {
            reason: &'a Reason,
            clean: bool,
            exit_code: u8,
            took_ms: u64,
            budget_ms: u64,
            phases: &'a [PhaseReport],
            tasks: &'a [TaskReport],
            tasks_unlisted: u64,
            tasks_failed: u64,
            tasks_total: u64,
            traffic: &'a Traffic,
            connections: ConnectionCounts,
            long: LongCounts,
            cut: u64,
        }
        let Report {
            reason,
            took,
            budget,
            phases,
            tasks,
            tasks_unlisted,
            tasks_failed,
            tasks_total,
            traffic,
            connections,
            long,
            cut,
            exit: _,
        } = self;
        Shape {
            reason,
            clean: self.is_clean(),
            exit_code: self.code(),
            took_ms: milliseconds(*took),
            budget_ms: milliseconds(*budget),
            phases,
            tasks,
            tasks_unlisted: *tasks_unlisted,
            tasks_failed: *tasks_failed,
            tasks_total: *tasks_total,
            traffic,
            connections: *connections,
            long: *long,
            cut: *cut,
        }
        .serialize(serializer)
    }
}

impl Serialize for PhaseReport {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        #[serde(rename = "PhaseReport")]
        struct Shape<'a> {
            phase: Phase,
            started_ms: u64,
            took_ms: u64,
            outcome: PhaseOutcome,
            hooks: &'a [HookReport],
            left_behind: &'a [LeftBehind],
            left_behind_total: u64,
        }
        let PhaseReport {
            phase,
            started,
            took,
            outcome,
            hooks,
            left_behind,
            left_behind_total,
        } = self;
        Shape {
            phase: *phase,
            started_ms: milliseconds(*started),
            took_ms: milliseconds(*took),
            outcome: *outcome,
            hooks,
            left_behind,
            left_behind_total: *left_behind_total,
        }
        .serialize(serializer)
    }
}

/// `started_ms` is null if it never was. `outcome` is a word, and `error` is there if it failed or panicked.
impl Serialize for HookReport {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        #[serde(rename = "HookReport")]
        struct Shape<'a> {
            name: &'a str,
            started_ms: Option<u64>,
            took_ms: u64,
            #[serde(flatten)]
            outcome: &'a Outcome,
        }
        let HookReport {
            name,
            started,
            took,
            outcome,
        } = self;
        Shape {
            name,
            started_ms: started.map(milliseconds),
            took_ms: milliseconds(*took),
            outcome,
        }
        .serialize(serializer)
    }
}

/// `outcome` is a word, and `error` is there if it failed or panicked.
impl Serialize for TaskReport {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        #[serde(rename = "TaskReport")]
        struct Shape<'a> {
            name: &'a str,
            #[serde(flatten)]
            outcome: &'a Outcome,
        }
        let TaskReport { name, outcome } = self;
        Shape { name, outcome }.serialize(serializer)
    }
}

/// `{"outcome": "done"}`, `{"outcome": "failed", "error": "…"}`.
impl Serialize for Outcome {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        #[serde(rename = "Outcome")]
        struct Shape<'a> {
            outcome: &'static str,
            #[serde(skip_serializing_if = "Option::is_none")]
            error: Option<&'a str>,
        }
        let (outcome, error) = match self {
            Outcome::Done => ("done", None),
            Outcome::Failed(error) => ("failed", Some(error.as_str())),
            Outcome::Panicked(message) => ("panicked", Some(message.as_str())),
            Outcome::Overran => ("overran", None),
            Outcome::NotStarted => ("not_started", None),
        };
        Shape { outcome, error }.serialize(serializer)
    }
}

impl Serialize for LeftBehind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        #[serde(rename = "LeftBehind")]
        struct Shape<'a> {
            kind: Kind,
            name: &'a str,
            age_ms: u64,
        }
        let LeftBehind {
            kind, name, age, ..
        } = self;
        Shape {
            kind: *kind,
            name,
            age_ms: milliseconds(*age),
        }
        .serialize(serializer)
    }
}

/// `last_arrival_ms` is null if nothing arrived.
impl Serialize for Traffic {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        #[serde(rename = "Traffic")]
        struct Shape<'a> {
            served: u64,
            refused: u64,
            last_arrival_ms: Option<u64>,
            per_second: &'a [u64],
        }
        let Traffic {
            served,
            refused,
            last_arrival,
            per_second,
        } = self;
        Shape {
            served: *served,
            refused: *refused,
            last_arrival_ms: last_arrival.map(milliseconds),
            per_second,
        }
        .serialize(serializer)
    }
}

impl Serialize for ConnectionCounts {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        #[serde(rename = "ConnectionCounts")]
        struct Shape {
            closed: u64,
            cut: u64,
        }
        let &ConnectionCounts { closed, cut } = self;
        Shape { closed, cut }.serialize(serializer)
    }
}

impl Serialize for LongCounts {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        #[serde(rename = "LongCounts")]
        struct Shape {
            told: u64,
            cut: u64,
        }
        let &LongCounts { told, cut } = self;
        Shape { told, cut }.serialize(serializer)
    }
}

impl Serialize for PhaseOutcome {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(match self {
            PhaseOutcome::Completed => "completed",
            PhaseOutcome::LeftEarly => "left_early",
            PhaseOutcome::TimedOut => "timed_out",
        })
    }
}

impl Serialize for Kind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(match self {
            Kind::Request => "request",
            Kind::Task => "task",
            Kind::Guard => "guard",
            Kind::Connection => "connection",
        })
    }
}

/// `{"kind": "signal", "signal": "SIGTERM"}`, `{"kind": "requested", "why": "…"}`, `{"kind": "failed", "name": "…", "error": "…"}`,
/// and so for a `task_failed` and a `server_failed`.
impl Serialize for Reason {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        #[serde(rename = "Reason", tag = "kind", rename_all = "snake_case")]
        enum Shape<'a> {
            Signal { signal: Signal },
            Requested { why: &'a str },
            TaskFailed { name: &'a str, error: &'a str },
            ServerFailed { name: &'a str, error: &'a str },
            Failed { name: &'a str, error: &'a str },
            ConnectionAge,
        }
        let shape = match self {
            Reason::Signal(signal) => Shape::Signal { signal: *signal },
            Reason::Requested(why) => Shape::Requested { why },
            Reason::TaskFailed { name, error } => Shape::TaskFailed { name, error },
            Reason::ServerFailed { name, error } => Shape::ServerFailed { name, error },
            Reason::Failed { name, error } => Shape::Failed { name, error },
            Reason::ConnectionAge => Shape::ConnectionAge,
        };
        shape.serialize(serializer)
    }
}

/// The signal's [`name`](Signal::name).
impl Serialize for Signal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// From the signal's [`name`](Signal::name).
impl<'de> Deserialize<'de> for Signal {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(OneOf {
            what: "a signal that is listened to",
            all: Signal::ALL,
            name: |signal| signal.name(),
        })
    }
}

/// `"lame_duck"`, `"drain"`, `"close"`, `"release"` or `"exit"`.
impl Serialize for Phase {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(phase_name(*self))
    }
}

/// From the name that it is serialized to.
impl<'de> Deserialize<'de> for Phase {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(OneOf {
            what: "a phase, such as \"drain\"",
            all: Phase::ALL,
            name: phase_name,
        })
    }
}

const fn phase_name(phase: Phase) -> &'static str {
    match phase {
        Phase::LameDuck => "lame_duck",
        Phase::Drain => "drain",
        Phase::Close => "close",
        Phase::Release => "release",
        Phase::Exit => "exit",
    }
}

/// Reads the name of one of a few.
struct OneOf<T: 'static> {
    what: &'static str,
    all: &'static [T],
    name: fn(T) -> &'static str,
}

impl<T: Copy> Visitor<'_> for OneOf<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.what)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        let mut all = self.all.iter().copied();
        all.find(|&it| (self.name)(it) == text)
            .ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
    }
}

/// Its numbers, as its methods give them. `leave_early` is null unless it was asked for.
impl Serialize for Plan {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        #[serde(rename = "Plan")]
        struct Shape {
            grace_period_ms: u64,
            pre_stop_ms: u64,
            budget_ms: u64,
            assumed: bool,
            phases: Vec<PhaseShape>,
            hard_deadline_ms: u64,
            spread_ms: u64,
            long_phase: Phase,
            long_spread_ms: u64,
            linger_ms: u64,
            leave_early: Option<LeaveEarly>,
        }
        #[derive(Serialize)]
        struct PhaseShape {
            phase: Phase,
            duration_ms: u64,
            deadline_ms: u64,
        }
        let phases = Phase::ALL.iter().map(|&phase| PhaseShape {
            phase,
            duration_ms: milliseconds(self.duration(phase)),
            deadline_ms: milliseconds(self.deadline(phase)),
        });
        Shape {
            grace_period_ms: milliseconds(self.grace_period()),
            pre_stop_ms: milliseconds(self.pre_stop()),
            budget_ms: milliseconds(self.budget()),
            assumed: self.is_assumed(),
            phases: phases.collect(),
            hard_deadline_ms: milliseconds(self.hard_deadline()),
            spread_ms: milliseconds(self.spread()),
            long_phase: self.long_phase(),
            long_spread_ms: milliseconds(self.long_spread()),
            linger_ms: milliseconds(self.linger()),
            leave_early: self.leave_early(),
        }
        .serialize(serializer)
    }
}

impl Serialize for LeaveEarly {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        #[serde(rename = "LeaveEarly")]
        struct Shape {
            min_ms: u64,
            quiet_ms: u64,
        }
        Shape {
            min_ms: milliseconds(self.minimum()),
            quiet_ms: milliseconds(self.quiet_time()),
        }
        .serialize(serializer)
    }
}
