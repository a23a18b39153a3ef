//! The task that sees what the service manager should be told.

use std::future::pending;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::speaker::Speaks;
use crate::handle::ShutdownHandle;
use crate::progress::ProgressWatch;

pub(super) struct Follower {
    handle: ShutdownHandle,
    progress: ProgressWatch,
    readiness: watch::Receiver<()>,
    /// Half of the service manager's, so that one beat may be late.
    between_beats: Option<Duration>,
}

impl Follower {
    pub(super) fn new(handle: &ShutdownHandle, watchdog: Option<Duration>) -> Self {
        let between_beats = watchdog.map(|it| it / 2).filter(|it| !it.is_zero());
        Follower {
            handle: handle.clone(),
            progress: handle.progress(),
            readiness: handle.shared.routing.readiness(),
            between_beats,
        }
    }

    /// Ready when the shutdown is over or will never be, and no watchdog waits for beats: the process may go on.
    pub(super) async fn run(self, speaks: Speaks) {
        // In the runtime, so that nothing beats when that is wedged.
        let mut beats = self.between_beats.map(beats);
        tokio::select! {
            () = self.follow(&speaks) => {}
            () = beat(&mut beats, &speaks) => {}
        }
        if beats.is_some() {
            beat(&mut beats, &speaks).await;
        }
    }

    async fn follow(self, speaks: &Speaks) {
        let Follower {
            handle,
            mut progress,
            mut readiness,
            ..
        } = self;
        loop {
            speaks.look(is_ready(&handle));
            tokio::select! {
                moved = progress.changed() => if moved.is_none() { return },
                // The handle keeps the sender alive.
                _ = readiness.changed() => {}
            }
        }
    }
}

/// Start-up is over: `run` was called, and nobody says otherwise.
fn is_ready(handle: &ShutdownHandle) -> bool {
    let shared = &handle.shared;
    shared.progress.is_run_called()
        && !handle.is_shutting_down()
        && handle.not_ready_because().is_empty()
}

fn beats(between: Duration) -> Interval {
    let mut beats = interval(between);
    // One beat says all that several would.
    beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    beats
}

async fn beat(beats: &mut Option<Interval>, speaks: &Speaks) {
    match beats {
        None => pending().await,
        Some(beats) => loop {
            beats.tick().await;
            speaks.beat();
        },
    }
}
