//! Driving one connection: telling it when its time has come, and waiting for its client no longer than it should.

use std::fmt;
use std::ops::ControlFlow;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep, sleep_until};

use super::connection::{Awaits, Connection, Pong};
use super::course::Course;
use super::graceful::GracefulConnection;
use super::patience::Patience;

pin_project! {
    /// A connection that is counted, asked to close at its moment, and cut at Close's deadline.
    ///
    /// Its output is the connection's own, or `None` when it was cut.
    #[must_use = "a connection is only served while this is polled"]
    pub struct Watched<C> {
        // Above the state: what it still holds is dropped before the connection counts as gone.
        #[pin]
        connection: Option<C>,
        course: Course,
        patience: Patience,
        // Made when there is something to wait for; then it may go off for nothing, which costs less than stopping it.
        timer: Option<Pin<Box<Sleep>>>,
        waker: Option<Waker>,
        state: Arc<Connection>,
    }

    impl<C> PinnedDrop for Watched<C> {
        // The state of an upgraded connection outlives this one's task.
        fn drop(this: Pin<&mut Self>) {
            this.state.cut.forget_driver();
        }
    }
}

const POLLED_AGAIN: &str = "polled after it was over";

impl<C> Watched<C> {
    pub(crate) fn new(connection: C, state: Arc<Connection>) -> Self {
        Watched {
            connection: Some(connection),
            course: Course::default(),
            patience: Patience::default(),
            timer: None,
            waker: None,
            state,
        }
    }
}

impl<C: GracefulConnection> Watched<C> {
    /// Whether this is normal service, in which nobody is cut, and whoever ends it wakes this task: one comparison, because
    /// the task hardly ever changes, and one load.
    #[inline]
    fn is_undisturbed(&self, waker: &Waker) -> bool {
        let known = self.waker.as_ref().is_some_and(|old| old.will_wake(waker));
        known && self.state.is_serving()
    }

    /// Makes sure that the coordinator wakes this task, then takes the steps whose time has come. Returns when the next one is
    /// due; breaks when the connection is not to be polled: it is cut, or it could only say that its socket looks dry.
    #[cold]
    fn attend(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> ControlFlow<Poll<Option<C::Output>>, Option<Instant>> {
        let this = self.as_mut().project();
        // Before anything is looked at: what changes after the look wakes this task.
        this.state.cut.register(cx.waker());
        let serving = this.state.is_serving();
        // Later it is done each time: waking uses the waker up.
        let stays = serving && !this.state.asked.is_ending();
        *this.waker = stays.then(|| cx.waker().clone());
        if this.state.cut.is_cut() {
            return ControlFlow::Break(self.end());
        }
        if serving {
            return ControlFlow::Continue(None);
        }
        let connection = this.connection.as_pin_mut().expect(POLLED_AGAIN);
        let step = this.course.advance(this.state, connection);
        if this.state.should_end_by_io() && this.state.asked.poll_driven(cx).is_pending() {
            return ControlFlow::Break(Poll::Pending);
        }
        ControlFlow::Continue(step)
    }

    /// Lets the connection do what it can, and says until when to wait then: for its next `step`, or for its client.
    #[inline]
    fn poll_connection(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        step: Option<Instant>,
    ) -> ControlFlow<C::Output, Option<Instant>> {
        let this = self.project();
        let connection = this.connection.as_pin_mut().expect(POLLED_AGAIN);
        if let Poll::Ready(output) = connection.poll(cx) {
            return ControlFlow::Break(output);
        }
        ControlFlow::Continue(match this.patience.due(this.state, this.course) {
            None => step,
            client => step.into_iter().chain(client).min(),
        })
    }

    /// Waits until it is `due`, then gives the client up, or takes the next step.
    #[cold]
    fn poll_due(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        due: Instant,
    ) -> Poll<Option<C::Output>> {
        ready!(self.as_mut().poll_timer(cx, due));
        if self.as_mut().give_up() {
            return self.end();
        }
        // Polled again, and not from here: a request passes a poll that has no loop faster.
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Drops the connection.
    #[cold]
    fn end(self: Pin<&mut Self>) -> Poll<Option<C::Output>> {
        self.project().connection.set(None);
        Poll::Ready(None)
    }

    /// Ready when it is `due`, or earlier: the timer may be set for what has been over since.
    fn poll_timer(self: Pin<&mut Self>, cx: &mut Context<'_>, due: Instant) -> Poll<()> {
        let timer = self
            .project()
            .timer
            .get_or_insert_with(|| Box::pin(sleep_until(due)));
        if timer.deadline() > due || timer.is_elapsed() {
            timer.as_mut().reset(due);
        }
        timer.as_mut().poll(cx)
    }

    /// The client has been waited for long enough. Returns whether the connection is to be dropped for it.
    fn give_up(self: Pin<&mut Self>) -> bool {
        let this = self.project();
        let over = this.patience.due(this.state, this.course);
        if over.is_none_or(|due| Instant::now() < due) {
            return false;
        }
        let Some(awaits) = this.patience.give_up() else {
            return false;
        };
        let connection = this.state.name();
        tracing::debug!(target: "lameduck", connection, ?awaits, "waited long enough");
        match awaits {
            Awaits::FirstByte | Awaits::Preface | Awaits::Head => {
                this.state.asked.give_up();
                // From now on it is woken also by its requests' ends.
                *this.waker = None;
            }
            Awaits::Pong => this.state.set_pong(Pong::Overdue),
            Awaits::Handshake | Awaits::End => return true,
        }
        false
    }
}

impl<C: GracefulConnection> Future for Watched<C> {
    type Output = Option<C::Output>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let step = match self.is_undisturbed(cx.waker()) {
            true => None,
            false => match self.as_mut().attend(cx) {
                ControlFlow::Continue(step) => step,
                ControlFlow::Break(poll) => return poll,
            },
        };
        match self.as_mut().poll_connection(cx, step) {
            ControlFlow::Continue(None) => Poll::Pending,
            ControlFlow::Continue(Some(due)) => self.poll_due(cx, due),
            ControlFlow::Break(output) => Poll::Ready(Some(output)),
        }
    }
}

impl<C> fmt::Debug for Watched<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watched")
            .field("course", &self.course)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::time::Duration;

