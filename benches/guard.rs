//! Taking and dropping one in-flight guard, beside what people use today.
//!
//! `cargo bench --bench guard` shows all of them in one run: compare the lines, not one figure by itself.

use std::sync::Arc;

use divan::{Bencher, black_box};
use lameduck::{Plan, ShutdownCoordinator};
use tokio_util::task::TaskTracker;

fn main() {
    divan::main();
}

const THREADS: [usize; 2] = [1, 2];

#[divan::bench(threads = THREADS)]
fn lameduck_guard(bencher: Bencher<'_, '_>) {
    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    let handle = shutdown.handle();
    bencher.bench(|| drop(black_box(handle.guard())));
}

#[divan::bench(threads = THREADS)]
fn task_tracker_token(bencher: Bencher<'_, '_>) {
    let tracker = TaskTracker::new();
    bencher.bench(|| drop(black_box(tracker.token())));
}

#[divan::bench(threads = THREADS)]
fn arc_clone(bencher: Bencher<'_, '_>) {
    let shared = Arc::new(());
    bencher.bench(|| drop(black_box(Arc::clone(&shared))));
}

#[divan::bench(threads = THREADS)]
fn lameduck_is_shutting_down(bencher: Bencher<'_, '_>) {
    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    let handle = shutdown.handle();
    bencher.bench(|| black_box(handle.is_shutting_down()));
}
