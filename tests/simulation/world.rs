//! Plays a scenario on a paused clock, and writes down what is seen.

use std::convert::Infallible;
use std::future::{pending, poll_fn};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use axum::http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Bytes;
use lameduck::server::ConnectionGroup;
use lameduck::{
    DrainGuard, DrainLayer, Moment, Phase, Plan, Reason, Report, ShutdownCoordinator,
    ShutdownHandle, TaskContext,
};
use tokio::runtime::Builder;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tower::{Layer, Service};

use crate::scenario::{
    Act, Awaited, ConnectionSpec, End, GuardKind, GuardSpec, Hold, HookSpec, Id, RequestSpec,
    Scenario, Script, Step, TaskSpec, ms,
};
use crate::trace::{Actor, Counted, Event, Stage, What};

/// What was seen.
pub(crate) struct Played {
    pub(crate) trace: Vec<Event>,
    /// `None` when the shutdown did not end.
    pub(crate) report: Option<Arc<Report>>,
    /// T0, as the handle says it, since the scenario began.
    pub(crate) t0: Option<Duration>,
    /// Whether all who waited for the report got the same.
    pub(crate) same_report: bool,
    /// Whether everything that was spawned came to its end.
    pub(crate) all_ended: bool,
    /// What was counted after all that.
    pub(crate) left: Counted,
}

/// Longer than anything in a scenario takes.
const FOR_EVER: Duration = Duration::from_secs(1_000_000);

pub(crate) fn play(scenario: &Scenario) -> Played {
    let runtime = Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime without IO");
    runtime.block_on(live(scenario))
}

async fn live(scenario: &Scenario) -> Played {
    let begun = Instant::now();
    let stale = stale_layer();
    let parent = CancellationToken::new();
    let mut coordinator = ShutdownCoordinator::new(scenario.plan.clone())
        .termination_log("/nonexistent")
        .seed(scenario.seed);
    if scenario.parent {
        coordinator = coordinator.child_of(parent.clone());
    }
    let world = Arc::new(World {
        begun,
        handle: coordinator.handle(),
        parent,
        stale,
        trace: Mutex::default(),
        reports: Mutex::default(),
        groups: Mutex::default(),
        layer: Mutex::default(),
        shelf: Mutex::default(),
        bystanders: Mutex::default(),
        closed: AtomicBool::new(false),
    });

    let run = tokio::spawn({
        let world = Arc::clone(&world);
        let at = begun + ms(scenario.run_at);
        async move {
            sleep_until(at).await;
            world.note(What::Ran);
            let report = coordinator.run().await;
            world.note(What::RunReturned);
            report
        }
    });
    for (at, act) in &scenario.acts {
        sleep_until(begun + ms(*at)).await;
        let mut kept = Vec::new();
        world.perform(act, &mut kept);
        lock(&world.shelf).extend(kept);
    }
    let report = timeout(FOR_EVER, run).await;
    let report = report
        .ok()
        .map(|report| report.expect("run does not panic"));
    let all_ended = world.clear().await;
    world.closed.store(true, Ordering::Relaxed);

    let trace = std::mem::take(&mut *lock(&world.trace));
    let t0 = world.handle.deadline(Phase::Exit);
    let same = |one: &Arc<Report>| report.as_ref().is_some_and(|it| Arc::ptr_eq(it, one));
    Played {
        t0: t0.map(|at| at - scenario.plan.deadline(Phase::Exit) - begun),
        same_report: lock(&world.reports).iter().all(same),
        all_ended,
        left: world.counted(),
        trace,
        report,
    }
}

type Handler = tower::util::BoxCloneSyncService<Request<u64>, Response<Full<Bytes>>, Infallible>;
type Layered = <DrainLayer as Layer<Handler>>::Service;

/// What is left of a coordinator that is gone: its gauge may be the next one's.
fn stale_layer() -> Layered {
    let coordinator = ShutdownCoordinator::new(Plan::immediate());
    let handle = coordinator.handle();
    let layered = layered(&handle);
    let guard = handle.guard();
    // In this order: nobody should be told that the coordinator was dropped too early.
    drop((guard, handle));
    layered
}

/// A service whose handler takes as long as the request says.
fn layered(handle: &ShutdownHandle) -> Layered {
    let handler = tower::service_fn(async |request: Request<u64>| {
        sleep(ms(request.into_body())).await;
        Ok::<_, Infallible>(Response::new(Full::from("done")))
    });
    DrainLayer::new(handle).layer(Handler::new(handler))
}

