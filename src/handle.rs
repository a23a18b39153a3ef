//! The waist of the house: everything that asks about the shutdown, or takes part in it, goes through the handle.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use pin_project_lite::pin_project;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use crate::hook::{HookError, When, Work, WorkFuture};
use crate::in_flight::{Class, DrainGuard, Tracker};
use crate::lease::Lease;
use crate::panic::text_of;
use crate::phase::Phase;
use crate::plan::Plan;
use crate::reason::Reason;
use crate::report::Report;
use crate::shared::Shared;

/// Asks about the shutdown, triggers it, and takes part in it.
///
/// Handles are cheap to clone and work from any thread. Take the first from
/// [`ShutdownCoordinator::handle`](crate::ShutdownCoordinator::handle).
///
/// ```
/// # use lameduck::{Phase, Plan, ShutdownCoordinator};
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() {
/// let shutdown = ShutdownCoordinator::new(Plan::immediate());
/// let handle = shutdown.handle();
/// assert_eq!(handle.phase(), None);
///
/// handle.shutdown("an example");
/// assert_eq!(handle.phase(), Some(Phase::LameDuck));
/// assert!(shutdown.run().await.is_clean());
/// # }
/// ```
#[derive(Clone)]
pub struct ShutdownHandle {
    pub(crate) shared: Lease,
    /// Beside the lease: what each request asks for is not looked up behind it.
    pub(crate) tracker: Tracker,
}

impl ShutdownHandle {
    pub(crate) fn new(plan: Plan) -> Self {
        let shared = Arc::new(Shared::new(plan));
        #[cfg(feature = "tower")]
        shared.gauge.set_owner(Arc::downgrade(&shared) as _);
        ShutdownHandle::of_shared(shared)
    }

    pub(crate) fn of_shared(shared: Arc<Shared>) -> Self {
        ShutdownHandle {
            tracker: shared.tracker(),
            shared: Lease::new(shared),
        }
    }

    /// Triggers the shutdown. Returns whether this was the first trigger: only that one counts, later ones change nothing.
    ///
    /// The first call is T0, from which every deadline counts. The reason is a string, a [`Signal`](crate::Signal), or a
    /// failure of your own that makes the report unclean: [`Reason::failed`].
    ///
    /// It may be called from any thread, also outside a runtime, and before [`run`](crate::ShutdownCoordinator::run): then
    /// tasks are told and responses say `Connection: close` at once, and the phases begin when `run` is polled. When the
    /// coordinator was dropped, no phase begins.
    pub fn shutdown(&self, reason: impl Into<Reason>) -> bool {
        self.shared.trigger(reason.into())
    }

    /// The phase that is running; `None` in normal service. After the last phase it stays [`Phase::Exit`].
    #[must_use]
    #[inline]
    pub fn phase(&self) -> Option<Phase> {
        let stage = usize::from(self.tracker.stage());
        let begun = stage.checked_sub(1)?;
        Some(Phase::EACH[begun.min(Phase::EACH.len() - 1)])
    }

    /// Whether the shutdown has begun. One atomic load.
    #[must_use]
    #[inline]
    pub fn is_shutting_down(&self) -> bool {
        !self.tracker.is_serving()
    }

    /// Waits until `phase` begins; ready at once when it has begun, or is over.
    ///
    /// The future is owned and `'static`, so it fits where others expect a signal:
    /// `axum::serve(..).with_graceful_shutdown(handle.reached(Phase::Drain))`.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub fn reached(&self, phase: Phase) -> Reached {
        Reached {
            inner: self.shared.progress.begun(phase).clone().cancelled_owned(),
        }
    }

    /// A token that is cancelled when `phase` begins, for code that knows [`CancellationToken`].
    ///
    /// It is a child of the coordinator's own, so cancelling it affects nobody else.
    #[must_use]
    pub fn token(&self, phase: Phase) -> CancellationToken {
        self.shared.progress.begun(phase).child_token()
    }

    /// Why the process is leaving; `None` in normal service. One atomic load then.
    #[must_use]
    pub fn reason(&self) -> Option<Reason> {
        let trigger = self.shared.progress.trigger()?;
        Some(trigger.reason.clone())
    }

    /// The instant at which `phase` ends at the latest; `None` in normal service. One atomic load then.
    ///
    /// It is [the plan's](Plan::deadline), but for [`Phase::Close`], which gets the time that no hook of [`Phase::Release`]
    /// has asked for at T0: see [when requests are cut](Plan#when-requests-are-cut). It does not move after T0.
    #[must_use]
    pub fn deadline(&self, phase: Phase) -> Option<Instant> {
        self.shared.progress.deadline(phase)
    }

    /// How long what is in flight may still take: the time to [`Phase::Close`]'s deadline, when it is cut. `None` in normal
    /// service, zero when that is past. One atomic load in normal service.
    #[must_use]
    pub fn remaining(&self) -> Option<Duration> {
        let deadline = self.deadline(Phase::Close)?;
        Some(deadline.saturating_duration_since(Instant::now()))
    }

    /// The plan.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.shared.plan
    }

    /// Keeps Drain waiting for as long as the guard, or a clone of it, lives.
    ///
    /// `None` when Release has begun, or the coordinator was dropped: do not begin the work.
    #[must_use]
    #[inline]
    pub fn guard(&self) -> Option<DrainGuard> {
        let ticket = self.tracker.for_guards().take(Class::Work)?;
        Some(DrainGuard::new(ticket, None))
    }

    /// Like [`guard`](ShutdownHandle::guard), with a name under which the report lists it when it is left behind.
    #[must_use]
    pub fn named_guard(&self, name: impl Into<String>) -> Option<DrainGuard> {
        self.shared.named_guard(Class::Work, name.into())
    }

    /// A guard for something that lasts: a WebSocket under somebody else's server, a connection of a protocol of your own.
    /// It keeps Close waiting, not Drain, and the report lists it under `name` when it is left behind. `None` when Release
    /// has begun, or the coordinator was dropped.
    ///
    /// Connections of our own servers need no guard: they are counted. A guard that is held at Close's deadline does not
    /// make the report unclean.
    #[must_use]
    pub fn long_guard(&self, name: impl Into<String>) -> Option<DrainGuard> {
        self.shared.named_guard(Class::Long, name.into())
    }

    /// Says that the service is not ready, until the returned token is dropped: readiness answers 503 meanwhile.
    ///
    /// A service that was never ready cannot have been routed to, so its shutdown does not wait in LameDuck. Take the token
    /// before servers and layers are made: a service is ready once it serves and nobody holds a token. A token that is taken
    /// later (a dependency is down for a moment) fails readiness, and changes nothing in LameDuck.
    pub fn not_ready(&self, why: impl Into<String>) -> NotReady {
        NotReady {
            id: self.shared.routing.add_not_ready(why.into()),
            shared: Arc::clone(&self.shared),
        }
    }

    /// What keeps the service from being ready: the reasons that were given to [`not_ready`](ShutdownHandle::not_ready), oldest
    /// first. Empty when nobody holds a token.
    #[must_use]
    pub fn not_ready_because(&self) -> Vec<String> {
        self.shared.routing.not_ready_because()
    }

    /// Registers a hook: `work` runs once, in a task of its own, when `when` has come.
    ///
    /// `when` is a [`Phase`], or a [`When`] with conditions. A hook of the phase that is running starts at once. A hook of
    /// LameDuck may take until Drain's deadline, any other until its own phase's; then its future is dropped. A hook begins
    /// when its future is polled for the first time. A hook that has not begun by its deadline never does
    /// ([`Outcome::NotStarted`](crate::report::Outcome::NotStarted)).
    ///
    /// A panic stays in the hook and goes into the report: in `work`, in its future, and when either is dropped.
    ///
    /// # Errors
    ///
    /// A name that is taken, a condition that cannot hold, a phase that is over, a coordinator that was dropped: see
    /// [`HookError`].
    pub fn hook<F, Fut>(
        &self,
        when: impl Into<When>,
        name: impl Into<String>,
        work: F,
    ) -> Result<(), HookError>
    where
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let work = || async {
            work().await;
            Ok::<(), String>(())
        };
        self.try_hook(when, name, work)
    }

    /// Like [`hook`](ShutdownHandle::hook), for work that can fail. An error goes into the report, and the sequence goes on.
    ///
    /// # Errors
    ///
    /// See [`hook`](ShutdownHandle::hook).
    pub fn try_hook<F, Fut, E>(
        &self,
        when: impl Into<When>,
        name: impl Into<String>,
        work: F,
    ) -> Result<(), HookError>
    where
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = Result<(), E>> + Send + 'static,
        E: fmt::Display,
    {
        // Called inside the future: a panic in the closure itself stays in the hook, too.
        let build = || -> WorkFuture { Box::pin(async move { work().await.map_err(text_of) }) };
        let work = Work::future(build);
        self.shared.hooks.register(when.into(), name.into(), work)
    }

    /// Like [`hook`](ShutdownHandle::hook), for work that blocks: it runs on a thread for blocking work.
    ///
    /// A thread cannot be aborted: when its time is up, it is left running and reported as overrun. Dropping the runtime
    /// waits for it; [`Report::exit_process`] and the watchdog do not. A hook that no thread was free for is not started late:
    /// it has begun when its phase ends, or it never does.
    ///
    /// # Errors
    ///
    /// See [`hook`](ShutdownHandle::hook).
    pub fn blocking_hook<F>(
        &self,
        when: impl Into<When>,
        name: impl Into<String>,
        work: F,
    ) -> Result<(), HookError>
    where
        F: FnOnce() + Send + 'static,
    {
        let work = || {
            work();
            Ok::<(), String>(())
        };
        self.try_blocking_hook(when, name, work)
    }

    /// Like [`blocking_hook`](ShutdownHandle::blocking_hook), for work that can fail.
    ///
    /// # Errors
    ///
    /// See [`hook`](ShutdownHandle::hook).
    pub fn try_blocking_hook<F, E>(
        &self,
        when: impl Into<When>,
        name: impl Into<String>,
        work: F,
    ) -> Result<(), HookError>
    where
        F: FnOnce() -> Result<(), E> + Send + 'static,
        E: fmt::Display,
    {
        let work = Work::blocking(|| work().map_err(text_of));
        self.shared.hooks.register(when.into(), name.into(), work)
    }

    /// Removes the hook `name`, if it has not begun. Returns whether it was removed.
    ///
    /// A removed hook never runs and is not in the report. What it captured has been dropped when this returns, and its name
    /// can be used again. A hook that comes [`after`](When::after) it no longer waits for it. A hook that has begun, or is over,
    /// stays as it is, and so does its name.
    ///
    /// ```
    /// # use lameduck::{Phase, Plan, ShutdownCoordinator};
    /// # let shutdown = ShutdownCoordinator::new(Plan::immediate());
    /// # let handle = shutdown.handle();
    /// handle.hook(Phase::Release, "tenant 7", async || { /* close its pool */ })?;
    /// // The tenant leaves while the service stays.
    /// assert!(handle.remove_hook("tenant 7"));
    /// # Ok::<(), lameduck::HookError>(())
    /// ```
    pub fn remove_hook(&self, name: &str) -> bool {
        self.shared.hooks.remove(name)
    }

    /// Waits for the report. Every caller gets the same one. After the end it is ready at once.
    ///
    /// Never ready when the coordinator is dropped without having been run, or its runtime ends before the shutdown does.
    ///
    /// A `main` that runs the coordinator in a `select!` or in a task of its own waits here before it returns: see
    /// [`run`](crate::ShutdownCoordinator::run).
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn finished(&self) -> Arc<Report> {
        self.shared.progress.over().cancelled().await;
        let report = self.shared.progress.report();
        Arc::clone(report.expect("the report is there before it is over"))
    }

    /// How many requests, tasks and guards are in flight, about: it is a sum over counters that move meanwhile.
    ///
    /// Includes long-lived requests and guards: see [`long_lived`](ShutdownHandle::long_lived).
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        self.shared.count_both(Class::Work) + self.long_lived()
    }

    /// How many requests in flight have turned out to last (event streams, calls that stream), and how many
    /// [`long_guard`](ShutdownHandle::long_guard)s are held, about. An upgraded connection is a connection, and counted as one.
    #[must_use]
    pub fn long_lived(&self) -> u64 {
        self.shared.count_both(Class::Long)
    }

    /// How many connections of our own servers and connection groups are open, about. Those of admin servers are not
    /// counted.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.shared.count_both(Class::Connection)
    }
}

impl fmt::Debug for ShutdownHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ShutdownHandle")
            .field("phase", &self.phase())
            .finish_non_exhaustive()
    }
}

pin_project! {
    /// The future of [`ShutdownHandle::reached`].
    #[must_use = "futures do nothing unless polled"]
    pub struct Reached {
        #[pin]
        inner: WaitForCancellationFutureOwned,
    }
}

impl Future for Reached {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.project().inner.poll(cx)
    }
}

impl fmt::Debug for Reached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reached").finish_non_exhaustive()
    }
}

/// Says that the service is not ready yet, until it is dropped. See [`ShutdownHandle::not_ready`].
#[must_use = "the service counts as ready again as soon as this is dropped"]
pub struct NotReady {
    id: u64,
    shared: Arc<Shared>,
}

impl Drop for NotReady {
    fn drop(&mut self) {
        self.shared.routing.remove_not_ready(self.id);
    }
}

impl fmt::Debug for NotReady {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NotReady").finish_non_exhaustive()
    }
}
