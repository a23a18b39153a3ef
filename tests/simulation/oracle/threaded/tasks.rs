//! Tasks: those that were not done before T0 are in the report, which says how they ended.

use lameduck::report::{Outcome, PhaseOutcome};
use lameduck::{Phase, TaskError};

use super::super::hooks::lives;
use super::super::{Case, Verdict, rule};
use crate::scenario::Id;
use crate::trace::{Actor, Event, Stage, What};

pub(super) fn judge(case: &Case<'_>) -> Verdict {
    let tasks = started(case)?;
    rule!(
        "the report counts every task that was started",
        case.report.tasks_total == tasks.len() as u64,
        "{} instead of {}",
        case.report.tasks_total,
        tasks.len()
    );
    let lives = lives(case)?;
    let mut listed: Vec<_> = case.report.tasks.iter().collect();
    let close = &case.report.phases[Phase::Close as usize];
    let timed_out = close.outcome == PhaseOutcome::TimedOut;
    // Of tasks with the same name those that must be there choose first.
    let over = |id: &Id| lives[&Actor::Task(*id)].over.expect("nothing leaks");
    let mut sorted = tasks.clone();
    sorted.sort_by_key(|id| !must_be_listed(over(id)));
    for id in sorted {
        let over = over(&id);
        let name = &case.specs.tasks[&id].name;
        let ended = match over.what {
            What::Returned(_, end) => Some(end.outcome()),
            _ => None,
        };
        let fits = |outcome: &Outcome| match outcome {
            Outcome::Overran => timed_out,
            other => ended.as_ref() == Some(other),
        };
        let mut listing = listed.iter();
        let at = listing.position(|task| task.name == *name && fits(&task.outcome));
        match at {
            Some(at) => _ = listed.remove(at),
            None => rule!(
                "no task is lost: the report has all that were not done before T0, and how they ended",
                !must_be_listed(over),
                "`{name}`, {over}; the report has {:?}, Close {}",
                case.report.tasks,
                close.outcome
            ),
        }
    }
    rule!(
        "the report has no task that was not started",
        listed.is_empty(),
        "{listed:?}"
    );
    Ok(())
}

fn must_be_listed(over: &Event) -> bool {
    let done = matches!(over.what, What::Returned(_, end) if end.outcome().is_done());
    !done || over.stage != Stage::Serving
}

fn started(case: &Case<'_>) -> Verdict<Vec<Id>> {
    let mut tasks = Vec::new();
    let mut tried = std::collections::BTreeMap::new();
    for event in case.trace {
        if let What::Offers(Actor::Task(id)) = event.what {
            tried.insert(id, event.stage);
        }
        let What::TaskStarted(id, result) = &event.what else {
            continue;
        };
        let others = tried.keys().filter(|other| *other != id);
        let name = &case.specs.tasks[id].name;
        let mut others = others.filter(|other| case.specs.tasks[other].name == *name);
        let right = match result {
            Ok(()) => !tried[id].begun(Phase::Release),
            // Close looks once more when it has nothing to wait for.
            Err(TaskError::TooLate { .. }) => event.stage.begun(Phase::Close),
            Err(TaskError::Duplicate { .. }) => others.next().is_some(),
            Err(_) => false,
        };
        rule!(
            "a task is started, or refused for what is wrong with it",
            right,
            "{event}"
        );
        if result.is_ok() {
            tasks.push(*id);
        }
    }
    Ok(tasks)
}