struct World {
    begun: Instant,
    handle: ShutdownHandle,
    parent: CancellationToken,
    stale: Layered,
    trace: Mutex<Vec<Event>>,
    reports: Mutex<Vec<Arc<Report>>>,
    groups: Mutex<Vec<(Id, Arc<ConnectionGroup>)>>,
    layer: Mutex<Option<Layered>>,
    /// The guards that are held to the end.
    shelf: Mutex<Vec<Held>>,
    bystanders: Mutex<JoinSet<()>>,
    /// The play is over: what is dropped now does nothing any more.
    closed: AtomicBool,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().expect("nothing panics under a lock")
}

impl World {
    fn note(&self, what: What) {
        if self.closed.load(Ordering::Relaxed) {
            return;
        }
        let event = Event {
            at: self.begun.elapsed(),
            stage: self.stage(),
            counted: self.counted(),
            what,
        };
        lock(&self.trace).push(event);
    }

    fn stage(&self) -> Stage {
        match self.handle.phase() {
            None => Stage::Serving,
            Some(Phase::Exit) if self.is_over() => Stage::Over,
            Some(phase) => Stage::In(phase),
        }
    }

    fn is_over(&self) -> bool {
        let finished = pin!(self.handle.finished());
        finished
            .poll(&mut Context::from_waker(Waker::noop()))
            .is_ready()
    }

    fn counted(&self) -> Counted {
        Counted {
            in_flight: self.handle.in_flight(),
            long: self.handle.long_lived(),
            connections: self.handle.connections(),
        }
    }

    fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        lock(&self.bystanders).spawn(work);
    }

    /// Lets go of everything. Returns whether all who are about then end.
    async fn clear(&self) -> bool {
        drop(std::mem::take(&mut *lock(&self.shelf)));
        let groups = std::mem::take(&mut *lock(&self.groups));
        for (id, group) in groups {
            drop(group);
            self.note(What::ListenerClosed(id));
        }
        timeout(FOR_EVER, async {
            // Those who end may have spawned others.
            loop {
                let mut all = std::mem::take(&mut *lock(&self.bystanders));
                if all.is_empty() {
                    return;
                }
                while all.join_next().await.is_some() {}
                drop(std::mem::take(&mut *lock(&self.shelf)));
            }
        })
        .await
        .is_ok()
    }

    /// `kept`: what whoever does this keeps as long as it lives.
    fn perform(self: &Arc<Self>, act: &Act, kept: &mut Vec<Held>) {
        match act {
            Act::Shutdown(why) => {
                let reason = Reason::from(*why);
                let why = reason.to_string();
                let first = self.handle.shutdown(reason);
                self.note(What::Triggered { why, first });
            }
            Act::CancelParent => {
                self.parent.cancel();
                self.note(What::ParentCancelled);
            }
            Act::Hook(hook) => self.register(hook),
            Act::Task(task) => self.start(task),
            Act::Guard(guard) => self.take(guard, kept),
            Act::Listen { id, closes_after } => self.listen(*id, *closes_after),
            Act::Connect(connection) => self.connect(connection),
            Act::Layer => {
                let layered = layered(&self.handle);
                *lock(&self.layer) = Some(layered);
                self.note(What::Layered);
            }
            Act::Request(request) => self.request(*request),
            Act::StaleRequest => {
                let mut stale = self.stale.clone();
                let response = stale.call(Request::new(1));
                let served = !is_refusal(response);
                self.note(What::StaleRequest { served });
            }
            Act::NotReady { id, hold } => {
                let token = self.handle.not_ready("drawn");
                self.note(What::NotReady(*id));
                let (world, id, hold) = (Arc::clone(self), *id, *hold);
                self.spawn(async move {
                    sleep(ms(hold)).await;
                    drop(token);
                    world.note(What::Ready(id));
                });
            }
        }
    }

    fn register(self: &Arc<Self>, hook: &Arc<HookSpec>) {
        let mut when = lameduck::When::from(hook.phase);
        for name in &hook.after {
            when = when.after(name.clone());
        }
        if let Some(limit) = hook.timeout {
            when = when.timeout(ms(limit));
        }
        let mut watch = Watch::new(self, Actor::Hook(hook.id), hook, |hook| &hook.script);
        self.note(What::Offers(Actor::Hook(hook.id)));
        let result = self.handle.try_hook(when, hook.name.clone(), move || {
            watch.begin();
            async move { watch.play(None, None).await }
        });
        self.note(What::HookRegistered(hook.id, result));
    }

    fn start(self: &Arc<Self>, task: &Arc<TaskSpec>) {
        let mut watch = Watch::new(self, Actor::Task(task.id), task, |task| &task.script);
        self.note(What::Offers(Actor::Task(task.id)));
        let result = self.handle.try_task(task.name.clone(), move |cx| {
            watch.begin();
            async move { watch.play(None, Some(cx)).await }
        });
        self.note(What::TaskStarted(task.id, result));
    }

    fn take(self: &Arc<Self>, spec: &Arc<GuardSpec>, kept: &mut Vec<Held>) {
        let name = || format!("g{}", spec.id);
        let guard = match spec.kind {
            GuardKind::Plain => self.handle.guard(),
            GuardKind::Named => self.handle.named_guard(name()),
            GuardKind::Long => self.handle.long_guard(name()),
        };
        self.note(What::GuardTaken {
            id: spec.id,
            kind: spec.kind,
            taken: guard.is_some(),
        });
        let Some(guard) = guard else {
            return;
        };
        let held = self.hold(spec.id, guard);
        match spec.hold {
            Hold::For(time) => {
                let (world, spec) = (Arc::clone(self), Arc::clone(spec));
                self.spawn(async move {
                    for (after, id, hold) in &spec.clones {
                        sleep(ms(*after)).await;
                        world.share(&held, *id, *hold, &mut Vec::new());
                    }
                    sleep(ms(time)).await;
                    drop(held);
                });
            }
            Hold::Owned | Hold::Forever => {
                for (_, id, hold) in &spec.clones {
                    self.share(&held, *id, *hold, kept);
                }
                self.keep(held, spec.hold, kept);
            }
        }
    }

    fn share(self: &Arc<Self>, held: &Held, id: Id, hold: Hold, kept: &mut Vec<Held>) {
        let clone = self.hold(id, held.guard.clone().expect("held"));
        self.note(What::GuardCloned { id, of: held.id });
        self.keep(clone, hold, kept);
    }

    fn keep(self: &Arc<Self>, held: Held, hold: Hold, kept: &mut Vec<Held>) {
        match hold {
            Hold::For(time) => self.spawn(async move {
                sleep(ms(time)).await;
                drop(held);
            }),
            Hold::Owned => kept.push(held),
            Hold::Forever => lock(&self.shelf).push(held),
        }
    }

    fn hold(self: &Arc<Self>, id: Id, guard: DrainGuard) -> Held {
        Held {
            id,
            guard: Some(guard),
            world: Arc::clone(self),
        }
    }

    fn listen(self: &Arc<Self>, id: Id, closes_after: Option<u64>) {
        // Nobody waits for a listener that was opened when the others had been closed.
        if self.stage().begun(Phase::Close) {
            return;
        }
        let group = ConnectionGroup::new(&self.handle);
        let closing = group.closing();
        lock(&self.groups).push((id, Arc::new(group)));
        self.note(What::Listening(id));
        let world = Arc::clone(self);
        self.spawn(async move {
            closing.await;
            world.note(What::ToldToClose(id));
            let Some(after) = closes_after else {
                return;
            };
            sleep(ms(after)).await;
            let mut groups = lock(&world.groups);
            let at = groups.iter().position(|(other, _)| *other == id);
            let group = at.map(|at| groups.remove(at));
            drop(groups);
            if group.is_some() {
                drop(group);
                world.note(What::ListenerClosed(id));
            }
        });
    }

    fn connect(self: &Arc<Self>, spec: &Arc<ConnectionSpec>) {
        let id = spec.id;
        let mut watch = Watch::new(self, Actor::Connection(id), spec, |spec| &spec.script);
        let Some(group) = self.group(spec.group) else {
            // Nobody accepts it.
            watch.over = true;
            return;
        };
        let connection = group.watch_raw(id, move |moment| {
            watch.begin();
            async move { watch.play(Some(moment), None).await }
        });
        self.note(What::Connected {
            id,
            counted: connection.is_some(),
        });
        let Some(connection) = connection else {
            return;
        };
        let world = Arc::clone(self);
        self.spawn(async move {
            let cut = connection.await.is_none();
            world.note(What::ConnectionOver { id, cut });
        });
    }

    fn group(&self, id: Id) -> Option<Arc<ConnectionGroup>> {
        let groups = lock(&self.groups);
        let group = groups.iter().find(|(other, _)| *other == id)?;
        Some(Arc::clone(&group.1))
    }

    fn request(self: &Arc<Self>, spec: RequestSpec) {
        let RequestSpec { id, handler, body } = spec;
        let Some(mut layered) = lock(&self.layer).clone() else {
            return;
        };
        let mut response = Box::pin(layered.call(Request::new(handler)));
        // A refusal is ready at once, and a handler has not begun before it is polled.
        let early = response
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()));
        let early = match early {
            Poll::Ready(response) => Some(response.expect("it cannot fail")),
            Poll::Pending => None,
        };
        let refused = |response: &Response<_>| response.status() == StatusCode::SERVICE_UNAVAILABLE;
        let served = !early.as_ref().is_some_and(refused);
        self.note(What::Requested { id, served });
        let world = Arc::clone(self);
        self.spawn(async move {
            let response = match early {
                Some(response) => response,
                None => response.await.expect("it cannot fail"),
            };
            if served {
                sleep(ms(body)).await;
            }
            drop(response);
            if served {
                world.note(What::RequestOver(id));
            }
        });
    }
}

