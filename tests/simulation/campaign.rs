//! Plays many seeds at the same time.

use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// In real time. Who takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// Checks the seeds up to `end`, on so many threads. `show` says what a seed plays.
pub(crate) fn check_all(
    end: u64,
    threads: usize,
    check: impl Fn(u64) + Sync,
    show: impl Fn(u64) -> String,
) {
    let next = AtomicU64::new(0);
    let playing: Vec<Mutex<Option<(u64, Instant)>>> =
        (0..threads).map(|_| Mutex::default()).collect();
    std::thread::scope(|scope| {
        let workers: Vec<_> = playing
            .iter()
            .map(|playing| {
                scope.spawn(|| {
                    loop {
                        let seed = next.fetch_add(1, Ordering::Relaxed);
                        if seed >= end {
                            return;
                        }
                        *playing.lock().unwrap() = Some((seed, Instant::now()));
                        if catch_unwind(AssertUnwindSafe(|| check(seed))).is_err() {
                            // The others need not go on.
                            next.store(end, Ordering::Relaxed);
                            panic!("seed {seed:#x}: see above");
                        }
                        *playing.lock().unwrap() = None;
                    }
                })
            })
            .collect();
        while workers.iter().any(|worker| !worker.is_finished()) {
            std::thread::sleep(Duration::from_millis(5));
            for playing in &playing {
                if let Some((seed, since)) = *playing.lock().unwrap()
                    && since.elapsed() > PATIENCE
                {
                    // A thread that hangs cannot be ended, and what is printed would be kept back.
                    let text = show(seed);
                    _ = writeln!(std::io::stderr(), "seed {seed:#x} hangs\n{text}");
                    std::process::exit(1);
                }
            }
        }
    });
}
