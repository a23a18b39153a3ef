//! What the coordinator, its handles, and everything that holds one of them have in common.

#[cfg(feature = "tower")]
use std::any::Any;
use std::sync::{Arc, PoisonError};
#[cfg(feature = "tower")]
use std::sync::{OnceLock, Weak};

use tokio::time::Instant;

use crate::hook::{Hooks, NeverRun};
#[cfg(feature = "tower")]
use crate::http::traffic::ProbeAgents;
use crate::in_flight::{
    Arrivals, Class, Count, DrainGuard, GaugeOwner, Generation, GuardName, Tracker, WeakList,
};
use crate::long_lived::ages::Ages;
#[cfg(feature = "tower")]
use crate::long_lived::event_streams::EventStreams;
use crate::long_lived::notices::Notices;
use crate::long_lived::spread::Draws;
use crate::phase::Phase;
use crate::plan::Plan;
use crate::process::termination_log::TerminationLog;
use crate::progress::{Calls, Facts, Progress};
use crate::reason::Reason;
use crate::report::{ConnectionCounts, Kind, LeftBehind, LongCounts, Report};
use crate::routing::Routing;
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
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
    pub(crate) progress: Arc<Progress>,
    at_trigger: Calls,
    pub(crate) routing: Routing,
    servers: Mutex<WeakList<dyn ServerControl>>,
    pub(crate) termination_log: Arc<TerminationLog>,
    pub(crate) connections: ConnectionsEnded,
    /// How much work was in flight when Close was over,
    cut: AtomicU64,
    /// and how much of what lasts.
    cut_long: AtomicU64,
    /// Which long-lived requests and connections have been told to end.
    pub(crate) notices: Notices,
    /// Which connections have an age.
    pub(crate) ages: Ages,
    #[cfg(feature = "tower")]
    event_streams: Mutex<EventStreams>,
    #[cfg(feature = "tower")]
    probe_agents: Mutex<ProbeAgents>,
    /// The coordinator's leases. This knows them no better: they know this.
    #[cfg(feature = "tower")]
    pub(crate) leases: OnceLock<Weak<dyn Any + Send + Sync>>,
    /// Where the moments come from.
    pub(crate) draws: Draws,
    /// Somebody listens to the process's signals for this coordinator.
    owns_process: AtomicBool,
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

impl Shared {
    pub(crate) fn new(plan: Plan) -> Self {
        let gauge = GaugeOwner::new();
        if plan.leave_early().is_some() {
            gauge.count_arrivals();
        }
        Shared {
            plan,
            progress: Arc::new(Progress::new(gauge.stage_writer())),
            at_trigger: Calls::default(),
            routing: Routing::default(),
            gauge,
            hooks: Arc::default(),
            roster: Roster::default(),
            servers: Mutex::default(),
            termination_log: Arc::default(),
            connections: ConnectionsEnded::default(),
            cut: AtomicU64::new(0),
            cut_long: AtomicU64::new(0),
            notices: Notices::default(),
            ages: Ages::default(),
            #[cfg(feature = "tower")]
            event_streams: Mutex::default(),
            #[cfg(feature = "tower")]
            probe_agents: Mutex::default(),
            #[cfg(feature = "tower")]
            leases: OnceLock::new(),
            draws: Draws::new(),
            owns_process: AtomicBool::new(false),
            #[cfg(feature = "metrics")]
            described: std::sync::Once::new(),
        }
    }

    #[inline]
    pub(crate) fn tracker(&self) -> Tracker {
        self.gauge.tracker()
    }

    /// Whether our listeners accept no more: they were told to close, or Release has begun.
    #[cfg(feature = "tower")]
    pub(crate) fn listeners_closed(&self) -> bool {
        self.progress.close_listeners().is_cancelled()
            || self.progress.begun(Phase::Release).is_cancelled()
    }

    pub(crate) fn count_both(&self, class: Class) -> u64 {
        let early = self.gauge.count((class, Generation::Early));
        early + self.gauge.count((class, Generation::Late))
    }

    pub(crate) fn trigger(&self, reason: Reason) -> bool {
        self.trigger_with(reason, || self.facts())
    }

    /// Triggers the shutdown because another process accepts from our listeners: routing has nothing to notice, and from now on
    /// what is in their queues is the other's.
    #[cfg(all(unix, feature = "restart"))]
    pub(crate) fn hand_over(&self, reason: Reason) -> bool {
        let facts = || Facts {
            routed: false,
            ..self.facts()
        };
        let is_first = self.trigger_with(reason, facts);
        if is_first {
            // First: from the other one on, their probes say that nobody listens here.
            self.progress.close_admin().cancel();
            self.progress.close_listeners().cancel();
        }
        is_first
    }

