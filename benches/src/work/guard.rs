//! Taking and dropping one guard.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use hyper_util::server::graceful::GracefulShutdown;
use lameduck::{Plan, ShutdownCoordinator};
use swansong::Swansong;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Subject;

/// Makes a subject of an operation.
macro_rules! subject {
    ($name:literal, $operation:expr) => {
        Subject::new($name, move |times| {
            for _ in 0..times {
                $operation;
            }
        })
    };
}
pub(super) use subject;

pub fn subjects() -> Vec<Subject> {
    let counter = Arc::new(AtomicUsize::new(0));
    let arc = Arc::new(());
    let tracker = TaskTracker::new();
    let pair = (TaskTracker::new(), CancellationToken::new());
    let graceful = GracefulShutdown::new();
    let swansong = Swansong::new();
    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    vec![
        subject!("an empty loop", black_box(())),
        subject!("an atomic's add and sub", {
            // Between the two, or the compiler makes one of them.
            black_box(counter.fetch_add(1, Ordering::Relaxed));
            black_box(counter.fetch_sub(1, Ordering::Release));
        }),
        subject!("Arc clone", drop(black_box(Arc::clone(&arc)))),
        subject!("TaskTracker token", drop(black_box(tracker.token()))),
        subject!(
            "TaskTracker token and CancellationToken clone",
            drop(black_box((pair.0.token(), pair.1.clone())))
        ),
        subject!("hyper-util watcher", drop(black_box(graceful.watcher()))),
        subject!("swansong guard", drop(black_box(swansong.guard()))),
        {
            let handle = shutdown.handle();
            // The owner lives as long as the subject.
            Subject::new("lameduck guard", move |times| {
                let _owner = &shutdown;
                for _ in 0..times {
                    drop(black_box(handle.guard()));
                }
            })
        },
    ]
}
