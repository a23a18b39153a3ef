//! How late the machine itself is: others may run on it, and a few milliseconds decide here.

use std::num::NonZero;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

const PAUSE: Duration = Duration::from_millis(2);
/// Less is usual.
const NOTABLE: Duration = Duration::from_millis(5);
/// Longer than any run.
const KEPT: Duration = Duration::from_secs(120);

/// One on each core who does nothing but sleep, and notes when that took too long.
#[derive(Clone, Default)]
pub(crate) struct Lateness(Arc<Mutex<Vec<Late>>>);

struct Late {
    at: Instant,
    by: Duration,
}

impl Lateness {
    /// Watches each core until the last clone of what is returned is gone.
    pub(crate) fn watch() -> Self {
        let lateness = Lateness::default();
        let cores = thread::available_parallelism().map_or(1, NonZero::get);
        for at in 0..cores {
            let kept = Arc::downgrade(&lateness.0);
            thread::spawn(move || watch_core(at, &kept));
        }
        lateness
    }

    /// How late it was at most since `then`.
    pub(crate) fn late_since(&self, then: Instant) -> Duration {
        let kept = lock(&self.0);
        let late = kept.iter().filter(|late| late.at > then);
        late.map(|late| late.by).max().unwrap_or_default()
    }
}

fn watch_core(at: usize, kept: &Weak<Mutex<Vec<Late>>>) {
    stay_on(at);
    while let Some(kept) = kept.upgrade() {
        let begun = Instant::now();
        thread::sleep(PAUSE);
        let at = Instant::now();
        let by = (at - begun).saturating_sub(PAUSE);
        if by > NOTABLE {
            let mut kept = lock(&kept);
            kept.retain(|late| at - late.at < KEPT);
            kept.push(Late { at, by });
        }
    }
}

/// Stays on the core that comes at this place of those that the process may use.
#[cfg(target_os = "linux")]
fn stay_on(at: usize) {
    use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

    let Ok(allowed) = sched_getaffinity(None) else {
        return;
    };
    if let Some(core) = (0..CpuSet::MAX_CPU)
        .filter(|&core| allowed.is_set(core))
        .nth(at)
    {
        let mut only = CpuSet::new();
        only.set(core);
        // Where that is not allowed it watches whatever core it is given.
        let _ = sched_setaffinity(None, &only);
    }
}

#[cfg(not(target_os = "linux"))]
const fn stay_on(_: usize) {}

fn lock(kept: &Mutex<Vec<Late>>) -> MutexGuard<'_, Vec<Late>> {
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}
