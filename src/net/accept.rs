//! The accept loop: from a listener's first connection to its close.

use std::fmt::{self, Debug};
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};
use tokio_util::sync::WaitForCancellationFutureOwned;

use super::group::Group;
use super::listener::{Accept, is_about_one_connection, passes_with_time};
use super::shortage::Shortages;
use super::socket::SocketOptions;
use crate::in_flight::Ticket;

/// How long nothing is accepted when the process is out of file descriptors or memory.
const OUT_OF_RESOURCES: Duration = Duration::from_millis(100);

/// Whether others hold a listener is looked at twice, if they seem to: a child that has just been forked holds all descriptors
/// until it has its own program.
const BETWEEN_LOOKS: Duration = Duration::from_millis(20);

/// If a connection came within this time, others may be in their handshakes when the listener closes.
const LATELY: Duration = Duration::from_millis(100);
/// They are waited for until none has come for so long, a round trip in a cluster and more,
const QUIET: Duration = Duration::from_millis(20);
/// but no longer than this.
const LAST_CALL: Duration = Duration::from_millis(50);

/// The connections that a listener accepts. Made by [`ConnectionGroup::accept`](crate::server::ConnectionGroup::accept).
///
/// Dropping it closes the listener at once, without emptying it.
#[must_use = "nothing is accepted until `next` is called"]
pub struct Accepting<L: Accept> {
    /// `None` when it is closed.
    listener: Option<L>,
    stage: Stage,
    /// What was in its queue when it closed.
    emptied: std::vec::IntoIter<(L::Io, L::Peer)>,
    last: Option<Instant>,
    shortages: Shortages,
    timer: Option<Pin<Box<Sleep>>>,
    closing: Pin<Box<WaitForCancellationFutureOwned>>,
    /// Close waits for it.
    ticket: Option<Ticket>,
    /// Others accept from it, as the application says.
    shared: bool,
    /// Set on what is accepted.
    socket: SocketOptions,
    name: String,
    group: Arc<Group>,
}

#[derive(Clone, Copy, Debug)]
enum Stage {
    New {
        /// The shutdown had begun before.
        late: bool,
    },
    Open,
    /// Out of resources: the next attempt is at `until`.
    Resting {
        until: Instant,
    },
    /// As many connections are open as may be.
    Full,
    /// Others seem to hold the listener. The second look is at `again`.
    Shared {
        again: Instant,
    },
    /// Nobody new begins. Who has begun is waited for until none has come for a while, or until `latest`.
    LastCall {
        quiet: Instant,
        latest: Instant,
    },
    Closed,
}

impl<L: Accept> Accepting<L> {
    pub(crate) fn new(
        group: &Arc<Group>,
        name: String,
        shared: bool,
        listener: L,
        ticket: Option<Ticket>,
        socket: SocketOptions,
    ) -> Self {
        let late = group.comes_late();
        Accepting {
            listener: Some(listener),
            stage: Stage::New { late },
            emptied: Vec::new().into_iter(),
            last: None,
            shortages: Shortages::default(),
            timer: None,
            closing: Box::pin(group.closing()),
            ticket,
            shared,
            socket,
            name,
            group: Arc::clone(group),
        }
    }

