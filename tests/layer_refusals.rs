//! `DrainLayer::refuse_from`: from a phase on requests are refused before the handler runs.

#![cfg(feature = "tower")]

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, RETRY_AFTER, USER_AGENT};
use http::{Request, Response, StatusCode, Version};
use http_body_util::Empty;
use lameduck::report::PhaseOutcome;
use lameduck::{DrainLayer, LeaveEarly, Phase, Plan, ShutdownCoordinator};
use tokio::time::sleep;
use tower::{Layer, Service, ServiceExt, service_fn};

#[tokio::test(start_paused = true)]
async fn request_is_refused_from_the_phase_that_was_set_and_the_handler_does_not_run() {
    const SERVING: [Phase; 3] = [Phase::LameDuck, Phase::Drain, Phase::Close];
    for from in [None, Some(SERVING[0]), Some(SERVING[1]), Some(SERVING[2])] {
        let shutdown = ShutdownCoordinator::new(thirty_seconds());
        let handle = shutdown.handle();
        let layer = DrainLayer::new(&handle);
        let (inner, ran) = counting();
        let service = match from {
            Some(phase) => layer.refuse_from(phase),
            None => layer,
        }
        .layer(inner);
        let mut drain = handle.guard();
        let close = handle.long_guard("holds Close");
        assert_eq!(ask(&service, get()).await.status(), StatusCode::OK);

        handle.shutdown("test");
        let run = tokio::spawn(shutdown.run());
        let mut served = 1;
        for phase in SERVING {
            handle.reached(phase).await;
            let answer = ask(&service, get()).await;

            let refused = from.is_some_and(|from| from <= phase);
            served += u64::from(!refused);
            assert_eq!(answer.status() == 503, refused, "{phase}");
            assert_eq!(ran.load(Ordering::Relaxed), served, "{phase}");
            assert_eq!(answer.headers().contains_key(RETRY_AFTER), refused);
            assert_eq!(answer.headers()[CONNECTION], "close");
            if phase == Phase::Drain {
                drain = None;
            }
        }
        drop((drain, close));
        let report = run.await.unwrap();

        assert_eq!(report.traffic.refused, 4 - served);
        assert_eq!(report.traffic.served, served - 1);
        assert!(report.is_clean(), "{report}");
    }
}

#[tokio::test(start_paused = true)]
async fn exempt_request_is_not_refused_and_the_answer_is_the_layers_own() {
    let shutdown = ShutdownCoordinator::new(thirty_seconds());
    let handle = shutdown.handle();
    let (inner, _) = counting();
    let service = DrainLayer::new(&handle)
        .refuse_from(Phase::LameDuck)
        .exempt(|head| head.uri.path() == "/metrics")
        .reject(|_, _| {
            let mut answer = Response::new(());
            *answer.status_mut() = StatusCode::TOO_MANY_REQUESTS;
            answer
        })
        .layer(inner);

    handle.shutdown("test");
    let metrics = Request::get("/metrics").body(()).unwrap();
    let exempt = ask(&service, metrics).await;
    let refused = ask(&service, get()).await;
    let mut http2 = get();
    *http2.version_mut() = Version::HTTP_2;
    let http2 = ask(&service, http2).await;

    assert_eq!(exempt.status(), StatusCode::OK);
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(refused.headers()[CONNECTION], "close");
    assert!(!http2.headers().contains_key(CONNECTION));
}

#[tokio::test(start_paused = true)]
async fn phase_after_release_does_not_let_requests_in_after_the_pools_are_closed() {
    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    let handle = shutdown.handle();
    let (inner, ran) = counting();
    let layer = DrainLayer::new(&handle).refuse_from(Phase::Exit);
    let service = layer.layer(inner);
    let asked = async move || {
        ask(&service, get()).await;
    };
    handle.hook(Phase::Release, "asks", asked).unwrap();

    handle.shutdown("test");
    let report = shutdown.run().await;

    assert_eq!(
        (report.traffic.refused, ran.load(Ordering::Relaxed)),
        (1, 0)
    );
}

// Traffic that is refused has not moved.
#[tokio::test(start_paused = true)]
async fn refused_requests_keep_lame_duck_and_refused_probes_do_not() {
    for agent in ["client", "kube-probe/1.36"] {
        let plan = Plan::builder().leave_early(LeaveEarly::new());
        let shutdown = ShutdownCoordinator::new(plan.build().unwrap());
        let handle = shutdown.handle();
        let (inner, _) = counting();
        let service = DrainLayer::new(&handle)
            .refuse_from(Phase::LameDuck)
            .layer(inner);
        let run = tokio::spawn(shutdown.run());
        let traffic = async |requests: u32, agent: &'static str| {
            for _ in 0..requests {
                let request = Request::get("/").header(USER_AGENT, agent);
                ask(&service, request.body(()).unwrap()).await;
                sleep(Duration::from_millis(100)).await;
            }
        };

        // Twenty quiet times of 3 s, and some more.
        traffic(700, "client").await;
        handle.shutdown("test");
        traffic(90, agent).await;
        let report = run.await.unwrap();

        let lame_duck = report.phase(Phase::LameDuck).unwrap();
        if agent == "client" {
            assert_eq!(lame_duck.outcome, PhaseOutcome::Completed);
            assert_eq!(report.traffic.refused, 90);
        } else {
            assert_eq!(lame_duck.outcome, PhaseOutcome::LeftEarly);
            assert_eq!(report.traffic.refused, 0);
        }
        assert_eq!(report.traffic.served, 0);
    }
}

// What the tests share.

/// LameDuck to 10 s.
fn thirty_seconds() -> Plan {
    Plan::builder().build().unwrap()
}

fn get() -> Request<()> {
    Request::get("/").body(()).unwrap()
}

async fn ask<S, B>(service: &S, request: Request<()>) -> Response<B>
where
    S: Service<Request<()>, Response = Response<B>, Error = Infallible> + Clone,
{
    service.clone().oneshot(request).await.unwrap()
}

fn counting() -> (
    impl Service<Request<()>, Response = Response<Empty<Bytes>>, Error = Infallible, Future: Send>
    + Clone
    + Send,
    Arc<AtomicU64>,
) {
    let ran = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&ran);
    let service = service_fn(move |_: Request<()>| {
        count.fetch_add(1, Ordering::Relaxed);
        async { Ok::<_, Infallible>(Response::new(Empty::new())) }
    });
    (service, ran)
}
