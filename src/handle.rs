//! The waist of the house: everything that asks about the shutdown, or takes part in it, goes through the handle.

use std::fmt;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use pin_project_lite::pin_project;
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use crate::drain::{
    Arrivals, Class, Count, DrainGuard, FINISHED, GaugeOwner, Generation, GuardName, SERVING,
    Stage, Tracker,
};
use crate::hook::{HookError, Hooks, When, Work};
use crate::phase::Phase;
use crate::plan::Plan;
use crate::reason::Reason;
use crate::report::{ConnectionCounts, Kind, LeftBehind, Outcome, Report, TaskReport};

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
    pub(crate) shared: Arc<Shared>,
}

impl ShutdownHandle {
    pub(crate) fn new(plan: Plan) -> Self {
        ShutdownHandle {
            shared: Arc::new(Shared::new(plan)),
        }
    }

    /// Triggers the shutdown. Returns whether this was the first trigger: only that one counts, later ones change nothing.
    ///
    /// This moment is T0, from which every deadline counts. It may be called from any thread, also outside a runtime, and
    /// before [`run`](crate::ShutdownCoordinator::run): tasks are told and answers say `Connection: close` at once, and
    /// the phases run when the coordinator does.
    pub fn shutdown(&self, reason: impl Into<Reason>) -> bool {
        self.shared.trigger(reason.into())
    }

    /// The phase that is running; `None` in normal service. After the last phase it stays [`Phase::Exit`].
    #[must_use]
    pub fn phase(&self) -> Option<Phase> {
        let stage = usize::from(self.shared.tracker().stage());
        let begun = stage.checked_sub(1)?;
        Some(Phase::ALL[begun.min(Phase::ALL.len() - 1)])
    }

    /// Whether the shutdown has begun. One atomic load.
    #[must_use]
    pub fn is_shutting_down(&self) -> bool {
        self.shared.tracker().stage() != SERVING
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
            inner: self.shared.begun[phase.index()].clone().cancelled_owned(),
        }
    }

    /// A token that is cancelled when `phase` begins, for code that knows [`CancellationToken`].
    ///
    /// It is a child of the coordinator's own, so cancelling it affects nobody else.
    #[must_use]
    pub fn token(&self, phase: Phase) -> CancellationToken {
        self.shared.begun[phase.index()].child_token()
    }

    /// Why the process is leaving; `None` in normal service.
    #[must_use]
    pub fn reason(&self) -> Option<Reason> {
        let state = self.shared.state();
        state.trigger.as_ref().map(|trigger| trigger.reason.clone())
    }

    /// The instant at which `phase` ends at the latest; `None` in normal service.
    #[must_use]
    pub fn deadline(&self, phase: Phase) -> Option<Instant> {
        let t0 = self.shared.state().trigger.as_ref()?.at;
        Some(t0 + self.shared.plan.deadline(phase))
    }

    /// The moment of the trigger.
    #[cfg(feature = "hyper")]
    pub(crate) fn t0(&self) -> Option<Instant> {
        Some(self.shared.state().trigger.as_ref()?.at)
    }

    /// How long what is in flight may still take: the time to [`Phase::Close`]'s deadline, when it is cut. `None` in normal
    /// service, zero when that is past.
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

    /// Keeps Drain waiting for as long as the guard, or a clone of it, lives. `None` when Release has begun: do not start.
    #[must_use]
    pub fn guard(&self) -> Option<DrainGuard> {
        let ticket = self.shared.tracker().take(Class::Work)?;
        Some(DrainGuard::new(ticket, None))
    }

    /// Like [`guard`](ShutdownHandle::guard), with a name under which the report lists it when it is left behind.
    #[must_use]
    pub fn named_guard(&self, name: impl Into<String>) -> Option<DrainGuard> {
        let (ticket, generation) = self.shared.tracker().take_dated(Class::Work)?;
        let name = Arc::new(GuardName {
            name: name.into(),
            since: Instant::now(),
            generation,
        });
        let mut state = self.shared.state();
        state.guards.retain(|guard| guard.strong_count() > 0);
        state.guards.push(Arc::downgrade(&name));
        Some(DrainGuard::new(ticket, Some(name)))
    }

    /// Says that the service is not ready yet, until the returned token is dropped: readiness answers 503 meanwhile, and a
    /// shutdown that begins meanwhile does not wait for routing to move away, because nothing was routed here.
    pub fn not_ready(&self, why: impl Into<String>) -> NotReady {
        let mut state = self.shared.state();
        let id = state.next_not_ready;
        state.next_not_ready += 1;
        state.not_ready.push((id, why.into()));
        NotReady {
            id,
            shared: Arc::clone(&self.shared),
        }
    }

    /// What keeps the service from being ready; empty when it is ready.
    #[must_use]
    pub fn not_ready_because(&self) -> Vec<String> {
        let state = self.shared.state();
        state.not_ready.iter().map(|(_, why)| why.clone()).collect()
    }

    /// Registers a hook: `work` runs once, in a task of its own, when `when` has come.
    ///
    /// `when` is a [`Phase`], or a [`When`] with conditions. A hook of the phase that is running starts at once. A hook of
    /// LameDuck may take until Drain's deadline, any other until its own phase's; then its future is dropped.
    ///
    /// # Errors
    ///
    /// A name that is taken, a condition that cannot hold, a phase that is over: see [`HookError`].
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
        let build = || -> crate::hook::WorkFuture {
            Box::pin(async move { work().await.map_err(|error| error.to_string()) })
        };
        let work = Work::Async(Box::new(build));
        self.shared.hooks.register(when.into(), name.into(), work)
    }

    /// Like [`hook`](ShutdownHandle::hook), for work that blocks: it runs on a thread for blocking work.
    ///
    /// A thread cannot be aborted: when its time is up, it is left running and reported as overrun. Dropping the runtime
    /// waits for it; [`Report::exit_process`] and the watchdog do not.
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
        let call = || work().map_err(|error| error.to_string());
        let work = Work::Blocking(Box::new(call));
        self.shared.hooks.register(when.into(), name.into(), work)
    }

    /// Waits for the report. Every caller gets the same one.
    ///
    /// Never ready when the coordinator is not run to its end.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn finished(&self) -> Arc<Report> {
        let mut finished = self.shared.finished.subscribe();
        // Cloned out at once: the lock that `wait_for` gives must not live across an await.
        let report = finished.wait_for(Option::is_some).await;
        let report = report.ok().and_then(|report| report.clone());
        match report {
            Some(report) => report,
            None => std::future::pending().await,
        }
    }

    /// How many requests, tasks and guards are in flight, about: it is a sum over counters that move meanwhile.
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        self.shared.count_both(Class::Work)
    }

    /// How many connections of our own servers are open, about.
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
        let mut state = self.shared.state();
        state.not_ready.retain(|(id, _)| *id != self.id);
    }
}

