//! A moment of one's own: when something that lasts is told to end.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};
use tokio_util::sync::WaitForCancellationFutureOwned;

use super::ages::Limit;
use super::notices::Told;
use super::spread;
use crate::handle::ShutdownHandle;
use crate::phase::Phase;
use crate::reason::Reason;
use crate::shared::Shared;

impl ShutdownHandle {
    /// A moment in the spread of long connections, drawn for the caller: for what lasts and has no connection of ours.
    ///
    /// In a handler [`Moment::of`] is the connection's own.
    pub fn moment(&self) -> Moment {
        Moment::new(Arc::clone(&self.shared), self.shared.draws.next())
    }
}

/// When to end something that lasts: a future that is ready at a moment of its own in the spread of long connections.
///
/// Ten thousand WebSockets that are told at once come back at once, somewhere else. So each is told at its own moment: by
/// default in the first half of [`Phase::Close`](crate::Phase::Close); [`PlanBuilder::long_phase`] and
/// [`PlanBuilder::long_spread`] set it. It gives what there is to know: [`Told`].
///
/// ```
/// # use axum::extract::ws::{CloseFrame, Message, WebSocket};
/// use lameduck::{Moment, close_websocket};
///
/// /// Echoes, until the client leaves or it is time to leave.
/// async fn chat(mut socket: WebSocket, mut moment: Moment) {
///     loop {
///         tokio::select! {
///             message = socket.recv() => match message {
///                 Some(Ok(message)) => if socket.send(message).await.is_err() { return },
///                 _ => return,
///             },
///             told = &mut moment => {
///                 let restart = CloseFrame { code: 1012, reason: "service restart".into() };
///                 close_websocket(&mut socket, Message::Close(Some(restart)), &told).await;
///                 return;
///             }
///         }
///     }
/// }
/// ```
///
/// Where it comes from: in a handler the axum extractor (feature `axum`), [`Moment::of`] or [`Moment::current`]; elsewhere
/// [`ShutdownHandle::moment`]. All that belongs to one connection of ours has the same moment, and so has a clone.
///
/// In normal service it comes when the connection's age is over, if its server
/// [limits that](crate::Server::max_connection_age); [`Told::reason`] says so. Otherwise a moment never comes when the coordinator
/// is not run.
///
/// # Cancel safety
///
/// Cancel safe, and `Unpin`: poll it by reference in a loop. Once it was ready it is ready whenever it is asked.
///
/// [`PlanBuilder::long_phase`]: crate::PlanBuilder::long_phase
/// [`PlanBuilder::long_spread`]: crate::PlanBuilder::long_spread
#[must_use = "futures do nothing unless polled"]
pub struct Moment {
    shared: Arc<Shared>,
    lot: u64,
    /// The age of its connection, if that has one, and who waits for it.
    age: Option<Limit>,
    aging: Option<Pin<Box<Sleep>>>,
    /// Only the age of its connection lets it come: no shutdown waits for whoever asks.
    only_age: bool,
    state: State,
    /// It came before a shutdown, because of the age.
    before: bool,
}

/// What has no deadline has one that is this far away.
const NEVER: Duration = Duration::from_secs(30 * 365 * 24 * 60 * 60);

enum State {
    /// Its phase has not begun.
    Waiting(Pin<Box<WaitForCancellationFutureOwned>>),
    /// It lies in the phase that runs.
    Near(Pin<Box<Sleep>>),
    Come,
}

impl Moment {
    pub(crate) fn new(shared: Arc<Shared>, lot: u64) -> Self {
        let begun = shared.progress.begun(shared.plan.long_phase()).clone();
        Moment {
            age: shared.ages.limit(lot),
            shared,
            lot,
            aging: None,
            only_age: false,
            state: State::Waiting(Box::pin(begun.cancelled_owned())),
            before: false,
        }
    }

    /// The same without a shutdown's part: it comes when the age of its connection is over. `None` if that has none.
    #[cfg(feature = "tower")]
    pub(crate) fn of_age(self) -> Option<Self> {
        self.age?;
        Some(Moment {
            only_age: true,
            ..self
        })
    }

