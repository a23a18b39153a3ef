//! Driving one connection, and telling it when its time has come.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep, sleep_until};

use super::graceful::{GracefulConnection, sealed::Token};
use super::spread;
use super::state::Connection;
use crate::drain::SERVING;
use crate::handle::ShutdownHandle;
use crate::phase::Phase;

/// A connection that was opened a moment ago is about to be used: a GOAWAY that comes before its first request would send
/// the client away with nothing, to open the next one, which gets the same.
const FRESH: Duration = Duration::from_secs(1);

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
        // Only there once the shutdown has begun: a connection in normal service has no timer.
        timer: Option<Pin<Box<Sleep>>>,
        waker: Option<Waker>,
        state: Arc<Connection>,
    }
}

/// How far a connection has come.
#[derive(Clone, Copy, Debug)]
enum Course {
    /// Normal service.
    Serving,
    /// The shutdown has begun; its own moment comes at `moment`.
    Waiting { moment: Instant },
    /// Its moment has come: HTTP/1 responses say close. HTTP/2 gets its GOAWAY as soon as it is not fresh.
    Asking,
    /// It has been asked to close, and goes on serving.
    Asked,
    /// Close has begun: it closes when it is still idle at `until`.
    Lingering { until: Instant },
    /// It closes as soon as it is idle.
    Ending,
}

impl<C> Watched<C> {
    pub(super) fn new(connection: C, state: Arc<Connection>) -> Self {
        Watched {
            connection: Some(connection),
            course: Course::Serving,
            timer: None,
            waker: None,
            state,
        }
    }
}

impl<C: GracefulConnection> Watched<C> {
    /// Takes every step whose time has come. Returns when the next one is due.
    fn advance(self: Pin<&mut Self>) -> Option<Instant> {
        let this = self.project();
        let (state, mut connection) = (this.state, this.connection.as_pin_mut()?);
        if state.handle.shared.tracker().stage() == SERVING || !state.is_counted() {
            return None;
        }
        let now = Instant::now();
        loop {
            match *this.course {
                Course::Serving => {
                    let t0 = state.handle.shared.t0().unwrap_or(now);
                    // From the whole window, however late it came: those that come after their moment are asked at once.
                    let moment = t0 + spread::draw(state.handle.plan().spread());
                    *this.course = Course::Waiting { moment };
                }
                Course::Waiting { moment } => {
                    if now < moment && !in_close(&state.handle) {
                        return Some(moment);
                    }
                    state.say_close();
                    *this.course = Course::Asking;
                }
                Course::Asking => {
                    let fresh_until = state.since + FRESH.min(state.handle.plan().linger());
                    if now < fresh_until && !state.is_requested() {
                        return Some(fresh_until);
                    }
                    connection.as_mut().ask(Token);
                    *this.course = Course::Asked;
                }
                Course::Asked => {
                    if !in_close(&state.handle) {
                        return None;
                    }
                    let until = now + state.handle.plan().linger();
                    *this.course = Course::Lingering { until };
                }
                Course::Lingering { until } => {
                    if now < until {
                        return Some(until);
                    }
                    state.end();
                    connection.as_mut().end(Token);
                    *this.course = Course::Ending;
                }
                Course::Ending => return None,
            }
        }
    }

    /// Whether the next step is due already. If not, this task is woken for it.
    fn poll_timer(self: Pin<&mut Self>, cx: &mut Context<'_>, due: Instant) -> Poll<()> {
        let timer = self
            .project()
            .timer
            .get_or_insert_with(|| Box::pin(sleep_until(due)));
        if timer.deadline() != due {
            timer.as_mut().reset(due);
        }
        timer.as_mut().poll(cx)
    }

    /// Makes sure that the coordinator wakes this task. In normal service that is one comparison when the task has not
    /// changed, which it hardly ever does. Later it is done anew each time: waking has used the waker up.
    fn register(self: Pin<&mut Self>, waker: &Waker) {
        let this = self.project();
        let serving = this.state.handle.shared.tracker().stage() == SERVING;
        if !serving || !this.waker.as_ref().is_some_and(|old| old.will_wake(waker)) {
            this.state.task.register(waker);
            *this.waker = Some(waker.clone());
        }
    }
}

impl<C: GracefulConnection> Future for Watched<C> {
    type Output = Option<C::Output>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // Registered before anything is looked at: what changes after the look wakes this task.
        self.as_mut().register(cx.waker());
        while let Some(due) = self.as_mut().advance() {
            if self.as_mut().poll_timer(cx, due).is_pending() {
                break;
            }
        }

        let mut this = self.project();
        if this.state.is_cut() {
            this.connection.set(None);
            return Poll::Ready(None);
        }
        match this.connection.as_mut().as_pin_mut() {
            Some(connection) => connection.poll(cx).map(Some),
            None => Poll::Ready(None),
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

/// Whether Close has begun, or is over.
fn in_close(handle: &ShutdownHandle) -> bool {
    handle.phase() >= Some(Phase::Close)
}
