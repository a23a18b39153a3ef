//! What the driver of an HTTP/2 connection, its IO and its responses say to each other about what leaves together.
//!
//! Driver and IO run in the connection's own task. A response runs in its own, and wakes the connection's behind what it says here: so
//! nothing has to be ordered.

use crate::sync::atomic::{AtomicBool, Ordering};

pub(crate) struct Gathering {
    /// Several responses, or frames of them, may be ready to be written.
    several: AtomicBool,
    /// A body that does not know its size has given a frame.
    streamed: AtomicBool,
    /// The IO has answered a flush, and holds what was to be flushed.
    holds: AtomicBool,
}

impl Gathering {
    pub(super) fn new() -> Self {
        Gathering {
            several: AtomicBool::new(false),
            streamed: AtomicBool::new(false),
            holds: AtomicBool::new(false),
        }
    }

    #[inline]
    pub(crate) fn streamed(&self) {
        if !self.streamed.load(Ordering::Relaxed) {
            self.streamed.store(true, Ordering::Relaxed);
        }
    }

    /// Whether frames have been given since this was last asked. One that is given in this moment may be missed.
    pub(crate) fn take_streamed(&self) -> bool {
        let streamed = self.streamed.load(Ordering::Relaxed);
        if streamed {
            self.streamed.store(false, Ordering::Relaxed);
        }
        streamed
    }

    #[inline]
    pub(super) fn is_on(&self) -> bool {
        self.several.load(Ordering::Relaxed)
    }

    /// Whether the IO gathers what is written in the poll that follows.
    pub(crate) fn set_on(&self, on: bool) {
        self.several.store(on, Ordering::Relaxed);
    }

    /// Whether the connection has to be polled again, because its IO holds what h2 takes for flushed.
    #[inline]
    pub(crate) fn holds(&self) -> bool {
        self.holds.load(Ordering::Relaxed)
    }

    pub(crate) fn set_holds(&self, holds: bool) {
        self.holds.store(holds, Ordering::Relaxed);
    }
}