impl fmt::Debug for NotReady {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NotReady").finish_non_exhaustive()
    }
}

/// A server, as the coordinator sees it.
pub(crate) trait Source: Send + Sync {
    /// The stage has moved: whoever waits for that should look.
    fn stage_moved(&self);
    /// Close's deadline has come: ends every connection that is left.
    fn cut(&self);
    /// What is in flight here, requests only up to the generation `latest`.
    fn left_behind(&self, kind: Kind, latest: Generation, left: &mut Vec<LeftBehind>);
}

/// What the coordinator, its handles, and everything that holds one of them have in common.
pub(crate) struct Shared {
    pub(crate) plan: Plan,
    pub(crate) gauge: GaugeOwner,
    pub(crate) hooks: Arc<Hooks>,
    /// Cancelled when the phase begins.
    begun: [CancellationToken; Phase::ALL.len()],
    /// Cancelled when it is time to empty and close the listeners.
    pub(crate) close_listeners: CancellationToken,
    /// Cancelled when the last phase is over: what stays to the end may go.
    pub(crate) over: CancellationToken,
    state: Mutex<State>,
    sources: Mutex<Vec<Weak<dyn Source>>>,
    pub(crate) finished: watch::Sender<Option<Arc<Report>>>,
    pub(crate) connections: ConnectionsEnded,
    /// A trigger came after the first one.
    repeated: Notify,
}

/// The connections that ended since T0. Kept here, because a server is gone when its last connection is.
#[derive(Default)]
pub(crate) struct ConnectionsEnded {
    pub(crate) closed: AtomicU64,
    pub(crate) cut: AtomicU64,
}

impl ConnectionsEnded {
    pub(crate) fn counts(&self) -> ConnectionCounts {
        ConnectionCounts {
            closed: self.closed.load(Ordering::Relaxed),
            cut: self.cut.load(Ordering::Relaxed),
        }
    }
}

#[derive(Default)]
struct State {
    trigger: Option<Trigger>,
    /// Later triggers, until they have been logged.
    repeats: Vec<Reason>,
    /// Whether somebody said that requests are served here.
    serving: bool,
    not_ready: Vec<(u64, String)>,
    next_not_ready: u64,
    tasks: Vec<TaskEntry>,
    guards: Vec<Weak<GuardName>>,
    /// How much work was in flight when Close was over.
    cut: u64,
    on_trigger: Vec<Box<dyn FnOnce(std::time::Instant) + Send>>,
    #[cfg(all(feature = "signal", unix))]
    attached: Vec<Box<dyn std::any::Any + Send>>,
}

