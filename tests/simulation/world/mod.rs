//! Plays scenarios, and writes down what is seen.
//!
//! Two worlds: a paused clock on one thread, where the order of things is known and no time passes by itself; and a
//! runtime with several threads on real time, where everything may come in between.

mod acts;
mod layer;
mod script;

use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Waker};
use std::thread::JoinHandle;
use std::time::Duration;

use futures_util::future::{FutureExt, TryFutureExt, join, join_all};
use lameduck::server::ConnectionGroup;
use lameduck::{Phase, Report, ShutdownCoordinator, ShutdownHandle};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use self::acts::Held;
use self::layer::{Layered, stale_layer};
use crate::scenario::{Fate, Id, Scenario, ms};
use crate::trace::{Counted, Event, Stage, What};

/// What was seen.
pub(crate) struct Played {
    pub(crate) trace: Vec<Event>,
    /// `None` when the shutdown did not end.
    pub(crate) report: Option<Arc<Report>>,
    /// Whether `run` panicked.
    pub(crate) run_panicked: bool,
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

/// The same on real time.
const LONG: Duration = Duration::from_secs(12);

/// Plays scenarios on one thread, whose clock stands still while anybody has something to do. They know nothing of each other.
pub(crate) fn paused(scenarios: &[&Scenario]) -> Vec<Played> {
    let runtime = Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime without IO");
    let lives = scenarios.iter().map(|scenario| async {
        let life = Life::lead(scenario, runtime.handle(), FOR_EVER).await;
        // Nobody should be left. If somebody is, what happens to it with the runtime is no part of the play.
        if scenario.fate != Fate::Dropped {
            life.world.closed.store(true, Ordering::Relaxed);
        }
        life
    });
    let lives = runtime.block_on(join_all(lives));
    end(runtime, scenarios, lives)
}

/// Plays scenarios at the same time, on a runtime with two workers and so many threads for blocking work.
pub(crate) fn threaded(scenarios: &[&Scenario], blocking_threads: usize) -> Vec<Played> {
    let runtime = Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(blocking_threads)
        .enable_time()
        .build()
        .expect("a runtime without IO");
    let lives = scenarios
        .iter()
        .map(|scenario| Life::lead(scenario, runtime.handle(), LONG));
    let lives = runtime.block_on(join_all(lives));
    end(runtime, scenarios, lives)
}

/// Ends whatever goes on.
fn end(runtime: Runtime, scenarios: &[&Scenario], lives: Vec<Life>) -> Vec<Played> {
    // Waits for blocking work, and drops all other.
    drop(runtime);
    let all = scenarios.iter().zip(lives);
    all.map(|(scenario, life)| life.played(scenario)).collect()
}

/// One scenario, from its beginning to the report.
struct Life {
    world: Arc<World>,
    report: Option<Arc<Report>>,
    run_panicked: bool,
    all_ended: bool,
}

impl Life {
    /// `patience`: how long is waited for what should end.
    async fn lead(scenario: &Scenario, runtime: &Handle, patience: Duration) -> Self {
        let parent = CancellationToken::new();
        let mut coordinator = ShutdownCoordinator::new(scenario.plan.clone())
            .termination_log("/nonexistent")
            .seed(scenario.seed);
        if scenario.parent {
            coordinator = coordinator.child_of(parent.clone());
        }
        let world = Arc::new(World::new(coordinator.handle(), parent, runtime.clone()));
        let run = run(Arc::clone(&world), coordinator, scenario);
        let run = match scenario.in_main {
            true => AssertUnwindSafe(run)
                .catch_unwind()
                .map_err(drop)
                .left_future(),
            false => tokio::spawn(run).map_err(drop).right_future(),
        };
        let acts = async {
            for (at, act) in &scenario.acts {
                sleep_until(world.begun + ms(*at)).await;
                let mut kept = Vec::new();
                world.perform(act, &mut kept);
                kept.into_iter().for_each(|held| world.shelve(held));
            }
        };
        let ((), ran) = join(acts, timeout(patience, run)).await;
        // Whoever was aborted or told in that poll of `main` has a turn.
        sleep(ms(1)).await;
        let (report, run_panicked) = match ran {
            Ok(Ok(report)) => (report, false),
            Ok(Err(())) => (None, true),
            Err(_) => (None, false),
        };
        let all_ended = match scenario.fate {
            // Nobody comes to an end by a shutdown that does not run.
            Fate::Dropped => {
                world.dismiss();
                true
            }
            _ => world.clear(patience).await,
        };
        world.quiet.store(true, Ordering::Relaxed);
        Life {
            world,
            report,
            run_panicked,
            all_ended,
        }
    }

