//! All scenes, some at a time.

use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::args::Args;
use crate::judge::{self, Judged};
use crate::random::Random;
use crate::tls::Identity;

/// What was seen.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) judged: Vec<Judged>,
    /// What is wrong with whole processes.
    pub(crate) failures: Vec<String>,
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
            let name = scene.to_string();
            let played = scene.play(&identity, random).await;
            played.map_err(|error| format!("{name}: {error}"))
        });
    }
    let mut outcome = Outcome::default();
    while let Some(played) = playing.join_next().await {
        let played = played.map_err(|error| error.to_string())??;
        outcome.failures.extend(judge::failures(&played));
        outcome.judged.extend(judge::judge(&played));
    }
    Ok(outcome)
}
