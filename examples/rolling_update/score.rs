//! What the run shows of one column.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection};

use crate::column::Column;
use crate::rollout::Left;
use crate::special::Ending;
use crate::tally::{Counts, Loss, Outcome};

/// From the moment a listener closes to the moment its replica says so, on a machine that is not too busy.
const SAYING: Duration = Duration::from_millis(20);

/// The same for a refusal. It needs no closer look: only a listener that has closed refuses.
const REFUSING: Duration = Duration::from_millis(500);

/// Everything that is known of one column when it is over.
#[derive(Debug)]
pub(crate) struct Score {
    pub(crate) column: Column,
    pub(crate) counts: Counts,
    pub(crate) left: Vec<Left>,
    /// Notes that were confirmed and are in no database.
    pub(crate) missing: usize,
}

impl Score {
    pub(crate) async fn new(
        column: Column,
        counts: Counts,
        left: Vec<Left>,
        files: &[PathBuf],
    ) -> Result<Self, sqlx::Error> {
        let missing = missing(&counts, files).await?;
        Ok(Score {
            column,
            counts,
            left,
            missing,
        })
    }

    /// Every loss but those that came too late, and those before a replica was chosen. The last line has their number.
    pub(crate) fn losses(&self) -> impl Iterator<Item = &Loss> {
        let losses = self.counts.losses.iter();
        losses.filter(|loss| !loss.by_proxy && !self.is_too_late(loss))
    }

    /// Those that a proxy lost before it had chosen a replica.
    pub(crate) fn by_proxy(&self) -> impl Iterator<Item = &Loss> {
        self.counts.losses.iter().filter(|loss| loss.by_proxy)
    }

    pub(crate) fn lost(&self) -> usize {
        self.losses().count()
    }

    /// Losses of the last round that came when the replica's listener had closed: there it is in rotation until it is dead,
    /// and it has to close its listener some time before.
    pub(crate) fn too_late(&self) -> usize {
        let losses = self.counts.losses.iter();
        losses.filter(|loss| self.is_too_late(loss)).count()
    }

    fn is_too_late(&self, loss: &Loss) -> bool {
        let Some(endpoint) = &loss.endpoint else {
            return false;
        };
        let left = self.left.iter();
        let closed = left
            .filter(|left| left.endpoint.number == endpoint.number)
            .find_map(|left| left.ended.closed);
        let (Some(closed), Some(stop)) = (closed, endpoint.stop()) else {
            return false;
        };
        stop.last
            && match loss.connected {
                None => loss.ended + REFUSING >= closed,
                // A connection that stood before was the server's to serve.
                Some(connected) => connected + SAYING >= closed,
            }
    }

    /// How many left LameDuck before its time, and how many might have: in the last round traffic never moves.
    pub(crate) fn early(&self) -> (usize, usize) {
        let ordinary = self.left.iter().filter(|left| !left.last());
        let told = ordinary
            .clone()
            .filter(|left| left.ended.told.as_ref().is_some_and(|told| told.early));
        (told.count(), ordinary.count())
    }

    pub(crate) fn killed(&self) -> usize {
        self.left.iter().filter(|left| left.ended.killed).count()
    }

    pub(crate) fn probes_lost(&self) -> u64 {
        self.left.iter().map(|left| left.ended.probes_lost).sum()
    }

    pub(crate) fn long_requests(&self) -> (usize, usize) {
        let outcomes = self.left.iter().filter_map(|left| left.long_request);
        let answered = outcomes.clone().filter(|one| *one == Outcome::Answered);
        (answered.count(), outcomes.count())
    }

    pub(crate) fn long_connections(&self) -> (usize, usize) {
        let endings = self.left.iter().flat_map(|left| &left.long_connections);
        let told = endings.clone().filter(|ending| **ending == Ending::Told);
        (told.count(), endings.count())
    }

    /// From SIGTERM to exit: the median, and the worst.
    pub(crate) fn leaving(&self) -> (Duration, Duration) {
        median_and_worst(self.left.iter())
    }

    /// The same without the last round, where nobody has reason to leave early.
    pub(crate) fn leaving_ordinarily(&self) -> (Duration, Duration) {
        median_and_worst(self.left.iter().filter(|left| !left.last()))
    }

    /// The report to show: of the replica with the most trouble.
    pub(crate) fn report(&self) -> Option<&str> {
        let trouble = |left: &&Left| left.trouble.hung_hook;
        let chosen = self.left.iter().find(trouble).or(self.left.first())?;
        chosen.ended.told.as_ref().map(|told| told.report.as_str())
    }
}

fn median_and_worst<'a>(left: impl Iterator<Item = &'a Left>) -> (Duration, Duration) {
    let mut times: Vec<Duration> = left.map(|left| left.ended.took).collect();
    times.sort();
    let median = times.get(times.len() / 2).copied().unwrap_or_default();
    (median, times.last().copied().unwrap_or_default())
}

/// How many of the notes that clients were told were written are not in the database of the replica that said so.
async fn missing(counts: &Counts, files: &[PathBuf]) -> Result<usize, sqlx::Error> {
    let mut stored = BTreeSet::new();
    for (number, file) in files.iter().enumerate() {
        // Not read-only: what a killed replica left has to be recovered first.
        let options = SqliteConnectOptions::new().filename(file);
        let mut database = options.connect().await?;
        let notes: Vec<String> = sqlx::query_scalar("SELECT text FROM notes")
            .fetch_all(&mut database)
            .await?;
        database.close().await?;
        stored.extend(notes.into_iter().map(|note| (number, note)));
    }
    let written = counts.written.iter();
    Ok(written.filter(|note| !stored.contains(*note)).count())
}
