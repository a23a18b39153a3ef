//! The rollout of one column: every replica is replaced, one by one, again and again.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use lameduck::{Phase, Plan};
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::args::Args;
use crate::balancer::{Balancer, Endpoint};
use crate::column::Column;
use crate::process::{Ended, Process};
use crate::proxy::Proxy;
use crate::replica::{Settings, Trouble};
use crate::routing::Routing;
use crate::special::{Ending, LastMoment, LongConnections, longer_than_drain};
use crate::tally::{Outcome, Tally};

/// Between two replacements, as a Deployment's `minReadySeconds`.
const MIN_READY: Duration = Duration::from_millis(1_500);

/// The traffic that begins just before the SIGTERM gets so long to reach the replica.
const LEAD: Duration = Duration::from_millis(300);

/// One column's cluster.
pub(crate) struct Rollout {
    column: Column,
    args: Args,
    plan: Plan,
    directory: PathBuf,
    routing: Routing,
    tally: Arc<Tally>,
    progress: Arc<Progress>,
    /// How many replicas have been started.
    started: usize,
    running: Vec<Running>,
}

/// How far a rollout is.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    pub(crate) round: AtomicUsize,
    pub(crate) leaving: AtomicUsize,
}

struct Running {
    process: Process,
    connections: Option<LongConnections>,
}

/// A replica that has left.
#[derive(Debug)]
pub(crate) struct Left {
    pub(crate) endpoint: Arc<Endpoint>,
    pub(crate) trouble: Trouble,
    pub(crate) ended: Ended,
    /// The event stream and the WebSocket, if there were any.
    pub(crate) long_connections: Vec<Ending>,
    pub(crate) long_request: Option<Outcome>,
}

impl Left {
    /// Whether it left in the last round.
    pub(crate) fn last(&self) -> bool {
        self.endpoint.stop().is_some_and(|stop| stop.last)
    }
}

impl Rollout {
    /// Starts the first replicas.
    pub(crate) async fn start(
        column: Column,
        args: &Args,
        directory: &Path,
        tally: Arc<Tally>,
    ) -> Result<Self, String> {
        let mut rollout = Rollout {
            column,
            args: args.clone(),
            plan: args.plan().map_err(|error| error.to_string())?,
            directory: directory.to_owned(),
            routing: Routing::Service(Arc::<Balancer>::default()),
            tally,
            progress: Arc::default(),
            started: 0,
            running: Vec::new(),
        };
        for _ in 0..args.replicas {
            rollout.add().await?;
        }
        if let Some(kind) = args.proxy {
            let directory = directory.join(format!("proxy-{}", column.key()));
            let replicas = rollout.running.iter();
            let replicas = replicas.map(|running| Arc::clone(&running.process.endpoint));
            let proxy = Proxy::start(kind, directory, replicas.collect()).await?;
            rollout.routing = Routing::Proxy(Arc::new(proxy));
        }
        Ok(rollout)
    }

    pub(crate) fn routing(&self) -> Routing {
        self.routing.clone()
    }

    pub(crate) fn progress(&self) -> Arc<Progress> {
        Arc::clone(&self.progress)
    }

    /// The databases of all replicas, by the replicas' numbers.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        (0..self.started).map(|number| self.file(number)).collect()
    }

    /// All rounds. Those that are running at the end are killed when this is dropped: the play is over by then.
    pub(crate) async fn run(&mut self) -> Result<Vec<Left>, String> {
        let last = self.args.rounds + 1;
        let mut left = Vec::new();
        for round in 1..=last {
            self.progress.round.store(round, Ordering::Relaxed);
            let mut leaving = JoinSet::new();
            for _ in 0..self.args.replicas {
                self.add().await?;
                let old = self.running.remove(0);
                leaving.spawn(self.departure(old, round == last));
                sleep(MIN_READY).await;
            }
            while let Some(departed) = leaving.join_next().await {
                left.push(departed.map_err(|error| error.to_string())??);
            }
        }
        Ok(left)
    }

    /// Starts a replica and puts it into rotation when it is ready.
    async fn add(&mut self) -> Result<(), String> {
        let number = self.started;
        let settings = Settings {
            column: self.column,
            file: self.file(number),
            sleep: match self.column {
                Column::AxumSleep => self.plan.duration(Phase::LameDuck),
                Column::Axum | Column::Lameduck => Duration::ZERO,
            },
            early: self.args.early(),
            trouble: self.trouble(number),
        };
        let process = Process::start(number, settings, &self.args).await?;
        self.started += 1;
        let connections = match self.args.plain {
            true => None,
            false => Some(LongConnections::open(&process.endpoint).await?),
        };
        self.routing.add(&process.endpoint).await?;
        self.running.push(Running {
            process,
            connections,
        });
        Ok(())
    }

    /// One replica each has a trouble of its own, and leaves in the first round.
    fn trouble(&self, number: usize) -> Trouble {
        Trouble {
            hung_hook: !self.args.plain && number == 0,
            blocked: !self.args.plain && number == 1.min(self.args.replicas - 1),
        }
    }

    fn file(&self, number: usize) -> PathBuf {
        self.directory
            .join(format!("{}-{number}.db", self.column.key()))
    }

    /// The end of one replica.
    fn departure(
        &self,
        old: Running,
        last: bool,
    ) -> impl Future<Output = Result<Left, String>> + Send + use<> {
        let Running {
            process,
            connections,
        } = old;
        let (routing, tally) = (self.routing(), Arc::clone(&self.tally));
        let progress = Arc::clone(&self.progress);
        let (pre_stop, propagation) = (self.args.pre_stop, self.args.propagation);
        let grace = self.args.grace.saturating_sub(pre_stop);
        let long = (!self.args.plain).then(|| longer_than_drain(&self.plan, LEAD));
        async move {
            let endpoint = Arc::clone(&process.endpoint);
            let trouble = process.settings.trouble;
            // The deletion: routing learns of it, and the preStop hook begins. What begins just before the SIGTERM may have
            // to begin before the deletion.
            let before = LEAD.saturating_sub(pre_stop);
            let removal = (!last).then(|| {
                // It knows nothing of the process: one that is gone sooner is routed to all the same.
                let (routing, endpoint) = (routing.clone(), Arc::clone(&endpoint));
                tokio::spawn(async move {
                    sleep(before + propagation).await;
                    routing.remove(&endpoint).await
                })
            });
            sleep(pre_stop.saturating_sub(LEAD)).await;
            let last_moment = match long {
                Some(ask) => Some(LastMoment::begin(&endpoint, &tally, ask).await?),
                None => None,
            };
            sleep(LEAD).await;

            progress.leaving.fetch_add(1, Ordering::Relaxed);
            let ended = process.stop(last, grace).await;
            match removal {
                Some(removal) => removal.await.map_err(|error| error.to_string())??,
                // Nobody told the balancer of this eviction before the replica was dead.
                None => routing.remove(&endpoint).await?,
            }
            progress.leaving.fetch_sub(1, Ordering::Relaxed);

            Ok(Left {
                endpoint,
                trouble,
                ended: ended?,
                long_connections: match connections {
                    Some(connections) => connections.endings().await.to_vec(),
                    None => Vec::new(),
                },
                long_request: match last_moment {
                    Some(last_moment) => Some(last_moment.outcome().await),
                    None => None,
                },
            })
        }
    }
}
