//! Counting what is still in flight.
//!
//! A [`DrainGuard`] is held for as long as its work may not be cut short. The gauge counts them and knows when none is
//! left. It counts and nothing else: when to wait for zero, and for how long, is the coordinator's business.
//!
//! [`WeakList`] finds what is in flight, without keeping it alive.

mod arrivals;
mod counter;
mod gauge;
#[cfg(all(test, lameduck_loom))]
mod model;
mod shard;
mod weak_list;

use std::fmt;
use std::sync::Arc;

use tokio::time::Instant;

pub(crate) use arrivals::Arrivals;
pub(crate) use counter::Ticket;
pub(crate) use gauge::{FINISHED, GaugeOwner, Stage, StageWriter, Tracker};
pub(crate) use shard::{Class, Count, Generation};
#[cfg(feature = "tower")]
pub(crate) use shard::{home, in_use};
pub(crate) use weak_list::WeakList;

/// Keeps the shutdown waiting until it is dropped.
///
/// Take one with [`ShutdownHandle::guard`](crate::ShutdownHandle::guard) and hold it for as long as the *work* lasts:
/// move it, or a clone of it, into every task that goes on after the caller has its answer. Drain waits for it;
/// one of [`ShutdownHandle::long_guard`](crate::ShutdownHandle::long_guard) holds Close instead.
///
/// Cloning never fails, also when new guards are refused already: whoever holds a guard is still being waited for.
pub struct DrainGuard {
    ticket: Ticket,
    name: Option<Arc<GuardName>>,
}

impl DrainGuard {
    #[inline]
    pub(crate) fn new(ticket: Ticket, name: Option<Arc<GuardName>>) -> Self {
        DrainGuard { ticket, name }
    }
}

impl Clone for DrainGuard {
    fn clone(&self) -> Self {
        DrainGuard {
            ticket: self.ticket.clone(),
            name: self.name.clone(),
        }
    }
}

impl fmt::Debug for DrainGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DrainGuard")
            .field("name", &self.name.as_ref().map(|name| &name.name))
            .finish_non_exhaustive()
    }
}

/// What a guard is called in the report, and since when it has been held.
#[derive(Debug)]
pub(crate) struct GuardName {
    pub(crate) name: String,
    pub(crate) since: Instant,
    pub(crate) generation: Generation,
    /// Drain does not wait for it.
    pub(crate) long: bool,
}
