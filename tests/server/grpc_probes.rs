//! gRPC's health service as a probe asks it: `Check` with a deadline, on a connection of its own.

use std::future::pending;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use hyper_util::rt::TokioIo;
use lameduck::probe::ReadinessPolicy;
use lameduck::report::PhaseOutcome;
use lameduck::{LeaveEarly, Phase, Plan, Report, Server, ShutdownCoordinator, ShutdownHandle};
use tokio::io::DuplexStream;
use tokio::time::{Instant, sleep, sleep_until};
use tonic::service::Routes;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};
use tonic_health::ServingStatus;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tower::service_fn;

use crate::pipes::*;
use crate::spawned::spawning;
use crate::support::*;

const SERVING: i32 = ServingStatus::Serving as i32;
const NOT_SERVING: i32 = ServingStatus::NotServing as i32;

/// A client with a connection of its own.
async fn client(door: &Door) -> HealthClient<Channel> {
    let stream = Arc::new(Mutex::new(Some(door.stream())));
    let connect = service_fn(move |_| {
        let stream = stream.lock().unwrap().take();
        async {
            stream
                .map(TokioIo::new)
                .ok_or_else(|| std::io::Error::other("used"))
        }
    });
    let endpoint = Endpoint::from_static("http://pipe");
    HealthClient::new(endpoint.connect_with_connector(connect).await.unwrap())
}

fn about(service: &str) -> HealthCheckRequest {
    let service = service.to_owned();
    HealthCheckRequest { service }
}

/// Asks as `grpc_health_probe` and the kubelet do.
async fn check(door: &Door, service: &str) -> Result<i32, Status> {
    let mut request = tonic::Request::new(about(service));
    request.set_timeout(seconds(1));
    let answer = client(door).await.check(request).await?;
    Ok(answer.into_inner().status)
}

/// What it says of readiness, of liveness, to balancers, and of the whole.
async fn statuses(door: &Door) -> [i32; 4] {
    let mut all = [0; 4];
    for (service, status) in ["readyz", "livez", "balancerz", ""].iter().zip(&mut all) {
        *status = check(door, service).await.unwrap();
    }
    all
}

/// A service with gRPC's health beside `/`.
fn serve(listener: Pipes, handle: &ShutdownHandle) -> lameduck::grpc::HealthReporter {
    let (reporter, health) = lameduck::grpc::health(handle).unwrap();
    let app = Routes::new(health)
        .into_axum_router()
        .merge(Router::new().route("/", axum::routing::get(|| async { "hello" })));
    lameduck::serve(listener, app, handle);
    reporter
}

// What it says.

#[tokio::test(start_paused = true)]
async fn readyz_and_livez_are_serving_for_as_long_as_the_probes_of_http_are_ok() {
    let (shutdown, handle) = exact(cluster());
    let (_reporter, health) = lameduck::grpc::health(&handle).unwrap();
    let (door, listener) = pipes();
    lameduck::serve(listener, Routes::new(health.clone()), &handle);
    let (admin, listener) = pipes();
    lameduck::serve_admin(listener, Routes::new(health), &handle);
    let (door, admin) = (Arc::new(door), Arc::new(admin));
    ready(&handle).await;
    let before = (statuses(&door).await, statuses(&admin).await);
    // It lingers, so the listener is still open when Close asks.
    let mut idle = door.connect();
    idle.get("/").await;
    let seen = Arc::new(Mutex::new(Vec::new()));
    for &phase in Phase::ALL {
        let (seen, door, admin) = (Arc::clone(&seen), Arc::clone(&door), Arc::clone(&admin));
        let ask = async move || {
            let open = phase <= Phase::Close;
            let main = if open {
                Some(statuses(&door).await)
            } else {
                None
            };
            let admin = statuses(&admin).await;
            seen.lock().unwrap().push((phase, main, admin));
        };
        shutdown.hook(phase, phase.to_string(), ask).unwrap();
    }

    let report = soon(begin(shutdown)).await.unwrap();

    let well = [SERVING; 4];
    let leaving = [SERVING, SERVING, NOT_SERVING, NOT_SERVING];
    let closed = [NOT_SERVING, SERVING, NOT_SERVING, NOT_SERVING];
    assert!(report.is_clean(), "{report}");
    assert_eq!(before, (well, well));
    assert_eq!(
        *seen.lock().unwrap(),
        [
            (Phase::LameDuck, Some(leaving), leaving),
            (Phase::Drain, Some(leaving), leaving),
            (Phase::Close, Some(leaving), leaving),
            (Phase::Release, None, closed),
            (Phase::Exit, None, closed),
        ]
    );
    // Then nobody answers any more.
    settle().await;
    assert!(admin.is_shut());
}

