//! What belongs to a request, in its extensions: whoever handles the request finds it there, in whatever task.
//!
//! `current` is a thread-local that is set while the response future is polled. It does not follow a handler that a
//! middleware spawns, that a buffer calls, or that runs in a `LocalSet`. A server or a layer that was told so puts a
//! [`Context`] into the request's extensions: one `Arc`, which it shares with whoever handles the request.

use std::fmt;
use std::mem;
use std::num::NonZero;
use std::sync::{Arc, PoisonError};

use http::Extensions;

use super::current::Current;
use super::request::{Arrival, Undecided};
use crate::handle::ShutdownHandle;
use crate::in_flight::{Class, Ticket, Tracker};
use crate::long_lived::Moment;
use crate::shared::Shared;
use crate::sync::{Mutex, MutexGuard};

/// A request, as its extensions carry it. A clone that outlives the request counts nothing.
#[derive(Clone)]
pub(crate) struct Context(Arc<Inner>);

struct Inner {
    tracker: Tracker,
    /// The same request as the server or layer around this one counts it.
    outer: Option<Context>,
    state: Mutex<State>,
}

struct State {
    /// Where the request's moment lies, once that is known.
    lot: Option<u64>,
    stake: Stake,
    /// Who names the request in the report, while it is in flight.
    namer: Option<Name>,
    /// Nobody waits for it.
    exempt: bool,
    /// Its arrival, until it is known whether that is traffic.
    arrival: Option<Undecided>,
    /// Its response future has been polled.
    polled: bool,
}

/// Under which number a request is named in the report, if it is, and by whom.
pub(crate) type Name = (Arc<dyn Namer>, Option<NonZero<u32>>);

/// Names requests in the report.
pub(crate) trait Namer: Send + Sync {
    /// A request lasts: Drain does not wait for it, and does not name it.
    fn lasts(&self, request: NonZero<u32>);

    /// A request is exempt: nobody waits for it, and nobody names it.
    fn becomes_exempt(&self, request: Option<NonZero<u32>>);
}

/// What a server or a layer knows of a request when it makes the request's context.
#[derive(Default)]
pub(crate) struct Known {
    /// The lot of the request's connection.
    pub(crate) lot: Option<u64>,
    pub(crate) namer: Option<Name>,
    pub(crate) exempt: bool,
    pub(crate) arrival: Arrival,
}

/// A request's ticket. Drain waits for it or, once the request is known to last, Close.
#[derive(Debug, Default)]
pub(crate) struct Stake {
    /// `None` for an exempt request.
    ticket: Option<Ticket>,
    lasts: bool,
}

impl Stake {
    pub(crate) const fn new(ticket: Option<Ticket>) -> Self {
        Stake {
            ticket,
            lasts: false,
        }
    }

    /// Moves the ticket from what Drain waits for to what Close waits for, once. Whether that was done: an exempt request has
    /// none, and in Release there is nothing to move to.
    #[cold]
    fn keep_for_close(&mut self, tracker: Tracker) -> bool {
        if !self.lasts && self.ticket.is_some() {
            // Taken before the other is dropped, so it is counted at any time.
            if let Some(long) = tracker.take(Class::Long) {
                self.ticket = Some(long);
                self.lasts = true;
            }
        }
        self.lasts
    }
}

/// How a request in flight is counted, by the one who counts it. Dropping it ends that.
#[derive(Debug)]
pub(crate) enum Counted {
    /// Nobody else can change it.
    Alone(Stake),
    /// Whoever has the request's context can let it last, or say that it is exempt.
    Shared(Owner),
}

/// The one who counts a request that has a context.
pub(crate) struct Owner(Context);

impl Counted {
    /// Puts a context into the request's extensions, and shares the ticket with it.
    #[cold]
    pub(crate) fn share(&mut self, tracker: Tracker, known: Known, extensions: &mut Extensions) {
        let Counted::Alone(stake) = self else {
            return;
        };
        let Known {
            lot,
            namer,
            exempt,
            arrival,
        } = known;
        let outer = Context::of_tracker(extensions, tracker).cloned();
        let lot = Current::new(tracker, lot).lot();
        let context = Context(Arc::new(Inner {
            tracker,
            state: Mutex::new(State {
                lot: lot.or_else(|| outer.as_ref()?.state().lot),
                stake: mem::take(stake),
                namer,
                exempt,
                arrival: Undecided::new(arrival, tracker),
                polled: false,
            }),
            outer,
        }));
        extensions.insert(context.clone());
        *self = Counted::Shared(Owner(context));
    }

