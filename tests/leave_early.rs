//! Leaving LameDuck early: when silence proves that traffic has moved, and when it does not.

#![cfg(feature = "tower")]

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::header::USER_AGENT;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use lameduck::report::PhaseOutcome;
use lameduck::{
    DrainLayer, LeaveEarly, Phase, Plan, PlanError, Report, ShutdownCoordinator, ShutdownHandle,
};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until};
use tower::{Layer, ServiceExt, service_fn};

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Long enough for twenty quiet times of three seconds.
const LONG: Duration = secs(70);

// Case 26.
#[tokio::test(start_paused = true)]
async fn after_steady_traffic_a_silence_ends_lame_duck_but_not_before_its_minimum() {
    let report = Service::new(early()).shut_down(20, Some(secs(1))).await;

    assert_eq!(lame_duck(&report), (secs(5), PhaseOutcome::LeftEarly));
}

// Case 26.
#[tokio::test(start_paused = true)]
async fn silence_counts_from_the_last_request() {
    let report = Service::new(early()).shut_down(20, Some(secs(6))).await;

    let (took, outcome) = lame_duck(&report);
    let last = report.traffic.last_arrival.unwrap();
    assert_eq!((took, outcome), (last + secs(3), PhaseOutcome::LeftEarly));
    assert!(last > millis(5_900) && last <= secs(6), "{last:?}");
}

// Case 26.
#[tokio::test(start_paused = true)]
async fn traffic_that_never_stops_keeps_lame_duck_to_its_time() {
    let report = Service::new(early()).shut_down(20, None).await;

    assert_eq!(lame_duck(&report), (secs(10), PhaseOutcome::Completed));
    assert!(report.traffic.per_second[..10].iter().all(|&n| n >= 19));
}

// Case 26.
#[tokio::test(start_paused = true)]
async fn too_little_traffic_proves_nothing() {
    let service = Service::new(early());
    // 1.5 in a quiet time.
    service.ask_each(secs(2), LONG, "/").await.unwrap();

    let report = service.leave().await;

    assert_eq!(lame_duck(&report), (secs(10), PhaseOutcome::Completed));
}

#[tokio::test(start_paused = true)]
async fn traffic_in_bursts_proves_nothing() {
    let service = Service::new(early());
    // As many as 20 a second.
    for _ in 0..7 {
        for _ in 0..200 {
            (service.app)("/").await;
        }
        sleep(secs(10)).await;
    }

    let report = service.leave().await;

    assert_eq!(lame_duck(&report), (secs(10), PhaseOutcome::Completed));
}

#[tokio::test(start_paused = true)]
async fn a_service_that_is_young_stays() {
    let service = Service::new(early());
    let young = secs(59);
    service.ask_each(millis(50), young, "/").await.unwrap();

    let report = service.leave().await;

    assert_eq!(lame_duck(&report), (secs(10), PhaseOutcome::Completed));
}

#[tokio::test(start_paused = true)]
async fn it_is_off_unless_asked_for() {
    let plan = Plan::builder().build().unwrap();
    assert_eq!(plan.leave_early(), None);

    let report = Service::new(plan).shut_down(20, Some(secs(1))).await;

    assert_eq!(lame_duck(&report), (secs(10), PhaseOutcome::Completed));
}

// Case 27: those of the crate, of the kubelet by its name, and those that the layer is told of.
#[tokio::test(start_paused = true)]
async fn probes_do_not_break_the_silence() {
    for probe in ["/livez", "/kubelet", "/exempt"] {
        let service = Service::new(early());
        service.ask_each(millis(50), LONG, "/").await.unwrap();
        let probing = service.ask_each(millis(100), secs(30), probe);

        let report = service.leave().await;
        probing.abort();

        let left_early = (secs(5), PhaseOutcome::LeftEarly);
        assert_eq!(lame_duck(&report), left_early, "{probe}");
        assert_eq!(report.traffic.served, 0, "{probe}");
        assert_eq!(report.traffic.last_arrival, None, "{probe}");
    }
}

#[tokio::test(start_paused = true)]
async fn probes_are_no_traffic_that_proves_anything() {
    for probe in ["/livez", "/kubelet", "/exempt"] {
        let service = Service::new(early());
        service.ask_each(millis(50), LONG, probe).await.unwrap();

        let report = service.leave().await;

        let stayed = (secs(10), PhaseOutcome::Completed);
        assert_eq!(lame_duck(&report), stayed, "{probe}");
    }
}