fn is_refusal<B>(response: impl Future<Output = Result<Response<B>, Infallible>>) -> bool {
    let response = pin!(response);
    let response = response.poll(&mut Context::from_waker(Waker::noop()));
    matches!(response, Poll::Ready(Ok(response)) if response.status() == StatusCode::SERVICE_UNAVAILABLE)
}

/// A guard, and a note when it is dropped.
struct Held {
    id: Id,
    guard: Option<DrainGuard>,
    world: Arc<World>,
}

impl Drop for Held {
    fn drop(&mut self) {
        drop(self.guard.take());
        self.world.note(What::GuardReleased(self.id));
    }
}

/// Plays a script, and notes how that ended, also when nobody lets it end.
struct Watch<T: Send + Sync + 'static> {
    world: Arc<World>,
    actor: Actor,
    spec: Arc<T>,
    script: fn(&T) -> &Script,
    over: bool,
}

impl<T: Send + Sync + 'static> Watch<T> {
    fn new(world: &Arc<World>, actor: Actor, spec: &Arc<T>, script: fn(&T) -> &Script) -> Self {
        Watch {
            world: Arc::clone(world),
            actor,
            spec: Arc::clone(spec),
            script,
            over: false,
        }
    }

    fn begin(&mut self) {
        self.world.note(What::Began(self.actor));
        if (self.script)(&self.spec).stillborn {
            self.end(End::Panicked);
            panic!("drawn");
        }
    }

    fn end(&mut self, end: End) {
        self.over = true;
        self.world.note(What::Returned(self.actor, end));
    }

    // Boxed: scripts register hooks that play scripts.
    fn play(
        mut self,
        mut moment: Option<Moment>,
        task: Option<TaskContext>,
    ) -> Pin<Box<dyn Future<Output = Result<(), &'static str>> + Send>> {
        Box::pin(async move {
            let spec = Arc::clone(&self.spec);
            let script = (self.script)(&spec);
            let mut kept = Vec::new();
            for step in &script.steps {
                match step {
                    Step::Sleep(time) => sleep(ms(*time)).await,
                    Step::Yield => yield_once().await,
                    Step::Act(act) => self.world.perform(act, &mut kept),
                    Step::Await(what) => self.wait(*what, &mut moment, task.as_ref()).await,
                    Step::Forever => pending().await,
                }
            }
            drop(kept);
            self.end(script.end);
            match script.end {
                End::Done => Ok(()),
                End::Failed => Err("drawn"),
                End::Panicked => panic!("drawn"),
            }
        })
    }

    async fn wait(&self, what: Awaited, moment: &mut Option<Moment>, task: Option<&TaskContext>) {
        let handle = &self.world.handle;
        self.world.note(What::Waits(self.actor, what));
        match what {
            Awaited::Stop => match task {
                Some(task) => task.stop_requested().await,
                None => handle.reached(Phase::LameDuck).await,
            },
            Awaited::Phase(phase) => handle.reached(phase).await,
            Awaited::Token(phase) => handle.token(phase).cancelled().await,
            Awaited::Moment => {
                // Of one's own each time: one that was heard is not counted again.
                let moment = moment.take().unwrap_or_else(|| handle.moment());
                moment.await;
            }
            Awaited::Report => {
                let report = handle.finished().await;
                lock(&self.world.reports).push(report);
            }
        }
        self.world.note(What::Heard(self.actor, what));
    }
}

impl<T: Send + Sync + 'static> Drop for Watch<T> {
    fn drop(&mut self) {
        if self.over || self.world.closed.load(Ordering::Relaxed) {
            return;
        }
        self.world.note(What::Dropped(self.actor));
        if let Some(act) = &(self.script)(&self.spec).on_drop {
            self.world.perform(act, &mut Vec::new());
        }
    }
}

async fn yield_once() {
    let mut yielded = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
