//! What must be true of every shutdown: `docs/phases.md` as rules, and a small model that follows the trace.
//!
//! It knows the scenario only as far as the trace refers to it, and nothing of how the crate is built.

mod abandoned;
mod boundaries;
mod hooks;
mod model;
mod registry;
mod threaded;
mod triggers;
mod waits;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use lameduck::{Phase, Report};

pub(crate) use threaded::judge as judge_threaded;
pub(crate) use waits::judge_places;

use registry::{Registered, Registry};

use crate::scenario::{
    Act, ConnectionSpec, Fate, HookSpec, Id, Scenario, Script, Step, TaskSpec, ms,
};
use crate::trace::{Actor, Counted, Event, Stage, What};
use crate::world::Played;

/// A rule that was broken.
#[derive(Debug)]
pub(crate) struct Broken {
    pub(crate) rule: &'static str,
    pub(crate) how: String,
}

/// The phases. Not `Phase::ALL`: that is judged, too.
const ORDER: [Phase; 5] = [
    Phase::LameDuck,
    Phase::Drain,
    Phase::Close,
    Phase::Release,
    Phase::Exit,
];

type Verdict<T = ()> = Result<T, Broken>;

/// Holds a rule against what was seen.
macro_rules! rule {
    ($rule:literal, $holds:expr, $($how:tt)*) => {
        if !$holds {
            return Err($crate::oracle::Broken { rule: $rule, how: format!($($how)*) });
        }
    };
}
use rule;

/// Judges one shutdown on a paused clock.
pub(crate) fn judge(scenario: &Scenario, played: &Played) -> Verdict {
    judge_by(scenario, played, triggers::judge, |case| {
        case.phases_follow_each_other()?;
        case.deadlines_count_from_t0()?;
        boundaries::judge(case)?;
        hooks::judge(case)?;
        waits::judge(case)
    })
}

/// Judges one shutdown by what holds in either world, and by the rules of the one in which it was played. `triggers` finds T0,
/// since the scenario began.
fn judge_by(
    scenario: &Scenario,
    played: &Played,
    triggers: fn(&Scenario, &Played, &Report) -> Verdict<Duration>,
    rules: impl FnOnce(&Case<'_>) -> Verdict,
) -> Verdict {
    panics_stay_where_they_are(played)?;
    if scenario.fate == Fate::Dropped {
        return abandoned::judge(scenario, played);
    }
    let report = report(played)?;
    let t0 = triggers(scenario, played, &report)?;
    let specs = Specs::of(scenario);
    let case = Case {
        scenario,
        registry: Registry::of(&played.trace, &specs),
        specs,
        trace: &played.trace,
        report: &report,
        t0,
    };
    case.phases_run_in_order()?;
    nothing_leaks(case.trace, played)?;
    rules(&case)?;
    hooks::judge_verdict(&report)?;
    case.report_can_be_read()
}

/// Before all others, which take it for granted that every call came back.
fn panics_stay_where_they_are(played: &Played) -> Verdict {
    rule!("`run` does not panic", !played.run_panicked, "it did");
    let mut events = played.trace.iter();
    rule!(
        "a panic stays where it belongs",
        events.all(|event| event.what != What::PanicEscaped),
        "somebody who registered, removed or dropped something got it"
    );
    Ok(())
}

/// The report of a shutdown that came to its end.
fn report(played: &Played) -> Verdict<Arc<Report>> {
    rule!(
        "the shutdown ends",
        played.report.is_some(),
        "it was waited for in vain"
    );
    rule!(
        "all who wait for the report get the same",
        played.same_report,
        "they did not"
    );
    Ok(Arc::clone(played.report.as_ref().expect("just seen")))
}

/// Everybody who began comes to one end, and nothing stays counted.
fn nothing_leaks(trace: &[Event], played: &Played) -> Verdict {
    rule!(
        "everything ends after the shutdown",
        played.all_ended,
        "somebody is still there"
    );
    rule!(
        "nothing stays counted",
        played.left == Counted::default(),
        "{:?}",
        played.left
    );
    let mut ends: BTreeMap<Actor, u32> = BTreeMap::new();
    for event in trace {
        match &event.what {
            What::HookRegistered(id, _) => _ = ends.entry(Actor::Hook(*id)).or_default(),
            What::TaskStarted(id, _) => _ = ends.entry(Actor::Task(*id)).or_default(),
            What::Connected { id, .. } => _ = ends.entry(Actor::Connection(*id)).or_default(),
            What::Returned(actor, _) | What::Dropped(actor) => {
                *ends.entry(*actor).or_default() += 1;
            }
            What::StaleRequest { served } => rule!(
                "what belongs to a coordinator that is gone is refused",
                !served,
                "{event}"
            ),
            _ => {}
        }
    }
    for (actor, ends) in ends {
        rule!(
            "whoever was there ended, once",
            ends == 1,
            "{actor:?} ended {ends} times"
        );
    }
    Ok(())
}

/// Timers have milliseconds: what is due in between comes with the next one.
fn tick(at: Duration) -> Duration {
    let milliseconds = at.as_nanos().div_ceil(1_000_000);
    Duration::from_millis(milliseconds as u64)
}

/// One shutdown that came to its end.
struct Case<'a> {
    scenario: &'a Scenario,
    specs: Specs<'a>,
    registry: Registry<'a>,
    trace: &'a [Event],
    report: &'a Report,
    /// The moment of the trigger, since the scenario began.
    t0: Duration,
}

