//! A moment of one's own: when something that lasts is told to end.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::time::{Instant, Sleep, sleep_until};
use tokio_util::sync::WaitForCancellationFutureOwned;

use super::notices::Told;
use super::spread;
use crate::handle::ShutdownHandle;
use crate::phase::Phase;
use crate::shared::Shared;

impl ShutdownHandle {
    /// A moment in the spread of long connections, drawn for the caller: for what lasts and has no connection of ours.
    ///
    /// In a handler [`Moment::current`] is the connection's own.
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
/// Where it comes from: [`Moment::current`] in a handler, the axum extractor (feature `axum`), or
/// [`ShutdownHandle::moment`]. All that belongs to one connection of ours has the same moment, and so has a clone.
///
/// A moment never comes when the coordinator is not run.
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
    state: State,
}

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
            shared,
            lot,
            state: State::Waiting(Box::pin(begun.cancelled_owned())),
        }
    }

    #[cfg(feature = "tower")]
    pub(crate) const fn lot(&self) -> u64 {
        self.lot
    }

    #[cfg(any(feature = "tower", feature = "net"))]
    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }

    /// When it comes, as soon as that is known: when its phase has begun.
    pub(crate) fn at(&self) -> Option<Instant> {
        let plan = &self.shared.plan;
        let begun = self.shared.progress.begun_at(plan.long_phase())?;
        Some(begun + spread::moment(plan.long_spread(), self.lot))
    }

    fn told(&self) -> Told {
        let progress = &self.shared.progress;
        let known = progress.trigger().zip(progress.deadline(Phase::Close));
        let (trigger, deadline) = known.expect("a phase begins after the trigger");
        Told {
            reason: trigger.reason.clone(),
            deadline,
        }
    }
}

impl Future for Moment {
    type Output = Told;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Told> {
        loop {
            let next = match &mut self.state {
                State::Waiting(begun) => {
                    ready!(begun.as_mut().poll(cx));
                    match self.at() {
                        Some(at) if at > Instant::now() => State::Near(Box::pin(sleep_until(at))),
                        _ => State::Come,
                    }
                }
                State::Near(sleep) => {
                    ready!(sleep.as_mut().poll(cx));
                    State::Come
                }
                State::Come => return Poll::Ready(self.told()),
            };
            if let State::Come = next {
                self.shared.notices.tell(self.lot);
            }
            self.state = next;
        }
    }
}

impl Clone for Moment {
    fn clone(&self) -> Self {
        Moment::new(Arc::clone(&self.shared), self.lot)
    }
}

impl fmt::Debug for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Moment")
            .field("at", &self.at())
            .finish_non_exhaustive()
    }
}
