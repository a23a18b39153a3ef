//! What begins a shutdown: the first trigger, and no other.

use std::time::Duration;

use lameduck::Report;

use super::{Specs, Verdict, rule};
use crate::scenario::{End, Scenario};
use crate::trace::{Actor, Stage, What};
use crate::world::Played;

/// Returns T0, since the scenario began.
pub(super) fn judge(scenario: &Scenario, played: &Played, report: &Report) -> Verdict<Duration> {
    let specs = Specs::of(scenario);
    let mut parent = Parent {
        exists: scenario.parent,
        ..Parent::default()
    };
    let mut began: Option<(Duration, String)> = None;
    for event in &played.trace {
        // The parent's token is looked at when the clock has moved on at the latest.
        if began.is_none() && parent.due().is_some_and(|at| at < event.at) {
            began = parent.trigger();
        }
        let trigger = match &event.what {
            What::Triggered { why, .. } => Some(why.clone()),
            What::Returned(Actor::Task(id), end) if *end != End::Done => {
                let name = &specs.tasks[id].name;
                Some(format!("task `{name}` failed: {}", end.error()))
            }
            What::Ran => {
                parent.ran = Some(event.at);
                None
            }
            What::ParentCancelled => {
                parent.cancelled = parent.cancelled.or(Some(event.at));
                None
            }
            _ => None,
        };
        if let Some(why) = trigger {
            // In the same millisecond, but before this one.
            let second = matches!(event.what, What::Triggered { first: false, .. })
                || matches!(event.what, What::Returned(..)) && event.stage != Stage::Serving;
            if began.is_none() && second && parent.due().is_some() {
                began = parent.trigger();
            }
            let first = began.is_none();
            if first {
                began = Some((event.at, why));
            }
            if let What::Triggered { first: said, .. } = event.what {
                rule!(
                    "shutdown returns whether it was the first trigger",
                    said == first,
                    "{event}"
                );
            }
        } else if began.is_none() && event.stage != Stage::Serving {
            began = parent.trigger();
            rule!(
                "nothing but a trigger begins a shutdown",
                began.is_some(),
                "{event}"
            );
        }
        rule!(
            "a handle sees the shutdown from T0 on",
            began.is_some() || event.stage == Stage::Serving,
            "{event}"
        );
    }

    let (t0, why) = began.expect("every scenario has a trigger");
    rule!(
        "the first trigger's reason counts",
        report.reason.to_string() == why,
        "the report says {}, the first one was {why}",
        report.reason
    );
    rule!(
        "T0 is the moment of the first trigger",
        played.t0 == Some(t0),
        "a handle says {:?}, the first one came at {t0:?}",
        played.t0
    );
    Ok(t0)
}

/// The token whose cancelling is a trigger, from when on `run` looks at it.
#[derive(Default)]
struct Parent {
    exists: bool,
    cancelled: Option<Duration>,
    ran: Option<Duration>,
}

impl Parent {
    fn due(&self) -> Option<Duration> {
        let at = self.cancelled?.max(self.ran?);
        self.exists.then_some(at)
    }

    fn trigger(&self) -> Option<(Duration, String)> {
        let why = "requested: the parent token was cancelled";
        Some((self.due()?, why.to_owned()))
    }
}