    /// The next connection, and who is at its other end. `None` when the listener is closed.
    ///
    /// The listener is closed at the end of Close, when what stood before is gone; at once, if the shutdown has begun when
    /// [`accept`](crate::server::ConnectionGroup::accept) is called. Connections that the kernel has completed by then are returned first.
    ///
    /// An error that leaves the listener usable is waited out: a connection that went away before it was accepted, a process
    /// that is out of file descriptors. Any other error closes the listener and triggers the shutdown, with
    /// [`Reason::ServerFailed`](crate::Reason::ServerFailed).
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: no connection is lost.
    pub async fn next(&mut self) -> Option<(L::Io, L::Peer)> {
        let accepted = poll_fn(|cx| self.poll_next(cx)).await;
        if let Some((io, _)) = &accepted {
            self.socket.set(io);
        }
        accepted
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<(L::Io, L::Peer)>> {
        loop {
            match self.stage {
                Stage::New { late } => self.begin(late),
                Stage::Open => {
                    if let Some(accepted) = ready!(self.poll_accept(cx)) {
                        return Poll::Ready(Some(accepted));
                    }
                }
                Stage::Resting { until } => {
                    if self.closing.as_mut().poll(cx).is_ready() {
                        self.leave();
                    } else {
                        ready!(self.poll_timer(until, cx));
                        self.stage = Stage::Open;
                    }
                }
                Stage::Full => {
                    if self.closing.as_mut().poll(cx).is_ready() {
                        self.leave();
                    } else {
                        ready!(self.poll_room(cx));
                        self.stage = Stage::Open;
                    }
                }
                Stage::Shared { again } => {
                    ready!(self.poll_timer(again, cx));
                    match self.seems_shared() {
                        true => self.let_go(),
                        false => self.begin_last_call(),
                    }
                }
                Stage::LastCall { quiet, latest } => {
                    match ready!(self.poll_last_call(quiet.min(latest), cx)) {
                        Some(accepted) => {
                            let quiet = Instant::now() + QUIET;
                            self.stage = Stage::LastCall { quiet, latest };
                            return Poll::Ready(Some(accepted));
                        }
                        None => self.close(),
                    }
                }
                Stage::Closed => {
                    let next = self.emptied.next();
                    if next.is_none() {
                        // The connections are counted by now: the coordinator counts them when it has waited for this.
                        self.ticket = None;
                    }
                    return Poll::Ready(next);
                }
            }
        }
    }

    fn begin(&mut self, late: bool) {
        self.stage = Stage::Open;
        if let Some(Err(error)) = self.listener.as_mut().map(Accept::prepare) {
            self.group.server_failed(&self.name, error.to_string());
            self.leave();
        } else if late {
            self.leave();
        }
    }

    /// One more connection; `None` when the stage has changed.
    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<Option<(L::Io, L::Peer)>> {
        // In normal service it is enough to ask when nobody waits to be accepted.
        if !self.group.is_serving() && self.closing.as_mut().poll(cx).is_ready() {
            self.leave();
            return Poll::Ready(None);
        }
        if self.group.room().is_some_and(|room| !room.is_left()) {
            self.find_no_room();
            self.stage = Stage::Full;
            return Poll::Ready(None);
        }
        let listener = self.listener.as_mut().expect("it is open");
        match listener.poll_accept(cx) {
            Poll::Ready(Ok(accepted)) => {
                let now = Instant::now();
                self.last = Some(now);
                if self.shortages.is_any() {
                    self.shortages.end(&self.name, now);
                }
                Poll::Ready(Some(accepted))
            }
            // A listener that says so for ever must not keep the others from running.
            Poll::Ready(Err(error)) if is_about_one_connection(&error) => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Poll::Ready(Err(error)) if passes_with_time(&error) => {
                self.rest(&error);
                Poll::Ready(None)
            }
            Poll::Ready(Err(error)) => {
                self.group.server_failed(&self.name, error.to_string());
                self.leave();
                Poll::Ready(None)
            }
            Poll::Pending => {
                if self.shortages.is_any() {
                    self.poll_shortages(cx);
                }
                ready!(self.closing.as_mut().poll(cx));
                self.leave();
                Poll::Ready(None)
            }
        }
    }

    /// Out of resources: says so once, and counts.
    fn rest(&mut self, error: &io::Error) {
        let now = Instant::now();
        self.shortages.no_resources(&self.name, error, now);
        let until = now + OUT_OF_RESOURCES;
        self.stage = Stage::Resting { until };
    }

    /// The limit is reached, or was until now: says so once.
    fn find_no_room(&mut self) {
        if let Some(room) = self.group.room() {
            let now = Instant::now();
            self.shortages.no_room(&self.name, room.limit(), now);
        }
    }

    /// Ready when one more connection may be open.
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(room) = self.group.room() {
            ready!(room.poll(cx));
            self.find_no_room();
        }
        Poll::Ready(())
    }

    /// Nothing is in the queue, so the last attempt to accept did not fail.
    fn poll_shortages(&mut self, cx: &mut Context<'_>) {
        while let Some(end) = self.shortages.next_end() {
            if self.poll_timer(end, cx).is_pending() {
                return;
            }
            self.shortages.end(&self.name, Instant::now());
        }
    }

    /// It is time to close the listener, or to leave it to others.
    fn leave(&mut self) {
        self.shortages.end_all(&self.name);
        if self.shared {
            self.let_go();
        } else if self.seems_shared() {
            let again = Instant::now() + BETWEEN_LOOKS;
            self.stage = Stage::Shared { again };
        } else {
            self.begin_last_call();
        }
    }

    fn seems_shared(&self) -> bool {
        self.listener.as_ref().is_some_and(Accept::is_shared)
    }

    /// What is in the queue belongs to the others who hold the listener.
    fn let_go(&mut self) {
        let server = &self.name;
        tracing::debug!(target: "lameduck", %server, "others hold the listener: it is left as it is");
        self.listener = None;
        self.stage = Stage::Closed;
    }

    fn begin_last_call(&mut self) {
        let mut empties = true;
        if let Some(listener) = &mut self.listener {
            listener.last_call();
            empties = listener.close_empties();
        }
        let now = Instant::now();
        let lately = self.last.is_some_and(|last| now < last + LATELY);
        let longest = match (lately, empties) {
            (true, _) => LAST_CALL,
            (false, true) => Duration::ZERO,
            (false, false) => QUIET,
        };
        self.stage = Stage::LastCall {
            quiet: now + QUIET,
            latest: now + longest,
        };
    }

    /// One more connection; `None` when it is `over`, or none can come.
    fn poll_last_call(
        &mut self,
        over: Instant,
        cx: &mut Context<'_>,
    ) -> Poll<Option<(L::Io, L::Peer)>> {
        if Instant::now() >= over {
            return Poll::Ready(None);
        }
        let listener = self.listener.as_mut().expect("it is open");
        match listener.poll_accept(cx) {
            Poll::Ready(accepted) => Poll::Ready(accepted.ok()),
            Poll::Pending => self.poll_timer(over, cx).map(|()| None),
        }
    }

    fn close(&mut self) {
        if let Some(listener) = self.listener.take() {
            self.emptied = listener.close().into_iter();
        }
        self.stage = Stage::Closed;
    }

    fn poll_timer(&mut self, until: Instant, cx: &mut Context<'_>) -> Poll<()> {
        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(sleep_until(until)));
        if timer.deadline() != until {
            timer.as_mut().reset(until);
        }
        timer.as_mut().poll(cx)
    }
}

impl<L: Accept> Debug for Accepting<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Accepting")
            .field("name", &self.name)
            .field("stage", &self.stage)
            .finish_non_exhaustive()
    }
}
