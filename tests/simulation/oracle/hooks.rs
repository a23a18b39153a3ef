//! Hooks and tasks: who may be registered, when they run, how they end, and what the report says of them.

use std::collections::BTreeMap;
use std::time::Duration;

use lameduck::report::{HookReport, Outcome};
use lameduck::{HookError, Phase, Report, TaskError};

use super::registry::Registered;
use super::{Case, ORDER, Verdict, rule, tick};
use crate::scenario::{End, Id, ms};
use crate::trace::{Actor, Event, Stage, What};

pub(super) fn judge(case: &Case<'_>) -> Verdict {
    refusals(case)?;
    let tasks = started_tasks(case)?;
    let lives = lives(case)?;
    removals(case, &lives)?;

    let registered = &case.registry.hooks;
    let hooks: Vec<&Registered<'_>> = registered
        .iter()
        .filter(|hook| hook.removed.is_none())
        .collect();
    for phase in ORDER {
        let expected = hooks.iter().filter(|hook| hook.spec.phase == phase);
        let expected: Vec<&str> = expected.map(|hook| &*hook.spec.name).collect();
        let said = &case.report.phases[phase as usize].hooks;
        let said: Vec<&str> = said.iter().map(|hook| &*hook.name).collect();
        rule!(
            "no hook is lost: the report has all, as they were registered",
            said == expected,
            "{phase} has {said:?} instead of {expected:?}"
        );
    }
    for hook in &hooks {
        let report = case.report.hooks().find(|it| it.name == hook.spec.name);
        let report = report.expect("just seen");
        let life = lives.get(&Actor::Hook(hook.spec.id));
        let life = life.copied().unwrap_or_default();
        let after = hook.after.iter().map(|id| {
            let life = lives.get(&Actor::Hook(*id));
            life.copied().unwrap_or_default()
        });
        HookCase {
            case,
            hook,
            life,
            after: after.collect(),
            report,
        }
        .judge()?;
    }
    for actor in lives.keys() {
        let accepted = match actor {
            Actor::Hook(id) => registered.iter().any(|hook| hook.spec.id == *id),
            Actor::Task(id) => tasks.contains(id),
            Actor::Connection(_) => true,
        };
        rule!(
            "what was refused leaves no trace",
            accepted || lives[actor].began.is_none(),
            "{actor:?}"
        );
    }
    judge_tasks(case, &tasks, &lives)
}

/// What the report says of a hook that never began.
pub(super) fn was_not_started(report: &HookReport) -> Verdict {
    rule!(
        "a hook that never began was not started",
        report.outcome == Outcome::NotStarted && report.started.is_none() && report.took.is_zero(),
        "`{}` {}, started at {:?}",
        report.name,
        report.outcome,
        report.started
    );
    Ok(())
}

/// Every hook that was not accepted had to be refused, and for what.
fn refusals(case: &Case<'_>) -> Verdict {
    for event in case.trace {
        let What::HookRegistered(id, result) = &event.what else {
            continue;
        };
        let spec = case.specs.hooks[id];
        // What a refused hook does when it is dropped comes after the refusal.
        let offer = &case.registry.offers[id];
        let over = offer.stage > Stage::In(spec.phase);
        // At the very end of its phase, when what never ran is dropped, it is too late.
        let ending = event.at == case.end(spec.phase) && offer.stage == Stage::In(spec.phase);
        let right = match result {
            Ok(()) => !(over || offer.taken || offer.unknown || offer.elsewhere),
            Err(HookError::PhaseOver { .. }) => over || ending,
            Err(HookError::Duplicate { .. }) => offer.taken,
            Err(HookError::UnknownAfter { .. }) => offer.unknown,
            Err(HookError::AfterOtherPhase { .. }) => offer.elsewhere,
            Err(_) => false,
        };
        rule!(
            "a hook is registered, or refused for what is wrong with it",
            right,
            "{event}: {spec:?}"
        );
    }
    Ok(())
}

/// A hook that has not begun can be removed, and no other.
fn removals(case: &Case<'_>, lives: &BTreeMap<Actor, Life<'_>>) -> Verdict {
    for removal in &case.registry.removals {
        let event = removal.event;
        let Some((spec, begun)) = removal.hook else {
            rule!("only a hook is removed", !removal.removed, "{event}");
            continue;
        };
        let window = spec.phase.max(Phase::Drain);
        let over = event.stage > Stage::In(window);
        // Then those that never ran are dropped, one after the other.
        let ending = event.at == case.end(window) && event.stage == Stage::In(window);
        rule!(
            "a hook that has not begun is removed, and no other",
            removal.removed != (begun || over) || ending && !removal.removed,
            "{event}: {spec:?}"
        );
        let Life { began, over } = lives[&Actor::Hook(spec.id)];
        rule!(
            "a hook that was removed never begins, and is dropped at once",
            !removal.removed || began.is_none() && over.is_some_and(|over| over.at == event.at),
            "{event}: {spec:?}"
        );
    }
    Ok(())
}

