//! Hooks: each is in the report once, and that says what became of it.

use std::collections::BTreeMap;
use std::time::Duration;

use lameduck::report::{HookReport, Outcome, PhaseOutcome};
use lameduck::{HookError, Phase};

use super::super::hooks::{Life, lives, was_not_started};
use super::super::registry::Registered;
use super::super::{Case, ORDER, Verdict, rule};
use crate::scenario::{Id, ms};
use crate::trace::{Actor, Event, Stage, What};

/// A hook has begun when its work is taken, and is called then. The thread may lose its processor in between.
const CALL: Duration = Duration::from_millis(50);

/// Within this time a coordinator has noticed that a hook is over, also on a machine that does many other things.
const NOTICED: Duration = Duration::from_millis(250);

pub(super) fn judge(case: &Case<'_>) -> Verdict {
    refusals(case)?;
    all_are_there(case)?;
    let lives = lives(case)?;
    somebody_held(case, &lives)?;
    let life = |id: Id| lives.get(&Actor::Hook(id)).copied().unwrap_or_default();
    for hook in &case.registry.hooks {
        let life = life(hook.spec.id);
        if hook.removed.is_some() {
            rule!(
                "a hook that was removed never begins, and is dropped",
                life.began.is_none() && life.over.is_some(),
                "`{}` was removed",
                hook.spec.name
            );
            continue;
        }
        let report = case.report.hooks().find(|it| it.name == hook.spec.name);
        let hook = HookCase {
            case,
            hook,
            life,
            report: report.expect("just seen"),
        };
        match life.began {
            Some(began) => {
                hook.began_in_its_phase(began)?;
                hook.came_after(began, &lives)?;
                hook.ended(began)?;
            }
            None => hook.never_began()?,
        }
    }
    for actor in lives.keys() {
        let Actor::Hook(id) = actor else { continue };
        let accepted = case.registry.hooks.iter().any(|hook| hook.spec.id == *id);
        rule!(
            "what was refused leaves no trace",
            accepted || lives[actor].began.is_none(),
            "{actor:?}"
        );
    }
    Ok(())
}

/// Release and Exit wait for nobody but their hooks.
fn somebody_held(case: &Case<'_>, lives: &BTreeMap<Actor, Life<'_>>) -> Verdict {
    for phase in [Phase::Release, Phase::Exit] {
        if case.report.phases[phase as usize].outcome != PhaseOutcome::TimedOut {
            continue;
        }
        let end = case.end(phase);
        let held = |hook: &Registered<'_>| {
            let life = lives.get(&Actor::Hook(hook.spec.id));
            let life = life.copied().unwrap_or_default();
            // One that was removed held it until then.
            let over = life.over.expect("nothing leaks").at;
            life.began.is_none() || over + NOTICED >= end
        };
        let mut hooks = case.registry.hooks.iter();
        rule!(
            "a phase does not wait for a hook that is over",
            hooks.any(|hook| hook.spec.phase == phase && held(hook)),
            "{phase} timed out at {end:?}, and its hooks were over long before"
        );
    }
    Ok(())
}

fn all_are_there(case: &Case<'_>) -> Verdict {
    for phase in ORDER {
        let there = |hook: &&Registered<'_>| hook.spec.phase == phase && hook.removed.is_none();
        let expected = case.registry.hooks.iter().filter(there);
        let mut expected: Vec<&str> = expected.map(|hook| &*hook.spec.name).collect();
        let said = &case.report.phases[phase as usize].hooks;
        let mut said: Vec<&str> = said.iter().map(|hook| &*hook.name).collect();
        // They may have been registered by several threads.
        expected.sort_unstable();
        said.sort_unstable();
        rule!(
            "no hook is lost: the report has each that was accepted, once",
            said == expected,
            "{phase} has {said:?} instead of {expected:?}"
        );
    }
    Ok(())
}

