//! What began the shutdown: one of the triggers, and T0 lies where that was pulled.

use std::collections::BTreeMap;
use std::time::Duration;

use lameduck::{Phase, Report};

use super::super::{Specs, Verdict, rule};
use crate::scenario::{End, Scenario};
use crate::trace::{Actor, What};
use crate::world::Played;

/// T0 of a trigger from outside a runtime is counted back from another clock.
const CLOCKS: Duration = Duration::from_millis(1);

/// Returns T0, since the scenario began.
pub(super) fn judge(scenario: &Scenario, played: &Played, report: &Report) -> Verdict<Duration> {
    let specs = Specs::of(scenario);
    let t0 = played.t0.expect("the shutdown is over");
    let reason = report.reason.to_string();
    let mut tried = BTreeMap::new();
    let mut first = None;
    // What else may have begun it.
    let mut others = Vec::new();
    for event in &played.trace {
        match &event.what {
            What::Tries(id) => _ = tried.insert(*id, event.at),
            What::Triggered {
                id,
                why,
                first: true,
            } => {
                rule!("only one trigger is the first", first.is_none(), "{event}");
                rule!(
                    "a handle sees the shutdown from T0 on",
                    event.stage.begun(Phase::LameDuck),
                    "{event}"
                );
                first = Some((tried[id], event.at, why));
            }
            What::Returned(Actor::Task(id), end) if *end != End::Done => {
                let name = &specs.tasks[id].name;
                others.push((event.at, format!("task `{name}` failed: {}", end.error())));
            }
            What::ParentCancelled if scenario.parent => {
                let why = "requested: the parent token was cancelled".to_owned();
                // It is noted when it has been done.
                others.push((Duration::ZERO, why));
            }
            _ => {}
        }
    }
    match first {
        Some((before, after, why)) => {
            rule!(
                "the first trigger's reason counts",
                reason == *why,
                "the report says {reason}, the first one was {why}"
            );
            rule!(
                "T0 is the moment of the first trigger",
                t0 + CLOCKS >= before && t0 <= after + CLOCKS,
                "a handle says {t0:?}, the first one came between {before:?} and {after:?}"
            );
        }
        None => rule!(
            "nothing but a trigger begins a shutdown",
            others.iter().any(|(at, why)| *why == reason && *at <= t0),
            "the report says {reason}, at {t0:?}"
        ),
    }
    Ok(t0)
}
