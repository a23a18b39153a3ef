//! What threads share, under a model checker: the real objects, in every interleaving of a few threads, at a bounded number
//! of preemptions.
//!
//! `RUSTFLAGS="--cfg lameduck_loom" cargo test --release --lib --no-default-features --features hyper,signal model::`
//!
//! Locks, atomics and wakers of the crate are loom's here (`sync.rs`). tokio's own are not: the checker takes each call of
//! them for one step. No clock passes, so a plan gives its phases either no time at all or time without end.

mod hooks;
mod moments;
mod trigger;
mod work;

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use loom::sync::Notify;
use tokio::runtime::{Builder, Runtime};
use tokio::task::yield_now;

use crate::plan::Plan;

/// Enough for what the sequence and tokio put on a stack.
const STACK: usize = 1 << 18;

/// Checks all interleavings with three preemptions at most.
pub(crate) fn model(check: impl Fn() + Send + Sync + 'static) {
    model_with(3, check);
}

pub(crate) fn model_with(preemptions: usize, check: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.max_branches = 10_000;
    let check = Arc::new(check);
    builder.check(move || {
        let check = Arc::clone(&check);
        spawn(move || check()).join().unwrap();
    });
}

pub(crate) fn spawn<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> loom::thread::JoinHandle<T> {
    let thread = loom::thread::Builder::new().stack_size(STACK);
    thread.spawn(work).unwrap()
}

/// A plan whose deadlines have all passed at T0.
pub(crate) fn no_time() -> Plan {
    let plan = Plan::builder().grace_period(Duration::ZERO);
    plan.build().unwrap()
}

/// Wakes the one thread that waits.
#[derive(Default)]
struct Bell(Notify);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.notify();
    }
}

/// Runs a future on this thread.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    run(future, || {})
}

/// Runs a future on this thread, and what it spawns in turn with it. One thread at a time can do this: tokio's runtime is
/// entered meanwhile.
pub(crate) fn block_on_with<F: Future>(runtime: &Runtime, future: F) -> F::Output {
    let mut future = Box::pin(future);
    let polled = poll_fn(|cx| {
        let polled = poll_fn(|_| Poll::Ready(future.as_mut().poll(cx)));
        runtime.block_on(polled)
    });
    run(polled, || settle(runtime))
}

fn run<F: Future>(future: F, between: impl Fn()) -> F::Output {
    let bell = Arc::new(Bell::default());
    let waker = Waker::from(Arc::clone(&bell));
    let mut future = Box::pin(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        between();
        bell.0.wait();
    }
}

/// Gives what was spawned a few turns: more than any of it needs here.
pub(crate) fn settle(runtime: &Runtime) {
    runtime.block_on(async {
        for _ in 0..4 {
            yield_now().await;
        }
    });
}

pub(crate) fn runtime() -> Runtime {
    Builder::new_current_thread().enable_time().build().unwrap()
}

/// How often something came about, in all executions together: a model in which it never does proves nothing.
pub(crate) struct Seen(&'static str, AtomicUsize);

impl Seen {
    pub(crate) const fn new(what: &'static str) -> Self {
        Seen(what, AtomicUsize::new(0))
    }

    pub(crate) fn note(&self) {
        self.1.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn check(&self) {
        let Seen(what, times) = self;
        let times = times.load(Ordering::Relaxed);
        println!("{what}: {times}");
        assert!(times > 0, "no execution: {what}");
    }
}
