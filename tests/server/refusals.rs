//! `Server::refuse_from`: from a phase on new requests are refused while the listener is open.

use axum::Router;
use axum::routing::{get, post};
use bytes::Bytes;
use http_body_util::Full;
use hyper_util::rt::{TokioExecutor, TokioIo};
use lameduck::{DrainLayer, Phase, Plan, Server, ShutdownHandle};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::net::TcpStream;

use crate::support::*;

#[tokio::test(start_paused = true)]
async fn new_request_is_refused_from_the_phase_that_was_set_and_its_handler_does_not_run() {
    for from in [
        None,
        Some(Phase::LameDuck),
        Some(Phase::Drain),
        Some(Phase::Close),
    ] {
        let (shutdown, handle) = coordinator(cluster());
        let (app, ran) = counting();
        let address = serve(app, &handle, from).await;
        let mut drain = handle.guard();
        let close = handle.long_guard("holds Close");
        assert_eq!(Client::connect(address).await.get("/").await.status, 200);

        let run = begin(shutdown);
        for phase in [Phase::LameDuck, Phase::Drain, Phase::Close] {
            reached(&handle, phase).await;
            let before = ran.load(Ordering::Relaxed);
            let mut client = Client::connect(address).await;
            let answer = client.get("/").await;

            let refused = from.is_some_and(|from| from <= phase);
            assert_eq!(answer.status, if refused { 503 } else { 200 }, "{phase}");
            let after = ran.load(Ordering::Relaxed);
            assert_eq!(after - before, u64::from(!refused), "{phase}");
            assert!(answer.says_close(), "{phase}");
            assert_eq!(answer.head.contains("retry-after: "), refused, "{phase}");
            // The end, and no reset.
            assert_eq!(client.end().await.unwrap(), b"");
            if phase == Phase::Drain {
                drain = None;
            }
        }
        drop((drain, close));
        let report = soon(run).await.unwrap();

        let refused = [Phase::LameDuck, Phase::Drain, Phase::Close]
            .into_iter()
            .filter(|&phase| from.is_some_and(|from| from <= phase))
            .count() as u64;
        assert_eq!(report.traffic.refused, refused);
        assert_eq!(report.traffic.served, 3 - refused);
        assert!(report.is_clean(), "{report}");
    }
}

// Its connection is from before, and its moment has not come.
#[tokio::test(start_paused = true)]
async fn request_on_an_open_connection_is_refused_and_one_in_flight_is_finished() {
    let gate = Gate::new();
    let plan = Plan::builder().build().unwrap();
    let (shutdown, handle) = late_end(plan);
    let app = gated(&gate).route("/page", get(async || "page"));
    let address = serve(app, &handle, Some(Phase::LameDuck)).await;
    let mut idle = Client::connect(address).await;
    let mut busy = Client::connect(address).await;
    assert_eq!(idle.get("/page").await.status, 200);
    busy.ask("/").await;
    gate.entered().await;

    let run = begin(shutdown);
    reached(&handle, Phase::LameDuck).await;
    let refused = idle.get("/page").await;
    gate.open();
    let finished = busy.response().await;
    let report = soon(run).await.unwrap();

    assert_eq!((refused.status, refused.says_close()), (503, true));
    assert_eq!(idle.end().await.unwrap(), b"");
    assert_eq!((finished.status, finished.text()), (200, "hello"));
    assert_eq!(report.traffic.refused, 1);
    assert!(report.is_clean(), "{report}");
}

// The client sends all of it before it reads: a reset would take the answer with it.
#[tokio::test(start_paused = true)]
async fn refused_upload_gets_the_whole_answer() {
    let (shutdown, handle) = coordinator(cluster());
    let app = Router::new().route("/", post(async |body: Bytes| body.len().to_string()));
    let address = serve(app, &handle, Some(Phase::LameDuck)).await;

    let run = begin(shutdown);
    reached(&handle, Phase::LameDuck).await;
    let mut client = Client::connect(address).await;
    client
        .send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 40000\r\n\r\n")
        .await;
    client.send(vec![b'x'; 40_000]).await;
    let answer = client.response().await;

    assert_eq!((answer.status, answer.says_close()), (503, true));
    assert_eq!(client.end().await.unwrap(), b"");
    assert_eq!(soon(run).await.unwrap().traffic.refused, 1);
}

