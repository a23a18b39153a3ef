//! A scenario: as many rounds as are asked for, in each column.

use std::path::Path;

use tokio::task::JoinSet;

use crate::args::{Args, Scenario};
use crate::column::Column;
use crate::round::Stage;
use crate::score::Score;

/// So often the closing may be missed in a row before a run of `listener` is given up.
const MOST_MISSES: usize = 5;
/// One line of progress for so many rounds.
const ROUNDS_A_LINE: usize = 25;

/// Plays it. The columns come in the order in which they were asked for.
pub(crate) async fn play(
    scenario: Scenario,
    args: &Args,
    directory: &Path,
) -> Result<Vec<Score>, String> {
    let mut stages: Vec<(Stage, Score)> = args
        .columns
        .iter()
        .filter(|column| scenario.has(**column))
        .map(|&column| (stage(args, column, directory), Score::new(scenario, column)))
        .collect();
    let rounds = match scenario {
        Scenario::Mixed => args.rounds,
        Scenario::KeepAlive | Scenario::Listener | Scenario::Restart => args.runs,
    };
    for number in 1..=rounds {
        if scenario.is_race() {
            // One after the other, and in turn: no column has a quieter machine than the others.
            for (stage, score) in &mut stages {
                run(scenario, number, stage, score).await?;
            }
        } else {
            stages = side_by_side(scenario, number, stages).await?;
        }
        if number % ROUNDS_A_LINE == 0 || number == rounds {
            let lost: Vec<String> = stages.iter().map(|(_, score)| so_far(score)).collect();
            println!(
                "{} {number} of {rounds}: {}",
                scenario.key(),
                lost.join(", ")
            );
        }
    }
    Ok(stages.into_iter().map(|(_, score)| score).collect())
}

fn stage(args: &Args, column: Column, directory: &Path) -> Stage {
    Stage {
        args: args.clone(),
        column,
        directory: directory.to_owned(),
        closes_after: args.closes_after(column),
    }
}

/// One round, and again while it misses what it is about.
async fn run(
    scenario: Scenario,
    number: usize,
    stage: &mut Stage,
    score: &mut Score,
) -> Result<(), String> {
    for _ in 0..=MOST_MISSES {
        let round = stage.round(scenario, number).await?;
        score.add(number, &round);
        if !round.missed {
            break;
        }
    }
    Ok(())
}

async fn side_by_side(
    scenario: Scenario,
    number: usize,
    stages: Vec<(Stage, Score)>,
) -> Result<Vec<(Stage, Score)>, String> {
    let mut playing = JoinSet::new();
    for (place, (mut stage, mut score)) in stages.into_iter().enumerate() {
        playing.spawn(async move {
            let round = run(scenario, number, &mut stage, &mut score).await;
            round.map(|()| (place, stage, score))
        });
    }
    let mut stages = Vec::new();
    for played in playing.join_all().await {
        stages.push(played?);
    }
    stages.sort_by_key(|(place, _, _)| *place);
    Ok(stages
        .into_iter()
        .map(|(_, stage, score)| (stage, score))
        .collect())
}

fn so_far(score: &Score) -> String {
    format!("{} {} lost", score.column, score.lost.len())
}