#[tokio::test(start_paused = true)]
async fn watch_of_readyz_is_told_of_each_change() {
    let (shutdown, handle) = exact(cluster());
    let (door, listener) = pipes();
    let _reporter = serve(listener, &handle);
    ready(&handle).await;
    let mut watch = client(&door)
        .await
        .watch(about("readyz"))
        .await
        .unwrap()
        .into_inner();
    let mut next = async || soon(watch.message()).await.map(|said| said.unwrap().status);

    let first = next().await.unwrap();
    let token = handle.not_ready("the database does not answer");
    let second = next().await.unwrap();
    drop(token);
    let third = next().await.unwrap();
    let run = begin(shutdown);
    // Nothing changes at the trigger. It ends at its moment, as each watch does.
    let end = next().await;
    let report = soon(run).await.unwrap();

    assert_eq!([first, second, third], [SERVING, NOT_SERVING, SERVING]);
    assert_eq!(end.unwrap_err().code(), Code::Unavailable);
    assert_eq!((report.long.told, report.long.cut), (1, 0));
    assert!(report.is_clean(), "{report}");
}

#[tokio::test(start_paused = true)]
async fn watch_of_balancerz_is_told_at_the_trigger() {
    let (shutdown, handle) = exact(cluster());
    let (door, listener) = pipes();
    let _reporter = serve(listener, &handle);
    ready(&handle).await;
    let mut client = client(&door).await;
    let mut watch = client.watch(about("balancerz")).await.unwrap().into_inner();
    let mut next = async || soon(watch.message()).await.unwrap().unwrap().status;

    let first = next().await;
    let run = begin(shutdown);
    let t0 = Instant::now();
    let second = next().await;

    assert_eq!((first, second), (SERVING, NOT_SERVING));
    assert_took(t0.elapsed(), Duration::ZERO);
    drop((watch, client));
    soon(run).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn not_ready_token_fails_readyz_and_balancerz_in_normal_service() {
    let (_shutdown, handle) = exact(cluster());
    let (door, listener) = pipes();
    let _reporter = serve(listener, &handle);
    ready(&handle).await;
    let token = handle.not_ready("migrations");
    let held = statuses(&door).await;
    drop(token);

    assert_eq!(held, [NOT_SERVING, SERVING, NOT_SERVING, SERVING]);
    assert_eq!(statuses(&door).await, [SERVING; 4]);
}

#[tokio::test(start_paused = true)]
async fn policy_chooses_how_long_readyz_is_serving() {
    let (shutdown, handle) = exact(cluster());
    let (_reporter, health) = lameduck::grpc::health(&handle).unwrap();
    let (door, listener) = pipes();
    let health = health.policy(ReadinessPolicy::UntilShutdown);
    lameduck::serve(listener, Routes::new(health), &handle);
    ready(&handle).await;
    let before = statuses(&door).await;

    let run = begin(shutdown);
    let leaving = statuses(&door).await;
    soon(run).await.unwrap();

    assert_eq!(before, [SERVING; 4]);
    assert_eq!(leaving, [NOT_SERVING, SERVING, NOT_SERVING, NOT_SERVING]);
}

#[tokio::test(start_paused = true)]
async fn who_registers_a_service_of_that_name_keeps_it() {
    let (_shutdown, handle) = exact(cluster());
    let (door, listener) = pipes();
    let reporter = serve(listener, &handle);
    ready(&handle).await;
    let not_serving = ServingStatus::NotServing;
    reporter.set_service_status("livez", not_serving).await;

    let own = check(&door, "livez").await.unwrap();
    let others = check(&door, "readyz").await.unwrap();
    let unknown = check(&door, "startupz").await.unwrap_err();
    reporter.clear_service_status("livez").await;
    let again = check(&door, "livez").await.unwrap();

    assert_eq!((own, others), (NOT_SERVING, SERVING));
    assert_eq!(unknown.code(), Code::NotFound);
    assert_eq!(again, SERVING);
}

#[tokio::test(start_paused = true)]
async fn watch_of_a_probes_name_is_told_of_what_is_set_and_of_what_is_cleared() {
    let (_shutdown, handle) = exact(cluster());
    let (door, listener) = pipes();
    let reporter = serve(listener, &handle);
    ready(&handle).await;
    let not_serving = ServingStatus::NotServing;
    let mut early = client(&door)
        .await
        .watch(about("readyz"))
        .await
        .unwrap()
        .into_inner();
    let first = soon(early.message()).await.unwrap().unwrap().status;

    reporter.set_service_status("readyz", not_serving).await;
    let second = soon(early.message()).await.unwrap().unwrap().status;
    let mut meanwhile = client(&door)
        .await
        .watch(about("readyz"))
        .await
        .unwrap()
        .into_inner();
    let own = soon(meanwhile.message()).await.unwrap().unwrap().status;
    reporter.clear_service_status("readyz").await;
    let mut after = Vec::new();
    for watch in [&mut early, &mut meanwhile] {
        after.push(soon(watch.message()).await.unwrap().map(|it| it.status));
    }

    assert_eq!([first, second, own], [SERVING, NOT_SERVING, NOT_SERVING]);
    assert_eq!(after, [Some(SERVING), Some(SERVING)]);
}

#[tokio::test(start_paused = true)]
async fn watch_of_a_service_ends_when_that_is_cleared() {
    let (_shutdown, handle) = exact(cluster());
    let (door, listener) = pipes();
    let reporter = serve(listener, &handle);
    ready(&handle).await;
    reporter
        .set_service_status("shop", ServingStatus::Unknown)
        .await;
    let mut client = client(&door).await;
    let mut watch = client.watch(about("shop")).await.unwrap().into_inner();
    let mut said = Vec::new();

    said.push(soon(watch.message()).await.unwrap().map(|it| it.status));
    reporter
        .set_service_status("shop", ServingStatus::Serving)
        .await;
    said.push(soon(watch.message()).await.unwrap().map(|it| it.status));
    reporter.clear_service_status("shop").await;
    said.push(soon(watch.message()).await.unwrap().map(|it| it.status));

    assert_eq!(said, [Some(0), Some(SERVING), None]);
}

// A slow start-up: nobody has called `run` yet.
#[tokio::test(start_paused = true)]
async fn services_are_not_serving_from_the_trigger_on_though_nobody_has_called_run() {
    let (shutdown, handle) = exact(cluster());
    let (door, listener) = pipes();
    let reporter = serve(listener, &handle);
    ready(&handle).await;
    let mut watcher = client(&door).await;
    let mut watch = watcher.watch(about("")).await.unwrap().into_inner();
    let first = soon(watch.message()).await.unwrap().unwrap().status;

    handle.shutdown("test");
    reporter
        .set_service_status("shop", ServingStatus::Serving)
        .await;
    let second = soon(watch.message()).await.unwrap().unwrap().status;
    let checked = [check(&door, "").await, check(&door, "shop").await];

    assert_eq!((first, second), (SERVING, NOT_SERVING));
    assert_eq!(checked.map(Result::unwrap), [NOT_SERVING; 2]);
    drop((watch, watcher));
    soon(tokio::spawn(shutdown.run())).await.unwrap();
}

// What it proves.

#[tokio::test(start_paused = true)]
async fn only_an_answer_that_traffic_may_come_is_evidence_of_routing() {
    for (service, wait) in [
        (None, Duration::ZERO),
        (Some("livez"), Duration::ZERO),
        (Some("startupz"), Duration::ZERO),
        (Some("readyz"), seconds(10)),
        (Some("balancerz"), seconds(10)),
        (Some(""), seconds(10)),
    ] {
        let (shutdown, handle) = exact(cluster());
        let _mounted = lameduck::readiness(&handle);
        let (door, listener) = pipes();
        let _reporter = serve(listener, &handle);
        ready(&handle).await;
        if let Some(service) = service {
            let _ = check(&door, service).await;
        }

        let report = soon(begin(shutdown)).await.unwrap();

        let took = report.phase(Phase::LameDuck).unwrap().took;
        assert!(took.abs_diff(wait) <= millis(2), "{service:?}: {took:?}");
    }
}

/// A shutdown after half a minute of requests, with this one going on. LameDuck takes ten seconds, or ends after one of
/// silence.
async fn shutdown_under(probing: impl AsyncFn(&Door)) -> Arc<Report> {
    let early = LeaveEarly::new().min(seconds(1)).quiet(seconds(1));
    let plan = Plan::builder().leave_early(early).build().unwrap();
    let (shutdown, handle) = exact(plan);
    let (door, listener) = pipes();
    let _reporter = serve(listener, &handle);
    let run = tokio::spawn(ShutdownCoordinator::run(shutdown));
    ready(&handle).await;
    let mut client: Client<DuplexStream> = door.connect();
    let mut next = Instant::now();
    let end = next + seconds(30);
    while next < end {
        assert_eq!(client.get("/").await.status, 200);
        next += millis(50);
        sleep_until(next).await;
    }

    handle.shutdown("test");
    tokio::select! {
        () = handle.reached(Phase::Drain) => {}
        () = probing(&door) => {}
    }
    soon(run).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn health_is_no_evidence_of_traffic() {
    let checked = shutdown_under(async |door| {
        loop {
            check(door, "").await.unwrap();
            sleep(millis(50)).await;
        }
    })
    .await;
    let watched = shutdown_under(async |door| {
        loop {
            let mut client = client(door).await;
            let mut watch = client.watch(about("")).await.unwrap().into_inner();
            watch.message().await.unwrap();
            sleep(millis(50)).await;
        }
    })
    .await;
    let asked = shutdown_under(async |door| {
        loop {
            door.connect().get("/").await;
            sleep(millis(50)).await;
        }
    })
    .await;
    let silent = shutdown_under(async |_| pending().await).await;

    let outcome = |report: &Report| report.phase(Phase::LameDuck).unwrap().outcome;
    for report in [&checked, &watched, &silent] {
        assert_eq!(outcome(report), PhaseOutcome::LeftEarly, "{report}");
        assert_eq!(report.traffic.served, 0);
    }
    assert_eq!(outcome(&asked), PhaseOutcome::Completed, "{asked}");
}

#[tokio::test(start_paused = true)]
async fn check_under_a_middleware_that_spawns_is_no_traffic_with_a_context() {
    for carries in [false, true] {
        let (shutdown, handle) = exact(cluster());
        let (_reporter, health) = lameduck::grpc::health(&handle).unwrap();
        let (door, listener) = pipes();
        let mut server = Server::new(&handle);
        if carries {
            server = server.context_in_extensions();
        }
        server.serve(listener, spawning(Routes::new(health).into_axum_router()));
        ready(&handle).await;

        let run = begin(shutdown);
        let status = check(&door, "readyz").await.unwrap();
        let report = soon(run).await.unwrap();

        assert_eq!(status, SERVING);
        assert_eq!(report.traffic.served, u64::from(!carries), "{report}");
    }
}