// Case 28.
#[tokio::test(start_paused = true)]
async fn a_request_in_flight_does_not_keep_lame_duck_and_is_not_cut() {
    let service = Service::new(early());
    service.ask_each(millis(50), LONG, "/").await.unwrap();
    let slow = tokio::spawn((service.app)("/slow"));
    while service.handle.in_flight() == 0 {
        tokio::task::yield_now().await;
    }

    let report = service.leave().await;

    assert_eq!(lame_duck(&report), (secs(5), PhaseOutcome::LeftEarly));
    assert_eq!(slow.await.unwrap(), "whole");
    assert!(report.is_clean(), "{report}");
    assert_eq!(report.took, secs(10));
}

#[tokio::test(start_paused = true)]
async fn the_report_says_when_traffic_ebbed() {
    let plan = Plan::builder().build().unwrap();
    let report = Service::new(plan).shut_down(20, Some(millis(2_500))).await;

    assert_eq!(report.traffic.per_second, [20, 20, 10]);
    assert!(
        report
            .to_string()
            .contains("\n  a second from T0 on: 20 20 10\n"),
        "{report}"
    );
}

#[test]
fn a_silence_of_nothing_is_refused() {
    let early = LeaveEarly::new().quiet(Duration::ZERO);

    let refused = Plan::builder().leave_early(early).build().unwrap_err();

    assert_eq!(
        refused,
        PlanError::QuietTooShort {
            quiet: Duration::ZERO
        }
    );
    assert_eq!(
        refused.to_string(),
        "a silence of 0 s proves nothing about traffic: at least 0.1 s"
    );
}

#[test]
fn a_silence_of_a_tenth_of_a_second_is_the_shortest() {
    let plan = |millis| {
        let early = LeaveEarly::new().quiet(Duration::from_millis(millis));
        Plan::builder().leave_early(early).build()
    };

    assert!(plan(100).is_ok());
    assert!(plan(99).is_err());
}

// What the tests share.

fn early() -> Plan {
    Plan::builder()
        .leave_early(LeaveEarly::new())
        .build()
        .unwrap()
}

fn lame_duck(report: &Report) -> (Duration, PhaseOutcome) {
    let phase = report.phase(Phase::LameDuck).unwrap();
    (phase.took, phase.outcome)
}

type Ask = Arc<dyn Fn(&'static str) -> BoxFuture<'static, String> + Send + Sync>;

/// A service under a layer. Its coordinator runs from the beginning, as in `main`.
struct Service {
    handle: ShutdownHandle,
    app: Ask,
    run: JoinHandle<Arc<Report>>,
}

impl Service {
    fn new(plan: Plan) -> Self {
        let shutdown = ShutdownCoordinator::new(plan).termination_log("/nonexistent");
        let handle = shutdown.handle();
        Service {
            app: app(&handle),
            handle,
            run: tokio::spawn(shutdown.run()),
        }
    }

    /// So many requests a second, for as long as it takes to prove something; then the trigger, and as many for `after`.
    async fn shut_down(self, each_second: u32, after: Option<Duration>) -> Arc<Report> {
        let pause = secs(1) / each_second;
        self.ask_each(pause, LONG, "/").await.unwrap();
        // Longer than any LameDuck here.
        let traffic = self.ask_each(pause, after.unwrap_or(secs(30)), "/");
        let report = self.leave().await;
        traffic.abort();
        report
    }

    async fn leave(self) -> Arc<Report> {
        self.handle.shutdown("test");
        self.run.await.unwrap()
    }

    /// A request each `pause`, for so long.
    fn ask_each(&self, pause: Duration, long: Duration, path: &'static str) -> JoinHandle<()> {
        let app = Arc::clone(&self.app);
        let mut next = Instant::now();
        let end = next + long;
        tokio::spawn(async move {
            while next < end {
                app(path).await;
                next += pause;
                sleep_until(next).await;
            }
        })
    }
}

fn app(handle: &ShutdownHandle) -> Ask {
    let live = lameduck::liveness(handle);
    let inner = service_fn(move |request: Request<()>| {
        let live = live.clone();
        async move {
            Ok::<_, Infallible>(match request.uri().path() {
                "/livez" => live.oneshot(request).await?.map(BodyExt::boxed),
                path => {
                    if path == "/slow" {
                        sleep(secs(10)).await;
                    }
                    Response::new(Full::new(Bytes::from_static(b"whole")).boxed())
                }
            })
        }
    });
    let layer = DrainLayer::new(handle).exempt(|head| head.uri.path() == "/exempt");
    let service = layer.layer(inner);
    Arc::new(move |path| {
        let service = service.clone();
        let mut request = Request::get(path);
        if path == "/kubelet" {
            request = request.header(USER_AGENT, "kube-probe/1.36");
        }
        async move {
            let response = service.oneshot(request.body(()).unwrap()).await.unwrap();
            let body = response.into_body().collect().await.unwrap().to_bytes();
            String::from_utf8(body.to_vec()).unwrap()
        }
        .boxed()
    })
}
