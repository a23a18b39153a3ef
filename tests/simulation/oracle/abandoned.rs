//! A coordinator that is dropped, and was never run: nothing of it runs, and nothing stays.

use std::collections::BTreeMap;

use lameduck::{HookError, Phase, TaskError};

use super::{Specs, Verdict, nothing_leaks, rule};
use crate::scenario::{Awaited, Scenario};
use crate::trace::{Actor, Event, Stage, What};
use crate::world::Played;

pub(super) fn judge(scenario: &Scenario, played: &Played) -> Verdict {
    let trace = &played.trace;
    let specs = Specs::of(scenario);
    let position = |wanted: &What| trace.iter().position(|event| event.what == *wanted);
    let began = position(&What::Abandons).expect("it is drawn");
    let over = position(&What::Abandoned).expect("it has begun");
    nothing_runs(trace)?;
    registered_before_is_dropped(trace, began, over)?;
    nothing_is_taken_after(trace, &specs, began, over)?;
    nothing_leaks(trace, played)?;
    let triggers = trace.iter().map(|event| &event.what);
    let firsts = triggers.filter(|what| matches!(what, What::Triggered { first: true, .. }));
    rule!(
        "the first trigger is the only one",
        firsts.count() <= 1,
        "there were more"
    );
    Ok(())
}

fn nothing_runs(trace: &[Event]) -> Verdict {
    for event in trace {
        rule!(
            "without a coordinator nothing runs",
            event.stage <= Stage::In(Phase::LameDuck)
                && !matches!(
                    event.what,
                    What::Began(Actor::Hook(_))
                        | What::Heard(_, Awaited::Report)
                        | What::RunReturned
                ),
            "{event}"
        );
    }
    Ok(())
}

/// What was registered is dropped with the coordinator, by the one who drops it.
fn registered_before_is_dropped(trace: &[Event], began: usize, over: usize) -> Verdict {
    let mut dropped = BTreeMap::new();
    for (at, event) in trace.iter().enumerate() {
        if let What::Dropped(Actor::Hook(id)) = event.what {
            dropped.insert(id, at);
        }
    }
    for (at, event) in trace.iter().enumerate() {
        let What::HookRegistered(id, Ok(())) = event.what else {
            continue;
        };
        let early = at < began;
        rule!(
            "what was registered is dropped with the coordinator",
            !early || dropped.get(&id).is_some_and(|&at| at < over),
            "{event}"
        );
    }
    Ok(())
}

fn nothing_is_taken_after(
    trace: &[Event],
    specs: &Specs<'_>,
    began: usize,
    over: usize,
) -> Verdict {
    let mut tried = BTreeMap::new();
    for (at, event) in trace.iter().enumerate() {
        let (id, refused) = match &event.what {
            What::Offers(Actor::Hook(id) | Actor::Task(id)) | What::Tries(id) => {
                tried.insert(*id, at);
                continue;
            }
            What::HookRegistered(id, result) => {
                let refused = matches!(result, Err(HookError::NoCoordinator { .. }));
                (id, refused)
            }
            What::TaskStarted(id, result) => {
                let refused = matches!(result, Err(TaskError::NoCoordinator { .. }));
                (id, refused)
            }
            What::GuardTaken { id, taken, .. } => (id, !taken),
            _ => continue,
        };
        let what = || match specs.hooks.get(id) {
            Some(hook) => format!("{event}: {hook:?}"),
            None => event.to_string(),
        };
        rule!(
            "a coordinator that was dropped takes nothing more",
            tried[id] <= over || refused,
            "{}",
            what()
        );
        rule!(
            "a coordinator that is there refuses nobody for being gone",
            at >= began || !refused,
            "{}",
            what()
        );
    }
    Ok(())
}
