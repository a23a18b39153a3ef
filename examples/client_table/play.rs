//! All scenes, some at a time.

use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::args::Args;
use crate::judge::{self, Exit, Judged};
use crate::random::Random;
use crate::scene::{Played, Scene};
use crate::tls::Identity;

/// What was seen.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) judged: Vec<Judged>,
    pub(crate) exits: Vec<Exit>,
    /// What is wrong with whole processes.
    pub(crate) failures: Vec<String>,
    /// How many scenes were played again, because their moment came before a client was in its action.
    pub(crate) missed: usize,
}

pub(crate) async fn play(args: &Args, identity: Identity) -> Result<Outcome, String> {
    let identity = Arc::new(identity);
    let room = Arc::new(Semaphore::new(args.parallel));
    let mut random = Random::new(args.seed);
    let mut playing = JoinSet::new();
    for scene in (0..args.runs).flat_map(|_| args.scenes()) {
        let (identity, room, random) = (Arc::clone(&identity), Arc::clone(&room), random.split());
        playing.spawn(async move {
            let _place = room.acquire().await.map_err(|error| error.to_string())?;
            caught(scene, &identity, random).await
        });
    }
    let mut outcome = Outcome::default();
    while let Some(played) = playing.join_next().await {
        let (played, missed) = played.map_err(|error| error.to_string())??;
        outcome.missed += missed;
        outcome.failures.extend(judge::failures(&played));
        outcome.exits.push(judge::exit(&played));
        outcome.judged.extend(judge::judge(&played));
    }
    Ok(outcome)
}

/// Plays a scene, and again when a machine that is busy has missed its moment. Returns how often it was missed.
async fn caught(
    scene: Scene,
    identity: &Identity,
    mut random: Random,
) -> Result<(Played, usize), String> {
    const MOST: usize = 3;
    let mut missed = 0;
    loop {
        let played = scene.clone().play(identity, random.split()).await;
        let played = played.map_err(|error| format!("{scene}: {error}"))?;
        if played.caught || missed == MOST {
            return Ok((played, missed));
        }
        missed += 1;
    }
}
