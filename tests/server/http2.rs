//! HTTP/2: GOAWAY, streams in flight, and connections on which nothing happens.

use axum::Router;
use axum::body::Body;
use axum::routing::get;
use http_body_util::BodyExt;
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper::{Request, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use lameduck::{Phase, Plan, Server};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::frames::*;
use crate::support::*;

#[tokio::test(start_paused = true)]
async fn prior_knowledge_is_served_and_told_by_goaway() {
    let (shutdown, handle) = coordinator(cluster());
    let (address, _) = start(hello(), &handle).await;
    let (mut client, connection) = connect(address).await;
    let before = client.send_request(to("/")).await.unwrap();

    let run = begin(shutdown);
    let (ended, took) = timed(connection).await;

    assert_eq!(before.status(), StatusCode::OK);
    assert!(ended.unwrap().is_ok());
    assert!(about(took, Duration::ZERO), "{took:?}");
    let report = soon(run).await.unwrap();
    assert!(report.is_clean());
    assert_eq!((report.connections.closed, report.connections.cut), (1, 0));
}

// Cases 45, 49, 51.
#[tokio::test(start_paused = true)]
async fn an_idle_connection_is_told_by_one_pair_of_goaways_with_no_request_needed() {
    let (shutdown, handle) = coordinator(cluster());
    let (address, _) = start(hello(), &handle).await;
    let mut client = Raw::connect(address).await;

    let run = begin(shutdown);
    let first = client.frame_of(GOAWAY).await;
    let ping = client.frame_of(PING).await;
    // The rest of LameDuck, and Drain, change nothing.
    reached(&handle, Phase::Close).await;
    client.0.send(ping.answer()).await;
    let second = client.frame_of(GOAWAY).await;

    assert_eq!(first.payload, [0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0]);
    assert_eq!(second.payload, [0; 8]);
    assert_eq!(client.0.end().await.unwrap(), b"");
    let report = soon(run).await.unwrap();
    assert!(about(report.took, seconds(10)), "{report}");
}

// Case 47.
#[tokio::test(start_paused = true)]
async fn a_stream_that_is_opened_between_both_goaways_is_served() {
    let (shutdown, handle) = coordinator(cluster());
    let (address, _) = start(hello(), &handle).await;
    let mut client = Raw::connect(address).await;

    let run = begin(shutdown);
    let ping = client.frame_of(PING).await;
    client.0.send(GET).await;
    let head = client.frame_of(HEADERS).await;
    let body = client.frame_of(DATA).await;
    client.0.send(ping.answer()).await;
    let last = client.frame_of(GOAWAY).await;

    assert_eq!(head.payload[0], 0x88, "status 200");
    assert_eq!(body.payload, b"hello");
    assert_eq!(last.payload, [0, 0, 0, 1, 0, 0, 0, 0]);
    assert_eq!(client.0.end().await.unwrap(), b"");
    assert!(soon(run).await.unwrap().is_clean());
}

#[tokio::test(start_paused = true)]
async fn a_stream_in_flight_is_finished() {
    let gate = Gate::new();
    let (shutdown, handle) = coordinator(cluster());
    let (address, _) = start(gated(&gate), &handle).await;
    let (mut client, connection) = connect(address).await;
    let response = tokio::spawn(client.send_request(to("/")));
    gate.entered().await;

    let run = begin(shutdown);
    reached(&handle, Phase::Drain).await;
    gate.open();
    let response = soon(response).await.unwrap().unwrap();

    assert_eq!(response.status(), StatusCode::OK);
    assert!(!response.headers().contains_key("connection"));
    let body = response.into_body().collect().await.unwrap();
    assert_eq!(body.to_bytes(), "hello");
    assert!(soon(connection).await.unwrap().is_ok());
    assert!(soon(run).await.unwrap().is_clean());
}

// Rule 2: more than the client's window, so h2 still holds most of it when its body is over and Close begins.
#[tokio::test(start_paused = true)]
async fn a_response_that_waits_for_the_window_in_close_arrives_whole() {
    const LENGTH: usize = 1 << 18;
    const WINDOW: usize = 65_535;
    let app = Router::new().route("/", get(|| async { vec![7_u8; LENGTH] }));
    let (shutdown, handle) = coordinator(Plan::immediate());
    let (address, _) = start(app, &handle).await;
    let mut client = Raw::connect(address).await;
    client.0.send(GET).await;
    let mut received = 0;
    while received < WINDOW {
        received += client.frame_of(DATA).await.payload.len();
    }

    let run = begin(shutdown);
    let ping = client.frame_of(PING).await;
    client.0.send(ping.answer()).await;
    reached(&handle, Phase::Close).await;
    settle().await;
    // The last that the client says, or what it has not read yet would be lost if the server closes first.
    client.0.send([wider(0), wider(1)].concat()).await;
    while received < LENGTH {
        received += client.frame_of(DATA).await.payload.len();
    }

    assert_eq!(received, LENGTH);
    assert_eq!(client.0.end().await.unwrap(), b"");
    assert!(soon(run).await.unwrap().is_clean());
}

// RFC 9113, section 6.7.
#[tokio::test(start_paused = true)]
async fn a_server_may_ask_whether_its_clients_are_still_there() {
    let (_shutdown, handle) = coordinator(cluster());
    let listener = lameduck::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    Server::new(&handle)
        .http2(|http2| {
            http2.keep_alive_interval(Some(seconds(20)));
        })
        .serve(listener, hello());
    let mut client = Raw::connect(address).await;

    let ping = client.frame_of(PING).await;

    assert_eq!(ping.payload.len(), 8);
}

#[tokio::test(start_paused = true)]
async fn a_preface_may_arrive_byte_by_byte() {
    let (_shutdown, handle) = coordinator(cluster());
    let (address, _) = start(hello(), &handle).await;

    let mut client = Raw(Client::connect(address).await);
    for byte in PREFACE {
        client.0.send([*byte]).await;
        settle().await;
    }
    client.0.send([SETTINGS, SETTINGS_ACK, GET].concat()).await;

    assert_eq!(client.frame_of(DATA).await.payload, b"hello");
}

// Its moment comes while the version is not known yet.
#[tokio::test(start_paused = true)]
async fn a_connection_that_is_asked_in_mid_preface_is_served_and_told() {
    let (shutdown, handle) = coordinator(cluster());
    let (address, _) = start(hello(), &handle).await;
    let mut client = Raw(Client::connect(address).await);
    client.0.send(&PREFACE[..10]).await;
    settle().await;

    let run = begin(shutdown);
    sleep(seconds(1)).await;
    client
        .0
        .send([&PREFACE[10..], SETTINGS, SETTINGS_ACK, GET].concat())
        .await;
    let ping = client.frame_of(PING).await;
    let body = client.frame_of(DATA).await;
    client.0.send(ping.answer()).await;
    client.frame_of(GOAWAY).await;

    assert_eq!(body.payload, b"hello");
    assert_eq!(client.0.end().await.unwrap(), b"");
    assert!(soon(run).await.unwrap().is_clean());
}

// Case 46: the bound is another test's; here the stream keeps the connection.
#[tokio::test(start_paused = true)]
async fn a_peer_that_never_answers_ping_still_gets_its_open_stream() {
    let gate = Gate::new();
    let (shutdown, handle) = coordinator(Plan::immediate());
    let (address, _) = start(gated(&gate), &handle).await;
    let mut client = Raw::connect(address).await;
    client.0.send(GET).await;
    gate.entered().await;

    let run = begin(shutdown);
    client.frame_of(PING).await;
    sleep(seconds(3)).await;
    gate.open();

    assert_eq!(client.frame_of(DATA).await.payload, b"hello");
    drop(client);
    assert!(soon(run).await.unwrap().is_clean());
}

#[tokio::test(start_paused = true)]
async fn the_report_says_what_an_http2_connection_was_doing() {
    let gate = Gate::new();
    let (shutdown, handle) = coordinator(Plan::immediate());
    let (address, _) = start(gated(&gate), &handle).await;
    let (mut client, _connection) = connect(address).await;
    let _first = tokio::spawn(client.send_request(to("/first?token=secret")));
    gate.entered().await;
    let _second = tokio::spawn(client.send_request(to("/second")));
    gate.entered().await;

    let report = soon(begin(shutdown)).await.unwrap();

    assert!(!report.is_clean());
    assert_eq!((report.cut, report.connections.cut), (2, 1));
    let close = report.phase(Phase::Close).unwrap();
    assert_eq!(close.left_behind_total, 1);
    let left = &close.left_behind[0].name;
    assert!(left.ends_with("(HTTP/2: GET /first and 1 more)"), "{left}");
}

type Connection = JoinHandle<hyper::Result<()>>;

async fn connect(address: SocketAddr) -> (SendRequest<Body>, Connection) {
    let stream = TcpStream::connect(address).await.unwrap();
    let (client, connection) = handshake(TokioExecutor::new(), TokioIo::new(stream))
        .await
        .unwrap();
    (client, tokio::spawn(connection))
}

fn to(path: &str) -> Request<Body> {
    let uri = format!("http://test{path}");
    Request::builder().uri(uri).body(Body::empty()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn an_upload_that_is_under_way_at_its_connections_moment_is_finished() {
    let app = Router::new().fallback(axum::routing::any(|body: String| async move { body }));
    let (shutdown, handle) = coordinator(cluster());
    let (address, _) = start(app, &handle).await;
    let (mut client, connection) = connect(address).await;
    let (pieces, body) = tokio::sync::mpsc::channel::<&str>(1);
    let body = futures_util::stream::unfold(body, async |mut body| {
        let piece = body.recv().await?;
        Some((Ok::<_, std::convert::Infallible>(piece), body))
    });
    let request = Request::post("http://test/")
        .body(Body::from_stream(body))
        .unwrap();
    let response = tokio::spawn(client.send_request(request));
    pieces.send("first ").await.unwrap();
    sleep(seconds(2)).await;

    let run = begin(shutdown);
    sleep(seconds(5)).await;
    let _ = pieces.send("second").await;
    drop(pieces);
    let response = soon(response).await.unwrap().unwrap();

    let body = response.into_body().collect().await.unwrap();
    assert_eq!(body.to_bytes(), "first second");
    assert!(soon(connection).await.unwrap().is_ok());
    assert!(soon(run).await.unwrap().is_clean());
}