fn started_tasks(case: &Case<'_>) -> Verdict<Vec<Id>> {
    let mut tasks: Vec<Id> = Vec::new();
    let mut over: BTreeMap<Id, Duration> = BTreeMap::new();
    let mut offers = BTreeMap::new();
    for event in case.trace {
        match event.what {
            What::Returned(Actor::Task(id), _) | What::Dropped(Actor::Task(id)) => {
                over.insert(id, event.at);
            }
            What::Offers(Actor::Task(id)) => {
                let name = &case.specs.tasks[&id].name;
                let named = |other: &&Id| case.specs.tasks[other].name == *name;
                let others: Vec<Id> = tasks.iter().filter(named).copied().collect();
                let held = others.iter().any(|other| !over.contains_key(other));
                // A task has its name until its future is dropped, which is in the same millisecond.
                let ending = others
                    .iter()
                    .any(|other| over.get(other) == Some(&event.at));
                offers.insert(id, (held, held || ending, event.stage));
            }
            _ => {}
        }
        let What::TaskStarted(id, result) = &event.what else {
            continue;
        };
        let (taken, maybe_taken, stage) = offers[id];
        let late = stage.begun(Phase::Release);
        let right = match result {
            Ok(()) => !(late || taken),
            Err(TaskError::TooLate { .. }) => late,
            Err(TaskError::Duplicate { .. }) => maybe_taken,
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

/// From somebody's beginning to the end.
#[derive(Clone, Copy, Default)]
pub(super) struct Life<'a> {
    pub(super) began: Option<&'a Event>,
    pub(super) over: Option<&'a Event>,
}

pub(super) fn lives<'a>(case: &Case<'a>) -> Verdict<BTreeMap<Actor, Life<'a>>> {
    let mut lives: BTreeMap<Actor, Life<'a>> = BTreeMap::new();
    for event in case.trace {
        match event.what {
            What::Began(actor) => {
                let life = lives.entry(actor).or_default();
                rule!(
                    "nothing runs twice",
                    life.began.is_none() && life.over.is_none(),
                    "{event}"
                );
                life.began = Some(event);
            }
            What::Returned(actor, _) | What::Dropped(actor) => {
                lives.entry(actor).or_default().over = Some(event);
            }
            _ => {}
        }
    }
    Ok(lives)
}

/// One hook that was accepted.
struct HookCase<'a> {
    case: &'a Case<'a>,
    hook: &'a Registered<'a>,
    life: Life<'a>,
    /// Those that it comes after.
    after: Vec<Life<'a>>,
    report: &'a HookReport,
}

