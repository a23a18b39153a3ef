//! The balancer: which replica a new connection goes to.
//!
//! It plays kube-proxy, and like kube-proxy it is not in the way of the bytes: a Service's address is translated once, when a
//! connection is made, and never again. So a client asks here for each new connection and then connects to the replica
//! itself; refusals and resets are the kernel's own, and an established connection is never moved.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::SystemTime;

use tokio::time::Instant;

/// A replica, as clients see it.
#[derive(Debug)]
pub(crate) struct Endpoint {
    /// Counts the replicas of a column, from 0.
    pub(crate) number: usize,
    pub(crate) address: SocketAddr,
    pub(crate) admin: SocketAddr,
    stop: OnceLock<Stop>,
}

/// When a replica was told to stop.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stop {
    pub(crate) at: Instant,
    /// The same on the clock that its process has, too.
    pub(crate) at_time: SystemTime,
    /// In the last round, where it stays in rotation until it is dead.
    pub(crate) last: bool,
}

impl Endpoint {
    pub(crate) fn new(number: usize, address: SocketAddr, admin: SocketAddr) -> Arc<Self> {
        Arc::new(Endpoint {
            number,
            address,
            admin,
            stop: OnceLock::new(),
        })
    }

    /// Noted just before the signal is sent.
    pub(crate) fn stopping(&self, last: bool) -> Stop {
        let stop = Stop {
            at: Instant::now(),
            at_time: SystemTime::now(),
            last,
        };
        *self.stop.get_or_init(|| stop)
    }

    pub(crate) fn stop(&self) -> Option<Stop> {
        self.stop.get().copied()
    }
}

/// The replicas that get new connections, in turn.
#[derive(Debug, Default)]
pub(crate) struct Balancer(Mutex<Rotation>);

#[derive(Debug, Default)]
struct Rotation {
    endpoints: Vec<Arc<Endpoint>>,
    turn: usize,
}

impl Balancer {
    pub(crate) fn add(&self, endpoint: Arc<Endpoint>) {
        self.rotation().endpoints.push(endpoint);
    }

    pub(crate) fn remove(&self, number: usize) {
        self.rotation()
            .endpoints
            .retain(|endpoint| endpoint.number != number);
    }

    /// Where the next connection goes; `None` when no replica is in rotation.
    pub(crate) fn pick(&self) -> Option<Arc<Endpoint>> {
        let mut rotation = self.rotation();
        rotation.turn = rotation.turn.wrapping_add(1);
        let turn = rotation.turn.checked_rem(rotation.endpoints.len())?;
        rotation.endpoints.get(turn).cloned()
    }

    fn rotation(&self) -> MutexGuard<'_, Rotation> {
        self.0.lock().expect("nobody panics with it")
    }
}
