//! What is counted: from when to when it was there, as far as that is known, and what the report may therefore say.

use std::collections::BTreeMap;
use std::time::Duration;

use lameduck::Phase;
use lameduck::report::{PhaseOutcome, PhaseReport};

use super::super::{Case, Verdict, rule};
use crate::scenario::{GuardKind, Id};
use crate::trace::{Actor, Event, Stage, What};

/// Something that is counted.
#[derive(Clone)]
struct Span<'a> {
    class: Class,
    /// Under which the report names it.
    name: Option<String>,
    /// Before it, or what it is a clone of, was taken,
    origin_tried: &'a Event,
    /// and after.
    origin_taken: &'a Event,
    /// The same of itself.
    tried: &'a Event,
    taken: &'a Event,
    /// Before it was let go,
    lets_go: Option<&'a Event>,
    /// and after.
    gone: Option<&'a Event>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    /// Requests, tasks, guards: Drain waits for them.
    Work,
    /// Close waits for them.
    Long,
    Connection,
}

/// When the coordinator counted: some time between two moments.
#[derive(Clone, Copy)]
struct Look {
    from: Duration,
    to: Duration,
}

impl Span<'_> {
    fn was_there(&self, look: Look) -> bool {
        self.taken.at <= look.from && self.lets_go.is_none_or(|it| it.at >= look.to)
    }

    fn may_have_been_there(&self, look: Look) -> bool {
        self.tried.at <= look.to && self.gone.is_none_or(|it| it.at >= look.from)
    }
}

pub(super) fn judge(case: &Case<'_>) -> Verdict {
    let spans: Vec<Span<'_>> = spans(case)?.into_values().collect();
    drain(case, &spans)?;
    close(case, &spans)?;
    traffic(case)
}

/// At the end of a phase, before the next one begins.
fn end_of(case: &Case<'_>, phase: Phase, next: Phase) -> Look {
    Look {
        from: case.end(phase),
        to: case.start(next),
    }
}

fn drain(case: &Case<'_>, spans: &[Span<'_>]) -> Verdict {
    let look = end_of(case, Phase::Drain, Phase::Close);
    // What is early is closed just before Drain can be seen.
    let early = |taken: &Event| taken.at <= case.end(Phase::LameDuck);
    let maybe_early = |tried: &Event| !tried.stage.begun(Phase::Drain);
    let work = || spans.iter().filter(|span| span.class == Class::Work);
    let least: Vec<_> = work()
        .filter(|span| early(span.origin_taken) && span.was_there(look))
        .collect();
    let most =
        work().filter(|span| maybe_early(span.origin_tried) && span.may_have_been_there(look));
    left_behind(
        &case.report.phases[Phase::Drain as usize],
        &least,
        most.count(),
    )
}