impl HookCase<'_> {
    fn judge(&self) -> Verdict {
        match self.life.began {
            Some(began) => {
                self.began_in_its_turn(began)?;
                self.ended_in_time(began)
            }
            None => self.had_no_turn(),
        }
    }

    fn name(&self) -> &str {
        &self.hook.spec.name
    }

    /// The end of the time in which it may run: LameDuck's go on into Drain.
    fn window_end(&self) -> Duration {
        let phase = self.hook.spec.phase.max(Phase::Drain);
        self.case.end(phase)
    }

    /// When its turn came; `None` when somebody before it was not over in time.
    fn turn(&self) -> Option<Duration> {
        let mut turn = self.case.start(self.hook.spec.phase).max(self.hook.at);
        for other in &self.after {
            turn = turn.max(other.over?.at);
        }
        Some(turn)
    }

    fn began_in_its_turn(&self, began: &Event) -> Verdict {
        let phase = self.hook.spec.phase;
        let in_phase = match began.stage {
            Stage::In(Phase::Drain) => phase == Phase::LameDuck || phase == Phase::Drain,
            Stage::In(now) => now == phase,
            Stage::Serving | Stage::Over => false,
        };
        rule!("a hook runs in its phase only", in_phase, "{began}");
        let position = |event: &Event| {
            self.case
                .trace
                .iter()
                .position(|it| std::ptr::eq(it, event))
        };
        let before = |other: &Life<'_>| {
            other
                .over
                .is_some_and(|over| position(over) < position(began))
        };
        rule!(
            "a hook comes after those that it names",
            self.after.iter().all(before),
            "{began}"
        );
        let turn = self.turn();
        rule!(
            "a hook begins as soon as its turn has come",
            turn == Some(began.at),
            "{began}, its turn came at {turn:?}"
        );
        let since = began.at - self.case.t0;
        rule!(
            "the report says when a hook began",
            self.report.started == Some(since),
            "`{}` began at T0+{since:?}, the report says {:?}",
            self.name(),
            self.report.started
        );
        Ok(())
    }

    fn ended_in_time(&self, began: &Event) -> Verdict {
        let over = self.life.over.expect("nothing leaks");
        let took = over.at - began.at;
        rule!(
            "the report says how long a hook took",
            self.report.took == took,
            "`{}` took {took:?}, the report says {:?}",
            self.name(),
            self.report.took
        );
        let timeout = self
            .hook
            .spec
            .timeout
            .map(|limit| tick(began.at + ms(limit)));
        let limit = timeout.unwrap_or(Duration::MAX).min(self.window_end());
        let expected = match over.what {
            What::Returned(_, end) => end.outcome(),
            _ => Outcome::Overran,
        };
        let in_time = match expected {
            Outcome::Overran => over.at == limit,
            _ => over.at <= limit,
        };
        rule!(
            "a hook's future is dropped when its time is up, and not before",
            in_time,
            "{over}, and its time was up at {limit:?}"
        );
        rule!(
            "the report says how a hook ended",
            self.report.outcome == expected,
            "`{}` {}, the report says {}",
            self.name(),
            expected,
            self.report.outcome
        );
        Ok(())
    }

    fn had_no_turn(&self) -> Verdict {
        let end = self.window_end();
        let turn = self.turn();
        // What comes up in the last moment may be too late, but not what was registered before its phase began.
        let waited = !self.after.is_empty();
        let early = self.hook.stage < Stage::In(self.hook.spec.phase);
        let too_late = turn.is_none_or(|turn| turn >= end) && (waited || !early);
        rule!(
            "a hook whose turn comes is run, also when there is no time",
            too_late,
            "`{}` never began; its turn came at {turn:?}, its time ended at {end:?}",
            self.name()
        );
        was_not_started(self.report)?;
        let over = self.life.over.expect("nothing leaks");
        rule!(
            "what never runs is dropped when its time is up",
            over.at == end,
            "{over}, and its time was up at {end:?}"
        );
        Ok(())
    }
}

fn judge_tasks(case: &Case<'_>, tasks: &[Id], lives: &BTreeMap<Actor, Life<'_>>) -> Verdict {
    let names = |id: &Id| &*case.specs.tasks[id].name;
    let done_before = |id: &&Id| {
        let over = lives[&Actor::Task(**id)].over;
        over.is_some_and(|over| {
            over.stage == Stage::Serving && matches!(over.what, What::Returned(_, End::Done))
        })
    };
    let listed: Vec<Id> = tasks
        .iter()
        .filter(|id| !done_before(id))
        .copied()
        .collect();
    let expected: Vec<&str> = listed.iter().map(names).collect();
    let said: Vec<&str> = case.report.tasks.iter().map(|task| &*task.name).collect();
    rule!(
        "no task is lost: the report has all that were not done before T0, as they were started",
        said == expected,
        "{said:?} instead of {expected:?}"
    );
    rule!(
        "the report counts every task that was started",
        case.report.tasks_total == tasks.len() as u64,
        "{} instead of {}",
        case.report.tasks_total,
        tasks.len()
    );
    let close = case.end(Phase::Close);
    for (id, report) in listed.iter().zip(&case.report.tasks) {
        let life = &lives[&Actor::Task(*id)];
        let over = life.over.expect("nothing leaks");
        let outcome = match over.what {
            What::Returned(_, end) => end.outcome(),
            _ => Outcome::Overran,
        };
        let in_time = match outcome {
            Outcome::Overran => over.at == close,
            _ => !over.stage.begun(Phase::Release),
        };
        rule!(
            "a task that is left is aborted at the end of Close, and not before",
            in_time,
            "{over}, and Close ended at {close:?}"
        );
        rule!(
            "the report says how a task ended",
            report.outcome == outcome,
            "`{}` {outcome}, the report says {}",
            report.name,
            report.outcome
        );
    }
    Ok(())
}

/// Clean, or not, and the exit code that goes with it.
pub(super) fn judge_verdict(report: &Report) -> Verdict {
    let outcomes = report.hooks().map(|hook| &hook.outcome);
    let outcomes = outcomes.chain(report.tasks.iter().map(|task| &task.outcome));
    let well = outcomes
        .into_iter()
        .all(|outcome| *outcome == Outcome::Done);
    let failure = report.reason.to_string().contains(" failed: ");
    let clean = well && report.cut == 0 && !failure;
    let code = if clean { 0 } else { 3 };
    let expected = std::process::ExitCode::from(code);
    rule!(
        "clean is when nothing was cut and nothing went wrong",
        report.is_clean() == clean
            && format!("{:?}", report.exit_code()) == format!("{expected:?}"),
        "{} with {:?}",
        report.is_clean(),
        report.exit_code()
    );
    Ok(())
}
