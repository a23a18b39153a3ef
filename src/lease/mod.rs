//! What a handle holds of [`Shared`].
//!
//! A clone of an `Arc` is a write to a count, and all threads that clone the same one wait for each other there. So a handle
//! holds a lease, and counts there: the coordinator has one of its own, and one for the threads of each shard that ask for a
//! handle.

#[cfg(feature = "tower")]
mod own;

use std::ops::Deref;
use std::sync::Arc;

#[cfg(feature = "tower")]
pub(crate) use own::Leases;

use crate::shared::Shared;

/// Keeps [`Shared`], and counts its clones.
#[derive(Clone)]
pub(crate) struct Lease(Arc<Counted>);

/// With this alignment nothing else lies on the cache line of the `Arc`'s count (two: processors fetch them in pairs).
#[repr(align(128))]
struct Counted(Arc<Shared>);

impl Lease {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Lease(Arc::new(Counted(shared)))
    }

    /// Whether nobody else keeps [`Shared`], with a clone of this lease or otherwise.
    pub(crate) fn is_only(&self) -> bool {
        Arc::strong_count(&self.0) == 1 && Arc::strong_count(self) == 1
    }
}

impl Deref for Lease {
    type Target = Arc<Shared>;

    #[inline]
    fn deref(&self) -> &Arc<Shared> {
        &self.0.0
    }
}
