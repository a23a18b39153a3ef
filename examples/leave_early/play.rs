//! One shutdown of the real crate, on a paused clock.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use lameduck::report::PhaseOutcome;
use lameduck::{DrainLayer, Phase, Plan, ShutdownCoordinator};
use tokio::runtime::Builder;
use tokio::time::{Instant, sleep_until};
use tower::{Layer, ServiceExt, service_fn};

use crate::clock::{Millis, QUIET};

/// As many quiet times before T0 are played: the 20 that the crate looks at, and one that it has to forget.
const PLAYED: u64 = 21;

/// How a shutdown went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Left {
    /// How long LameDuck took.
    pub(crate) after: Millis,
    pub(crate) early: bool,
}

/// A service gets `arrivals`, its trigger at `t0`, and goes on getting them until it has left.
pub(crate) fn play(plan: Plan, arrivals: &[Millis], t0: Millis) -> Left {
    let runtime = Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build();
    runtime
        .expect("a runtime without IO can be had")
        .block_on(shut_down(plan, arrivals, t0))
}

async fn shut_down(plan: Plan, arrivals: &[Millis], t0: Millis) -> Left {
    let shutdown = ShutdownCoordinator::new(plan).termination_log("/nonexistent");
    let handle = shutdown.handle();
    let service = DrainLayer::new(&handle).layer(service_fn(async |_: Request<()>| {
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
    }));
    // The quiet times of the crate are those of `rules`.
    let begin = (t0 / QUIET - PLAYED) * QUIET;
    let start = Instant::now();
    let moment = |at: Millis| start + Duration::from_millis(at - begin);
    let run = tokio::spawn(shutdown.run());
    let ask = || async {
        let response = service.clone().oneshot(Request::new(())).await;
        drop(response);
    };

    // It begins to count when it is polled, which the first sleep lets it.
    tokio::task::yield_now().await;
    let first = arrivals.partition_point(|&at| at < begin);
    let trigger = arrivals.partition_point(|&at| at < t0);
    for &at in &arrivals[first..trigger] {
        sleep_until(moment(at)).await;
        ask().await;
    }
    sleep_until(moment(t0)).await;
    handle.shutdown("test");
    for &at in &arrivals[trigger..] {
        sleep_until(moment(at)).await;
        if run.is_finished() {
            break;
        }
        ask().await;
    }

    let report = run.await.expect("it does not panic");
    let lame_duck = report.phase(Phase::LameDuck).expect("each phase is there");
    Left {
        after: lame_duck.took.as_millis() as Millis,
        early: lame_duck.outcome == PhaseOutcome::LeftEarly,
    }
}
