//! What must be true of every shutdown on real time and several threads.
//!
//! What is seen here comes before or after what was done, and anything may come in between. So these rules say what must
//! have been, given what was seen before and after; where the order is free they ask for nothing.

mod hooks;
mod spans;
mod tasks;
mod triggers;

use std::time::Duration;

use lameduck::Phase;
use lameduck::report::PhaseOutcome;

use super::{Case, ORDER, Verdict, judge_by, rule};
use crate::scenario::{Awaited, Scenario};
use crate::trace::{Event, Stage, What};
use crate::world::Played;

/// How late a machine may be that does many other things.
const LATE: Duration = Duration::from_secs(2);

/// Judges one shutdown on real time.
pub(crate) fn judge(scenario: &Scenario, played: &Played) -> Verdict {
    judge_by(scenario, played, triggers::judge, |case| {
        phases(case)?;
        returns_in_time(case)?;
        stages(case)?;
        listeners(case)?;
        hooks::judge(case)?;
        tasks::judge(case)?;
        spans::judge(case)
    })
}

/// The phases of the report, which nobody but the coordinator writes.
fn phases(case: &Case<'_>) -> Verdict {
    let mut from = case.t0;
    for phase in ORDER {
        let (start, end) = (case.start(phase), case.end(phase));
        rule!(
            "a phase begins when the one before it ends",
            start >= from && end >= start,
            "{phase} lasted from {start:?} to {end:?}, the one before it ended at {from:?}"
        );
        from = end;
        let outcome = case.report.phases[phase as usize].outcome;
        let deadline = case.t0 + case.scenario.plan.deadline(phase);
        rule!(
            "a phase times out at its deadline, and not before",
            outcome != PhaseOutcome::TimedOut || end >= deadline,
            "{phase} {outcome} at {end:?}, its deadline was {deadline:?} or later"
        );
        let latest = case.t0 + case.planned_at_most(phase);
        rule!(
            "a phase ends at its deadline at the latest, counted from T0",
            end <= latest.max(start) + LATE,
            "{phase} ended at {end:?}, its deadline was {latest:?}"
        );
    }
    Ok(())
}

fn returns_in_time(case: &Case<'_>) -> Verdict {
    let at = |wanted: What| case.trace.iter().find(|event| event.what == wanted);
    let ran = at(What::Ran).expect("it returned").at;
    let returned = at(What::RunReturned).expect("it returned").at;
    let deadline = case.t0 + case.scenario.plan.deadline(Phase::Exit);
    rule!(
        "`run` returns at Exit's deadline at the latest",
        returned <= deadline.max(ran) + LATE,
        "it returned at {returned:?}; it began at {ran:?}, and Exit's deadline was {deadline:?}"
    );
    let over = case.end(Phase::Exit);
    rule!(
        "the shutdown is over with its last phase",
        returned >= over && case.report.took >= over - case.t0,
        "Exit ended at {over:?}, run at {returned:?}; the report says {:?}",
        case.report.took
    );
    Ok(())
}

/// What a handle says.
fn stages(case: &Case<'_>) -> Verdict {
    // The stage of an event was seen between its moment and the next one's.
    let later = case.trace.iter().skip(1).map(|event| event.at);
    let later = later.chain([Duration::MAX]);
    for (event, later) in case.trace.iter().zip(later) {
        if let Stage::In(phase) = event.stage {
            // It is entered just before it is run, and left just after.
            let entered = match phase {
                Phase::LameDuck => case.t0,
                _ => case.end(ORDER[phase as usize - 1]),
            };
            let next = ORDER.get(phase as usize + 1);
            let left = next.map(|&next| case.start(next));
            rule!(
                "a handle and the report agree on the phase",
                later >= entered && left.is_none_or(|left| event.at <= left),
                "{event} was in {phase}, which lasted from {entered:?} to {left:?}"
            );
        }
        if let What::Heard(_, what) = event.what {
            rule!(
                "nobody hears of what has not come",
                has_come(what, event),
                "{event}"
            );
        }
    }
    Ok(())
}

/// Every listener is told to close.
fn listeners(case: &Case<'_>) -> Verdict {
    let told = |id| {
        let mut events = case.trace.iter();
        events.any(|event| event.what == What::ToldToClose(id))
    };
    for event in case.trace {
        if let What::Listening(id) = event.what {
            rule!("every listener is told to close", told(id), "{event}");
        }
    }
    Ok(())
}

fn has_come(what: Awaited, event: &Event) -> bool {
    match what {
        Awaited::Stop | Awaited::Moment => event.stage.begun(Phase::LameDuck),
        Awaited::Phase(phase) | Awaited::Token(phase) => event.stage.begun(phase),
        Awaited::Report => event.stage == Stage::Over,
    }
}

impl Case<'_> {
    /// Whether a phase, or for LameDuck's hooks Drain, came to its end because its time was up.
    fn hooks_timed_out(&self, phase: Phase) -> bool {
        let last = phase.max(Phase::Drain);
        self.report.phases[last as usize].outcome == PhaseOutcome::TimedOut
    }

    /// Counted from T0. What Close is given of Release's time depends on the moment of T0.
    fn planned_at_most(&self, phase: Phase) -> Duration {
        let plan = &self.scenario.plan;
        match phase {
            Phase::Close => plan.deadline(Phase::Release),
            _ => plan.deadline(phase),
        }
    }
}
