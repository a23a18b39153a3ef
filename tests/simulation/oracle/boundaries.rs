//! When phases end, and what is left behind then.

use std::cmp::Reverse;
use std::time::Duration;

use lameduck::Phase;
use lameduck::report::{LeftBehind, PhaseOutcome, PhaseReport};

use super::model::{Class, Due, Held, Model, Named};
use super::{Case, ORDER, Verdict, rule, tick};
use crate::scenario::Awaited;
use crate::trace::{Actor, Event, Stage, What};

/// Follows the trace from boundary to boundary.
pub(super) fn judge(case: &Case<'_>) -> Verdict {
    let mut walk = Walk {
        case,
        model: Model::default(),
        next: 0,
        due: due(case),
    };
    for phase in ORDER {
        walk.through(phase)?;
    }
    walk.rest()?;
    traffic(case)
}

fn due(case: &Case<'_>) -> Due {
    let plan = &case.scenario.plan;
    // "Shortly before the deadline (a fifth of Close, at most 1 s)".
    let tail = (plan.duration(Phase::Close) / 5).min(Duration::from_secs(1));
    let latest = case.planned(Phase::Close).saturating_sub(tail);
    Due {
        lame_duck: case.deadline(Phase::LameDuck),
        listeners: tick(case.t0 + latest).max(case.start(Phase::Close)),
    }
}

struct Walk<'a> {
    case: &'a Case<'a>,
    model: Model,
    next: usize,
    due: Due,
}

impl<'a> Walk<'a> {
    fn through(&mut self, phase: Phase) -> Verdict {
        let case = self.case;
        let (start, end) = (case.start(phase), case.end(phase));
        let mut instants: Vec<Duration> = case.trace.iter().map(|event| event.at).collect();
        instants.extend([start, self.due.listeners]);
        instants.sort();
        instants.dedup();
        for at in instants.into_iter().filter(|at| (start..end).contains(at)) {
            self.follow(|event| event.at <= at)?;
            self.model.trigger();
            self.model.look(phase, at);
            rule!(
                "a phase ends as soon as it has nothing to wait for",
                !self.model.is_settled(phase, at, &self.due),
                "{phase} could have ended at {at:?}, and ended at {end:?}"
            );
        }
        self.follow(|event| event.stage <= Stage::In(phase))?;
        self.model.trigger();
        self.model.look(phase, end);
        self.boundary(phase, end)?;
        self.model.leave(phase);
        Ok(())
    }

    fn boundary(&self, phase: Phase, end: Duration) -> Verdict {
        let case = self.case;
        let report = &case.report.phases[phase as usize];
        let settled = self.model.is_settled(phase, end, &self.due);
        rule!(
            "a phase ends when it has nothing to wait for, or at its deadline",
            settled || end == case.deadline(phase),
            "{phase} ended at {end:?}, its deadline was {:?}",
            case.deadline(phase)
        );
        let timed_out = report.outcome == PhaseOutcome::TimedOut;
        rule!(
            "the report says whether a phase ended by itself",
            timed_out == (!settled && phase != Phase::LameDuck),
            "{phase} {}",
            report.outcome
        );
        match phase {
            Phase::Drain => {
                self.left_behind(report, end, |held| held.class == Class::Work && held.early)
            }
            Phase::Close => {
                self.listeners_were_told()?;
                self.cut()?;
                self.left_behind(report, end, |_| true)
            }
            _ => self.left_behind(report, end, |_| false),
        }
    }

    /// Takes the events up to the first for which `goes_on` does not hold.
    fn follow(&mut self, goes_on: impl Fn(&Event) -> bool) -> Verdict {
        let trace = self.case.trace;
        while let Some(event) = trace.get(self.next).filter(|event| goes_on(event)) {
            let begins = self.next == 0 || trace[self.next - 1].at < event.at;
            self.take(event, begins)?;
            self.next += 1;
        }
        Ok(())
    }

    /// `begins`: nothing else has happened in this millisecond.
    fn take(&mut self, event: &Event, begins: bool) -> Verdict {
        let released = event.stage.begun(Phase::Release);
        match event.what {
            What::GuardTaken { taken: counted, .. }
            | What::Connected { counted, .. }
            | What::Requested {
                served: counted, ..
            } => rule!(
                "what comes before Release is counted, what comes then is refused",
                counted != released,
                "{event}"
            ),
            _ => {}
        }
        let Case {
            specs, registry, ..
        } = self.case;
        self.model.apply(event, specs, registry);
        // A connection is counted before its work begins; a task until it has been dropped, after it said that it is over.
        let moving = matches!(
            event.what,
            What::Began(Actor::Connection(_))
                | What::Returned(Actor::Task(_), _)
                | What::Dropped(Actor::Task(_))
        );
        rule!(
            "a handle counts what is there",
            !begins || moving || event.counted == self.model.counted(),
            "{event}, and there was {:?}",
            self.model.counted()
        );
        Ok(())
    }

