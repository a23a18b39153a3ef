//! Asking whether the shutdown has begun, and waiting for it.

use std::convert::Infallible;
use std::future::ready;
use std::hint::black_box;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};

use http::{Request, Response};
use http_body_util::Empty;
use lameduck::server::ConnectionGroup;
use lameduck::{DrainLayer, Moment, Phase, Plan, ShutdownCoordinator, ShutdownHandle};
use swansong::Swansong;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::{Layer, Service, service_fn};

use super::Subject;
use super::guard::subject;

/// Whether it has begun.
pub fn questions() -> Vec<Subject> {
    let flag = Arc::new(AtomicBool::new(false));
    let token = CancellationToken::new();
    let tracker = TaskTracker::new();
    let (sender, receiver) = watch::channel(());
    let swansong = Swansong::new();
    vec![
        subject!("an empty loop", black_box(())),
        subject!("AtomicBool load", black_box(flag.load(Ordering::Acquire))),
        subject!(
            "CancellationToken is_cancelled",
            black_box(token.is_cancelled())
        ),
        subject!("TaskTracker is_closed", black_box(tracker.is_closed())),
        Subject::new("watch has_changed", move |times| {
            let _sender = &sender;
            for _ in 0..times {
                let _ = black_box(receiver.has_changed());
            }
        }),
        subject!(
            "swansong is_running",
            black_box(swansong.state().is_running())
        ),
        lameduck("lameduck is_shutting_down", |handle| {
            black_box(handle.is_shutting_down());
        }),
        lameduck("lameduck phase", |handle| {
            black_box(handle.phase());
        }),
        lameduck("lameduck reason", |handle| {
            black_box(handle.reason());
        }),
        lameduck("lameduck deadline", |handle| {
            black_box(handle.deadline(Phase::Close));
        }),
        lameduck("lameduck remaining", |handle| {
            black_box(handle.remaining());
        }),
        lameduck("lameduck clone of a handle", |handle| {
            black_box(handle.clone());
        }),
        in_a_handler("lameduck ShutdownHandle::current", || {
            black_box(ShutdownHandle::current());
        }),
    ]
}

/// Asks within one request of a service under the layer.
fn in_a_handler(name: &'static str, ask: impl Fn() + Clone + Send + Sync + 'static) -> Subject {
    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    let layer = DrainLayer::new(&shutdown);
    Subject::new(name, move |times| {
        let _owner = &shutdown;
        let ask = ask.clone();
        let handler = move |_: Request<()>| {
            for _ in 0..times {
                ask();
            }
            ready(Ok::<_, Infallible>(Response::new(Empty::<&[u8]>::new())))
        };
        let mut service = layer.layer(service_fn(handler));
        let answered =
            pin!(service.call(Request::new(()))).poll(&mut Context::from_waker(Waker::noop()));
        assert!(answered.is_ready());
    })
}

fn lameduck(
    name: &'static str,
    ask: impl Fn(&lameduck::ShutdownHandle) + Send + Sync + 'static,
) -> Subject {
    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    let handle = shutdown.handle();
    Subject::new(name, move |times| {
        let _owner = &shutdown;
        for _ in 0..times {
            ask(&handle);
        }
    })
}

/// A wake-up that is not about the shutdown: a future that waits for it is polled again, by the same task.
pub fn wake_ups() -> Vec<Subject> {
    let token = CancellationToken::new();
    let notify = Notify::new();
    let (sender, receiver) = watch::channel(());
    let swansong = Swansong::new();
    let of_handle = ShutdownCoordinator::new(Plan::immediate());
    let of_watched = ShutdownCoordinator::new(Plan::immediate());
    let of_moment = ShutdownCoordinator::new(Plan::immediate());
    vec![
        subject!("an empty loop", black_box(())),
        Subject::new("CancellationToken cancelled", move |times| {
            repoll(token.cancelled(), times);
        }),
        Subject::new("Notify notified", move |times| {
            repoll(notify.notified(), times)
        }),
        Subject::new("watch changed", move |times| {
            let _sender = &sender;
            let mut receiver = receiver.clone();
            repoll(receiver.changed(), times);
        }),
        Subject::new("swansong shutting_down", move |times| {
            repoll(swansong.shutting_down(), times);
        }),
        Subject::new("lameduck reached", move |times| {
            repoll(of_handle.handle().reached(Phase::LameDuck), times);
        }),
        Subject::new("lameduck moment", move |times| {
            let moment: Moment = of_moment.handle().moment();
            repoll(moment, times);
        }),
        Subject::new("lameduck Watched", move |times| {
            let group = ConnectionGroup::new(&of_watched.handle());
            let watched = group.watch_raw((), |_| std::future::pending::<()>());
            repoll(watched.expect("no shutdown has begun"), times);
        }),
    ]
}

fn repoll<F: Future>(waits: F, times: u64) {
    let mut waits = pin!(waits);
    let mut cx = Context::from_waker(Waker::noop());
    for _ in 0..times {
        let poll = waits.as_mut().poll(&mut cx);
        assert!(matches!(black_box(poll), Poll::Pending));
    }
}
