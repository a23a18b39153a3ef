//! The request that is being handled: how a handler finds the shutdown without having been given a handle.
//!
//! The response future says it for as long as it is polled, in a thread-local of four words. An extension would cost every
//! request an allocation, and this costs those that do not ask next to nothing.

use std::cell::Cell;
use std::sync::Arc;

use crate::handle::ShutdownHandle;
use crate::in_flight::Tracker;
use crate::lease::Lease;
use crate::long_lived::Moment;

thread_local! {
    static CURRENT: Place = const { Place::new() };
}

/// Where a thread keeps it.
struct Place {
    request: Cell<Option<Current>>,
    /// What has been said of it since it is the current one. Apart from it, because nearly always that is nothing.
    said: Cell<Said>,
}

impl Place {
    const fn new() -> Self {
        Place {
            request: Cell::new(None),
            said: Cell::new(Said::NOTHING),
        }
    }
}

fn current() -> Option<Current> {
    CURRENT.with(|place| place.request.get())
}

/// The request whose handler runs on this thread.
#[derive(Clone, Copy, Debug)]
pub struct Current {
    tracker: Tracker,
    /// The connection's, if it is one of ours; else the request's, once somebody has asked for it.
    lot: Option<u64>,
}

/// What a handler has said of its request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Said(u8);

impl Said {
    const NOTHING: Said = Said(0);
    const LASTS: Said = Said(1);
    const PROBE: Said = Said(2);
    const EXEMPT: Said = Said(4);

    const fn and(self, other: Said) -> Said {
        Said(self.0 | other.0)
    }

    const fn has(self, other: Said) -> bool {
        self.0 & other.0 != 0
    }
}

/// What has been heard of a request while it was the current one.
#[derive(Clone, Copy, Debug)]
pub struct Heard {
    said: Said,
    lot: Option<u64>,
}

impl Heard {
    pub(crate) const fn lasts(self) -> bool {
        self.said.has(Said::LASTS)
    }

    pub(crate) const fn is_probe(self) -> bool {
        self.said.has(Said::PROBE) || self.is_exempt()
    }

    pub(crate) const fn is_exempt(self) -> bool {
        self.said.has(Said::EXEMPT)
    }

    /// The lot, if it is known: the connection's, or one that the handler has drawn by asking.
    pub(crate) const fn lot(self) -> Option<u64> {
        self.lot
    }
}

impl Current {
    #[inline]
    pub(crate) const fn new(tracker: Tracker, lot: Option<u64>) -> Self {
        Current { tracker, lot }
    }

    /// Makes it the current one, until what is returned is dropped.
    #[inline]
    pub(crate) fn enter(self) -> Entered {
        CURRENT.with(|place| {
            let outer = place.request.get();
            place.request.set(Some(self.within(outer)));
            Entered {
                outer,
                said: place.said.replace(Said::NOTHING),
            }
        })
    }

    /// A layer within a server of ours: the connection is the server's.
    #[inline]
    fn within(mut self, outer: Option<Current>) -> Self {
        if let (None, Some(outer)) = (self.lot, outer) {
            if outer.tracker == self.tracker {
                self.lot = outer.lot;
            }
        }
        self
    }

    fn say(said: Said) {
        CURRENT.with(|place| {
            if place.request.get().is_some() {
                place.said.set(place.said.get().and(said));
            }
        });
    }

    /// The request that is handled, if there is one, lasts.
    pub(crate) fn mark_lasting() {
        Current::say(Said::LASTS);
    }

    /// The request that is handled, if there is one, is a probe that counts: its arrival says nothing about routing.
    #[cfg(feature = "tonic")]
    pub(crate) fn mark_probe() {
        Current::say(Said::PROBE);
    }

    /// Somebody has asked for its moment by way of a request's extensions. Says so of the request that is handled on this
    /// thread, if it counts the same.
    pub(crate) fn asked(tracker: Tracker, lot: u64) {
        let Some(current) = current().filter(|it| it.tracker == tracker) else {
            return;
        };
        current.drawn(current.lot.unwrap_or(lot));
    }

