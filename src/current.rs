//! The request that is being handled: how a handler finds the shutdown without having been given a handle.
//!
//! The response future says it for as long as it is polled, in a thread-local of three words. An extension would cost every
//! request an allocation, and this costs those that do not ask next to nothing.

use std::cell::Cell;
use std::sync::Arc;

use crate::drain::Tracker;
use crate::handle::ShutdownHandle;
use crate::moment::Moment;
use crate::shared::Shared;

thread_local! { static CURRENT: Cell<Option<Current>> = const { Cell::new(None) } }

/// The request whose handler runs on this thread.
#[derive(Clone, Copy, Debug)]
pub struct Current {
    tracker: Tracker,
    /// The connection's, if it is one of ours; else the request's, once somebody has asked for it.
    lot: Option<u64>,
    /// Whether it has been said, since it is the current one, that it lasts,
    lasts: bool,
    /// or that it is a probe.
    probe: bool,
}

impl Current {
    pub(crate) fn new(tracker: Tracker, lot: Option<u64>) -> Self {
        Current {
            tracker,
            lot,
            lasts: false,
            probe: false,
        }
    }

    /// Makes it the current one, until what is returned is dropped.
    pub(crate) fn enter(mut self) -> Entered {
        let before = CURRENT.get();
        if let (None, Some(outer)) = (self.lot, before) {
            // A layer within a server of ours: the connection is the server's.
            if outer.tracker == self.tracker {
                self.lot = outer.lot;
            }
        }
        CURRENT.set(Some(self));
        Entered { before }
    }

    /// The lot, if it is known: the connection's, or one that the handler has drawn by asking.
    pub(crate) const fn lot(self) -> Option<u64> {
        self.lot
    }

    pub(crate) const fn lasts(self) -> bool {
        self.lasts
    }

    pub(crate) const fn is_probe(self) -> bool {
        self.probe
    }

    /// The request that is handled, if there is one, lasts.
    pub(crate) fn mark_lasting() {
        CURRENT.set(CURRENT.get().map(|current| Current {
            lasts: true,
            ..current
        }));
    }

    /// The request that is handled, if there is one, is a probe: its arrival says nothing about routing.
    pub(crate) fn mark_probe() {
        CURRENT.set(CURRENT.get().map(|current| Current {
            probe: true,
            ..current
        }));
    }

    pub(crate) fn shared(self) -> Option<Arc<Shared>> {
        self.tracker.owner()?.downcast().ok()
    }

    pub(crate) fn moment(self) -> Option<Moment> {
        let shared = self.shared()?;
        let lot = self.lot.unwrap_or_else(|| shared.lots.next());
        Some(Moment::new(shared, lot))
    }
}

/// Restores what was current before, also when a handler panics.
pub(crate) struct Entered {
    before: Option<Current>,
}

impl Entered {
    /// What is current now, with what the handler has drawn.
    pub(crate) fn leave(self) -> Option<Current> {
        CURRENT.get()
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        let mut before = self.before;
        if let (Some(outer), Some(inner)) = (&mut before, CURRENT.get()) {
            // They count the same request.
            let same = inner.tracker == outer.tracker;
            outer.lasts |= inner.lasts && same;
            outer.probe |= inner.probe && same;
        }
        CURRENT.set(before);
    }
}

impl ShutdownHandle {
    /// In a handler, and where its response's body is made, the handle of the server or the [`DrainLayer`](crate::DrainLayer)
    /// that the request came through.
    ///
    /// `None` elsewhere, so also in a task that a handler spawned: ask before, and move it in.
    #[must_use]
    pub fn current() -> Option<Self> {
        let shared = CURRENT.get()?.shared()?;
        Some(ShutdownHandle { shared })
    }
}

impl Moment {
    /// In a handler, and where its response's body is made, the moment of the request's connection. Under somebody else's
    /// server, whose connections are not known, the request's own.
    ///
    /// Who asks says that the request lasts, as [`LongLived`](crate::LongLived) does: it keeps Close waiting and not Drain,
    /// which would be over before the moment comes.
    ///
    /// `None` elsewhere, so also in a task that a handler spawned: ask before, and move it in.
    #[must_use]
    pub fn current() -> Option<Self> {
        let mut current = CURRENT.get()?;
        let moment = current.moment()?;
        // All that belongs to one request has one moment.
        current.lot = Some(moment.lot());
        current.lasts = true;
        CURRENT.set(Some(current));
        Some(moment)
    }
}