    /// Lets Close wait for the request, and not Drain. `false` when that is over.
    pub(crate) fn keep_for_close(&mut self, tracker: Tracker) -> bool {
        match self {
            Counted::Alone(stake) => stake.lasts || stake.keep_for_close(tracker),
            Counted::Shared(Owner(context)) => {
                // It may be counted around this one, in another task.
                context.mark_lasting();
                context.state().stake.lasts
            }
        }
    }

    /// The request is exempt: nobody waits for it, and nobody names it.
    #[cold]
    pub(crate) fn let_go(&mut self) {
        match self {
            Counted::Alone(stake) => *stake = Stake::default(),
            Counted::Shared(Owner(context)) => context.mark_exempt(),
        }
    }

    /// Whether whoever has the request's context has said that it is exempt.
    #[inline]
    pub(crate) fn is_exempt(&self) -> bool {
        match self {
            Counted::Alone(_) => false,
            Counted::Shared(Owner(context)) => context.state().exempt,
        }
    }

    /// The request is a probe: its arrival says nothing.
    #[cold]
    pub(crate) fn mark_probe(&self) {
        if let Counted::Shared(Owner(context)) = self {
            context.mark_probe();
        }
    }

    /// Its response future has been polled. Its handler has run by then or, where it is spawned, when that is polled again.
    #[inline]
    pub(crate) fn polled(&self) {
        if let Counted::Shared(Owner(context)) = self {
            context.polled();
        }
    }

    /// Its handler has answered.
    #[inline]
    pub(crate) fn answered(&self) {
        if let Counted::Shared(Owner(context)) = self {
            context.note_arrival();
        }
    }

    /// Where the request's moment lies, if somebody has asked for it by way of the context.
    pub(crate) fn lot(&self) -> Option<u64> {
        match self {
            Counted::Alone(_) => None,
            Counted::Shared(Owner(context)) => context.state().lot,
        }
    }

    /// The request's moment was asked for on its own thread.
    pub(crate) fn set_lot(&self, lot: Option<u64>) {
        if let Counted::Shared(Owner(context)) = self {
            context.set_lot(lot);
        }
    }

    /// The request's number is about to be another one's. Gives whether the request has become exempt by then.
    #[cfg(feature = "hyper")]
    #[inline]
    pub(crate) fn unname(&mut self) -> bool {
        match self {
            Counted::Alone(_) => false,
            Counted::Shared(Owner(context)) => {
                let mut state = context.state();
                let named = (state.exempt, state.namer.take());
                drop(state);
                named.0
            }
        }
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        // Whatever it was, it is over. First: it is decided while the request is counted.
        self.0.note_arrival();
        let mut state = self.0.state();
        let over = (mem::take(&mut state.stake), state.namer.take());
        drop(state);
        drop(over);
    }
}

impl fmt::Debug for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Owner").finish_non_exhaustive()
    }
}

impl Context {
    fn of(extensions: &Extensions) -> Option<&Self> {
        extensions.get()
    }