    fn trigger_with(&self, reason: Reason, facts: impl FnOnce() -> Facts) -> bool {
        let triggers = self.progress.triggers();
        let is_first = triggers.pull(reason, facts, &self.at_trigger);
        // Also by a later one: whoever was first may not have come so far.
        self.progress.begin();
        if is_first {
            self.enter(Phase::LameDuck);
        }
        is_first
    }

    /// Calls back at T0; at once if that is past. Dropped uncalled with the coordinator.
    #[cfg(any(feature = "signal", all(unix, feature = "systemd")))]
    pub(crate) fn on_trigger(&self, call: impl FnOnce(std::time::Instant) + Send + 'static) {
        self.at_trigger.add(self.progress.triggers(), call);
    }

    /// Whether the coordinator was dropped before anything was triggered.
    #[cfg(feature = "signal")]
    pub(crate) fn is_disarmed(&self) -> bool {
        self.at_trigger.is_disarmed()
    }

    /// What is fixed at the trigger.
    fn facts(&self) -> Facts {
        let planned = self.plan.duration(Phase::Release);
        let asked = self.hooks.asked(Phase::Release, planned);
        Facts {
            routed: self.routing.is_routed(self.gauge.was_reached()),
            deadlines: self.plan.deadlines(planned.saturating_sub(asked)),
        }
    }

    /// Begins a phase: everybody who asks or waits can see it.
    pub(crate) fn enter(&self, phase: Phase) {
        if phase == Phase::LameDuck {
            self.gauge.begin(self.progress.t0());
        }
        self.progress.enter(phase, || self.tell_servers());
    }

    /// The last phase is over.
    pub(crate) fn finish(&self, report: Arc<Report>) {
        self.progress.finish(report, || self.tell_servers());
    }

    fn tell_servers(&self) {
        for server in self.all_servers() {
            server.stage_moved();
        }
    }

    /// The coordinator is gone. Gives what it would have run.
    pub(crate) fn abandon(&self) -> NeverRun {
        self.progress.abandon();
        self.at_trigger.disarm(self.progress.triggers());
        self.gauge.revoke_guards();
        self.roster.abandon();
        self.hooks.abandon()
    }

    /// The process lives and ends with this coordinator.
    #[cfg(feature = "signal")]
    pub(crate) fn own_process(&self) {
        self.owns_process.store(true, Ordering::Relaxed);
    }

    pub(crate) fn owns_process(&self) -> bool {
        self.owns_process.load(Ordering::Relaxed)
    }

    /// A guard that the report can name. `None` when Release has begun.
    pub(crate) fn named_guard(&self, class: Class, name: String) -> Option<DrainGuard> {
        let (ticket, generation) = self.tracker().for_guards().take_dated(class)?;
        let name = Arc::new(GuardName {
            name,
            since: Instant::now(),
            generation,
            long: class == Class::Long,
        });
        self.roster.add_guard(&name);
        Some(DrainGuard::new(ticket, Some(name)))
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

    #[cfg(feature = "tower")]
    pub(crate) fn set_probe_agents(&self, agents: ProbeAgents) {
        *self.lock_probe_agents() = agents;
    }

    /// Those that servers and layers go by which are made now.
    #[cfg(feature = "tower")]
    pub(crate) fn probe_agents(&self) -> ProbeAgents {
        *self.lock_probe_agents()
    }

    #[cfg(feature = "tower")]
    fn lock_probe_agents(&self) -> MutexGuard<'_, ProbeAgents> {
        self.probe_agents
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
        self.cut.store(work, Ordering::Relaxed);
        self.cut_long.store(long, Ordering::Relaxed);
        for server in self.all_servers() {
            server.cut();
        }
        self.roster.cut();
    }

    pub(crate) fn cut_count(&self) -> u64 {
        self.cut.load(Ordering::Relaxed) + self.connections.cut_unfinished.load(Ordering::Relaxed)
    }

    pub(crate) fn long_counts(&self) -> LongCounts {
        let upgraded = self.connections.cut_upgraded.load(Ordering::Relaxed);
        LongCounts {
            told: self.notices.told(),
            cut: self.cut_long.load(Ordering::Relaxed) + upgraded,
        }
    }

    pub(crate) fn arrivals(&self) -> Arrivals {
        self.gauge.arrivals()
    }

    pub(crate) fn count(&self, count: Count) -> u64 {
        self.gauge.count(count)
    }
}