    /// The moment in a shutdown, for what has been told before that, because of its connection's age, and goes on.
    #[cfg(feature = "net")]
    pub(crate) fn of_shutdown(&self) -> Option<Moment> {
        self.before.then(|| Moment {
            age: None,
            ..Moment::new(Arc::clone(&self.shared), self.lot)
        })
    }

    #[cfg(feature = "tower")]
    pub(crate) const fn lot(&self) -> u64 {
        self.lot
    }

    #[cfg(any(feature = "tower", feature = "net"))]
    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }

    /// Whether it may have come: in normal service only its connection's age lets it come.
    #[cfg(feature = "tower")]
    pub(crate) fn may_have_come(&self) -> bool {
        let aged = self.age.is_some_and(|age| age.at <= Instant::now());
        aged || !(self.only_age || self.shared.tracker().is_serving())
    }

    /// When it comes in a shutdown, as soon as that is known: when its phase has begun.
    pub(crate) fn at(&self) -> Option<Instant> {
        let plan = &self.shared.plan;
        let begun = self.shared.progress.begun_at(plan.long_phase())?;
        Some(begun + spread::moment(plan.long_spread(), self.lot))
    }

    /// Whether it comes because of its connection's age: that is over before the shutdown's moment.
    fn is_aged(&self) -> bool {
        let shutdown = self.at().filter(|_| !self.only_age);
        self.age
            .is_some_and(|age| shutdown.is_none_or(|at| age.at <= at))
    }

    fn told(&self) -> Told {
        let progress = &self.shared.progress;
        let closes = progress.deadline(Phase::Close);
        let cut = self.age.and_then(|age| age.cut);
        let deadline = closes.into_iter().chain(cut).min();
        let age = self.age.filter(|_| self.is_aged());
        Told {
            reason: match (age, progress.trigger()) {
                (Some(_), _) => Reason::ConnectionAge,
                (None, trigger) => {
                    let trigger = trigger.expect("a phase begins after the trigger");
                    trigger.reason.clone()
                }
            },
            deadline: deadline.unwrap_or_else(|| Instant::now() + NEVER),
        }
    }

    /// It has come: counts that.
    fn tell(&mut self) {
        self.before = self.shared.tracker().is_serving();
        match self.only_age || self.before {
            // No shutdown is to find it in its report.
            true => self.shared.ages.tell(self.lot),
            false => self.shared.notices.tell(self.lot),
        }
    }

    /// The next state, as a shutdown goes on.
    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<State> {
        match &mut self.state {
            State::Waiting(begun) => {
                ready!(begun.as_mut().poll(cx));
                Poll::Ready(match self.at() {
                    Some(at) if at > Instant::now() => State::Near(Box::pin(sleep_until(at))),
                    _ => State::Come,
                })
            }
            State::Near(sleep) => sleep.as_mut().poll(cx).map(|()| State::Come),
            State::Come => Poll::Ready(State::Come),
        }
    }

    /// Ready when the age of its connection is over.
    fn poll_age(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(Limit { at, .. }) = self.age else {
            return Poll::Pending;
        };
        let aging = self.aging.get_or_insert_with(|| Box::pin(sleep_until(at)));
        aging.as_mut().poll(cx)
    }
}

impl Future for Moment {
    type Output = Told;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Told> {
        loop {
            if let State::Come = self.state {
                return Poll::Ready(self.told());
            }
            let next = match self.poll_age(cx) {
                Poll::Ready(()) => State::Come,
                Poll::Pending if self.only_age => return Poll::Pending,
                Poll::Pending => ready!(self.poll_shutdown(cx)),
            };
            if let State::Come = next {
                self.tell();
            }
            self.state = next;
        }
    }
}

impl Clone for Moment {
    fn clone(&self) -> Self {
        Moment {
            // The connection may be gone, and its age with it.
            age: self.age,
            only_age: self.only_age,
            ..Moment::new(Arc::clone(&self.shared), self.lot)
        }
    }
}

impl fmt::Debug for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Moment")
            .field("at", &self.at())
            .finish_non_exhaustive()
    }
}