#[tokio::test(start_paused = true)]
async fn http2_request_is_refused_and_others_on_its_connection_are_finished() {
    let gate = Gate::new();
    let (shutdown, handle) = late_end(Plan::builder().build().unwrap());
    let address = serve(gated(&gate), &handle, Some(Phase::LameDuck)).await;
    let stream = TokioIo::new(TcpStream::connect(address).await.unwrap());
    let (mut client, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), stream)
            .await
            .unwrap();
    tokio::spawn(connection);
    let request = || http::Request::get("http://test/").body(Full::new(Bytes::new()));
    let early = tokio::spawn(client.send_request(request().unwrap()));
    gate.entered().await;

    let run = begin(shutdown);
    reached(&handle, Phase::LameDuck).await;
    let late = soon(client.send_request(request().unwrap())).await.unwrap();
    gate.open();
    let early = soon(early).await.unwrap().unwrap();
    let report = soon(run).await.unwrap();

    assert_eq!(late.status(), 503);
    assert!(late.headers().contains_key("retry-after"));
    assert!(!late.headers().contains_key("connection"));
    assert_eq!(early.status(), 200);
    assert_eq!(report.traffic.refused, 1);
    assert!(report.is_clean(), "{report}");
}

// It has not called what is within by then.
#[tokio::test(start_paused = true)]
async fn server_refuses_what_its_own_rule_does_not_exempt_whoever_would_within() {
    let (shutdown, handle) = coordinator(cluster());
    let layer = DrainLayer::new(&handle).exempt(|head| head.uri.path() == "/metrics");
    let app = Router::new()
        .route_service("/livez", lameduck::liveness(&handle))
        .fallback(async || "whole")
        .layer(layer);
    let listener = lameduck::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    Server::new(&handle)
        .refuse_from(Phase::LameDuck)
        .exempt(|head| head.uri.path() == "/healthz")
        .serve(listener, app);
    ready(&handle).await;

    let run = begin(shutdown);
    reached(&handle, Phase::LameDuck).await;
    let mut answers = Vec::new();
    for path in ["/healthz", "/metrics", "/livez"] {
        answers.push(Client::connect(address).await.get(path).await.status);
    }
    let report = soon(run).await.unwrap();

    assert_eq!(answers, [200, 503, 503]);
    assert_eq!((report.traffic.served, report.traffic.refused), (0, 2));
}

#[tokio::test(start_paused = true)]
async fn admin_server_refuses_nothing() {
    let (shutdown, handle) = coordinator(cluster());
    let listener = lameduck::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    Server::admin(&handle)
        .refuse_from(Phase::LameDuck)
        .serve(listener, hello());
    // Nobody else serves, so nothing else holds a phase.
    let guard = handle.guard();

    let run = begin(shutdown);
    reached(&handle, Phase::Drain).await;
    let answer = Client::connect(address).await.get("/").await;
    drop(guard);

    assert_eq!(answer.status, 200);
    assert_eq!(soon(run).await.unwrap().traffic.refused, 0);
}

// What the tests share.

async fn serve(app: Router, handle: &ShutdownHandle, from: Option<Phase>) -> SocketAddr {
    let listener = lameduck::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = Server::new(handle);
    match from {
        Some(phase) => server.refuse_from(phase),
        None => server,
    }
    .serve(listener, app);
    ready(handle).await;
    address
}

/// `/` says how often its handler ran.
fn counting() -> (Router, Arc<AtomicU64>) {
    let ran = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&ran);
    let handler = async move || count.fetch_add(1, Ordering::Relaxed).to_string();
    (Router::new().route("/", get(handler)), ran)
}
