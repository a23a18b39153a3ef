//! The cluster: whether new connections are routed to the server.
//!
//! It plays kube-proxy, and like kube-proxy it is not in the way of the bytes: it decides where a new connection goes, and never
//! moves one that stands.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::scenario::Rotation;

#[derive(Debug)]
pub(crate) struct Cluster {
    rotation: Rotation,
    propagation: Duration,
    t0: watch::Sender<Option<Instant>>,
}

impl Cluster {
    pub(crate) fn new(rotation: Rotation, propagation: Duration) -> Self {
        Cluster {
            rotation,
            propagation,
            t0: watch::Sender::new(None),
        }
    }

    /// The server is about to be told to stop.
    pub(crate) fn tell(&self) -> Instant {
        let now = Instant::now();
        self.t0.send_replace(Some(now));
        now
    }

    /// Whether a new connection goes to the server. The cluster does not know whether the process is still there.
    pub(crate) fn routes(&self) -> bool {
        match (self.rotation, *self.t0.borrow()) {
            (Rotation::Leaves, Some(t0)) => t0.elapsed() < self.propagation,
            _ => true,
        }
    }

    /// Whether there is an end to what is routed to the server.
    pub(crate) fn leaves(&self) -> bool {
        self.rotation == Rotation::Leaves
    }

    /// Waits for the signal.
    pub(crate) async fn t0(&self) -> Instant {
        let mut t0 = self.t0.subscribe();
        let told = t0.wait_for(Option::is_some).await;
        told.ok()
            .and_then(|told| *told)
            .expect("the sender lives in self")
    }

    pub(crate) fn is_told(&self) -> bool {
        self.t0.borrow().is_some()
    }
}
