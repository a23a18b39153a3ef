//! The clients.

pub(crate) mod answer;
pub(crate) mod burst;
pub(crate) mod http1;
pub(crate) mod http2;
pub(crate) mod long;
pub(crate) mod slow;
pub(crate) mod wire;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::sleep;

use self::wire::Wire;
use crate::attempt::{Fate, Log, Lost, Way};
use crate::cluster::Cluster;
use crate::scenario::{Habit, Part};
use crate::speaks::Speaks;
use crate::target::Exit;
use crate::tls::Tls;

/// Before a client that was refused tries again.
const AFTER_REFUSAL: Duration = Duration::from_millis(20);
const STREAMS: usize = 3;

/// A route, as it answers in normal service.
#[derive(Clone, Debug)]
pub(crate) struct Route {
    pub(crate) target: String,
    pub(crate) status: u16,
    /// Of its body.
    pub(crate) length: usize,
}

/// Where requests go.
#[derive(Clone, Debug)]
pub(crate) struct Routes {
    pub(crate) plain: Route,
    pub(crate) slow: Option<Route>,
    pub(crate) upload: Option<Route>,
    pub(crate) download: Option<Route>,
    pub(crate) websocket: Option<String>,
    pub(crate) events: Option<String>,
}

/// What the clients of one run have in common.
pub(crate) struct Field {
    pub(crate) address: SocketAddr,
    pub(crate) speaks: Speaks,
    /// For HTTP/1, and for HTTP/2.
    pub(crate) tls: Option<[Tls; 2]>,
    pub(crate) routes: Arc<Routes>,
    pub(crate) patience: Duration,
    pub(crate) grace: Duration,
    pub(crate) log: Log,
    pub(crate) cluster: Cluster,
    pub(crate) gone: watch::Receiver<Option<Exit>>,
    /// From the signal to the listener's close, as the last run saw it.
    pub(crate) closes_after: Option<Duration>,
}

/// Dropped by a client that is in the middle of its action.
pub(crate) type Ready = mpsc::Sender<()>;

impl Field {
    /// A connection for HTTP/1.
    pub(crate) async fn connect(&self) -> Result<Wire, Lost> {
        self.connect_for(false).await
    }

    pub(crate) async fn connect_for(&self, http2: bool) -> Result<Wire, Lost> {
        self.connect_with(http2, None).await
    }

    pub(crate) async fn connect_with(
        &self,
        http2: bool,
        window: Option<u32>,
    ) -> Result<Wire, Lost> {
        let tls = self.tls.as_ref().map(|tls| &tls[usize::from(http2)]);
        let wire = Wire::connect(self.address, tls, window).await;
        if let Err((Fate::Hung, why)) = &wire {
            self.log.trouble(why.clone());
        }
        wire
    }

    pub(crate) fn has_left(&self) -> bool {
        self.gone.borrow().is_some()
    }

    /// The slow route now and then, if there is one.
    fn draw(&self, random: &mut Rng) -> &Route {
        match &self.routes.slow {
            Some(slow) if random.u8(..3) == 0 => slow,
            _ => &self.routes.plain,
        }
    }
}

pub(crate) fn hung() -> Lost {
    (Fate::Hung, "no end within the client's patience".to_owned())
}

/// Starts the clients of a scenario. `ready` is closed when those that are to be caught in the middle of an action are there.
pub(crate) fn start(
    field: &Arc<Field>,
    parts: &[Part],
    random: &mut Rng,
    ready: Ready,
) -> JoinSet<()> {
    let mut clients = JoinSet::new();
    for part in parts {
        for _ in 0..part.clients {
            let (field, ready, random) = (Arc::clone(field), ready.clone(), random.fork());
            clients.spawn(run(field, *part, random, ready));
        }
    }
    clients
}

async fn run(field: Arc<Field>, part: Part, random: Rng, ready: Ready) {
    let speaks = field.speaks;
    match part.habit {
        Habit::Burst => {
            drop(ready);
            burst::run(field, random).await;
        }
        Habit::WebSocket if speaks.http1 => long::websocket(field, ready).await,
        Habit::Events if speaks.http1 => long::events(field, ready).await,
        Habit::HalfHead if speaks.http1 => slow::half_head(field, random, ready).await,
        Habit::HalfBody if speaks.http1 => slow::half_body(field, random, ready).await,
        Habit::SlowReader if speaks.http1 => slow::reader(field, ready).await,
        Habit::KeepAlive | Habit::OneShot | Habit::Pairs | Habit::Streams => {
            drop(ready);
            if let Some(client) = Client::new(&field, part.habit) {
                client.go_on(&field, part.gap, random).await;
            }
        }
        _ => {}
    }
}

/// A client that goes on until nothing is routed to the server any more.
enum Client {
    Http1(http1::Client),
    Pairs(http1::Client),
    Http2(http2::Client, usize),
}

impl Client {
    /// In the version that the server speaks. `None` if the habit exists in the other one alone.
    fn new(field: &Arc<Field>, habit: Habit) -> Option<Self> {
        let http1 = |way| http1::Client::new(way, Arc::clone(field));
        let http2 = |fresh| http2::Client::new(Way::Http2, Arc::clone(field), fresh);
        match (habit, field.speaks.http1, field.speaks.http2) {
            (Habit::KeepAlive, true, _) => Some(Client::Http1(http1(Way::KeepAlive))),
            (Habit::OneShot, true, _) => Some(Client::Http1(http1(Way::OneShot))),
            (Habit::Pairs, true, _) => Some(Client::Pairs(http1(Way::Pipelined))),
            (Habit::Streams, _, true) => Some(Client::Http2(http2(false), STREAMS)),
            (Habit::KeepAlive, false, true) => Some(Client::Http2(http2(false), 1)),
            (Habit::OneShot, false, true) => Some(Client::Http2(http2(true), 1)),
            _ => None,
        }
    }

    async fn go_on(mut self, field: &Field, gap: (u64, u64), mut random: Rng) {
        while !field.has_left() || field.cluster.routes() {
            let pause = Duration::from_micros(random.u64(gap.0 * 1000..=gap.1 * 1000));
            sleep(pause).await;
            let fate = self.attempt(field, &mut random).await;
            match fate {
                None => return,
                // Nobody is there any more, and the cluster would route to it for ever.
                Some(Fate::Refused) if field.has_left() && !field.cluster.leaves() => return,
                Some(Fate::Refused) => sleep(AFTER_REFUSAL).await,
                Some(_) => {}
            }
        }
    }

    async fn attempt(&mut self, field: &Field, random: &mut Rng) -> Option<Fate> {
        match self {
            Client::Http1(client) => client.attempt(field.draw(random)).await,
            // Nothing but the plain route behind another request: its answer is not to be waited for long.
            Client::Pairs(client) => client.pair([field.draw(random), &field.routes.plain]).await,
            Client::Http2(client, streams) => {
                let routes = (0..*streams).map(|_| field.draw(random).clone());
                client.attempt(routes.collect()).await
            }
        }
    }
}
