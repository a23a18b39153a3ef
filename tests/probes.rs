//! Probes: what they answer in which phase, and on which listener.

#![cfg(feature = "hyper")]

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE};
use http::{Method, Request, Response};
use http_body::Body;
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::TokioIo;
use lameduck::probe::{Probe, ProbeBody, ReadinessPolicy};
use lameduck::{
    Phase, Plan, Report, ShutdownCoordinator, ShutdownHandle, balancer, liveness, probes, readiness,
};
use tokio::net::TcpStream;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout};
use tower::{Layer, Service, ServiceExt};

const OK: u16 = 200;
const UNAVAILABLE: u16 = 503;
const SECOND: Duration = Duration::from_secs(1);
/// Long enough for any machine; what is waited for comes by itself.
const PATIENCE: Duration = Duration::from_secs(20);

// Normal service.

#[tokio::test]
async fn all_are_well_in_normal_service() {
    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    let handle = shutdown.handle();

    assert_eq!(statuses(&handle).await, [OK, OK, OK]);
}

#[tokio::test]
async fn readiness_is_503_while_a_not_ready_token_is_held() {
    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    let handle = shutdown.handle();
    let ready = readiness(&handle);
    let migrations = handle.not_ready("migrations");
    let cache = handle.not_ready("a \"warm\" cache");

    let with_both = ask(&ready).await;
    drop(migrations);
    let with_one = ask(&ready).await;
    let all = statuses(&handle).await;
    drop(cache);
    let with_none = ask(&ready).await;

    assert_eq!(with_both.status, UNAVAILABLE);
    assert!(with_both.says(r#""not_ready":["migrations","a \"warm\" cache"]"#));
    assert_eq!(with_one.status, UNAVAILABLE);
    assert!(with_one.says(r#""not_ready":["a \"warm\" cache"]"#));
    assert_eq!(all, [OK, UNAVAILABLE, UNAVAILABLE]);
    assert_eq!(with_none.status, OK);
    assert!(with_none.says(r#""not_ready":[]"#));
}

#[tokio::test(start_paused = true)]
async fn not_ready_token_counts_in_every_phase() {
    for &phase in Phase::ALL {
        let shutdown = ShutdownCoordinator::new(Plan::immediate());
        let handle = shutdown.handle();
        let _token = handle.not_ready("cache");
        let stay = Stay::within(phase, shutdown).await;

        assert_eq!(
            ask(&readiness(&handle)).await.status,
            UNAVAILABLE,
            "{phase}"
        );
        assert_eq!(ask(&liveness(&handle)).await.status, OK, "{phase}");

        stay.end().await;
    }
}

// The answer.

#[tokio::test]
async fn answer_in_normal_service_has_neither_phase_nor_time() {
    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    let handle = shutdown.handle();

    let answer = ask(&liveness(&handle)).await;

    assert_eq!(
        answer.body,
        "{\"status\":\"ok\",\"phase\":null,\"time_left_seconds\":null,\"not_ready\":[],\
         \"in_flight\":{\"work\":0,\"long_lived\":0,\"connections\":0,\"listeners\":0},\
         \"since_trigger\":{\"connections_closed\":0,\"connections_cut\":0,\"long_lived_told\":0}}\n"
    );
}

#[tokio::test(start_paused = true)]
async fn answer_has_phase_and_time_until_what_is_in_flight_is_cut() {
    let shutdown = ShutdownCoordinator::new(thirty_seconds());
    let handle = shutdown.handle();
    handle.shutdown("test");
    sleep_until(Instant::now() + SECOND * 3 / 2).await;

    let ready = ask(&readiness(&handle)).await;
    let balanced = ask(&balancer(&handle)).await;

    let rest = "\"phase\":\"LameDuck\",\"time_left_seconds\":26.5,\"not_ready\":[],";
    for (answer, status) in [(ready, "ok"), (balanced, "unavailable")] {
        let begin = format!("{{\"status\":\"{status}\",{rest}");
        assert!(answer.body.starts_with(&begin), "{answer:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn answer_names_each_phase_and_time_does_not_fall_below_zero() {
    let shutdown = ShutdownCoordinator::new(thirty_seconds());
    let handle = shutdown.handle();
    let alive = liveness(&handle);
    let guard = handle.guard();
    let hook = async || std::future::pending().await;
    shutdown
        .hook(Phase::LameDuck, "keeps LameDuck", hook)
        .unwrap();
    shutdown
        .hook(Phase::Release, "keeps Release", hook)
        .unwrap();
    handle.shutdown("test");
    let t0 = Instant::now();
    let run = tokio::spawn(shutdown.run());

    for (second, phase, left) in [
        (9, Phase::LameDuck, "14.0"),
        (11, Phase::Drain, "12.0"),
        (17, Phase::Close, "6.0"),
        (24, Phase::Release, "0.0"),
    ] {
        sleep_until(t0 + second * SECOND).await;
        let answer = ask(&alive).await;

        assert!(answer.says(&format!("\"phase\":\"{phase}\"")), "{answer:?}");
        assert!(
            answer.says(&format!("\"time_left_seconds\":{left},")),
            "{answer:?}"
        );
    }

    run.await.unwrap();
    assert!(ask(&alive).await.says("\"phase\":\"Exit\""));
    drop(guard);
}

// On an admin listener, as an operator asks it with curl.
#[tokio::test]
async fn answer_counts_what_is_in_flight_and_what_has_ended() {
    let plan = Plan::builder()
        .grace_period(60 * SECOND)
        .lame_duck(Duration::ZERO)
        .long_spread(Duration::ZERO);
    let shutdown = ShutdownCoordinator::new(plan.build().unwrap());
    let handle = shutdown.handle();
    let admin = lameduck::bind("127.0.0.1:0").await.unwrap();
    let admin_address = admin.local_addr().unwrap();
    lameduck::serve_admin(admin, probes(&handle), &handle);
    let (entered, open) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let slow = {
        let (entered, open) = (Arc::clone(&entered), Arc::clone(&open));
        async move || {
            entered.notify_one();
            open.notified().await;
        }
    };
    let app: Router = Router::new().route("/slow", axum::routing::get(slow));
    let listener = lameduck::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    lameduck::serve(listener, app, &handle);
    let slow = tokio::spawn(ask_over_tcp(address, Method::GET, "/slow"));
    entered.notified().await;
    let idle = TcpStream::connect(address).await.unwrap();
    let told = handle.long_guard("socket").unwrap();
    let counts = async || {
        let answer = ask_over_tcp(admin_address, Method::GET, "/readyz").await;
        let answer: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
        (answer["in_flight"].clone(), answer["since_trigger"].clone())
    };
    while handle.connections() < 2 {
        tokio::task::yield_now().await;
    }

    let before = counts().await;
    handle.shutdown("test");
    let run = tokio::spawn(shutdown.run());
    handle.reached(Phase::Drain).await;
    drop(idle);
    while handle.connections() == 2 {
        tokio::task::yield_now().await;
    }
    let moment = handle.moment();
    open.notify_one();
    assert_eq!(slow.await.unwrap().status, OK);
    moment.await;
    let during = counts().await;
    drop(told);
    timeout(PATIENCE, run).await.unwrap().unwrap();

    let json = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
    assert_eq!(
        before,
        (
            json(r#"{"work":1,"long_lived":1,"connections":2,"listeners":1}"#),
            json(r#"{"connections_closed":0,"connections_cut":0,"long_lived_told":0}"#),
        )
    );
    assert_eq!(
        during,
        (
            json(r#"{"work":0,"long_lived":1,"connections":0,"listeners":1}"#),
            json(r#"{"connections_closed":2,"connections_cut":0,"long_lived_told":1}"#),
        )
    );
}

#[tokio::test]
async fn answer_is_json_that_nobody_keeps() {
    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    let handle = shutdown.handle();

    let response = liveness(&handle).oneshot(get("/")).await.unwrap();

    assert_eq!(response.headers()[CONTENT_TYPE], "application/json");
    assert_eq!(response.headers()[CACHE_CONTROL], "no-store");
    let size = response.body().size_hint().exact().unwrap();
    assert!(!response.body().is_end_stream());
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body.len() as u64, size);
}

// Phases and policies.

// Case 23.
#[tokio::test(start_paused = true)]
async fn at_t0_only_the_balancer_is_told() {
    let shutdown = ShutdownCoordinator::new(thirty_seconds());
    let handle = shutdown.handle();
    let before = statuses(&handle).await;

    handle.shutdown("test");

    assert_eq!(before, [OK, OK, OK]);
    assert_eq!(statuses(&handle).await, [OK, OK, UNAVAILABLE]);
}

// Cases 23 and 24.
#[tokio::test(start_paused = true)]
async fn readiness_is_200_until_the_listener_closes_and_liveness_to_the_end() {
    for (phase, ready) in [
        (Phase::LameDuck, OK),
        (Phase::Drain, OK),
        (Phase::Release, UNAVAILABLE),
        (Phase::Exit, UNAVAILABLE),
    ] {
        let shutdown = ShutdownCoordinator::new(Plan::immediate());
        let handle = shutdown.handle();
        let stay = Stay::within(phase, shutdown).await;

        let statuses = statuses(&handle).await;

        assert_eq!(statuses, [OK, ready, UNAVAILABLE], "{phase}");
        stay.end().await;
    }
}

// Case 24.
#[tokio::test(start_paused = true)]
async fn readiness_is_200_in_close_while_something_from_before_holds_the_listener_open() {
    let shutdown = ShutdownCoordinator::new(thirty_seconds());
    let handle = shutdown.handle();
    let guard = handle.guard();
    handle.shutdown("test");
    let t0 = Instant::now();
    let run = tokio::spawn(shutdown.run());
    handle.reached(Phase::Close).await;

    let at_begin = statuses(&handle).await;
    // The listener closes 1 s before Close's deadline at the latest.
    sleep_until(t0 + SECOND * 269 / 10).await;
    let before_it_closes = statuses(&handle).await;
    sleep_until(t0 + SECOND * 271 / 10).await;
    let after_it_closed = statuses(&handle).await;

    assert_eq!(at_begin, [OK, OK, UNAVAILABLE]);
    assert_eq!(before_it_closes, [OK, OK, UNAVAILABLE]);
    assert_eq!(handle.phase(), Some(Phase::Close));
    assert_eq!(after_it_closed, [OK, UNAVAILABLE, UNAVAILABLE]);
    drop(guard);
    run.await.unwrap();
}

// Case 23.
#[tokio::test(start_paused = true)]
async fn liveness_is_200_after_the_report_and_without_a_coordinator() {
    let finished = ShutdownCoordinator::new(Plan::immediate());
    let after_report = finished.handle();
    after_report.shutdown("test");
    finished.run().await;
    let dropped = ShutdownCoordinator::new(Plan::immediate());
    let (alive, ready) = (liveness(&dropped.handle()), readiness(&dropped.handle()));
    drop(dropped);

    assert_eq!(
        statuses(&after_report).await,
        [OK, UNAVAILABLE, UNAVAILABLE]
    );
    assert_eq!(ask(&alive).await.status, OK);
    // Nobody has begun a shutdown, and nobody ever will.
    assert_eq!(ask(&ready).await.status, OK);
}

// Case 22, as far as probes go: a trigger by name is like any other.
#[tokio::test(start_paused = true)]
async fn probes_do_not_care_who_triggered() {
    let shutdown = ShutdownCoordinator::new(thirty_seconds());
    let handle = shutdown.handle();

    handle.shutdown("configuration changed");

    assert_eq!(
        handle.reason().unwrap().to_string(),
        "requested: configuration changed"
    );
    assert_eq!(statuses(&handle).await, [OK, OK, UNAVAILABLE]);
}

#[tokio::test(start_paused = true)]
async fn not_ready_token_at_the_trigger_skips_the_wait_of_lame_duck() {
    for (held, wait) in [(true, Duration::ZERO), (false, 10 * SECOND)] {
        let shutdown = ShutdownCoordinator::new(thirty_seconds());
        let handle = shutdown.handle();
        let token = handle.not_ready("migrations");
        let layer = lameduck::DrainLayer::new(&handle);
        let token = held.then_some(token);
        handle.shutdown("test");

        let report = shutdown.run().await;

        assert_eq!(report.phase(Phase::LameDuck).unwrap().took, wait, "{held}");
        assert_eq!(report.took, wait);
        drop((token, layer));
    }
}

#[tokio::test(start_paused = true)]
async fn service_that_was_ready_once_waits_for_routing_whatever_it_is_at_the_trigger() {
    let shutdown = ShutdownCoordinator::new(thirty_seconds());
    let handle = shutdown.handle();
    let starting = handle.not_ready("starting");
    let _layer = lameduck::DrainLayer::new(&handle);
    drop(starting);
    let _blip = handle.not_ready("the database does not answer");
    handle.shutdown("test");

    let report = shutdown.run().await;

    let lame_duck = report.phase(Phase::LameDuck).unwrap();
    assert_eq!(lame_duck.took, 10 * SECOND);
}

/// How long LameDuck takes, for a service whose readiness is mounted.
async fn lame_duck_after(
    served: impl AsyncFnOnce(&ShutdownHandle, lameduck::DrainLayer),
) -> Duration {
    let shutdown = ShutdownCoordinator::new(thirty_seconds());
    let handle = shutdown.handle();
    let layer = lameduck::DrainLayer::new(&handle);
    served(&handle, layer).await;
    handle.shutdown("test");
    let report = shutdown.run().await;
    report.phase(Phase::LameDuck).unwrap().took
}

/// A request with this user agent, through the layer.
async fn request(layer: &lameduck::DrainLayer, agent: &str) {
    let service = tower::service_fn(async |_: Request<()>| {
        Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
    });
    let request = Request::builder()
        .header("user-agent", agent)
        .body(())
        .unwrap();
    layer.layer(service).oneshot(request).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn lame_duck_is_skipped_where_readiness_was_never_asked_and_no_request_came() {
    let unasked = lame_duck_after(async |handle, _| drop(readiness(handle))).await;
    let unmounted = lame_duck_after(async |_, _| {}).await;
    let asked = lame_duck_after(async |handle, _| {
        assert_eq!(ask(&readiness(handle)).await.status, OK);
    })
    .await;
    let refused = lame_duck_after(async |handle, _| {
        let _token = handle.not_ready("starting");
        assert_eq!(ask(&readiness(handle)).await.status, UNAVAILABLE);
    })
    .await;
    let reached = lame_duck_after(async |handle, layer| {
        drop(readiness(handle));
        request(&layer, "curl/8").await;
    })
    .await;
    // It may be told to be ready by a handler of its own.
    let probed_elsewhere = lame_duck_after(async |handle, layer| {
        drop(readiness(handle));
        request(&layer, "kube-probe/1.36").await;
    })
    .await;

    assert_eq!(unasked, Duration::ZERO);
    assert_eq!(refused, Duration::ZERO);
    let whole = 10 * SECOND;
    assert_eq!([unmounted, asked, reached, probed_elsewhere], [whole; 4]);
}

#[tokio::test(start_paused = true)]
async fn not_ready_token_does_not_skip_the_hooks_of_lame_duck() {
    let shutdown = ShutdownCoordinator::new(thirty_seconds());
    let handle = shutdown.handle();
    let _token = handle.not_ready("migrations");
    let _layer = lameduck::DrainLayer::new(&handle);
    let hook = async || tokio::time::sleep(2 * SECOND).await;
    shutdown.hook(Phase::LameDuck, "leases", hook).unwrap();
    handle.shutdown("test");

    let report = shutdown.run().await;

    let lame_duck = report.phase(Phase::LameDuck).unwrap();
    assert_eq!(lame_duck.took, 2 * SECOND);
    assert!(lame_duck.hooks[0].outcome.is_done());
}

// Where they are mounted.

#[tokio::test]
async fn probes_are_told_apart_by_their_path() {
    let shutdown = ShutdownCoordinator::new(thirty_seconds());
    let handle = shutdown.handle();
    let all = probes(&handle);
    let _token = handle.not_ready("cache");

    for (path, status) in [
        ("/livez", OK),
        ("/livez?verbose", OK),
        ("/readyz", UNAVAILABLE),
        ("/balancerz", UNAVAILABLE),
        ("/", 404),
        ("/livez/", 404),
        ("/metrics", 404),
    ] {
        let response = all.clone().oneshot(get(path)).await.unwrap();

        assert_eq!(response.status(), status, "{path}");
        assert_eq!(response.headers()[CONTENT_TYPE], "application/json");
    }
}

#[tokio::test(start_paused = true)]
async fn policy_of_all_probes_is_that_of_readiness() {
    let shutdown = ShutdownCoordinator::new(thirty_seconds());
    let handle = shutdown.handle();
    let keep = probes(&handle);
    let flip = probes(&handle).policy(ReadinessPolicy::UntilShutdown);
    handle.shutdown("test");

    let mut seen = Vec::new();
    for (probes, path) in [
        (&keep, "/livez"),
        (&keep, "/readyz"),
        (&keep, "/balancerz"),
        (&flip, "/livez"),
        (&flip, "/readyz"),
        (&flip, "/balancerz"),
    ] {
        let response = probes.clone().oneshot(get(path)).await.unwrap();
        seen.push(response.status().as_u16());
    }

    assert_eq!(seen, [OK, OK, UNAVAILABLE, OK, UNAVAILABLE, UNAVAILABLE]);
}

#[tokio::test]
async fn probes_are_routes_of_an_axum_router() {
    let shutdown = ShutdownCoordinator::new(thirty_seconds());
    let handle = shutdown.handle();
    let app: Router = Router::new()
        .route_service("/livez", liveness(&handle))
        .route_service("/readyz", readiness(&handle))
        .nest_service("/probes", probes(&handle));
    let _token = handle.not_ready("cache");

    for (path, status) in [
        ("/livez", OK),
        ("/readyz", UNAVAILABLE),
        ("/probes/livez", OK),
        ("/probes/readyz", UNAVAILABLE),
    ] {
        let request = get(path).map(|()| axum::body::Body::empty());
        let response = app.clone().oneshot(request).await.unwrap();

        assert_eq!(response.status(), status, "{path}");
    }
}

// Cases 24 and 64.
#[tokio::test]
async fn admin_listener_answers_probes_in_every_phase_and_closes_after_exit() {
    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    let handle = shutdown.handle();
    let listener = lameduck::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let admin = lameduck::serve_admin(listener, probes(&handle), &handle);
    let (answers, mut answered) = mpsc::unbounded_channel();
    for phase in [Phase::Drain, Phase::Release, Phase::Exit] {
        let answers = answers.clone();
        let hook = async move || {
            for path in ["/livez", "/readyz", "/balancerz"] {
                let answer = ask_over_tcp(address, Method::GET, path).await;
                answers.send((phase, path, answer)).unwrap();
            }
        };
        shutdown
            .hook(phase, format!("probes in {phase}"), hook)
            .unwrap();
    }
    let before = ask_over_tcp(address, Method::GET, "/readyz").await;
    handle.shutdown("test");

    let report = timeout(PATIENCE, shutdown.run()).await.unwrap();
    timeout(PATIENCE, admin).await.unwrap();

    assert_eq!(before.status, OK);
    for (expected_phase, ready) in [
        (Phase::Drain, OK),
        (Phase::Release, UNAVAILABLE),
        (Phase::Exit, UNAVAILABLE),
    ] {
        for (expected_path, status) in [
            ("/livez", OK),
            ("/readyz", ready),
            ("/balancerz", UNAVAILABLE),
        ] {
            let (phase, path, answer) = answered.recv().await.unwrap();
            assert_eq!((phase, path), (expected_phase, expected_path));
            assert_eq!(answer.status, status, "{phase} {path}");
            assert!(answer.says(&format!("\"phase\":\"{phase}\"")), "{answer:?}");
        }
    }
    assert!(TcpStream::connect(address).await.is_err());
    assert!(report.is_clean(), "{report}");
    // Probes are no traffic, and nobody waited for their connections.
    assert_eq!((report.traffic.served, report.traffic.refused), (0, 0));
}

// Case 24.
#[tokio::test]
async fn readiness_is_200_on_the_service_itself_until_its_listener_closes() {
    let plan = Plan::builder()
        .grace_period(60 * SECOND)
        .lame_duck(Duration::ZERO)
        .drain(Duration::ZERO);
    let shutdown = ShutdownCoordinator::new(plan.build().unwrap());
    let handle = shutdown.handle();
    let admin = lameduck::bind("127.0.0.1:0").await.unwrap();
    let admin_address = admin.local_addr().unwrap();
    let _admin = lameduck::serve_admin(admin, probes(&handle), &handle);
    let (entered, open) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let slow = {
        let (entered, open) = (Arc::clone(&entered), Arc::clone(&open));
        async move || {
            entered.notify_one();
            open.notified().await;
        }
    };
    let app: Router = Router::new()
        .route_service("/readyz", readiness(&handle))
        .route("/slow", axum::routing::get(slow));
    let listener = lameduck::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = lameduck::serve(listener, app, &handle);
    let (answers, mut answered) = mpsc::unbounded_channel();
    let hook = async move || {
        let answer = ask_over_tcp(admin_address, Method::GET, "/readyz").await;
        answers.send(answer).unwrap();
    };
    shutdown.hook(Phase::Release, "probe", hook).unwrap();
    let slow = tokio::spawn(ask_over_tcp(address, Method::GET, "/slow"));
    entered.notified().await;
    handle.shutdown("test");
    let run = tokio::spawn(shutdown.run());
    handle.reached(Phase::Close).await;

    let by_service = ask_over_tcp(address, Method::GET, "/readyz").await;
    let by_admin = ask_over_tcp(admin_address, Method::GET, "/readyz").await;
    open.notify_one();
    timeout(PATIENCE, serving).await.unwrap();
    let closed = TcpStream::connect(address).await;
    let in_release = timeout(PATIENCE, answered.recv()).await.unwrap().unwrap();

    for answer in [by_service, by_admin] {
        assert_eq!(answer.status, OK);
        assert!(answer.says("\"phase\":\"Close\""), "{answer:?}");
    }
    assert!(closed.is_err());
    assert_eq!(in_release.status, UNAVAILABLE);
    assert_eq!(slow.await.unwrap().status, OK);
    assert!(timeout(PATIENCE, run).await.unwrap().unwrap().is_clean());
}

#[tokio::test]
async fn server_is_not_ready_until_it_accepts() {
    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    let handle = shutdown.handle();
    let listener = lameduck::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();

    // Its task has not run yet: this test has one thread.
    let _serving = lameduck::serve(listener, readiness(&handle), &handle);
    let starting = ask(&readiness(&handle)).await;
    let accepting = ask_over_tcp(address, Method::GET, "/").await;

    assert_eq!(starting.status, UNAVAILABLE);
    assert!(starting.says("server does not accept yet"));
    assert_eq!(accepting.status, OK);
}

#[tokio::test]
async fn head_request_is_answered_without_a_body() {
    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    let handle = shutdown.handle();
    let listener = lameduck::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let _admin = lameduck::serve_admin(listener, probes(&handle), &handle);

    let answer = ask_over_tcp(address, Method::HEAD, "/livez").await;

    assert_eq!((answer.status, &*answer.body), (OK, ""));
    assert!(answer.length.unwrap() > 0);
}

fn thirty_seconds() -> Plan {
    Plan::builder().build().unwrap()
}

fn get(path: &str) -> Request<()> {
    Request::get(path).body(()).unwrap()
}

/// What liveness, readiness and the balancer's probe say.
async fn statuses(handle: &ShutdownHandle) -> [u16; 3] {
    [
        ask(&liveness(handle)).await.status,
        ask(&readiness(handle)).await.status,
        ask(&balancer(handle)).await.status,
    ]
}

async fn ask(probe: &Probe) -> Answer {
    Answer::of(call(probe.clone()).await).await
}

async fn call<S>(probe: S) -> Response<ProbeBody>
where
    S: Service<Request<()>, Response = Response<ProbeBody>, Error = Infallible>,
{
    probe.oneshot(get("/")).await.unwrap()
}

/// One request on a connection of its own, as the kubelet does it.
async fn ask_over_tcp(address: SocketAddr, method: Method, path: &str) -> Answer {
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    let request = Request::builder()
        .method(method)
        .uri(path)
        .body(Empty::<Bytes>::new());
    let response = sender.send_request(request.unwrap()).await.unwrap();
    Answer::of(response).await
}

#[derive(Debug)]
struct Answer {
    status: u16,
    length: Option<u64>,
    body: String,
}

impl Answer {
    async fn of<B>(response: Response<B>) -> Answer
    where
        B: Body,
        B::Error: std::fmt::Debug,
    {
        let status = response.status().as_u16();
        let length = response.headers().get(CONTENT_LENGTH);
        let length = length.map(|length| length.to_str().unwrap().parse().unwrap());
        let body = response.into_body().collect().await.unwrap().to_bytes();
        Answer {
            status,
            length,
            body: String::from_utf8(body.to_vec()).unwrap(),
        }
    }

    fn says(&self, part: &str) -> bool {
        self.body.contains(part)
    }
}

/// A shutdown that stays in a phase until it is told to go on.
struct Stay {
    go_on: oneshot::Sender<()>,
    run: JoinHandle<Arc<Report>>,
}

impl Stay {
    /// Triggers the shutdown, and comes back when it is in `phase`.
    async fn within(phase: Phase, shutdown: ShutdownCoordinator) -> Stay {
        let handle = shutdown.handle();
        let (go_on, gone_on) = oneshot::channel::<()>();
        let hook = async move || gone_on.await.expect("`end` is called");
        shutdown.hook(phase, "stay", hook).unwrap();
        handle.shutdown("test");
        let run = tokio::spawn(shutdown.run());
        handle.reached(phase).await;
        assert_eq!(handle.phase(), Some(phase));
        Stay { go_on, run }
    }

    async fn end(self) -> Arc<Report> {
        self.go_on.send(()).expect("the hook waits for this");
        self.run.await.unwrap()
    }
}
