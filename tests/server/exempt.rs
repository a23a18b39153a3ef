//! Requests that are exempt: not counted, not refused, not waited for, no evidence of traffic, and not named.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use http::{Method, Request};
use lameduck::report::PhaseOutcome;
use lameduck::{DrainLayer, LeaveEarly, Phase, Plan, Report, Server, ShutdownHandle};
use tokio::io::DuplexStream;
use tokio::time::{Instant, sleep, sleep_until};

use crate::pipes::*;
use crate::support::*;

/// What a server of a test is told.
type Serve = fn(Pipes, Router, &ShutdownHandle);

/// The server says which requests are exempt.
fn by_server(listener: Pipes, app: Router, handle: &ShutdownHandle) {
    Server::new(handle)
        .exempt(|head| head.uri.path().starts_with("/exempt"))
        .serve(listener, app);
}

/// A layer under it does.
fn by_layer(listener: Pipes, app: Router, handle: &ShutdownHandle) {
    let layer = DrainLayer::new(handle).exempt(|head| head.uri.path().starts_with("/exempt"));
    lameduck::serve(listener, app.layer(layer), handle);
}

/// A layer under it counts every request of which it is not told.
fn by_server_above_a_layer(listener: Pipes, app: Router, handle: &ShutdownHandle) {
    by_server(listener, app.layer(DrainLayer::new(handle)), handle);
}

const ALL: [Serve; 3] = [by_server, by_layer, by_server_above_a_layer];

// Evidence of traffic.

/// A second of silence ends LameDuck, which would take ten.
fn early() -> Plan {
    let early = LeaveEarly::new().min(seconds(1)).quiet(seconds(1));
    Plan::builder().leave_early(early).build().unwrap()
}

/// Asks for `path` twenty times a second until `end`.
async fn ask_until(client: &mut Client<DuplexStream>, path: &str, end: Instant) {
    let mut next = Instant::now();
    while next < end {
        assert_eq!(client.get(path).await.status, 200);
        next += millis(50);
        sleep_until(next).await;
    }
}