    /// The same, if it is counted there.
    fn of_tracker(extensions: &Extensions, tracker: Tracker) -> Option<&Self> {
        Context::of(extensions).filter(|it| it.0.tracker == tracker)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        let state = &self.0.state;
        state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn handle(&self) -> Option<ShutdownHandle> {
        Current::new(self.0.tracker, None).handle()
    }

    fn moment(&self) -> Option<Moment> {
        let ShutdownHandle { shared, .. } = self.handle()?;
        let lot = self.lot(&shared);
        self.mark_lasting();
        // A layer between here and there may count the request without a context.
        Current::asked(self.0.tracker, lot);
        Some(Moment::new(Arc::clone(&shared), lot))
    }

    /// Where the request's moment lies. All that belongs to one request has one moment.
    fn lot(&self, shared: &Shared) -> u64 {
        let mut state = self.state();
        let lot = match (state.lot, &self.0.outer) {
            (Some(lot), _) => lot,
            (None, Some(outer)) => outer.lot(shared),
            (None, None) => {
                let here = Current::new(self.0.tracker, None).lot();
                here.unwrap_or_else(|| shared.draws.next())
            }
        };
        state.lot = Some(lot);
        lot
    }

    fn mark_lasting(&self) {
        if let Some(outer) = &self.0.outer {
            outer.mark_lasting();
        }
        let mut state = self.state();
        state.stake.keep_for_close(self.0.tracker);
        // Under the lock, so that the number is still the request's own.
        if let Some((namer, Some(request))) = &state.namer {
            namer.lasts(*request);
        }
    }

    fn mark_exempt(&self) {
        if let Some(outer) = &self.0.outer {
            outer.mark_exempt();
        }
        let mut state = self.state();
        if mem::replace(&mut state.exempt, true) {
            return;
        }
        // Under the lock, so that the number is still the request's own.
        if let Some((namer, request)) = &mut state.namer {
            namer.becomes_exempt(request.take());
        }
        let over = (state.arrival.take(), mem::take(&mut state.stake));
        drop(state);
        drop(over);
    }

    fn mark_probe(&self) {
        if let Some(outer) = &self.0.outer {
            outer.mark_probe();
        }
        // Under the lock: while the request is counted.
        self.state().arrival = None;
    }

    fn set_lot(&self, lot: Option<u64>) {
        if let Some(outer) = &self.0.outer {
            outer.set_lot(lot);
        }
        let mut state = self.state();
        state.lot = state.lot.or(lot);
    }

    fn polled(&self) {
        let before = mem::replace(&mut self.state().polled, true);
        if before {
            self.note_arrival();
        }
    }

    /// Nobody has said that it is no traffic.
    fn note_arrival(&self) {
        let arrival = self.state().arrival.take();
        if let Some(arrival) = arrival {
            arrival.note();
        }
    }
}

/// The request with these extensions is exempt: see [`traffic`](crate::http::traffic).
pub(crate) fn mark_exempt(extensions: &Extensions) {
    if let Some(context) = Context::of(extensions) {
        context.mark_exempt();
    }
    Current::mark_exempt();
}

/// The request with these extensions is a probe that counts: its arrival says nothing about routing.
#[cfg(feature = "tonic")]
pub(crate) fn mark_probe(extensions: &Extensions) {
    if let Some(context) = Context::of(extensions) {
        context.mark_probe();
    }
    Current::mark_probe();
}

/// A layer exempts the request with these extensions, for whoever counts it there.
#[cold]
pub(crate) fn exempt_around(extensions: &Extensions, tracker: Tracker) {
    if let Some(context) = Context::of_tracker(extensions, tracker) {
        context.mark_exempt();
    }
}

/// Whether the request with these extensions is exempt for whoever counts it there, be it in another task.
#[cold]
pub(crate) fn is_exempt_around(extensions: &Extensions, tracker: Tracker) -> bool {
    Context::of_tracker(extensions, tracker).is_some_and(|it| it.state().exempt)
}

/// The request with these extensions lasts.
#[cold]
pub(crate) fn mark_lasting(extensions: &Extensions) {
    if let Some(context) = Context::of(extensions) {
        context.mark_lasting();
    }
    Current::mark_lasting();
}

impl ShutdownHandle {
    /// The handle of the server or the [`DrainLayer`](crate::DrainLayer) that a request came through, by the request's
    /// extensions: those of an `http::Request`, of axum's `Parts`, or of a `tonic::Request`.
    ///
    /// With the setting `context_in_extensions` of the server or the layer this works in any task; without it, only where
    /// [`ShutdownHandle::current`] does.
    #[must_use]
    pub fn of(extensions: &Extensions) -> Option<Self> {
        match Context::of(extensions) {
            Some(context) => context.handle(),
            None => ShutdownHandle::current(),
        }
    }
}

impl Moment {
    /// The moment of a request's connection, by the request's extensions: those of an `http::Request`, of axum's `Parts`, or of
    /// a `tonic::Request`. Under somebody else's server, whose connections are not known, the request's own.
    ///
    /// With the setting `context_in_extensions` of the server or the layer this works in any task: in a handler that a
    /// middleware spawns, that tower's `Buffer` calls, or that runs in a `LocalSet`. Without it, only where
    /// [`Moment::current`] does.
    ///
    /// Who asks says that the request lasts, as with [`Moment::current`]. In a task of its own that takes effect at once: Drain
    /// does not wait for the request from then on.
    ///
    /// ```
    /// use http::Request;
    /// use lameduck::Moment;
    ///
    /// /// Any service that takes an `http::Request`.
    /// async fn poll<B>(request: Request<B>) -> &'static str {
    ///     let moment = Moment::of(request.extensions()).expect("served by lameduck");
    ///     moment.await; // or news, whatever comes first
    ///     "nothing new"
    /// }
    /// ```
    #[must_use]
    pub fn of(extensions: &Extensions) -> Option<Self> {
        match Context::of(extensions) {
            Some(context) => context.moment(),
            None => Moment::current(),
        }
    }
}

#[cfg(all(test, not(lameduck_loom)))]
mod tests {
    use super::*;

    // It lies in what is held for each request, and nearly always nobody shares it.
    #[test]
    fn what_may_be_shared_is_no_larger_than_what_is_not() {
        assert_eq!(size_of::<Counted>(), size_of::<Stake>());
    }
}