fn close(case: &Case<'_>, spans: &[Span<'_>]) -> Verdict {
    let look = end_of(case, Phase::Close, Phase::Release);
    let least: Vec<_> = spans.iter().filter(|span| span.was_there(look)).collect();
    let most: Vec<_> = spans
        .iter()
        .filter(|span| span.may_have_been_there(look))
        .collect();
    left_behind(
        &case.report.phases[Phase::Close as usize],
        &least,
        most.len(),
    )?;

    let report = case.report;
    let cut = [
        (Class::Work, report.cut, "of work"),
        (Class::Long, report.long.cut, "long ones"),
        (Class::Connection, report.connections.cut, "connections"),
    ];
    for (class, cut, what) in cut {
        let count = |spans: &[&Span<'_>]| spans.iter().filter(|it| it.class == class).count();
        let (least, most) = (count(&least), count(&most));
        rule!(
            "the report counts what was cut at the end of Close",
            (least as u64..=most as u64).contains(&cut),
            "it says {cut} {what}; there were {least} to {most}"
        );
    }
    Ok(())
}

/// `least`: what was there for sure. `most`: how much may have been.
fn left_behind(report: &PhaseReport, least: &[&Span<'_>], most: usize) -> Verdict {
    let phase = report.phase;
    if report.outcome != PhaseOutcome::TimedOut {
        rule!(
            "a phase waits for what began before it",
            least.is_empty() && report.left_behind_total == 0,
            "{phase} {}, and {} were there; the report says {}",
            report.outcome,
            least.len(),
            report.left_behind_total
        );
        return Ok(());
    }
    rule!(
        "the report counts what was left behind",
        (least.len() as u64..=most as u64).contains(&report.left_behind_total),
        "{phase} says {}, and {} to {most} were there",
        report.left_behind_total,
        least.len()
    );
    if report.left_behind.len() < PhaseReport::MOST_NAMED {
        for name in least.iter().filter_map(|span| span.name.as_ref()) {
            let named = |given: &str| given == name || given.starts_with(&format!("{name} ("));
            rule!(
                "what was left behind is named",
                report.left_behind.iter().any(|left| named(&left.name)),
                "{phase} has {:?}, and {name} was there",
                report.left_behind
            );
        }
    }
    Ok(())
}

fn spans<'a>(case: &Case<'a>) -> Verdict<BTreeMap<Id, Span<'a>>> {
    let mut tried: BTreeMap<Id, &Event> = BTreeMap::new();
    let mut spans: BTreeMap<Id, Span<'a>> = BTreeMap::new();
    // A task may be over before it is noted that it was started.
    let mut ends: BTreeMap<Id, (Option<&Event>, Option<&Event>)> = BTreeMap::new();
    for event in case.trace {
        let taken = |class, name| (class, name);
        let (id, (class, name)) = match &event.what {
            What::Tries(id) | What::Offers(Actor::Task(id)) => {
                tried.insert(*id, event);
                continue;
            }
            What::LetsGo(id)
            | What::Returned(Actor::Task(id) | Actor::Connection(id), _)
            | What::Dropped(Actor::Task(id) | Actor::Connection(id)) => {
                ends.entry(*id).or_default().0 = Some(event);
                continue;
            }
            What::GuardReleased(id) | What::RequestOver(id) | What::ConnectionOver { id, .. } => {
                ends.entry(*id).or_default().1 = Some(event);
                continue;
            }
            What::GuardCloned { id, of } => {
                let clone = Span {
                    tried: tried[id],
                    taken: event,
                    ..spans[of].clone()
                };
                spans.insert(*id, clone);
                continue;
            }
            What::TaskStarted(id, Ok(())) => {
                let name = case.specs.tasks[id].name.clone();
                (id, taken(Class::Work, Some(name)))
            }
            What::GuardTaken {
                id,
                kind,
                taken: counted,
            } => {
                admitted(tried[id], event, *counted)?;
                if !counted {
                    continue;
                }
                let name = format!("g{id}");
                let (class, name) = match kind {
                    GuardKind::Plain => (Class::Work, None),
                    GuardKind::Named => (Class::Work, Some(name)),
                    GuardKind::Long => (Class::Long, Some(name)),
                };
                (id, taken(class, name))
            }
            What::Requested { id, served } => {
                admitted(tried[id], event, *served)?;
                if !served {
                    continue;
                }
                (id, taken(Class::Work, None))
            }
            What::Connected { id, counted } => {
                admitted(tried[id], event, *counted)?;
                if !counted {
                    continue;
                }
                (id, taken(Class::Connection, Some(id.to_string())))
            }
            _ => continue,
        };
        let span = Span {
            class,
            name,
            origin_tried: tried[id],
            origin_taken: event,
            tried: tried[id],
            taken: event,
            lets_go: None,
            gone: None,
        };
        spans.insert(*id, span);
    }
    for (id, (lets_go, gone)) in ends {
        if let Some(span) = spans.get_mut(&id) {
            (span.lets_go, span.gone) = (lets_go, gone);
        }
    }
    Ok(spans)
}

/// Close looks once more when it has nothing to wait for, and takes nobody after that.
fn admitted(tried: &Event, event: &Event, counted: bool) -> Verdict {
    rule!(
        "what comes before Release is counted, what comes then is refused",
        if counted {
            !tried.stage.begun(Phase::Release)
        } else {
            event.stage.begun(Phase::Close)
        },
        "{event}"
    );
    Ok(())
}

/// What the report says of requests and moments.
fn traffic(case: &Case<'_>) -> Verdict {
    let mut tried: BTreeMap<Id, &Event> = BTreeMap::new();
    let (mut least, mut most) = ([0; 2], [0; 2]);
    // The report is made when Exit has ended.
    let during = |event: &Event| event.stage != Stage::Serving && event.at <= case.end(Phase::Exit);
    for event in case.trace {
        match event.what {
            What::Tries(id) => _ = tried.insert(id, event),
            What::Requested { id, served } => {
                let (tried, which) = (tried[&id], usize::from(served));
                least[which] += u64::from(during(tried) && during(event));
                most[which] +=
                    u64::from(tried.stage != Stage::Over && event.stage != Stage::Serving);
            }
            _ => {}
        }
    }
    let traffic = &case.report.traffic;
    for (which, said) in [traffic.refused, traffic.served].into_iter().enumerate() {
        rule!(
            "the report counts the requests that came after T0",
            (least[which]..=most[which]).contains(&said),
            "{traffic:?}; there were {least:?} to {most:?} refused and served"
        );
    }
    Ok(())
}
