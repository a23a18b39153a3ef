//! Whoever waits for something hears of it when it comes.

use std::collections::BTreeMap;
use std::time::Duration;

use lameduck::Phase;

use super::{Case, Verdict, rule, tick};
use crate::scenario::Awaited;
use crate::trace::{Actor, What};

pub(super) fn judge(case: &Case<'_>) -> Verdict {
    let mut waiting: BTreeMap<Actor, (Awaited, Duration)> = BTreeMap::new();
    for event in case.trace {
        match event.what {
            What::Waits(actor, what) => _ = waiting.insert(actor, (what, event.at)),
            What::Heard(actor, _) => {
                let (what, since) = waiting.remove(&actor).expect("who hears has waited");
                let (first, last) = comes(case, what);
                rule!(
                    "whoever waits hears of it when it comes",
                    event.at >= first.max(since) && event.at <= last.max(since),
                    "{event}, waited since {since:?}; it comes between {first:?} and {last:?}"
                );
            }
            // In that moment it may have come, too.
            What::Dropped(actor) => {
                if let Some((what, since)) = waiting.remove(&actor) {
                    let (_, last) = comes(case, what);
                    rule!(
                        "whoever waits hears of it when it comes",
                        last.max(since) >= event.at,
                        "{actor:?} has waited for {what:?} since {since:?}, in vain until {:?}",
                        event.at
                    );
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// Between when and when it comes.
fn comes(case: &Case<'_>, what: Awaited) -> (Duration, Duration) {
    let plan = &case.scenario.plan;
    let start = |phase| match phase {
        Phase::LameDuck => case.t0,
        _ => case.start(phase),
    };
    match what {
        Awaited::Stop => (case.t0, case.t0),
        Awaited::Phase(phase) | Awaited::Token(phase) => (start(phase), start(phase)),
        Awaited::Report => (case.end(Phase::Exit), case.end(Phase::Exit)),
        Awaited::Moment => {
            let start = start(plan.long_phase());
            (start, tick(start + plan.long_spread()))
        }
    }
}
