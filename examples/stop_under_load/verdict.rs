//! Whether the run showed what was promised.

use crate::column::Column;
use crate::score::Score;

/// What the run had to show and did not; empty when all is well.
pub(crate) fn failures(scores: &[Score]) -> Vec<String> {
    let lameduck = scores
        .iter()
        .filter(|score| score.column == Column::Lameduck);
    lameduck
        .flat_map(of_lameduck)
        .chain(scores.iter().filter_map(of_files))
        .chain(of_controls(scores))
        .collect()
}

fn of_lameduck(score: &Score) -> Vec<String> {
    [
        (score.lost.len(), "requests were lost"),
        (score.twice, "requests were handed back and had been begun"),
        (score.killed, "servers were killed"),
        (
            score.codes.len(),
            "servers left with another exit code than 0",
        ),
    ]
    .into_iter()
    .filter(|(count, _)| *count > 0)
    .map(|(count, what)| format!("lameduck, {}: {count} {what}", score.scenario.key()))
    .collect()
}

/// The files, and the bursts, have to be good for something in every column.
fn of_files(score: &Score) -> Option<String> {
    let (column, scenario) = (score.column, score.scenario.key());
    if score.unnoted > 0 {
        let unnoted = score.unnoted;
        return Some(format!(
            "{column}, {scenario}: {unnoted} requests were answered and not noted"
        ));
    }
    (score.missed == score.rounds)
        .then(|| format!("{column}, {scenario}: no burst met the closing"))
}

/// In the races each peer is known to lose. If none did, the load was not sharp enough to judge anybody.
fn of_controls(scores: &[Score]) -> Vec<String> {
    let races = || {
        scores
            .iter()
            .filter(|score| score.scenario.is_race() && score.column != Column::Lameduck)
    };
    let bitten = races().any(|score| !score.lost.is_empty());
    if races().next().is_none() || bitten {
        return Vec::new();
    }
    vec!["the control did not bite: the peers lost nothing, so this run proves nothing".to_owned()]
}
