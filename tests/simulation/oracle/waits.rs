//! Whoever waits for something hears of it when it comes.

use std::collections::BTreeMap;
use std::sync::Mutex;
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
                if let (Actor::Connection(_), Awaited::Moment) = (actor, what) {
                    note_place(case, since, event.at);
                }
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

/// How many moments have been seen, and the sum of their places in their windows, from 0 to 1.
static PLACES: Mutex<(u32, f64)> = Mutex::new((0, 0.0));

/// Where in its window a connection's moment came, if it waited for all of that and timers are fine enough to tell.
fn note_place(case: &Case<'_>, since: Duration, at: Duration) {
    const FINE: Duration = Duration::from_millis(50);
    let (first, last) = comes(case, Awaited::Moment);
    if since <= first && last <= case.end(Phase::Close) && last - first >= FINE && at >= first {
        let place = (at - first).as_secs_f64() / (last - first).as_secs_f64();
        let mut places = PLACES.lock().expect("nothing panics under it");
        places.0 += 1;
        places.1 += place;
    }
}

/// After many shutdowns: moments are spread over the whole of their window. One alone does not tell.
pub(crate) fn judge_places() -> Verdict {
    let (count, sum) = *PLACES.lock().expect("nothing panics under it");
    let mean = sum / f64::from(count);
    rule!(
        "moments are spread evenly over their window",
        count < 100 || (0.4..0.6).contains(&mean),
        "{count} moments came after {mean} of it, in the mean"
    );
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