    use tokio::sync::oneshot;
    use tokio::time::advance;
    use tokio_test::{assert_pending, assert_ready, task};

    use super::super::connection::Protocol;
    use super::super::group::Group;
    use super::super::raw::Raw;
    use super::super::terms::Terms;
    use super::super::timeouts::Timeouts;
    use super::*;
    use crate::phase::Phase;
    use crate::{Plan, ShutdownCoordinator};

    #[test]
    fn state_that_outlives_the_task_does_not_keep_it() {
        let shutdown = ShutdownCoordinator::new(Plan::immediate());
        let group = Group::new(&shutdown.handle(), true, Terms::default());
        let state = group.open("a peer").expect("nothing is over");
        let (upgrade, upgraded) = oneshot::channel();
        let watched = Watched::new(Raw::new(upgraded), Arc::clone(&state));
        let mut task = task::spawn(async { watched.await.is_some() });

        assert_pending!(task.poll());
        let while_driven = task.waker_ref_count();
        upgrade.send(()).expect("it is waited for");
        assert!(assert_ready!(task.poll()));

        assert!(while_driven > 1);
        // The task's own.
        assert_eq!(task.waker_ref_count(), 1);
        drop(state);
    }

    #[test]
    fn connection_that_waits_for_its_clients_end_is_woken_for_no_phase_but_for_the_cut() {
        for lingers in [false, true] {
            let shutdown = ShutdownCoordinator::new(Plan::immediate());
            let group = Group::new(&shutdown.handle(), true, Terms::default());
            let state = group.open("a peer").expect("nothing is over");
            let mut task = task::spawn(Watched::new(Raw::new(pending::<()>()), Arc::clone(&state)));
            assert_pending!(task.poll());
            if lingers {
                state.linger();
            }

            let shared = &state.handle.shared;
            shared.trigger("the test says so".into());
            assert_eq!(task.is_woken(), !lingers);
            shared.enter(Phase::Close);
            assert_eq!(task.is_woken(), !lingers);
            shared.cut();
            assert!(task.is_woken());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn connection_that_was_given_up_is_woken_by_its_requests_and_by_the_cut() {
        let shutdown = ShutdownCoordinator::new(Plan::immediate());
        let limit = Duration::from_secs(1);
        let timeouts = Timeouts::new().head(limit, limit);
        let group = Group::new(&shutdown.handle(), true, Terms::from(timeouts));
        let state = group.open("a peer").expect("nothing is over");
        state.set_protocol(Protocol::Http1);
        state.received(b"G");
        let watched = Watched::new(Raw::new(pending::<()>()), Arc::clone(&state));
        let mut task = task::spawn(watched);
        assert_pending!(task.poll());
        advance(limit).await;
        assert_pending!(task.poll());
        assert!(state.asked.is_ending());

        // Its requests are over, one after the other.
        for _ in 0..2 {
            state.cut.wake();
            assert!(task.is_woken());
            assert_pending!(task.poll());
        }
        assert!(!state.handle.is_shutting_down());
        assert!(task.course.leaving(&state).is_none());
        state.cut.cut();
        assert!(task.is_woken());
        assert!(assert_ready!(task.poll()).is_none());
    }
}
