//! One run: a server, its load, its end.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, interval, sleep, sleep_until, timeout};

use crate::attempt::Book;
use crate::client::{self, Field};
use crate::error::DrillError;
use crate::scenario::{Moment, Scenario};
use crate::settings::{START, Settings};
use crate::survey::{self, Survey};
use crate::target::{Exit, Running, Target};

/// The signal comes so long after the load has begun, in milliseconds.
const LEAD: std::ops::Range<u64> = 200..600;
/// While a server starts the signal comes at any time of what its start took before, and a little later.
const STARTING: f64 = 1.2;
const BETWEEN_WORDS: Duration = Duration::from_secs(2);
/// When the server has left all connections end: a client that does not notice has a fault of its own.
const AFTER_THE_END: Duration = Duration::from_secs(5);

/// A run that is over.
#[derive(Debug)]
pub(crate) struct Round {
    pub(crate) book: Book,
    /// The signal.
    pub(crate) t0: Instant,
    pub(crate) exit: Exit,
    /// The requests whose handlers were entered, if there is a contract.
    pub(crate) entered: Option<BTreeSet<u64>>,
}

/// What is the same for all runs of a scenario.
pub(crate) struct Stage<'a> {
    pub(crate) target: &'a Target,
    pub(crate) settings: &'a Settings,
    pub(crate) survey: &'a Survey,
    pub(crate) scenario: Scenario,
    pub(crate) say: &'a (dyn Fn(&str) + Send + Sync),
}

impl Stage<'_> {
    pub(crate) async fn play(
        &self,
        mut random: Rng,
        closes_after: Option<Duration>,
    ) -> Result<Round, DrillError> {
        let (settings, recipe) = (self.settings, self.scenario.recipe());
        let running = match recipe.moment {
            Moment::WhileStarting => self.starting(&mut random).await?,
            Moment::UnderLoad => self.target.accepting(settings).await?.0,
        };
        let field = self
            .survey
            .field(&running, settings, recipe.rotation, closes_after);
        let field = Arc::new(field);
        let mut clients = JoinSet::new();
        if recipe.moment == Moment::UnderLoad {
            survey::ready(&field).await?;
            clients = self.load(&field, &mut random).await;
            sleep(Duration::from_millis(random.u64(LEAD))).await;
        }
        running.lives()?;

        let t0 = field.cluster.tell();
        running.stop();
        let exit = self.leave(&running, &field, t0).await;
        self.end(clients, exit.at).await?;
        running.output.ended().await;
        Ok(Round {
            book: self.checked(field.log.take())?,
            t0,
            exit,
            entered: settings.contract.as_ref().map(|_| running.output.entered()),
        })
    }

    /// A log that says something of the server.
    fn checked(&self, book: Book) -> Result<Book, DrillError> {
        let is_loaded = self.scenario.recipe().moment == Moment::UnderLoad;
        match &book.trouble {
            Some(trouble) => Err(DrillError::Client(trouble.clone())),
            None if is_loaded && book.attempts.is_empty() => {
                Err(DrillError::Client("it sent no request".to_owned()))
            }
            None => Ok(book),
        }
    }

    /// A server that is in the middle of its start.
    async fn starting(&self, random: &mut Rng) -> Result<Running, DrillError> {
        let running = self.target.start(self.settings)?;
        let longest = self.survey.startup.mul_f64(STARTING);
        sleep(longest.mul_f64(random.f64())).await;
        Ok(running)
    }

    /// Starts the clients, and waits until those that are to be caught in the middle of an action are there.
    async fn load(&self, field: &Arc<Field>, random: &mut Rng) -> JoinSet<()> {
        let (ready, mut all) = mpsc::channel(1);
        let parts = self.scenario.recipe().parts;
        let clients = client::start(field, parts, random, ready);
        // Nothing is ever sent: it ends when the last one is ready. What keeps one away will be seen in the log.
        let _ = timeout(START, all.recv()).await;
        clients
    }

    /// Waits until the server has left, and kills it when the grace period is over.
    async fn leave(&self, running: &Running, field: &Field, t0: Instant) -> Exit {
        let mut words = interval(BETWEEN_WORDS);
        words.tick().await;
        let kill = t0 + self.settings.grace;
        loop {
            tokio::select! {
                exit = running.left() => return exit,
                () = sleep_until(kill) => break,
                _ = words.tick() => self.tell(field, t0),
            }
        }
        running.kill();
        running.left().await
    }

    fn tell(&self, field: &Field, t0: Instant) {
        let (requests, lost) = field.log.so_far();
        let seconds = t0.elapsed().as_secs();
        let scenario = self.scenario;
        (self.say)(&format!(
            "{scenario}: {seconds} s after the signal, {requests} requests, {lost} unanswered"
        ));
    }

    /// Waits for the clients. They end when the server has left and nothing is routed to it any more.
    async fn end(&self, mut clients: JoinSet<()>, left: Instant) -> Result<(), DrillError> {
        let latest = left + self.settings.propagation + self.settings.patience + AFTER_THE_END;
        loop {
            let client = tokio::time::timeout_at(latest, clients.join_next()).await;
            match client {
                Ok(None) => return Ok(()),
                Ok(Some(Ok(()))) => {}
                Ok(Some(Err(error))) => return Err(DrillError::Client(error.to_string())),
                Err(_) => {
                    let why = "it did not end when the server had left".to_owned();
                    return Err(DrillError::Client(why));
                }
            }
        }
    }
}