/// Who is refused is refused for something that can have been so.
fn refusals(case: &Case<'_>) -> Verdict {
    let registry = &case.registry;
    // A name that was offered by anybody else may be taken, or free again.
    let others = |id: Id, name: &str| {
        let offered = registry.offers.keys().filter(|other| **other != id);
        offered
            .filter(|other| case.specs.hooks[other].name == name)
            .count()
            > 0
    };
    for event in case.trace {
        let What::HookRegistered(id, result) = &event.what else {
            continue;
        };
        let spec = case.specs.hooks[id];
        let offer = &registry.offers[id];
        let right = match result {
            Ok(()) => offer.stage <= Stage::In(spec.phase),
            Err(HookError::PhaseOver { .. }) => event.stage >= Stage::In(spec.phase),
            Err(HookError::Duplicate { .. }) => others(*id, &spec.name),
            Err(HookError::UnknownAfter { .. } | HookError::AfterOtherPhase { .. }) => {
                !spec.after.is_empty()
            }
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

struct HookCase<'a> {
    case: &'a Case<'a>,
    hook: &'a Registered<'a>,
    life: Life<'a>,
    report: &'a HookReport,
}

impl HookCase<'_> {
    fn name(&self) -> &str {
        &self.hook.spec.name
    }

    /// The end of the time in which it may begin: LameDuck's may go on into Drain.
    fn window_end(&self) -> Duration {
        self.case.end(self.hook.spec.phase.max(Phase::Drain))
    }

    fn never_began(&self) -> Verdict {
        was_not_started(self.report)?;
        rule!(
            "a hook is not started only if its time was up",
            self.case.hooks_timed_out(self.hook.spec.phase),
            "`{}` {}",
            self.name(),
            self.report.outcome
        );
        // That it was dropped then, once, is a rule for all.
        Ok(())
    }

    fn began_in_its_phase(&self, began: &Event) -> Verdict {
        let phase = self.hook.spec.phase;
        rule!(
            "a hook that began was started",
            self.report.outcome != Outcome::NotStarted && self.report.started.is_some(),
            "{began}; the report says: `{}` {}",
            self.name(),
            self.report.outcome
        );
        let started = self.case.t0 + self.report.started.expect("just seen");
        rule!(
            "the report says when a hook began",
            started <= began.at,
            "{began}, the report says {started:?}"
        );
        let (start, end) = (self.case.start(phase), self.window_end());
        rule!(
            "a hook begins in its phase only",
            began.stage.begun(phase) && started >= start && started <= end,
            "{began}, started at {started:?}; its time lasted from {start:?} to {end:?}"
        );
        rule!(
            "a hook that has not begun by its deadline never begins",
            began.at <= end + CALL,
            "{began}; its time ended at {end:?}"
        );
        Ok(())
    }

    fn came_after(&self, began: &Event, lives: &BTreeMap<Actor, Life<'_>>) -> Verdict {
        for name in &self.hook.spec.after {
            // Only where it is clear who is meant: a name that was removed can be used again.
            let hooks = &self.case.registry.hooks;
            let mut named = hooks.iter().filter(|hook| hook.spec.name == *name);
            let (Some(other), None) = (named.next(), named.next()) else {
                continue;
            };
            let life = lives.get(&Actor::Hook(other.spec.id));
            let over = life.and_then(|life| life.over);
            let timed_out = other.spec.blocking && self.has_timed_out(other, began);
            rule!(
                "a hook comes after those that it names",
                timed_out || over.is_some_and(|over| self.precedes(over, began)),
                "{began}, and `{name}` was over: {}",
                over.map_or_else(|| "never".to_owned(), Event::to_string)
            );
        }
        Ok(())
    }

    /// What blocks goes on when its own time is up.
    fn has_timed_out(&self, other: &Registered<'_>, at: &Event) -> bool {
        let report = self
            .case
            .report
            .hooks()
            .find(|it| it.name == other.spec.name);
        let started = report.and_then(|report| report.started);
        let limit = other.spec.timeout;
        started
            .zip(limit)
            .is_some_and(|(started, limit)| self.case.t0 + started + ms(limit) <= at.at)
    }

    fn precedes(&self, one: &Event, other: &Event) -> bool {
        let trace = self.case.trace;
        let position = |event: &Event| trace.iter().position(|it| std::ptr::eq(it, event));
        position(one) < position(other)
    }

    fn ended(&self, began: &Event) -> Verdict {
        let over = self.life.over.expect("nothing leaks");
        let outcome = &self.report.outcome;
        if *outcome == Outcome::Overran {
            let limit = self.hook.spec.timeout.map(ms);
            rule!(
                "a hook overruns when its time is up, and not before",
                self.case.hooks_timed_out(self.hook.spec.phase)
                    || limit.is_some_and(|limit| self.report.took >= limit),
                "{over}; the report says that it overran after {:?}",
                self.report.took
            );
        } else {
            let returned = match over.what {
                What::Returned(_, end) => Some(end.outcome()),
                _ => None,
            };
            rule!(
                "the report says how a hook ended",
                returned.as_ref() == Some(outcome),
                "{over}; the report says: `{}` {outcome}",
                self.name()
            );
            let took = over.at - began.at;
            rule!(
                "the report says how long a hook took",
                self.report.took >= took,
                "`{}` took {took:?} at least, the report says {:?}",
                self.name(),
                self.report.took
            );
        }
        let by_itself = matches!(over.what, What::Returned(..));
        rule!(
            "a hook's future is dropped when its time is up, and not before",
            by_itself || *outcome == Outcome::Overran,
            "{over}; the report says: `{}` {outcome}",
            self.name()
        );
        Ok(())
    }
}
