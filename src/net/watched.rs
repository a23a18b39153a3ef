//! Driving one connection: telling it when its time has come, and waiting for its client no longer than it should.

use std::fmt;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use pin_project_lite::pin_project;
use tokio::task::yield_now;
use tokio::time::{Instant, Sleep, sleep_until};

use super::connection::Connection;
use super::exit::{Act, Look};
use super::graceful::{GracefulConnection, sealed::Token};

pin_project! {
    /// A connection that is counted, asked to close at its moment, and cut at Close's deadline.
    ///
    /// Its output is the connection's own, or `None` when it was cut.
    #[must_use = "a connection is only served while this is polled"]
    pub struct Watched<C> {
        // Above the state: what it still holds is dropped before the connection counts as gone.
        #[pin]
        connection: Option<C>,
        // Whether its output has been given, or it was dropped.
        over: bool,
        // Made when there is something to wait for; then it may go off for nothing, which costs less than stopping it.
        timer: Option<Pin<Box<Sleep>>>,
        waker: Option<Waker>,
        state: Arc<Connection>,
    }

    impl<C> PinnedDrop for Watched<C> {
        fn drop(this: Pin<&mut Self>) {
            let this = this.project();
            // The state of an upgraded connection outlives this one's task.
            this.state.cut.forget_driver();
            // A handler's panic is its own affair, and has been logged.
            if !*this.over && !std::thread::panicking() {
                this.state.abandoned();
            }
        }
    }
}

const POLLED_AGAIN: &str = "polled after it was over";

impl<C> Watched<C> {
    pub(crate) fn new(connection: C, state: Arc<Connection>) -> Self {
        Watched {
            connection: Some(connection),
            over: false,
            timer: None,
            waker: None,
            state,
        }
    }
}

impl<C: GracefulConnection> Watched<C> {
    /// Whether this is normal service, in which nobody is cut, and whoever ends it wakes this task: one comparison, because
    /// the task hardly ever changes, and two loads.
    #[inline]
    fn is_undisturbed(&self, waker: &Waker) -> bool {
        let known = self.waker.as_ref().is_some_and(|old| old.will_wake(waker));
        known && self.state.is_serving() && !self.state.is_disturbed()
    }

    /// Makes sure that the coordinator, and whoever ends a request, wakes this task. Breaks when it is cut.
    #[cold]
    fn register(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.as_mut().project();
        // Before anything is looked at: what changes after the look wakes this task.
        this.state.cut.register(cx.waker());
        // Later it is done each time: waking uses the waker up.
        let stays = this.state.is_serving() && !this.state.is_disturbed();
        *this.waker = stays.then(|| cx.waker().clone());
        match this.state.cut.is_cut() {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    }

    /// Does what is to be done now; then says until when to wait, or that the connection is over. `polled` is whether the
    /// connection has done what it can.
    #[cold]
    fn attend(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut polled: bool,
    ) -> Poll<Option<C::Output>> {
        loop {
            let this = self.as_mut().project();
            let mut connection = this.connection.as_pin_mut().expect(POLLED_AGAIN);
            match this.state.look() {
                Look::Do(Act::Ask) => connection.as_mut().ask(Token),
                Look::Do(Act::End) => connection.as_mut().end(Token),
                Look::Do(Act::AskSocket) => {
                    this.state.ask_socket();
                    continue;
                }
                Look::Do(Act::Drop) => return self.end(),
                Look::Do(Act::Cut) => {
                    this.state.outlived();
                    return self.end();
                }
                Look::Do(Act::Poll) => {}
                Look::Until(due) if polled => match due {
                    None => return Poll::Pending,
                    Some(due) => {
                        ready!(self.as_mut().poll_timer(cx, due));
                        continue;
                    }
                },
                Look::Until(_) => {}
            }
            if this.state.ends() && this.state.is_to_look_again() {
                look_again(this.state);
            } else if let Poll::Ready(output) = connection.poll(cx) {
                *this.over = true;
                return Poll::Ready(Some(output));
            }
            polled = true;
        }
    }

    /// Drops the connection.
    #[cold]
    fn end(self: Pin<&mut Self>) -> Poll<Option<C::Output>> {
        let mut this = self.project();
        *this.over = true;
        this.connection.set(None);
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
}

/// Wakes the connection's task when the runtime's driver has been polled, and lets its exit know that: others may wake the task
/// before.
///
/// tokio says from what it remembers that a socket is dry, and asks the operating system only after an event. What has arrived
/// since the last one, or before a socket was registered, is seen when the driver has been polled: that is what `yield_now`
/// waits for.
pub(crate) fn look_again(state: &Arc<Connection>) {
    let waker = Waker::from(Arc::clone(state));
    // What it keeps for its second poll is kept in the machine.
    let yielded = pin!(yield_now()).poll(&mut Context::from_waker(&waker));
    debug_assert!(yielded.is_pending(), "it yields once");
}

impl<C: GracefulConnection> Future for Watched<C> {
    type Output = Option<C::Output>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if !self.is_undisturbed(cx.waker()) {
            if self.as_mut().register(cx).is_ready() {
                return self.end();
            }
            if !self.state.is_serving() || self.state.is_disturbed() {
                return self.attend(cx, false);
            }
        }
        let this = self.as_mut().project();
        let connection = this.connection.as_pin_mut().expect(POLLED_AGAIN);
        if let Poll::Ready(output) = connection.poll(cx) {
            *this.over = true;
            return Poll::Ready(Some(output));
        }
        match this.state.waits() {
            true => self.attend(cx, true),
            false => Poll::Pending,
        }
    }
}

impl<C> fmt::Debug for Watched<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watched")
            .field("over", &self.over)
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

    use super::super::exit::{Protocol, Receiving};
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

    #[tokio::test(start_paused = true)]
    async fn connection_that_waits_for_its_clients_end_is_not_woken_for_close_but_for_the_cut() {
        for lingers in [false, true] {
            let shutdown = ShutdownCoordinator::new(Plan::immediate());
            let group = Group::new(&shutdown.handle(), true, Terms::default());
            let state = group.open("a peer").expect("nothing is over");
            let mut task = task::spawn(Watched::new(Raw::new(pending::<()>()), Arc::clone(&state)));
            assert_pending!(task.poll());
            if lingers {
                state.shut(None);
            }

            let shared = &state.handle.shared;
            shared.trigger("the test says so".into());
            assert!(task.is_woken());
            assert_pending!(task.poll());
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
        state.tell(|exit| {
            exit.set_protocol(Protocol::Http1);
            exit.receiving(Receiving::Head);
        });
        let watched = Watched::new(Raw::new(pending::<()>()), Arc::clone(&state));
        let mut task = task::spawn(watched);
        assert_pending!(task.poll());
        advance(limit).await;
        assert_pending!(task.poll());
        assert!(state.ends());

        // Its requests are over, one after the other.
        for _ in 0..2 {
            state.cut.wake();
            assert!(task.is_woken());
            assert_pending!(task.poll());
        }
        assert!(!state.handle.is_shutting_down());
        state.cut.cut();
        assert!(task.is_woken());
        assert!(assert_ready!(task.poll()).is_none());
    }
}
