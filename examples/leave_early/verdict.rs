//! Whether the rule did what it promises.

use crate::chance;
use crate::clock::{Column, Millis};
use crate::judge::{Judged, Seen};
use crate::measured::Measured;
use crate::rules::Rule;
use crate::table::saving;
use crate::traffic::Promise;

/// What is to be saved at least where traffic that is steady moves as an ordinary Service does it.
const LEAST_SAVED: f64 = 0.45;

/// What the run had to show and did not; empty when all is well.
pub(crate) fn failures(
    judged: &[Judged],
    fixed: &[Millis],
    measured: Option<&Measured>,
) -> Vec<String> {
    let stayed = Column::ALL
        .into_iter()
        .zip(fixed)
        .filter(|(column, fixed)| column.lame_duck != **fixed)
        .map(|(_, fixed)| format!("without `leave_early` LameDuck took {fixed} ms"));
    judged
        .iter()
        .flat_map(of_traffic)
        .chain(stayed)
        .chain(of_control(judged))
        .chain(measured.map(Measured::failures).unwrap_or_default())
        .collect()
}

fn of_traffic(one: &Judged) -> Vec<String> {
    let name = one.traffic.name;
    let all = one.together();
    let mut failures = Vec::new();
    if one.disagreed > 0 {
        let disagreed = one.disagreed;
        failures.push(format!(
            "{name}: {disagreed} shutdowns of the crate ended otherwise than the arithmetic says"
        ));
    }
    let wrong = all.wrong + ours(one).wrong;
    if matches!(one.traffic.promise, Promise::Steady | Promise::Doubtful) && wrong > 0 {
        failures.push(format!("{name}: left {wrong} times while routed to"));
    }
    let early = all.early + ours(one).early;
    if one.traffic.promise == Promise::TooQuiet && early > 0 {
        failures.push(format!(
            "{name}: proves nothing, and was left {early} times"
        ));
    }
    let saved = usual_saving(one);
    if one.traffic.promise == Promise::Steady && saved < LEAST_SAVED {
        failures.push(format!("{name}: saved {:.0} %", 100.0 * saved));
    }
    failures
}

/// Silence alone has to be wrong where little comes, or the traffic here could not judge any rule.
fn of_control(judged: &[Judged]) -> Option<String> {
    let bites = judged
        .iter()
        .filter(|one| one.traffic.promise == Promise::TooQuiet)
        .any(|one| silence(one).wrong > 0);
    (!bites).then(|| "silence alone was never wrong: this traffic proves nothing".to_owned())
}

/// The result, as one line.
pub(crate) fn last_line(judged: &[Judged], measured: Option<&Measured>) -> String {
    let (mut steady, mut quiet, mut alone) = (Seen::default(), Seen::default(), Seen::default());
    let mut saved = f64::INFINITY;
    for one in judged {
        match one.traffic.promise {
            Promise::Steady | Promise::Doubtful => steady.join(&one.at_risk()),
            Promise::TooQuiet => {
                quiet.join(&one.together());
                alone.join(silence(one));
            }
            Promise::Open => {}
        }
        if one.traffic.promise == Promise::Steady {
            saved = saved.min(usual_saving(one));
        }
    }
    let measured = match measured {
        Some(measured) => format!("; {measured}"),
        None => String::new(),
    };
    format!(
        "leave_early: steady traffic: left {} of {} times while routed to (less than {:.3} %); \
         too quiet: stayed {} of {} times; saved {:.0} % of LameDuck where traffic moves in 2 s; \
         silence alone, too quiet: left {} of {} times while routed to{measured}",
        steady.wrong,
        steady.shutdowns,
        100.0 * chance::at_most(steady.wrong, steady.shutdowns),
        quiet.shutdowns - quiet.early,
        quiet.shutdowns,
        100.0 * saved,
        alone.wrong,
        alone.shutdowns,
    )
}

/// What the rule itself does as arithmetic, where nothing is moved away.
fn ours(one: &Judged) -> &Seen {
    by_rule(one, Rule::OURS)
}

fn silence(one: &Judged) -> &Seen {
    by_rule(one, Rule::SILENCE)
}

fn by_rule(one: &Judged, wanted: Rule) -> &Seen {
    let index = Rule::ALL
        .iter()
        .position(|rule| rule.evidence == wanted.evidence);
    &one.never[index.expect("it is one of all")]
}

fn usual_saving(one: &Judged) -> f64 {
    let index = Column::ALL
        .iter()
        .position(|column| *column == Column::USUAL);
    saving(&one.cells[index.expect("it is one of all")], Column::USUAL)
}