impl Case<'_> {
    /// When a phase began, since the scenario did.
    fn start(&self, phase: Phase) -> Duration {
        self.t0 + self.report.phases[phase as usize].started
    }

    fn end(&self, phase: Phase) -> Duration {
        self.start(phase) + self.report.phases[phase as usize].took
    }

    /// When a phase should end at the latest, counted from T0: time of Release that no hook has asked for by then is Close's.
    fn planned(&self, phase: Phase) -> Duration {
        let plan = &self.scenario.plan;
        let planned = plan.deadline(phase);
        match phase {
            Phase::Close => planned + plan.duration(Phase::Release) - self.asked(),
            _ => planned,
        }
    }

    /// How much of Release's time its hooks had asked for at T0: all of it, unless each of them has a time of its own.
    fn asked(&self) -> Duration {
        let whole = self.scenario.plan.duration(Phase::Release);
        let there = |hook: &&Registered<'_>| {
            let removed = |event: &Event| event.stage == Stage::Serving;
            hook.stage == Stage::Serving && !hook.removed.is_some_and(removed)
        };
        let hooks = self.registry.hooks.iter().filter(there);
        // Who comes after another is registered after it.
        let mut ends = BTreeMap::<Id, Duration>::new();
        for hook in hooks.filter(|hook| hook.spec.phase == Phase::Release) {
            let Some(timeout) = hook.spec.timeout else {
                return whole;
            };
            let after = hook.after.iter().filter_map(|id| ends.get(id)).max();
            let end = after.copied().unwrap_or_default() + ms(timeout);
            ends.insert(hook.spec.id, end);
        }
        ends.into_values().max().unwrap_or_default().min(whole)
    }

    /// When a phase ends at the latest.
    fn deadline(&self, phase: Phase) -> Duration {
        let deadline = tick(self.t0 + self.planned(phase));
        // Who is late has no time left, and none before its start.
        deadline.max(self.start(phase))
    }

    fn phases_run_in_order(&self) -> Verdict {
        let phases: Vec<Phase> = self.report.phases.iter().map(|it| it.phase).collect();
        rule!(
            "phases run in order, each of them once",
            phases == ORDER && Phase::ALL == ORDER,
            "the report has {phases:?}"
        );
        let stages: Vec<Stage> = self.trace.iter().map(|event| event.stage).collect();
        rule!(
            "phases run in order, each of them once",
            stages.is_sorted(),
            "a handle saw {stages:?}"
        );
        rule!(
            "the report has the plan's budget",
            self.report.budget == self.scenario.plan.budget(),
            "{:?}",
            self.report.budget
        );
        Ok(())
    }

    fn phases_follow_each_other(&self) -> Verdict {
        let ran = self.trace.iter().find(|event| event.what == What::Ran);
        let ran = ran.expect("it returned").at;
        let mut from = ran.max(self.t0);
        for phase in ORDER {
            let start = self.start(phase);
            rule!(
                "a phase begins when the one before it ends",
                start == from,
                "{phase} began at {start:?}, and should have at {from:?}"
            );
            from = self.end(phase);
        }
        let returned = self.trace.iter().find(|it| it.what == What::RunReturned);
        let returned = returned.expect("it returned").at;
        rule!(
            "the shutdown is over with its last phase",
            returned == from && self.report.took == from - self.t0,
            "Exit ended at {from:?}, run at {returned:?}; the report says {:?}",
            self.report.took
        );

        for event in self.trace {
            let Stage::In(phase) = event.stage else {
                continue;
            };
            // LameDuck begins with the trigger, also when nobody runs it yet.
            let start = match phase {
                Phase::LameDuck => self.t0,
                _ => self.start(phase),
            };
            rule!(
                "a handle and the report agree on the phase",
                event.at >= start && event.at <= self.end(phase),
                "{event} was in {phase}, which lasted from {start:?} to {:?}",
                self.end(phase)
            );
        }
        Ok(())
    }

    fn deadlines_count_from_t0(&self) -> Verdict {
        let plan = &self.scenario.plan;
        let mut sum = Duration::ZERO;
        for phase in ORDER {
            sum += plan.duration(phase);
            rule!(
                "a deadline is the sum of the phases up to it",
                plan.deadline(phase) == sum,
                "{phase}: {:?} instead of {sum:?}",
                plan.deadline(phase)
            );
            let (end, deadline) = (self.end(phase), self.deadline(phase));
            rule!(
                "a phase ends at its deadline at the latest, counted from T0",
                end <= deadline,
                "{phase} ended at {end:?}, its deadline was {deadline:?}"
            );
        }
        Ok(())
    }

    fn report_can_be_read(&self) -> Verdict {
        let (summary, page) = (self.report.summary(), self.report.to_string());
        let clean = self.report.is_clean();
        rule!(
            "the summary is one line and says whether all went well",
            !summary.contains('\n') && summary.contains("not clean") != clean,
            "{summary}"
        );
        let wide = page.lines().find(|line| line.chars().count() > 80);
        rule!("the report fits a terminal", wide.is_none(), "{wide:?}");
        Ok(())
    }
}

