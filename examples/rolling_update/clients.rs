//! The steady traffic: clients that together send so many requests a second.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use crate::attempt::{Ask, Client, Route, Way};
use crate::tally::Tally;

/// Each does one request at a time, so there are enough of them to keep the rate while some wait.
const CLIENTS: u32 = 30;

/// Far more than any answer takes on a busy machine: what takes longer is a loss.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a client asks, in turn; `None` writes a note.
const TURNS: [Option<&str>; 6] = [
    Some("/"),
    None,
    Some("/slow"),
    Some("/"),
    Some("/stream"),
    None,
];

/// Sends `rate` requests a second until `over`; returns when the last one is done.
pub(crate) async fn drive(rate: u32, route: Route, tally: Arc<Tally>, over: Arc<AtomicBool>) {
    let ways: &[Way] = match route {
        // Proxies take HTTP/2 on a port of its own, and speak HTTP/1.1 to the replicas all the same.
        Route::Proxy(_) => &[Way::KeepAlive, Way::OneShot],
        _ => &Way::ALL,
    };
    let mut clients = JoinSet::new();
    let started = Instant::now();
    for number in 0..CLIENTS {
        let way = ways[number as usize % ways.len()];
        let client = Client::new(way, route.clone(), Arc::clone(&tally));
        // Evenly: they do not all send at the same moment.
        let first = started + Duration::from_secs(1) * number / rate;
        let period = Duration::from_secs(1) * CLIENTS / rate;
        clients.spawn(steady(number, client, first, period, Arc::clone(&over)));
    }
    while let Some(ended) = clients.join_next().await {
        ended.expect("a client does not panic");
    }
}

async fn steady(
    number: u32,
    mut client: Client,
    first: Instant,
    period: Duration,
    over: Arc<AtomicBool>,
) {
    let mut tick = interval_at(first, period);
    // One that waited for a slow answer makes up for it: the rate stays.
    tick.set_missed_tick_behavior(MissedTickBehavior::Burst);
    for round in 0.. {
        tick.tick().await;
        if over.load(Ordering::Relaxed) {
            break;
        }
        let turn = TURNS[(round + number as usize) % TURNS.len()];
        let ask = Ask {
            path: turn.unwrap_or("/notes").to_owned(),
            note: turn
                .is_none()
                .then(|| format!("client {number}, round {round}")),
            patience: PATIENCE,
        };
        client.attempt(&ask).await;
    }
}
