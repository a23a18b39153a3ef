//! The play: clusters, traffic and rollouts, all columns at once.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use crate::args::Args;
use crate::args::QUIET;
use crate::clients;
use crate::column::Column;
use crate::rollout::{Left, Progress, Rollout};
use crate::score::Score;
use crate::tally::Tally;

/// Traffic before the first replica is replaced.
const WARM_UP: Duration = Duration::from_secs(2);
/// So many quiet times with traffic are what silence is judged by.
const EVIDENCE: u32 = 20;
const BETWEEN_LINES: Duration = Duration::from_secs(2);
const BETWEEN_LOOKS: Duration = Duration::from_millis(50);

/// One column while it runs.
struct Running {
    column: Column,
    tally: Arc<Tally>,
    progress: Arc<Progress>,
    traffic: JoinHandle<()>,
    rollout: JoinHandle<Result<(Rollout, Vec<Left>), String>>,
}

/// Plays all columns; `say` is told how far they are.
pub(crate) async fn run(
    args: &Args,
    directory: &Path,
    say: impl Fn(&str),
) -> Result<Vec<Score>, String> {
    let mut rollouts = Vec::new();
    for column in &args.columns {
        let tally = Arc::default();
        let rollout = Rollout::start(*column, args, directory, Arc::clone(&tally)).await?;
        rollouts.push((*column, tally, rollout));
    }
    say("all replicas are ready, the traffic begins");

    let started = Instant::now();
    let over = Arc::<AtomicBool>::default();
    let columns: Vec<Running> = rollouts
        .into_iter()
        .map(|(column, tally, rollout)| begin(column, tally, rollout, args, &over))
        .collect();
    let mut told = Instant::now();
    // The traffic stops for all at once: no column has less of it to bear.
    while columns.iter().any(|column| !column.is_through(args)) {
        sleep(BETWEEN_LOOKS).await;
        if told.elapsed() >= BETWEEN_LINES {
            told = Instant::now();
            say(&line(started, &columns));
        }
    }
    over.store(true, Ordering::Relaxed);

    let mut scores = Vec::new();
    for column in columns {
        scores.push(column.end().await?);
    }
    Ok(scores)
}

fn begin(
    column: Column,
    tally: Arc<Tally>,
    mut rollout: Rollout,
    args: &Args,
    over: &Arc<AtomicBool>,
) -> Running {
    let traffic = clients::drive(
        args.rate,
        rollout.routing().route(),
        Arc::clone(&tally),
        Arc::clone(over),
    );
    let warm_up = match args.leave_early {
        true => WARM_UP + EVIDENCE * QUIET,
        false => WARM_UP,
    };
    Running {
        column,
        tally,
        progress: rollout.progress(),
        traffic: tokio::spawn(traffic),
        rollout: tokio::spawn(async move {
            sleep(warm_up).await;
            let left = rollout.run().await?;
            Ok((rollout, left))
        }),
    }
}

impl Running {
    /// Whether its rollout is over and it has had its requests.
    fn is_through(&self, args: &Args) -> bool {
        self.rollout.is_finished() && self.tally.so_far().0 >= args.requests
    }

    async fn end(self) -> Result<Score, String> {
        let say = |error: String| format!("{}: {error}", self.column);
        let rolled = self.rollout.await.map_err(|error| say(error.to_string()))?;
        let (rollout, left) = rolled.map_err(say)?;
        self.traffic.await.map_err(|error| say(error.to_string()))?;
        let mut counts = self.tally.read();
        let files = rollout.files();
        let routing = rollout.routing();
        // Its last replicas end here: nobody talks to them any more.
        drop(rollout);
        routing.account(&mut counts).map_err(say)?;
        let score = Score::new(self.column, counts, left, &files).await;
        score.map_err(|error| say(error.to_string()))
    }
}

fn line(started: Instant, columns: &[Running]) -> String {
    let columns: Vec<String> = columns
        .iter()
        .map(|column| {
            let (requests, lost) = column.tally.so_far();
            let round = column.progress.round.load(Ordering::Relaxed);
            let leaving = column.progress.leaving.load(Ordering::Relaxed);
            format!(
                "{}: round {round}, {leaving} leaving, {lost} of {requests} unanswered",
                column.column
            )
        })
        .collect();
    let seconds = started.elapsed().as_secs();
    format!("{seconds:>3} s  {}", columns.join(" | "))
}