/// What the scenario says of those whom the trace names.
struct Specs<'a> {
    hooks: BTreeMap<Id, &'a HookSpec>,
    tasks: BTreeMap<Id, &'a TaskSpec>,
    connections: BTreeMap<Id, &'a ConnectionSpec>,
}

impl<'a> Specs<'a> {
    fn of(scenario: &'a Scenario) -> Self {
        let mut specs = Specs {
            hooks: BTreeMap::new(),
            tasks: BTreeMap::new(),
            connections: BTreeMap::new(),
        };
        for (_, act) in &scenario.acts {
            specs.add(act);
        }
        specs
    }

    fn add(&mut self, act: &'a Act) {
        match act {
            Act::Hook(hook) => {
                self.hooks.insert(hook.id, hook);
                self.add_all(&hook.script);
            }
            Act::Task(task) => {
                self.tasks.insert(task.id, task);
                self.add_all(&task.script);
            }
            Act::Connect(connection) => {
                self.connections.insert(connection.id, connection);
                self.add_all(&connection.script);
            }
            _ => {}
        }
    }

    fn add_all(&mut self, script: &'a Script) {
        for step in &script.steps {
            if let Step::Act(act) = step {
                self.add(act);
            }
        }
        if let Some(act) = &script.on_drop {
            self.add(act);
        }
    }
}
