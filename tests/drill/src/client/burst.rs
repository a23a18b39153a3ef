//! Many connections, each with one request: some all the time, and most of them around the moment at which the listener closes.
//!
//! When that is, a run learns from the one before it.

use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::Field;
use super::http1;
use super::http2;
use crate::attempt::Way;

const TICK: Duration = Duration::from_millis(1);
/// Ticks between two connections of the ordinary kind.
const STEADY: u64 = 5;
/// Connections in each tick around the close.
const DENSE: u64 = 8;
/// Half of the time around the close.
const WIDTH: Duration = Duration::from_millis(20);
/// More than this are open only if the server is stuck. Each needs two descriptors, and a process often has 1,024.
const MOST: usize = 400;

/// From the start until the server has left.
pub(crate) async fn run(field: Arc<Field>, mut random: Rng) {
    let mut asking = JoinSet::new();
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut t0 = None;
    let mut tick = 0;
    while !field.has_left() {
        ticks.tick().await;
        tick += 1;
        if t0.is_none() && field.cluster.is_told() {
            t0 = Some(field.cluster.t0().await);
        }
        let connections = match t0.is_some_and(|t0| is_close(&field, t0)) {
            true => DENSE,
            false => u64::from(tick % STEADY == random.u64(..2)),
        };
        if asking.len() < MOST {
            for _ in 0..connections {
                asking.spawn(one(Arc::clone(&field)));
            }
        }
        while asking.try_join_next().is_some() {}
    }
    asking.join_all().await;
}

fn is_close(field: &Field, t0: Instant) -> bool {
    let closes_after = field.closes_after.map(|after| t0 + after);
    closes_after.is_some_and(|closes| {
        let now = Instant::now();
        now + WIDTH >= closes && now <= closes + WIDTH
    })
}

async fn one(field: Arc<Field>) {
    let route = field.routes.plain.clone();
    // Each has a connection of its own. The log has what became of it.
    if field.speaks.http1 {
        let mut client = http1::Client::new(Way::Burst, field);
        let _ = client.attempt(&route).await;
    } else {
        let mut client = http2::Client::new(Way::Burst, field, true);
        let _ = client.attempt(vec![route]).await;
    }
}
