//! What is no traffic, and what lasts, under a middleware that spawns its handler: known with `context_in_extensions`.

use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use axum::routing::get;
use lameduck::report::PhaseOutcome;
use lameduck::{DrainLayer, LeaveEarly, Moment, Phase, Plan, Report, Server, ShutdownHandle};
use tokio::time::{Instant, sleep, sleep_until};

use crate::pipes::*;
use crate::support::*;

// What is no traffic.

#[tokio::test(start_paused = true)]
async fn spawned_probe_of_ours_is_no_traffic_with_the_setting() {
    for carries in [false, true] {
        let mount: Mount = |handle| {
            Router::new()
                .route_service("/readyz", lameduck::readiness(handle))
                .nest_service("/probes", lameduck::probes(handle))
        };
        for path in ["/readyz", "/probes/livez"] {
            assert_traffic(shutdown_under(mount, path, carries).await, !carries);
        }
    }
}

#[cfg(feature = "tonic")]
#[tokio::test(start_paused = true)]
async fn spawned_check_and_watch_of_grpc_health_are_no_traffic_with_the_setting() {
    for carries in [false, true] {
        let mount: Mount = |handle| {
            let (_reporter, health) = lameduck::grpc::health(handle).unwrap();
            tonic::service::Routes::new(health).into_axum_router()
        };
        for method in ["Check", "Watch"] {
            let path = format!("/grpc.health.v1.Health/{method}");
            assert_traffic(shutdown_under(mount, &path, carries).await, !carries);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_layer_within_the_spawned_task_exempts_is_no_traffic_with_the_setting() {
    for carries in [false, true] {
        let mount: Mount = |handle| {
            let layer = DrainLayer::new(handle).exempt(|head| head.uri.path() == "/exempt");
            Router::new().fallback(async || "whole").layer(layer)
        };
        assert_traffic(shutdown_under(mount, "/exempt", carries).await, !carries);
    }
}

// The control: its arrival is noted late, and noted.
#[tokio::test(start_paused = true)]
async fn spawned_request_that_is_no_probe_is_traffic_with_the_setting() {
    for carries in [false, true] {
        let mount: Mount = |_| Router::new().fallback(async || "whole");
        assert_traffic(shutdown_under(mount, "/counted", carries).await, true);
    }
}

#[tokio::test(start_paused = true)]
async fn spawned_handler_that_has_not_answered_is_an_arrival_at_the_time_at_which_its_request_came()
{
    for path in ["/slow", "/"] {
        let (shutdown, handle) = exact(early_plan());
        let (door, listener) = pipes();
        let app = Router::new()
            .route("/", get(async || "whole"))
            .route("/slow", get(async || sleep(seconds(3)).await));
        Server::new(&handle)
            .context_in_extensions()
            .serve(listener, spawning(app));
        let run = tokio::spawn(shutdown.run());
        ready(&handle).await;
        ask_for_half_a_minute(&mut door.connect()).await;

        handle.shutdown("test");
        sleep(millis(500)).await;
        let mut client = door.connect();
        client.ask(path).await;
        // Nobody knows yet what the slow one is, and a second of silence would be over at T0 + 1 s without it.
        sleep(millis(900)).await;
        let phase = handle.phase();
        let status = client.response().await.status;
        let report = soon(run).await.unwrap();

        assert_eq!((phase, status), (Some(Phase::LameDuck), 200), "{path}");
        let lame_duck = report.phase(Phase::LameDuck).unwrap();
        assert_eq!(lame_duck.outcome, PhaseOutcome::LeftEarly, "{report}");
        assert_eq!(report.traffic.served, 1, "{report}");
        assert_took(report.traffic.last_arrival.unwrap(), millis(500));
        assert_took(lame_duck.took, millis(1_500));
    }
}

#[tokio::test(start_paused = true)]
async fn spawned_exempt_request_that_hangs_holds_up_nothing_with_the_setting() {
    for carries in [false, true] {
        for by_server in [false, true] {
            let gate = Gate::new();
            let (shutdown, handle) = exact(Plan::immediate());
            let (door, listener) = pipes();
            let mut layer = DrainLayer::new(&handle).exempt(move |_| !by_server);
            let mut server = Server::new(&handle).exempt(move |_| by_server);
            if carries {
                layer = layer.context_in_extensions();
                server = server.context_in_extensions();
            }
            server.serve(listener, spawning(gated(&gate).layer(layer)));
            ready(&handle).await;
            let mut client = door.connect();
            client.ask("/").await;
            gate.entered().await;

            let counted = handle.in_flight();
            let report = soon(begin(shutdown)).await.unwrap();

            // Without the setting the layer does not know of the server's rule, nor the server of the layer's.
            assert_eq!(counted, u64::from(!carries), "by the server: {by_server}");
            assert_eq!(report.took < seconds(1), carries, "{report}");
            assert!(!carries || report.is_clean(), "{report}");
            drop((gate, client));
        }
    }
}

// What lasts.

#[tokio::test(start_paused = true)]
async fn moment_that_is_asked_for_under_a_layer_in_the_spawned_task_is_the_connections_and_lasts() {
    let gate = Gate::new();
    let (shutdown, handle) = exact(cluster());
    let (door, listener) = pipes();
    let app = {
        let gate = Arc::clone(&gate);
        Router::new().fallback(async move |request: Request| {
            let moments = (Moment::current().unwrap(), request);
            gate.pass().await;
            let (current, request) = moments;
            let of = Moment::of(request.extensions()).unwrap();
            let said = format!("{current:?} {of:?}");
            current.await;
            said
        })
    };
    let app = app.layer(DrainLayer::new(&handle).context_in_extensions());
    Server::new(&handle)
        .context_in_extensions()
        .serve(listener, spawning(app));
    ready(&handle).await;
    let mut client = door.connect();
    client.ask("/").await;
    gate.entered().await;
    settle().await;
    let counts = (handle.in_flight(), handle.long_lived());

    let run = begin(shutdown);
    reached(&handle, Phase::Close).await;
    gate.open();
    let answer = client.response().await;
    let report = soon(run).await.unwrap();

    assert_eq!(counts, (2, 2));
    assert_took(report.phase(Phase::Drain).unwrap().took, seconds(0));
    let (current, of) = answer.text().split_once("} ").unwrap();
    assert_eq!(format!("{current}}}"), of);
    assert!(report.is_clean(), "{report}");
}

// What the tests share.

/// Makes the routes that are asked for.
type Mount = fn(&ShutdownHandle) -> Router;

/// A second of silence ends LameDuck, which would take ten.
fn early_plan() -> Plan {
    let early = LeaveEarly::new().min(seconds(1)).quiet(seconds(1));
    Plan::builder().leave_early(early).build().unwrap()
}

pub(crate) fn spawning(app: Router) -> Router {
    let spawn = async |request: Request, next: Next| -> Result<Response, StatusCode> {
        let handler = tokio::spawn(next.run(request));
        handler.await.map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)
    };
    app.layer(from_fn(spawn))
}

/// Twenty requests a second, which are traffic.
async fn ask_for_half_a_minute(client: &mut Client<tokio::io::DuplexStream>) {
    let end = Instant::now() + seconds(30);
    let mut next = Instant::now();
    while next < end {
        assert_eq!(client.get("/").await.status, 200);
        next += millis(50);
        sleep_until(next).await;
    }
}

/// A shutdown after half a minute of traffic, with requests for `path` to LameDuck's end.
async fn shutdown_under(mount: Mount, path: &str, carries: bool) -> Arc<Report> {
    let (shutdown, handle) = exact(early_plan());
    let (door, listener) = pipes();
    let app = mount(&handle).route("/", get(async || "whole"));
    let mut server = Server::new(&handle);
    if carries {
        server = server.context_in_extensions();
    }
    server.serve(listener, spawning(app));
    let run = tokio::spawn(shutdown.run());
    ready(&handle).await;
    ask_for_half_a_minute(&mut door.connect()).await;

    handle.shutdown("test");
    let asking = async {
        loop {
            // A connection each: as a probe comes, and because the answer says close.
            let mut client = door.connect();
            if client.try_ask(path).await.is_ok() {
                client.until(b"\r\n\r\n").await;
            }
            sleep(millis(50)).await;
        }
    };
    tokio::select! {
        () = handle.reached(Phase::Drain) => {}
        () = asking => {}
    }
    soon(run).await.unwrap()
}

#[track_caller]
fn assert_traffic(report: Arc<Report>, is_traffic: bool) {
    let lame_duck = report.phase(Phase::LameDuck).unwrap();
    let outcome = match is_traffic {
        true => PhaseOutcome::Completed,
        false => PhaseOutcome::LeftEarly,
    };
    assert_eq!(lame_duck.outcome, outcome, "{report}");
    assert_eq!(report.traffic.served > 0, is_traffic, "{report}");
}
