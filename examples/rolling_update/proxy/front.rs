//! What a client knows of a proxy: where it is, and which replica it says an answer is from.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use hyper::HeaderMap;

use crate::balancer::Endpoint;

/// Names the attempt, in a request and in the proxy's log.
pub(crate) const ATTEMPT: &str = "x-attempt";
/// The replica that the proxy chose, in its answer.
pub(super) const REPLICA: &str = "x-replica";

#[derive(Debug)]
pub(crate) struct Front {
    pub(crate) address: SocketAddr,
    attempts: AtomicU64,
    /// All that there ever were.
    replicas: Mutex<Vec<Arc<Endpoint>>>,
}

impl Front {
    pub(super) fn new(address: SocketAddr, replicas: Vec<Arc<Endpoint>>) -> Self {
        Front {
            address,
            attempts: AtomicU64::default(),
            replicas: Mutex::new(replicas),
        }
    }

    /// A number that no other attempt has.
    pub(crate) fn attempt(&self) -> u64 {
        self.attempts.fetch_add(1, Ordering::Relaxed)
    }

    /// The replica that an answer is from.
    pub(crate) fn replica(&self, headers: &HeaderMap) -> Option<Arc<Endpoint>> {
        self.find(headers.get(REPLICA)?.to_str().ok()?)
    }

    /// The replica with this address.
    pub(super) fn find(&self, address: &str) -> Option<Arc<Endpoint>> {
        let address: SocketAddr = address.parse().ok()?;
        let replicas = self.replicas.lock().expect("nobody panics with it");
        // The newest, should the kernel have given out an address twice.
        let mut newest_first = replicas.iter().rev();
        newest_first
            .find(|endpoint| endpoint.address == address)
            .cloned()
    }

    pub(super) fn know(&self, endpoint: Arc<Endpoint>) {
        let mut replicas = self.replicas.lock().expect("nobody panics with it");
        replicas.push(endpoint);
    }
}