/// A shutdown after half a minute of requests for `before`, with requests for `after` to its end, if there is one.
async fn shutdown_under(serve: Serve, before: &str, after: Option<&str>) -> Arc<Report> {
    let (shutdown, handle) = exact(early());
    let (door, listener) = pipes();
    let app = Router::new().fallback(|| async { "whole" });
    serve(listener, app, &handle);
    let run = tokio::spawn(shutdown.run());
    ready(&handle).await;
    ask_until(&mut door.connect(), before, Instant::now() + seconds(30)).await;

    handle.shutdown("test");
    let asking = async {
        let Some(after) = after else {
            return pending().await;
        };
        loop {
            // A connection each: as a probe comes, and because the answer says close.
            door.connect().get(after).await;
            sleep(millis(50)).await;
        }
    };
    tokio::select! {
        () = handle.reached(Phase::Drain) => {}
        () = asking => {}
    }
    soon(run).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn exempt_path_is_no_evidence_of_traffic_after_the_trigger() {
    for serve in ALL {
        let silent = shutdown_under(serve, "/", Some("/exempt")).await;
        let busy = shutdown_under(serve, "/", Some("/counted")).await;

        let lame_duck = silent.phase(Phase::LameDuck).unwrap();
        assert_eq!(lame_duck.outcome, PhaseOutcome::LeftEarly, "{silent}");
        assert_took(lame_duck.took, seconds(1));
        assert_eq!(silent.traffic.served, 0);
        assert_eq!(silent.traffic.last_arrival, None);
        let lame_duck = busy.phase(Phase::LameDuck).unwrap();
        assert_eq!(lame_duck.outcome, PhaseOutcome::Completed, "{busy}");
        assert!(busy.traffic.served > 100);
    }
}

#[tokio::test(start_paused = true)]
async fn exempt_path_is_no_traffic_that_proves_anything() {
    for serve in ALL {
        let report = shutdown_under(serve, "/exempt", None).await;

        let lame_duck = report.phase(Phase::LameDuck).unwrap();
        assert_eq!(lame_duck.outcome, PhaseOutcome::Completed, "{report}");
    }
}

// What the crate's own probes say of themselves is tested in `tests/leave_early.rs` and `tests/grpc_health.rs`.

#[tokio::test(start_paused = true)]
async fn exempt_request_is_no_evidence_that_traffic_was_routed_here() {
    for serve in ALL {
        for (path, wait) in [("/exempt", Duration::ZERO), ("/", seconds(10))] {
            let (shutdown, handle) = exact(cluster());
            let _mounted = lameduck::readiness(&handle);
            let (door, listener) = pipes();
            let app = Router::new().fallback(|| async { "whole" });
            serve(listener, app, &handle);
            ready(&handle).await;
            let mut client = door.connect();
            assert_eq!(client.get(path).await.status, 200);
            drop(client);

            let report = soon(begin(shutdown)).await.unwrap();

            assert_took(report.phase(Phase::LameDuck).unwrap().took, wait);
        }
    }
}

// Counting, waiting and naming.

/// A request that hangs, over HTTP/1.
struct Hanging {
    report: Arc<Report>,
    counted: u64,
    client: Client<DuplexStream>,
    gate: Arc<Gate>,
}

/// Shuts a server down on which a request for `path` hangs.
async fn hang(serve: Serve, plan: Plan, path: &str) -> Hanging {
    let gate = Gate::new();
    let (shutdown, handle) = exact(plan);
    let (door, listener) = pipes();
    serve(listener, gated(&gate), &handle);
    ready(&handle).await;
    let mut client = door.connect();
    client.ask(path).await;
    gate.entered().await;
    settle().await;
    let counted = handle.in_flight();
    let report = soon(begin(shutdown)).await.unwrap();
    Hanging {
        report,
        counted,
        client,
        gate,
    }
}

#[tokio::test(start_paused = true)]
async fn exempt_request_that_hangs_holds_up_nothing_and_has_no_name() {
    for serve in ALL {
        let exempt = hang(serve, Plan::immediate(), "/exempt").await;
        let counted = hang(serve, Plan::immediate(), "/counted").await;

        let report = &exempt.report;
        assert_eq!(exempt.counted, 0);
        assert_took(report.took, Duration::ZERO);
        assert!(report.is_clean(), "{report}");
        assert!(!report.to_string().contains("exempt"), "{report}");
        assert_eq!((report.cut, report.connections.cut), (0, 0));
        // The control.
        assert!(counted.counted > 0);
        assert!(counted.report.took > seconds(10));
        assert!(counted.report.to_string().contains("GET /counted"));
        drop((exempt.gate, exempt.client));
    }
}

#[tokio::test(start_paused = true)]
async fn answer_of_an_exempt_request_is_whole_though_nobody_waited_for_it() {
    for serve in ALL {
        let gate = Gate::new();
        let (shutdown, handle) = exact(Plan::immediate());
        let (door, listener) = pipes();
        serve(listener, gated(&gate), &handle);
        ready(&handle).await;
        let mut client = door.connect();
        client.ask("/exempt").await;
        gate.entered().await;
        let (closed, pool) = tokio::sync::oneshot::channel::<()>();
        let hook = async move || pool.await.unwrap();
        shutdown.hook(Phase::Release, "pool", hook).unwrap();
        let run = begin(shutdown);
        reached(&handle, Phase::Release).await;

        let connections = handle.connections();
        gate.open();
        let response = client.response().await;
        let end = client.end().await.unwrap();
        closed.send(()).unwrap();
        let report = soon(run).await.unwrap();

        assert_eq!(connections, 0);
        assert_eq!((response.status, response.text()), (200, "hello"));
        assert!(response.says_close());
        assert_eq!(end, b"");
        assert!(report.is_clean(), "{report}");
    }
}

#[tokio::test(start_paused = true)]
async fn exempt_request_that_hangs_to_the_end_of_exit_is_dropped_then() {
    let gate = Gate::new();
    let (shutdown, handle) = exact(Plan::immediate());
    let (door, listener) = pipes();
    by_server(listener, gated(&gate), &handle);
    ready(&handle).await;
    let mut client = door.connect();
    client.ask("/exempt").await;
    gate.entered().await;

    let report = soon(begin(shutdown)).await.unwrap();

    assert!(report.is_clean(), "{report}");
    assert_eq!(client.end().await.unwrap(), b"");
}

// The response fills the pipe, and the client does not read.
#[tokio::test(start_paused = true)]
async fn exempt_response_that_is_not_read_holds_up_nothing() {
    for (path, clean) in [("/exempt", true), ("/counted", false)] {
        let (shutdown, handle) = exact(Plan::immediate());
        let (door, listener) = pipes();
        let app = Router::new().fallback(|| async { "x".repeat(4 * PIPE) });
        by_server(listener, app, &handle);
        ready(&handle).await;
        let mut client = door.connect();
        client.ask(path).await;
        settle().await;

        let report = soon(begin(shutdown)).await.unwrap();

        assert_eq!(report.took < seconds(1), clean, "{path}: {report}");
        assert_eq!(report.is_clean(), clean, "{path}: {report}");
    }
}

// Both come at once, and the client does not read: the first response is over, and has not been written whole. hyper begins the
// second request then if it gathers what it writes.
#[tokio::test(start_paused = true)]
async fn exempt_request_behind_a_counted_response_that_is_not_read_does_not_let_its_connection_go()
{
    for (first, by_layer) in [("/counted", false), ("/counted", true), ("/exempt", false)] {
        let (size, gate) = (4 * PIPE, Gate::new());
        let (shutdown, handle) = exact(Plan::immediate());
        let (door, listener) = pipes();
        let held = Arc::clone(&gate);
        let layer = DrainLayer::new(&handle);
        let app = Router::new()
            .route("/exempt/held", get(async move || held.pass().await))
            .fallback(async move || "x".repeat(size))
            .layer(layer.exempt(|head| head.uri.path().starts_with("/exempt")));
        Server::new(&handle)
            .exempt(move |head| !by_layer && head.uri.path().starts_with("/exempt"))
            .http1(|http1| {
                http1.pipeline_flush(true);
            })
            .serve(listener, app);
        ready(&handle).await;
        let mut client = door.connect();
        client
            .send([request(first), request("/exempt/held")].concat())
            .await;
        gate.entered().await;

        let run = begin(shutdown);
        sleep(seconds(3)).await;
        let (phase, connections) = (handle.phase(), handle.connections());
        let body = match first {
            "/counted" => client.response().await.body,
            _ => vec![0; size],
        };
        gate.open();
        let report = soon(run).await.unwrap();

        let waits = first == "/counted";
        assert_eq!(phase == Some(Phase::Close), waits, "{first}: {report}");
        assert_eq!(connections, u64::from(waits), "{first}");
        assert_eq!(body.len(), size);
        assert!(report.is_clean(), "{report}");
    }
}

#[tokio::test(start_paused = true)]
async fn upgrade_that_an_exempt_request_asked_for_is_a_connection_like_any_other() {
    for serve in ALL {
        let (shutdown, handle) = exact(Plan::immediate());
        let (door, listener) = pipes();
        let (upgraded, mut io) = tokio::sync::mpsc::unbounded_channel();
        let app = Router::new().fallback(async move |mut request: axum::extract::Request| {
            let upgrade = hyper::upgrade::on(&mut request);
            tokio::spawn(async move { upgraded.send(upgrade.await.unwrap()) });
            let headers = [("connection", "upgrade"), ("upgrade", "echo")];
            (http::StatusCode::SWITCHING_PROTOCOLS, headers)
        });
        serve(listener, app, &handle);
        ready(&handle).await;
        let mut client = door.connect();
        let head =
            "GET /exempt HTTP/1.1\r\nHost: test\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n";
        client.send(head).await;
        client.until(b"\r\n\r\n").await;
        let socket = soon(io.recv()).await.unwrap();

        let run = begin(shutdown);
        reached(&handle, Phase::Close).await;
        sleep(seconds(3)).await;
        let held = (handle.phase(), handle.connections());
        drop(socket);
        let report = soon(run).await.unwrap();

        assert_eq!(held, (Some(Phase::Close), 1));
        assert_took(report.took, seconds(3));
    }
}

// Over HTTP/2 one connection carries requests of both kinds.

async fn http2(door: &Door) -> SendRequest<Bytes> {
    let (client, connection) = h2::client::handshake(door.stream()).await.unwrap();
    tokio::spawn(connection);
    client
}

fn send(client: &mut SendRequest<Bytes>, path: &str) -> ResponseFuture {
    let uri = format!("http://test{path}");
    let request = Request::builder().method(Method::GET).uri(uri);
    client
        .send_request(request.body(()).unwrap(), true)
        .unwrap()
        .0
}

/// Reads a response to its end.
async fn whole(response: ResponseFuture) -> Bytes {
    let mut body = soon(response).await.unwrap().into_body();
    soon(body.data()).await.unwrap().unwrap()
}

#[tokio::test(start_paused = true)]
async fn close_waits_for_the_counted_request_beside_an_exempt_one_and_not_for_that() {
    for serve in ALL {
        let (counted, exempt) = (Gate::new(), Gate::new());
        let (shutdown, handle) = exact(Plan::immediate());
        let (door, listener) = pipes();
        let gates = (Arc::clone(&counted), Arc::clone(&exempt));
        let app = Router::new().fallback(async move |uri: http::Uri| {
            match uri.path() {
                "/exempt" => gates.1.pass().await,
                _ => gates.0.pass().await,
            }
            "hello"
        });
        serve(listener, app, &handle);
        ready(&handle).await;
        let mut client = http2(&door).await;
        let first = send(&mut client, "/counted");
        counted.entered().await;
        let second = send(&mut client, "/exempt");
        exempt.entered().await;
        let (closed, pool) = tokio::sync::oneshot::channel::<()>();
        let hook = async move || pool.await.unwrap();
        let short = Phase::Release.timeout(seconds(5));
        shutdown.hook(short, "pool", hook).unwrap();

        let run = begin(shutdown);
        reached(&handle, Phase::Drain).await;
        sleep(seconds(20)).await;
        let in_close = (handle.phase(), handle.in_flight());
        counted.open();
        let first = whole(first).await;
        reached(&handle, Phase::Release).await;
        exempt.open();
        let second = whole(second).await;
        closed.send(()).unwrap();
        let report = soon(run).await.unwrap();

        // Drain's deadline has passed, and it names the one that counts alone.
        let drain = report.phase(Phase::Drain).unwrap();
        let names: Vec<&str> = drain.left_behind.iter().map(|it| &*it.name).collect();
        assert_eq!(in_close.0, Some(Phase::Close));
        assert!(in_close.1 > 0);
        assert_eq!((&*first, &*second), (&b"hello"[..], &b"hello"[..]));
        assert_eq!(names, ["GET /counted"]);
        assert_took(report.took, seconds(20));
        assert!(report.is_clean(), "{report}");
    }
}

#[tokio::test(start_paused = true)]
async fn connection_that_was_let_go_counts_again_with_a_request_that_counts() {
    let gate = Gate::new();
    let (shutdown, handle) = exact(cluster());
    let (door, listener) = pipes();
    Server::new(&handle)
        .exempt(|head| head.uri.path() == "/exempt")
        // So that a request may still come on it in Close.
        .goaway(false)
        .serve(listener, gated(&gate));
    ready(&handle).await;
    let mut client = http2(&door).await;
    let exempt = send(&mut client, "/exempt");
    gate.entered().await;
    // It holds Close.
    let guard = handle.guard();

    let run = begin(shutdown);
    reached(&handle, Phase::Close).await;
    settle().await;
    let let_go = handle.connections();
    let counted = send(&mut client, "/counted");
    gate.entered().await;
    let again = (handle.connections(), handle.in_flight());
    drop(guard);
    sleep(seconds(2)).await;
    let held = handle.phase();
    gate.open();
    gate.open();
    let answers = [whole(exempt).await, whole(counted).await];
    let report = soon(run).await.unwrap();

    assert_eq!((let_go, again), (0, (1, 2)));
    assert_eq!(held, Some(Phase::Close));
    assert_eq!(answers, ["hello", "hello"]);
    assert!(report.is_clean(), "{report}");
}

// User agents.

#[tokio::test(start_paused = true)]
async fn user_agents_that_are_added_are_probes_for_servers_and_layers() {
    const CONSUL: &str = "GET / HTTP/1.1\r\nHost: test\r\nUser-Agent: Consul Health Check\r\n\r\n";
    for (agents, arrivals) in [(&["Consul", "Envoy/HC"][..], 0), (&[], 1)] {
        for layered in [false, true] {
            let shutdown = lameduck::ShutdownCoordinator::new(cluster())
                .termination_log("/nonexistent")
                .probe_user_agents(agents);
            let handle = shutdown.handle();
            let (door, listener) = pipes();
            match layered {
                false => drop(lameduck::serve(listener, hello(), &handle)),
                true => {
                    let app = hello().layer(DrainLayer::new(&handle));
                    drop(lameduck::serve_admin(listener, app, &handle));
                }
            }
            ready(&handle).await;
            let run = begin(shutdown);

            let mut client = door.connect();
            client.send(CONSUL).await;
            let status = client.response().await.status;
            let report = soon(run).await.unwrap();

            assert_eq!(
                (status, report.traffic.served),
                (200, arrivals),
                "{agents:?}"
            );
        }
    }
}
