//! What the coordinator, its handles, and everything that holds one of them have in common.

use std::sync::{Arc, OnceLock, PoisonError};

use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::hook::Hooks;
use crate::in_flight::{
    Arrivals, Class, Count, DrainGuard, FINISHED, GaugeOwner, Generation, GuardName, Stage,
    Tracker, WeakList,
};
#[cfg(feature = "tower")]
use crate::long_lived::event_streams::EventStreams;
use crate::long_lived::notices::Notices;
use crate::long_lived::spread::Draws;
use crate::phase::Phase;
use crate::plan::Plan;
use crate::reason::Reason;
use crate::report::{ConnectionCounts, Kind, LeftBehind, LongCounts, Report};
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Mutex, MutexGuard};
use crate::task::roster::Roster;

/// A server, as the coordinator sees it.
pub(crate) trait ServerControl: Send + Sync {
    /// The stage has moved: whoever waits for that should look.
    fn stage_moved(&self);
    /// Close's deadline has come: ends every connection that is left.
    fn cut(&self);
    /// What is in flight here, requests only up to the generation `latest`.
    fn left_behind(&self, kind: Kind, latest: Generation, left: &mut Vec<LeftBehind>);
    /// How many requests are in flight here, named or not.
    fn requests(&self) -> u64;
}

/// What the coordinator, its handles, and everything that holds one of them have in common.
pub(crate) struct Shared {
    pub(crate) plan: Plan,
    pub(crate) gauge: GaugeOwner,
    pub(crate) hooks: Arc<Hooks>,
    pub(crate) roster: Roster,
    /// Cancelled when the phase begins.
    begun: [CancellationToken; Phase::ALL.len()],
    begun_at: [OnceLock<Instant>; Phase::ALL.len()],
    /// Cancelled when it is time to empty and close the listeners.
    pub(crate) close_listeners: CancellationToken,
    /// Cancelled when the last phase is over: what stays to the end may go.
    pub(crate) over: CancellationToken,
    state: Mutex<State>,
    servers: Mutex<WeakList<dyn ServerControl>>,
    pub(crate) finished: watch::Sender<Option<Arc<Report>>>,
    pub(crate) connections: ConnectionsEnded,
    /// Who of what lasts has been told to end.
    pub(crate) notices: Notices,
    #[cfg(feature = "tower")]
    event_streams: Mutex<EventStreams>,
    /// Where the moments come from.
    pub(crate) draws: Draws,
    /// A trigger came after the first one.
    repeated: Notify,
    /// The metrics have been described to the recorder.
    #[cfg(feature = "metrics")]
    pub(crate) described: std::sync::Once,
}

/// The connections that ended since T0. Kept here, because a server is gone when its last connection is.
#[derive(Default)]
pub(crate) struct ConnectionsEnded {
    pub(crate) closed: AtomicU64,
    pub(crate) cut: AtomicU64,
    /// The messages on those of `cut` that were not over, though nothing was in flight for them any more.
    pub(crate) cut_unfinished: AtomicU64,
    /// Those of `cut` that had been upgraded.
    pub(crate) cut_upgraded: AtomicU64,
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
    /// How much work was in flight when Close was over,
    cut: u64,
    /// and how much of what lasts.
    cut_long: u64,
    on_trigger: Vec<Box<dyn FnOnce(std::time::Instant) + Send>>,
    /// The coordinator was dropped: no phase will run any more.
    abandoned: bool,
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

impl Shared {
    pub(crate) fn new(plan: Plan) -> Self {
        let gauge = GaugeOwner::new();
        if plan.leave_early().is_some() {
            gauge.count_arrivals();
        }
        Shared {
            plan,
            gauge,
            hooks: Arc::default(),
            roster: Roster::default(),
            begun: Default::default(),
            begun_at: Default::default(),
            close_listeners: CancellationToken::new(),
            over: CancellationToken::new(),
            state: Mutex::default(),
            servers: Mutex::default(),
            finished: watch::Sender::new(None),
            connections: ConnectionsEnded::default(),
            notices: Notices::default(),
            #[cfg(feature = "tower")]
            event_streams: Mutex::default(),
            draws: Draws::new(),
            repeated: Notify::new(),
            #[cfg(feature = "metrics")]
            described: std::sync::Once::new(),
        }
    }

    #[inline]
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

    pub(crate) fn count_both(&self, class: Class) -> u64 {
        let early = self.gauge.count((class, Generation::Early));
        early + self.gauge.count((class, Generation::Late))
    }

    pub(crate) fn trigger(&self, reason: Reason) -> bool {
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
        // Before anybody can see that it has begun. LameDuck's is T0, which may have been taken on another clock.
        if phase != Phase::LameDuck {
            let _ = self.begun_at[phase.index()].set(Instant::now());
        }
        self.set_stage(phase.index() as Stage + 1);
        self.begun[phase.index()].cancel();
    }

    /// When `phase` began.
    pub(crate) fn begun_at(&self, phase: Phase) -> Option<Instant> {
        match phase {
            Phase::LameDuck => self.t0(),
            _ => self.begun_at[phase.index()].get().copied(),
        }
    }

    /// When what is still open is cut.
    pub(crate) fn close_deadline(&self) -> Option<Instant> {
        Some(self.t0()? + self.plan.deadline(Phase::Close))
    }

    /// The last phase is over.
    pub(crate) fn finish(&self, report: Arc<Report>) {
        self.set_stage(FINISHED);
        self.finished.send_replace(Some(report));
        self.over.cancel();
    }