    /// When nobody is left.
    fn played(self, scenario: &Scenario) -> Played {
        let Life { world, report, .. } = self;
        // What blocks may have gone on for longer than all others.
        world.join_outside();
        world.dismiss();
        world.closed.store(true, Ordering::Relaxed);
        let t0 = world.handle.deadline(Phase::Exit);
        let whole = scenario.plan.deadline(Phase::Exit);
        let same = |one: &Arc<Report>| report.as_ref().is_some_and(|it| Arc::ptr_eq(it, one));
        Played {
            trace: std::mem::take(&mut *lock(&world.trace)),
            t0: t0.map(|at| at - whole - world.begun),
            same_report: lock(&world.reports).iter().all(same),
            all_ended: self.all_ended,
            left: world.counted(),
            run_panicked: self.run_panicked,
            report,
        }
    }
}

/// Runs the coordinator, or does with it whatever else was drawn.
fn run(
    world: Arc<World>,
    coordinator: ShutdownCoordinator,
    scenario: &Scenario,
) -> impl Future<Output = Option<Arc<Report>>> + Send + use<> {
    let at = world.begun + ms(scenario.run_at);
    let fate = scenario.fate;
    let time = scenario.plan.deadline(Phase::Exit);
    async move {
        sleep_until(at).await;
        let report = match fate {
            Fate::Run => {
                world.note(What::Ran);
                Some(coordinator.run().await)
            }
            Fate::RunDropped { after } => {
                world.note(What::Ran);
                tokio::select! {
                    biased;
                    report = coordinator.run() => Some(report),
                    () = sleep(ms(after)) => None,
                }
            }
            Fate::Dropped => {
                world.note(What::Abandons);
                _ = world.shielded(|| drop(coordinator));
                world.note(What::Abandoned);
                // What was to come comes, or does not.
                sleep(time).await;
                return None;
            }
        };
        let report = match report {
            Some(report) => report,
            None => {
                world.note(What::RunDropped);
                world.handle.finished().await
            }
        };
        world.note(What::RunReturned);
        Some(report)
    }
}

struct World {
    begun: Instant,
    handle: ShutdownHandle,
    parent: CancellationToken,
    runtime: Handle,
    stale: Layered,
    trace: Mutex<Vec<Event>>,
    reports: Mutex<Vec<Arc<Report>>>,
    groups: Mutex<Vec<(Id, Arc<ConnectionGroup>)>>,
    layer: Mutex<Option<Layered>>,
    /// The guards that are held to the end.
    shelf: Mutex<Vec<Held>>,
    bystanders: Mutex<JoinSet<()>>,
    /// Threads that are in no runtime.
    outside: Mutex<Vec<JoinHandle<()>>>,
    /// The play is over: what is dropped now does nothing any more,
    quiet: AtomicBool,
    /// and is not noted either.
    closed: AtomicBool,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().expect("nothing panics under a lock")
}

impl World {
    fn new(handle: ShutdownHandle, parent: CancellationToken, runtime: Handle) -> Self {
        World {
            begun: Instant::now(),
            handle,
            parent,
            runtime,
            stale: stale_layer(),
            trace: Mutex::default(),
            reports: Mutex::default(),
            groups: Mutex::default(),
            layer: Mutex::default(),
            shelf: Mutex::default(),
            bystanders: Mutex::default(),
            outside: Mutex::default(),
            quiet: AtomicBool::new(false),
            closed: AtomicBool::new(false),
        }
    }

    fn note(&self, what: What) {
        // Locked first: events stand in the order in which they were seen, whichever threads saw them.
        let mut trace = lock(&self.trace);
        if self.closed.load(Ordering::Relaxed) {
            return;
        }
        trace.push(Event {
            at: self.begun.elapsed(),
            stage: self.stage(),
            counted: self.counted(),
            what,
        });
    }

    fn is_quiet(&self) -> bool {
        self.quiet.load(Ordering::Relaxed)
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
        lock(&self.bystanders).spawn_on(work, &self.runtime);
    }

    /// Lets go of everything. Returns whether all who are about then end.
    async fn clear(&self, patience: Duration) -> bool {
        drop(std::mem::take(&mut *lock(&self.shelf)));
        let groups = std::mem::take(&mut *lock(&self.groups));
        for (id, group) in groups {
            drop(group);
            self.note(What::ListenerClosed(id));
        }
        timeout(patience, async {
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

    /// Ends all who are about.
    fn dismiss(&self) {
        drop(std::mem::take(&mut *lock(&self.shelf)));
        drop(std::mem::take(&mut *lock(&self.groups)));
        drop(std::mem::take(&mut *lock(&self.bystanders)));
    }

    fn join_outside(&self) {
        for thread in std::mem::take(&mut *lock(&self.outside)) {
            thread.join().expect("it only triggers");
        }
    }
}