/// What began the shutdown.
#[derive(Clone, Debug)]
pub(crate) struct Trigger {
    pub(crate) reason: Reason,
    pub(crate) at: Instant,
    /// Taken outside a runtime, so that a paused clock did not have its say.
    outside: Option<std::time::Instant>,
    /// Whether traffic was routed here, so that LameDuck has something to wait for.
    pub(crate) routed: bool,
}

struct TaskEntry {
    name: String,
    since: Instant,
    generation: Generation,
    abort: Option<AbortHandle>,
    outcome: Option<Outcome>,
}

impl Shared {
    fn new(plan: Plan) -> Self {
        Shared {
            plan,
            gauge: GaugeOwner::new(),
            hooks: Arc::default(),
            begun: Default::default(),
            close_listeners: CancellationToken::new(),
            over: CancellationToken::new(),
            state: Mutex::default(),
            sources: Mutex::default(),
            finished: watch::Sender::new(None),
            connections: ConnectionsEnded::default(),
            repeated: Notify::new(),
        }
    }

    pub(crate) fn tracker(&self) -> Tracker {
        self.gauge.tracker()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether our listeners accept no more: they were told to close, or Release has begun.
    #[cfg(feature = "tower")]
    pub(crate) fn listeners_closed(&self) -> bool {
        let released = Phase::Release.index() as Stage + 1;
        self.close_listeners.is_cancelled() || self.tracker().stage() >= released
    }

    fn count_both(&self, class: Class) -> u64 {
        let early = self.gauge.count((class, Generation::Early));
        early + self.gauge.count((class, Generation::Late))
    }

    fn trigger(&self, reason: Reason) -> bool {
        let now = std::time::Instant::now();
        let inside = tokio::runtime::Handle::try_current().is_ok();
        let on_trigger = {
            let mut state = self.state();
            if state.trigger.is_some() {
                state.repeats.push(reason);
                drop(state);
                self.repeated.notify_one();
                return false;
            }
            state.trigger = Some(Trigger {
                reason,
                at: if inside {
                    Instant::now()
                } else {
                    Instant::from_std(now)
                },
                outside: (!inside).then_some(now),
                routed: state.serving && state.not_ready.is_empty(),
            });
            std::mem::take(&mut state.on_trigger)
        };
        // Outside the lock: all of these run other people's code.
        on_trigger.into_iter().for_each(|call| call(now));
        self.enter(Phase::LameDuck);
        true
    }

    /// Begins a phase: everybody who asks or waits can see it.
    pub(crate) fn enter(&self, phase: Phase) {
        self.set_stage(phase.index() as Stage + 1);
        self.begun[phase.index()].cancel();
    }

    /// The last phase is over.
    pub(crate) fn finish(&self, report: Arc<Report>) {
        self.set_stage(FINISHED);
        self.finished.send_replace(Some(report));
        self.over.cancel();
    }

    fn set_stage(&self, stage: Stage) {
        self.gauge.set_stage(stage);
        for source in self.all_sources() {
            source.stage_moved();
        }
    }

    /// Waits for the first trigger.
    pub(crate) async fn triggered(&self) -> Trigger {
        self.begun[0].cancelled().await;
        let mut state = self.state();
        let trigger = state
            .trigger
            .as_mut()
            .expect("the trigger is set before LameDuck is entered");
        if let Some(outside) = trigger.outside.take() {
            let now = Instant::now();
            trigger.at = now.checked_sub(outside.elapsed()).unwrap_or(now);
        }
        trigger.clone()
    }

    /// Waits for triggers that came after the first.
    pub(crate) async fn repeats(&self) -> Vec<Reason> {
        self.repeated.notified().await;
        std::mem::take(&mut self.state().repeats)
    }

    /// Requests are served here, so a shutdown has to wait until they are routed elsewhere.
    #[cfg(feature = "tower")]
    pub(crate) fn declare_serving(&self) {
        self.state().serving = true;
    }

    /// Calls back at T0; at once if that is past. Dropped uncalled with the last handle.
    #[cfg(all(feature = "signal", unix))]
    pub(crate) fn on_trigger(&self, call: impl FnOnce(std::time::Instant) + Send + 'static) {
        let mut state = self.state();
        let Some(trigger) = &state.trigger else {
            state.on_trigger.push(Box::new(call));
            return;
        };
        let at = trigger.at.into_std();
        drop(state);
        call(at);
    }

    /// Keeps something until the last handle is gone.
    #[cfg(all(feature = "signal", unix))]
    pub(crate) fn attach(&self, what: impl std::any::Any + Send) {
        self.state().attached.push(Box::new(what));
    }

    /// Adds a server. It is told of every stage that comes, and must look itself at the one that is.
    #[cfg(feature = "hyper")]
    pub(crate) fn add_source(&self, source: Weak<dyn Source>) {
        self.sources().push(source);
    }

    fn all_sources(&self) -> Vec<Arc<dyn Source>> {
        let mut sources = self.sources();
        sources.retain(|source| source.strong_count() > 0);
        sources.iter().filter_map(Weak::upgrade).collect()
    }

    fn sources(&self) -> MutexGuard<'_, Vec<Weak<dyn Source>>> {
        self.sources.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether `name` was free; then there is a task of that name.
    pub(crate) fn add_task(&self, name: &str, generation: Generation) -> bool {
        let mut state = self.state();
        if state.tasks.iter().any(|task| task.name == name) {
            return false;
        }
        state.tasks.push(TaskEntry {
            name: name.to_owned(),
            since: Instant::now(),
            generation,
            abort: None,
            outcome: None,
        });
        true
    }

    pub(crate) fn task_spawned(&self, name: &str, abort: AbortHandle) {
        let mut state = self.state();
        let task = state.tasks.iter_mut().find(|task| task.name == name);
        match task {
            // Cut before it was spawned.
            Some(task) if task.outcome.is_some() => abort.abort(),
            Some(task) => task.abort = Some(abort),
            None => {}
        }
    }

    /// Notes how a task ended. What came first stays.
    pub(crate) fn task_ended(&self, name: &str, outcome: Outcome) {
        let mut state = self.state();
        if let Some(task) = state.tasks.iter_mut().find(|task| task.name == name) {
            task.outcome.get_or_insert(outcome);
        }
    }

    /// What is in flight now, oldest first, as far as it has a name: what began in the generation `latest` or before it.
    pub(crate) fn left_behind(&self, kinds: &[Kind], latest: Generation) -> Vec<LeftBehind> {
        let mut left = Vec::new();
        for source in self.all_sources() {
            for &kind in kinds {
                source.left_behind(kind, latest, &mut left);
            }
        }
        if kinds.contains(&Kind::Task) {
            let state = self.state();
            let tasks = state
                .tasks
                .iter()
                .filter(|task| task.outcome.is_none() && task.generation <= latest);
            left.extend(tasks.map(|task| LeftBehind {
                kind: Kind::Task,
                name: format!("`{}`", task.name),
                age: task.since.elapsed(),
            }));
            let guards = state.guards.iter().filter_map(Weak::upgrade);
            let guards = guards.filter(|guard| guard.generation <= latest);
            left.extend(guards.map(|guard| LeftBehind {
                kind: Kind::Guard,
                name: format!("`{}`", guard.name),
                age: guard.since.elapsed(),
            }));
        }
        left.sort_by_key(|left| std::cmp::Reverse(left.age));
        left
    }

    /// Ends what Close did not see ending: connections and tasks.
    pub(crate) fn cut(&self) {
        let work = self.count_both(Class::Work);
        self.state().cut = work;
        for source in self.all_sources() {
            source.cut();
        }
        let aborts: Vec<_> = {
            let mut state = self.state();
            let left = state.tasks.iter_mut().filter(|task| task.outcome.is_none());
            left.map(|task| {
                task.outcome = Some(Outcome::Overran);
                task.abort.take()
            })
            .collect()
        };
        for abort in aborts.into_iter().flatten() {
            abort.abort();
        }
    }

    pub(crate) fn tasks(&self) -> Vec<TaskReport> {
        let state = self.state();
        let ended = state.tasks.iter().filter_map(|task| {
            Some(TaskReport {
                name: task.name.clone(),
                outcome: task.outcome.clone()?,
            })
        });
        ended.collect()
    }

    pub(crate) fn cut_count(&self) -> u64 {
        self.state().cut
    }

    pub(crate) fn arrivals(&self) -> Arrivals {
        self.gauge.arrivals()
    }

    /// Who is still running, for a watchdog that must not wait; `None` where that could not be known.
    #[cfg(all(feature = "signal", unix))]
    pub(crate) fn try_unfinished(&self) -> (Option<Vec<String>>, Option<Vec<String>>) {
        let hooks = self.hooks.try_running();
        let tasks = self.state.try_lock().ok().map(|state| {
            let left = state.tasks.iter().filter(|task| task.outcome.is_none());
            left.map(|task| task.name.clone()).collect()
        });
        (hooks, tasks)
    }

    pub(crate) fn count(&self, count: Count) -> u64 {
        self.gauge.count(count)
    }
}