    fn set_stage(&self, stage: Stage) {
        self.gauge.set_stage(stage);
        for server in self.all_servers() {
            server.stage_moved();
        }
    }

    /// Cancelled when `phase` begins.
    pub(crate) const fn begun(&self, phase: Phase) -> &CancellationToken {
        &self.begun[phase.index()]
    }

    pub(crate) fn reason(&self) -> Option<Reason> {
        let state = self.state();
        state.trigger.as_ref().map(|trigger| trigger.reason.clone())
    }

    /// The moment of the trigger.
    pub(crate) fn t0(&self) -> Option<Instant> {
        Some(self.state().trigger.as_ref()?.at)
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
        self.gauge.begin(trigger.at);
        trigger.clone()
    }

    /// Waits for triggers that came after the first.
    pub(crate) async fn repeats(&self) -> Vec<Reason> {
        self.repeated.notified().await;
        std::mem::take(&mut self.state().repeats)
    }

    /// Whether somebody counts on the sequence: it has begun and is not over, or requests are served here.
    pub(crate) fn is_needed(&self) -> bool {
        let state = self.state();
        let counted_on = state.trigger.is_some() || state.serving;
        counted_on && self.finished.borrow().is_none()
    }

    /// The coordinator is gone.
    pub(crate) fn abandon(&self) {
        self.state().abandoned = true;
    }

    /// Whether the coordinator is gone, so that nobody would act on a trigger.
    #[cfg(feature = "hyper")]
    pub(crate) fn is_abandoned(&self) -> bool {
        self.state().abandoned
    }

    /// Requests are served here, so a shutdown has to wait until they are routed elsewhere.
    #[cfg(any(feature = "net", feature = "tower"))]
    pub(crate) fn declare_serving(&self) {
        self.state().serving = true;
    }

    pub(crate) fn add_not_ready(&self, why: String) -> u64 {
        let mut state = self.state();
        let id = state.next_not_ready;
        state.next_not_ready += 1;
        state.not_ready.push((id, why));
        id
    }

    pub(crate) fn remove_not_ready(&self, id: u64) {
        self.state().not_ready.retain(|(held, _)| *held != id);
    }

    pub(crate) fn not_ready_because(&self) -> Vec<String> {
        let state = self.state();
        state.not_ready.iter().map(|(_, why)| why.clone()).collect()
    }

    /// A guard that the report can name. `None` when Release has begun.
    pub(crate) fn named_guard(&self, class: Class, name: String) -> Option<DrainGuard> {
        let (ticket, generation) = self.tracker().take_dated(class)?;
        let name = Arc::new(GuardName {
            name,
            since: Instant::now(),
            generation,
            long: class == Class::Long,
        });
        self.roster.add_guard(&name);
        Some(DrainGuard::new(ticket, Some(name)))
    }

    /// Calls back at T0; at once if that is past. Dropped uncalled with the last handle.
    #[cfg(feature = "signal")]
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

    #[cfg(feature = "tower")]
    pub(crate) fn set_event_streams(&self, streams: EventStreams) {
        *self.event_streams() = streams;
    }

    #[cfg(feature = "tower")]
    pub(crate) fn event_streams(&self) -> MutexGuard<'_, EventStreams> {
        self.event_streams
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a server. It is told of every stage that comes, and must look itself at the one that is.
    #[cfg(feature = "net")]
    pub(crate) fn add_server(&self, server: &Arc<dyn ServerControl>) {
        self.servers().add(server);
    }

    fn all_servers(&self) -> Vec<Arc<dyn ServerControl>> {
        self.servers().all()
    }

    fn servers(&self) -> MutexGuard<'_, WeakList<dyn ServerControl>> {
        self.servers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is in flight now, oldest first, as far as it has a name: what began in the generation `latest` or before it.
    pub(crate) fn left_behind(&self, kinds: &[Kind], latest: Generation) -> Vec<LeftBehind> {
        let mut left = Vec::new();
        for server in self.all_servers() {
            for &kind in kinds {
                server.left_behind(kind, latest, &mut left);
            }
        }
        if kinds.contains(&Kind::Task) {
            let long = kinds.contains(&Kind::Connection);
            self.roster.left_behind(latest, long, &mut left);
        }
        left.sort_by_key(|left| std::cmp::Reverse(left.age));
        left
    }

    /// How many requests are in flight on connections of ours.
    pub(crate) fn requests(&self) -> u64 {
        let servers = self.all_servers();
        servers.iter().map(|server| server.requests()).sum()
    }

    /// Ends what Close did not see ending: connections and tasks.
    pub(crate) fn cut(&self) {
        let work = self.count_both(Class::Work);
        let long = self.count_both(Class::Long);
        let mut state = self.state();
        state.cut = work;
        state.cut_long = long;
        drop(state);
        for server in self.all_servers() {
            server.cut();
        }
        self.roster.cut();
    }

    pub(crate) fn cut_count(&self) -> u64 {
        self.state().cut + self.connections.cut_unfinished.load(Ordering::Relaxed)
    }

    pub(crate) fn long_counts(&self) -> LongCounts {
        let upgraded = self.connections.cut_upgraded.load(Ordering::Relaxed);
        LongCounts {
            told: self.notices.told(),
            cut: self.state().cut_long + upgraded,
        }
    }

    pub(crate) fn arrivals(&self) -> Arrivals {
        self.gauge.arrivals()
    }

    pub(crate) fn count(&self, count: Count) -> u64 {
        self.gauge.count(count)
    }
}