    /// Its moment is known, and it lasts.
    fn drawn(mut self, lot: u64) {
        // All that belongs to one request has one moment.
        self.lot = Some(lot);
        CURRENT.with(|place| place.request.set(Some(self)));
        Current::mark_lasting();
    }

    /// The request that is handled, if there is one, is exempt: see [`traffic`](crate::http::traffic).
    pub(crate) fn mark_exempt() {
        Current::say(Said::EXEMPT);
    }

    /// Whether a request is handled that is exempt for whoever counts here.
    #[inline]
    pub(crate) fn is_exempt(tracker: Tracker) -> bool {
        CURRENT.with(|place| {
            place.said.get().has(Said::EXEMPT)
                && place.request.get().is_some_and(|it| it.tracker == tracker)
        })
    }

    /// A handle of whoever counts it.
    #[inline]
    pub(crate) fn handle(self) -> Option<ShutdownHandle> {
        let tracker = self.tracker;
        let shared = Lease::own(tracker)?;
        Some(ShutdownHandle { shared, tracker })
    }

    /// The lot, if it is known: its own, or that of the request around it on this thread.
    pub(crate) fn lot(self) -> Option<u64> {
        self.within(current()).lot
    }

    pub(crate) fn moment(self) -> Option<Moment> {
        let ShutdownHandle { shared, .. } = self.handle()?;
        let lot = self.lot().unwrap_or_else(|| shared.draws.next());
        Some(Moment::new(Arc::clone(&shared), lot))
    }
}

/// Restores what was current before, also when a handler panics.
#[derive(Debug)]
pub struct Entered {
    outer: Option<Current>,
    said: Said,
}

impl Entered {
    /// What the handler has said; `None` when that is nothing.
    #[inline]
    pub(crate) fn heard(&self) -> Option<Heard> {
        CURRENT.with(|place| match place.said.get() {
            Said::NOTHING => None,
            said => Some(Heard {
                said,
                lot: place.request.get().and_then(|current| current.lot),
            }),
        })
    }

    /// What has been said of a request is said of the one around it, if they count the same.
    #[cold]
    fn pass_on(&mut self, said: Said) {
        if let (Some(outer), Some(inner)) = (self.outer, current()) {
            if outer.tracker == inner.tracker {
                self.said = self.said.and(said);
            }
        }
    }
}

impl Drop for Entered {
    #[inline]
    fn drop(&mut self) {
        CURRENT.with(|place| {
            let said = place.said.get();
            if said != Said::NOTHING {
                self.pass_on(said);
            }
            place.said.set(self.said);
            place.request.set(self.outer);
        });
    }
}

impl ShutdownHandle {
    /// In a handler, and where its response's body is made, the handle of the server or the [`DrainLayer`](crate::DrainLayer)
    /// that the request came through.
    ///
    /// `None` elsewhere. It cannot follow a request into a task that somebody spawned: where a handler spawns one, ask before
    /// and move the handle in; where a middleware spawns the handler, use [`ShutdownHandle::of`] and the setting
    /// `context_in_extensions` of the server or the layer.
    ///
    /// It costs about what a clone of a handle costs that no other thread clones: one count up, and one down when the handle
    /// is dropped, on cache lines of the thread's own (`benches/run ask`). A thread that asks for the first time takes a
    /// lock that all threads share, and so does each call once the coordinator is gone.
    #[must_use]
    pub fn current() -> Option<Self> {
        current()?.handle()
    }
}

impl Moment {
    /// In a handler, and where its response's body is made, the moment of the request's connection. Under somebody else's
    /// server, whose connections are not known, the request's own.
    ///
    /// Who asks says that the request lasts, as [`LongLived`](crate::LongLived) does: it keeps Close waiting and not Drain,
    /// which would be over before the moment comes.
    ///
    /// `None` elsewhere. It cannot follow a request into a task that somebody spawned: where a handler spawns one, ask before
    /// and move the moment in; where a middleware spawns the handler, use [`Moment::of`] and the setting
    /// `context_in_extensions` of the server or the layer.
    #[must_use]
    pub fn current() -> Option<Self> {
        let current = current()?;
        let moment = current.moment()?;
        current.drawn(moment.lot());
        Some(moment)
    }
}
