//! Following a shutdown from outside.

use std::fmt;
use std::time::Duration;

use tokio::sync::watch::Receiver;
use tokio::time::Instant;

use crate::handle::ShutdownHandle;
use crate::in_flight::{Class, FINISHED, Stage};
use crate::phase::Phase;

impl ShutdownHandle {
    /// Follows the shutdown: its phases, and how much is in flight. [`ProgressWatch`] has an example, a status line.
    #[must_use]
    pub fn progress(&self) -> ProgressWatch {
        ProgressWatch {
            handle: self.clone(),
            moved: self.shared.progress.moved(),
        }
    }
}

/// Follows a shutdown, phase by phase. Made by [`ShutdownHandle::progress`].
///
/// It works like a [`watch::Receiver`](tokio::sync::watch::Receiver): [`now`](ProgressWatch::now) looks at any time, and
/// [`changed`](ProgressWatch::changed) waits for the next phase. A watch that looks too late sees the latest phase alone.
///
/// ```
/// # use lameduck::{Phase, Plan, ShutdownCoordinator};
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() {
/// let shutdown = ShutdownCoordinator::new(Plan::immediate());
/// let handle = shutdown.handle();
/// let mut progress = handle.progress();
/// let status = tokio::spawn(async move {
///     while let Some(now) = progress.changed().await {
///         println!("{now}"); // "Drain: 3 in flight, 0 long-lived, 5 connections"
///     }
/// });
///
/// handle.shutdown("an example");
/// shutdown.run().await;
/// status.await.unwrap();
/// # }
/// ```
pub struct ProgressWatch {
    handle: ShutdownHandle,
    moved: Receiver<Stage>,
}

impl ProgressWatch {
    /// Where the shutdown is now.
    #[must_use]
    pub fn now(&self) -> Snapshot {
        Snapshot::new(&self.handle)
    }

    /// Waits until the phase changes, and returns where the shutdown is then. Ready at once for a phase that began since the last
    /// call, or since the watch was made. The last snapshot is the one in which the shutdown [is over](Snapshot::is_over).
    ///
    /// `None` after that one, for a watch that is made when the shutdown is over, and when the coordinator is gone, so that no
    /// phase will begin any more.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: no change is lost.
    pub async fn changed(&mut self) -> Option<Snapshot> {
        let is_told = !self.moved.has_changed().unwrap_or(false);
        if is_told && (*self.moved.borrow() == FINISHED || self.is_abandoned()) {
            return None;
        }
        // The handle keeps the sender alive.
        self.moved.changed().await.ok()?;
        (!self.is_abandoned()).then(|| self.now())
    }

    fn is_abandoned(&self) -> bool {
        self.handle.shared.progress.is_abandoned()
    }
}

impl fmt::Debug for ProgressWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProgressWatch")
            .field("now", &self.now())
            .finish_non_exhaustive()
    }
}

/// Where a shutdown is at one moment. `Display` is one line.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Snapshot {
    /// The phase that is running; `None` in normal service. After the last phase it stays [`Phase::Exit`].
    pub phase: Option<Phase>,
    /// Whether the last phase is over.
    pub is_over: bool,
    /// The time since the trigger; `None` in normal service.
    pub elapsed: Option<Duration>,
    /// How long the phase may still take; `None` in normal service, and when the last phase is over.
    pub phase_remaining: Option<Duration>,
    /// How many requests, tasks and guards are in flight, long-lived ones included, about.
    pub in_flight: u64,
    /// How many of these are long-lived, about.
    pub long_lived: u64,
    /// How many connections are open, about.
    pub connections: u64,
    /// How many listeners of our own servers and connection groups are open, about; those of admin servers are not counted.
    pub listeners: u64,
    /// How many connections have ended since the trigger, those that were cut not among them.
    pub connections_closed: u64,
    /// How many connections have been cut at Close's deadline.
    pub connections_cut: u64,
    /// How many long-lived requests and connections have been told to end.
    pub long_told: u64,
}

impl Snapshot {
    pub(crate) fn new(handle: &ShutdownHandle) -> Self {
        let now = Instant::now();
        let shared = &handle.shared;
        let progress = &shared.progress;
        let ended = shared.connections.counts();
        let phase = handle.phase();
        let is_over = shared.tracker().stage() == FINISHED;
        let deadline = phase.and_then(|phase| progress.deadline(phase));
        Snapshot {
            phase,
            is_over,
            elapsed: progress.t0().map(|t0| now.saturating_duration_since(t0)),
            phase_remaining: deadline
                .filter(|_| !is_over)
                .map(|at| at.saturating_duration_since(now)),
            in_flight: handle.in_flight(),
            long_lived: handle.long_lived(),
            connections: handle.connections(),
            listeners: shared.count_both(Class::Listener),
            connections_closed: ended.closed,
            connections_cut: ended.cut,
            long_told: shared.notices.told(),
        }
    }
}

impl fmt::Display for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.phase, self.is_over) {
            (None, _) => f.write_str("serving")?,
            (Some(phase), false) => write!(f, "{phase}")?,
            (Some(_), true) => f.write_str("over")?,
        }
        let Snapshot {
            in_flight,
            long_lived,
            connections,
            ..
        } = self;
        write!(
            f,
            ": {in_flight} in flight, {long_lived} long-lived, {connections} connections"
        )
    }
}