    /// After the shutdown.
    fn rest(&mut self) -> Verdict {
        self.follow(|_| true)
    }

    fn listeners_were_told(&self) -> Verdict {
        let case = self.case;
        let at = self.model.listeners_told(self.due.listeners);
        for event in case.trace {
            if let What::ToldToClose(id) = event.what {
                rule!(
                    "listeners close when what stood before Close is gone, or shortly before its deadline",
                    event.at == at,
                    "listener {id} was told at {:?}, and should have been at {at:?}",
                    event.at
                );
            }
        }
        let count = |wanted: fn(&What) -> bool| {
            let whats = case.trace.iter().map(|event| &event.what);
            whats.filter(|what| wanted(what)).count()
        };
        let open = count(|what| matches!(what, What::Listening(_)));
        let told = count(|what| matches!(what, What::ToldToClose(_)));
        rule!(
            "every listener is told to close",
            open == told,
            "{told} of {open}"
        );
        Ok(())
    }

    /// What is there at the end of Close is cut.
    fn cut(&self) -> Verdict {
        let report = self.case.report;
        let (work, long) = (self.model.count(Class::Work), self.model.count(Class::Long));
        let connections = self.model.count(Class::Connection);
        rule!(
            "the report counts what was cut at the end of Close",
            (report.cut, report.long.cut, report.connections.cut) == (work, long, connections),
            "it says {}, {} and {}; there were {work} of work, {long} long ones, {connections} connections",
            report.cut,
            report.long.cut,
            report.connections.cut
        );
        Ok(())
    }

    fn left_behind(
        &self,
        report: &PhaseReport,
        end: Duration,
        waited_for: impl Fn(&Held) -> bool,
    ) -> Verdict {
        let timed_out = report.outcome == PhaseOutcome::TimedOut;
        let held: Vec<&Held> = self
            .model
            .held
            .values()
            .filter(|held| timed_out && waited_for(held))
            .collect();
        rule!(
            "the report counts what was left behind",
            report.left_behind_total == held.len() as u64,
            "{} says {}, and {} were there",
            report.phase,
            report.left_behind_total,
            held.len()
        );

        let mut named: Vec<(&Named, Duration)> = held
            .iter()
            .filter_map(|held| Some((held.named.as_ref()?, end - held.since)))
            .collect();
        named.sort_by_key(|(named, age)| (Reverse(*age), named.root));
        named.dedup_by_key(|(named, _)| named.root);
        let most = PhaseReport::MOST_NAMED.min(named.len());
        let ages: Vec<Duration> = named[..most].iter().map(|(_, age)| *age).collect();
        let said: Vec<Duration> = report.left_behind.iter().map(|left| left.age).collect();
        rule!(
            "what was left behind is named, the oldest first",
            said == ages,
            "{} says {:?}, and there were {:?}",
            report.phase,
            report.left_behind,
            named
                .iter()
                .map(|(named, age)| (&named.name, age))
                .collect::<Vec<_>>()
        );
        for left in &report.left_behind {
            let known = named.iter().any(|(named, age)| {
                let LeftBehind { kind, name, .. } = left;
                (named.kind, &named.name, *age) == (*kind, name, left.age)
            });
            let times = report.left_behind.iter().filter(|it| it.name == left.name);
            rule!(
                "only what was left behind is named, and once",
                known && times.count() == 1,
                "{}: {left}",
                report.phase
            );
        }
        Ok(())
    }
}

/// What the report says of requests, connections and moments.
fn traffic(case: &Case<'_>) -> Verdict {
    let (mut served, mut refused, mut last, mut closed, mut told) = (0, 0, None, 0, 0);
    let close = case.end(Phase::Close);
    for event in case.trace {
        let during = event.stage != Stage::Serving && event.stage != Stage::Over;
        match event.what {
            What::Requested { served: true, .. } if during => {
                served += 1;
                last = Some(event.at - case.t0);
            }
            What::Requested { served: false, .. } if during => refused += 1,
            What::ConnectionOver { cut: false, .. } if during => closed += 1,
            What::ConnectionOver { cut: true, id } => rule!(
                "connections are cut at the end of Close",
                event.at == close,
                "{id} was cut at {:?}, Close ended at {close:?}",
                event.at
            ),
            What::Heard(_, Awaited::Moment) if during => told += 1,
            _ => {}
        }
    }
    let report = case.report;
    let traffic = &report.traffic;
    rule!(
        "the report counts the requests that came after T0",
        (traffic.served, traffic.refused, traffic.last_arrival) == (served, refused, last),
        "{traffic:?}; there were {served} served, the last at {last:?}, and {refused} refused"
    );
    rule!(
        "the report counts the connections that ended by themselves",
        report.connections.closed == closed,
        "{}, and there were {closed}",
        report.connections.closed
    );
    rule!(
        "the report counts those who were told",
        report.long.told == told,
        "{}, and there were {told}",
        report.long.told
    );
    Ok(())
}
