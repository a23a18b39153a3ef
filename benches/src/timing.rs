//! Timing on threads that are pinned to their cores.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

use crate::table::Spread;
use crate::work::Subject;

/// So long each thread works in one run.
const RUN: Duration = Duration::from_micros(400);
/// So many runs are looked at,
const RUNS: usize = 41;
/// among at most so many,
const ATTEMPTS: usize = 1500;
/// and at least as many are needed;
const ENOUGH: usize = 5;
/// a run counts only if its threads ran together for this share of the time from the first one's start to the last one's end.
/// Not more: whoever wins the cache line is done earlier.
const TOGETHER: f64 = 0.6;

/// Nanoseconds of processor time that one operation takes on each of `threads` threads at once.
pub fn nanoseconds(subject: &Subject, threads: usize) -> Spread {
    let cores = core_affinity::get_core_ids().expect("the cores are known");
    let times = fitting(subject);
    let mut runs = Vec::new();
    for _ in 0..ATTEMPTS {
        let (each, together) = run(subject, times, threads, &cores);
        // More threads than cores cannot run together.
        if together >= TOGETHER || threads > cores.len() {
            runs.push(each);
        }
        if runs.len() == RUNS {
            break;
        }
    }
    if runs.len() < ENOUGH {
        let name = subject.name;
        eprintln!("{name}: this machine is too busy, its {threads} threads hardly ran together");
        return Spread::UNKNOWN;
    }
    Spread::of(runs)
}

/// How many operations fill the time of a run.
fn fitting(subject: &Subject) -> u64 {
    let mut times = 1000;
    loop {
        let start = Instant::now();
        (subject.run)(times);
        if start.elapsed() >= RUN / 4 {
            return (times as f64 * RUN.as_secs_f64() / start.elapsed().as_secs_f64()) as u64;
        }
        times *= 2;
    }
}

fn run(
    subject: &Subject,
    times: u64,
    threads: usize,
    cores: &[core_affinity::CoreId],
) -> (f64, f64) {
    let ready = AtomicUsize::new(0);
    let one = |number: usize| {
        core_affinity::set_for_current(cores[number % cores.len()]);
        (subject.run)(times / 20);
        ready.fetch_add(1, Ordering::AcqRel);
        // Spinning, or they would start one after the other; yielding, or they would never when they are many.
        while ready.load(Ordering::Acquire) < threads {
            if threads > cores.len() {
                thread::yield_now();
            }
        }
        let start = (Instant::now(), processor_time());
        (subject.run)(times);
        let end = (Instant::now(), processor_time());
        (start.0, end.0, end.1 - start.1)
    };
    let one = &one;
    let ran: Vec<_> = thread::scope(|scope| {
        let threads: Vec<_> = (0..threads)
            .map(|number| scope.spawn(move || one(number)))
            .collect();
        let ran = threads.into_iter().map(|thread| thread.join());
        ran.map(|ran| ran.expect("no operation panics")).collect()
    });
    let first = |at: fn(&(Instant, Instant, Duration)) -> Instant| ran.iter().map(at);
    let (from, all_from) = (first(|it| it.0).min(), first(|it| it.0).max());
    let (all_until, until) = (first(|it| it.1).min(), first(|it| it.1).max());
    let span = until
        .zip(from)
        .map_or(0.0, |(until, from)| (until - from).as_secs_f64());
    let both = all_until.zip(all_from).map_or(0.0, |(until, from)| {
        until.saturating_duration_since(from).as_secs_f64()
    });
    let worked: f64 = ran.iter().map(|it| it.2.as_secs_f64()).sum();
    // A thread that was interrupted by somebody else's work was not there all the time.
    let there = worked / (span * threads as f64);
    let each = worked / threads as f64 / times as f64 * 1e9;
    (each, (both / span).min(there))
}

/// Of the calling thread.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
