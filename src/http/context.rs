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
    /// Who names the request in the report, and under which number, while it is in flight.
    namer: Option<(Arc<dyn Namer>, NonZero<u32>)>,
}

/// Names requests in the report.
pub(crate) trait Namer: Send + Sync {
    /// A request lasts: Drain does not wait for it, and does not name it.
    fn lasts(&self, request: NonZero<u32>);
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
    /// Whoever has the request's context can let it last.
    Shared(Owner),
}

/// The one who counts a request that has a context.
pub(crate) struct Owner(Context);

impl Counted {
    /// Puts a context into the request's extensions, and shares the ticket with it. `lot` is the connection's, if it is known.
    #[cold]
    pub(crate) fn share(
        &mut self,
        tracker: Tracker,
        lot: Option<u64>,
        namer: Option<(Arc<dyn Namer>, NonZero<u32>)>,
        extensions: &mut Extensions,
    ) {
        let Counted::Alone(stake) = self else {
            return;
        };
        let outer = extensions.get::<Context>();
        let context = Context(Arc::new(Inner {
            tracker,
            outer: outer.filter(|it| it.0.tracker == tracker).cloned(),
            state: Mutex::new(State {
                lot: Current::new(tracker, lot).lot(),
                stake: mem::take(stake),
                namer,
            }),
        }));
        extensions.insert(context.clone());
        *self = Counted::Shared(Owner(context));
    }

    /// Lets Close wait for the request, and not Drain. `false` when that is over.
    pub(crate) fn keep_for_close(&mut self, tracker: Tracker) -> bool {
        match self {
            Counted::Alone(stake) => stake.lasts || stake.keep_for_close(tracker),
            Counted::Shared(Owner(context)) => context.state().stake.keep_for_close(tracker),
        }
    }

    /// The request is exempt: nobody waits for it, and nobody names it.
    #[cold]
    pub(crate) fn let_go(&mut self) {
        match self {
            Counted::Alone(stake) => *stake = Stake::default(),
            Counted::Shared(owner) => owner.let_go(),
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
            let mut state = context.state();
            state.lot = state.lot.or(lot);
        }
    }

    /// The request's number is about to be another one's.
    #[cfg(feature = "hyper")]
    #[inline]
    pub(crate) fn unname(&mut self) {
        if let Counted::Shared(Owner(context)) = self {
            drop(context.state().namer.take());
        }
    }
}

impl Owner {
    fn let_go(&self) {
        let mut state = self.0.state();
        let over = (mem::take(&mut state.stake), state.namer.take());
        drop(state);
        drop(over);
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.let_go();
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
        if let Some((namer, request)) = &state.namer {
            namer.lasts(*request);
        }
    }
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
