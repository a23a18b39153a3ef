//! Clients that go on until nobody listens any more.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::attempt::{Ask, Kind, Log, Outcome, Way};
use crate::http1;
use crate::http2;
use crate::random::Random;

/// One after the other on each connection of an HTTP/2 client.
const STREAMS: usize = 3;

/// Where to, for how long at most, and how fast.
#[derive(Clone)]
pub(crate) struct Traffic {
    pub(crate) address: SocketAddr,
    pub(crate) log: Arc<Log>,
    /// Who is still refused by nobody gives up then.
    pub(crate) until: Instant,
    /// Between two requests of a client.
    pub(crate) gap: (Duration, Duration),
}

/// What a client of `mixed` does all the time.
#[derive(Clone, Copy, Debug)]
enum Habit {
    Any(Way),
    Only(Way, Kind),
    Pairs,
    Http2,
}

impl Traffic {
    /// `connections` clients on keep-alive connections, with quick requests.
    pub(crate) fn keep_alive(&self, connections: usize, random: &mut Random) -> JoinSet<()> {
        let habit = Habit::Only(Way::KeepAlive, Kind::Quick);
        self.start(&vec![habit; connections], random)
    }

    /// Clients of every kind.
    pub(crate) fn mixed(&self, random: &mut Random) -> JoinSet<()> {
        let habits = [
            vec![Habit::Any(Way::KeepAlive); 8],
            vec![Habit::Any(Way::OneShot); 4],
            vec![Habit::Only(Way::KeepAlive, Kind::Upload); 2],
            vec![Habit::Only(Way::KeepAlive, Kind::Early)],
            vec![Habit::Pairs; 2],
            vec![Habit::Http2; 2],
        ];
        self.start(&habits.concat(), random)
    }

    fn start(&self, habits: &[Habit], random: &mut Random) -> JoinSet<()> {
        let mut clients = JoinSet::new();
        for habit in habits {
            clients.spawn(self.clone().go_on(*habit, random.split()));
        }
        clients
    }

    async fn go_on(self, habit: Habit, mut random: Random) {
        let way = match habit {
            Habit::Any(way) | Habit::Only(way, _) => way,
            Habit::Pairs => Way::Pipelined,
            Habit::Http2 => Way::Http2,
        };
        let mut http1 = http1::Client {
            way,
            address: self.address,
            log: Arc::clone(&self.log),
            open: None,
        };
        let mut http2 = http2::Client {
            address: self.address,
            log: Arc::clone(&self.log),
            open: None,
        };
        while Instant::now() < self.until {
            sleep(random.between(self.gap.0, self.gap.1)).await;
            let random = &mut random;
            let listening = match habit {
                Habit::Any(_) => http1.attempt(Ask::any(random)).await != Outcome::Refused,
                Habit::Only(_, kind) => {
                    let post = kind != Kind::Quick || random.below(2) == 0;
                    http1.attempt(Ask::new(kind, post)).await != Outcome::Refused
                }
                Habit::Pairs => {
                    // Nothing that is not idempotent is sent behind another one.
                    let asks = [Kind::Slow, Kind::Quick].map(|kind| Ask::new(kind, false));
                    http1.pair(asks).await != Outcome::Refused
                }
                Habit::Http2 => {
                    let asks = (0..STREAMS).map(|_| Ask::any(random)).collect();
                    http2.attempt(asks).await
                }
            };
            if !listening {
                return;
            }
        }
    }
}
