//! HTTP/2 clients that stop inside a frame, and answers to our PING that come in two reads.

use axum::Router;
use axum::body::Bytes;
use lameduck::Server;
use tokio::time::{sleep, timeout};

use crate::frames::*;
use crate::pipes::*;
use crate::support::*;

const WINDOW_UPDATE: u8 = 8;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
/// `POST http://test/`, in HPACK.
const POST_BLOCK: &[u8] = b"\x83\x86\x84\x41\x04test";

/// The first bytes of frames, by name.
fn halves() -> Vec<(&'static str, Vec<u8>)> {
    let half = |kind, flags, stream, payload: &[u8]| {
        let mut frame = frame(kind, flags, stream, payload);
        frame.truncate(9 + payload.len() / 2);
        frame
    };
    vec![
        ("three bytes of a head", vec![0, 0, 8]),
        ("PING", half(PING, 0, 0, b"pingpong")),
        ("SETTINGS", half(4, 0, 0, &[0, 3, 0, 0, 0, 9])),
        ("WINDOW_UPDATE", half(WINDOW_UPDATE, 0, 0, &[0, 0, 1, 0])),
        (
            "HEADERS",
            half(HEADERS, END_STREAM | END_HEADERS, 3, &GET[9..]),
        ),
        ("DATA of a stream that is over", half(DATA, 0, 1, b"late")),
    ]
}

/// Answers with the length of what it was sent.
fn measuring() -> Router {
    Router::new().fallback(async |body: Bytes| format!("{} bytes", body.len()))
}

#[tokio::test(start_paused = true)]
async fn client_that_stops_inside_a_frame_is_waited_for_as_long_as_for_pong_and_a_head() {
    for (name, half) in halves() {
        let (shutdown, handle) = exact(cluster());
        let (door, listener) = pipes();
        lameduck::serve(listener, hello(), &handle);
        let mut client = door.http2().await;
        client.0.send(GET).await;
        client.frame_of(DATA).await;
        client.0.send(half).await;
        settle().await;

        let run = begin(shutdown);
        client.frame_of(PING).await;
        let (ended, took) = timed(client.0.end()).await;

        assert!(ended.is_ok(), "{name}: {ended:?}");
        // 1 s for the answer to the PING, 2 s for the rest of a head.
        assert!(took <= millis(3_002), "{name}: {took:?}");
        drop(client);
        let report = soon(run).await.unwrap();
        assert_eq!(report.connections.cut, 0, "{name}: {report}");
    }
}

#[tokio::test(start_paused = true)]
async fn client_that_stops_inside_a_frame_does_not_outlive_its_age() {
    for (name, half) in halves() {
        let (_shutdown, handle) = exact(cluster());
        let (door, listener) = pipes();
        let server = Server::new(&handle).max_connection_age(seconds(30));
        server.serve(listener, hello());
        let mut client = door.http2().await;
        client.0.send(GET).await;
        client.frame_of(DATA).await;
        client.0.send(half).await;

        client.frame_of(PING).await;
        let (ended, took) = timed(timeout(seconds(60), client.0.end())).await;

        assert!(ended.is_ok(), "{name}: it is open after {took:?}");
        // The process stays, so the bound of normal service is that of the head.
        assert!(took <= millis(11_002), "{name}: {took:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn body_of_an_open_stream_may_stop_inside_a_frame() {
    let (shutdown, handle) = exact(cluster());
    let (door, listener) = pipes();
    lameduck::serve(listener, measuring(), &handle);
    let mut client = door.http2().await;
    let body = frame(DATA, END_STREAM, 1, b"hello");
    let (first, rest) = body.split_at(9 + 2);
    let head = frame(HEADERS, END_HEADERS, 1, POST_BLOCK);
    client.0.send([&head[..], first].concat()).await;
    settle().await;

    let run = begin(shutdown);
    client.frame_of(PING).await;
    sleep(seconds(8)).await;
    client.0.send(rest).await;

    assert_eq!(client.frame_of(DATA).await.payload, b"5 bytes");
    drop(client);
    assert!(soon(run).await.unwrap().is_clean());
}

#[tokio::test(start_paused = true)]
async fn frame_whose_rest_comes_in_time_is_served() {
    let (shutdown, handle) = exact(cluster());
    let (door, listener) = pipes();
    lameduck::serve(listener, hello(), &handle);
    let mut client = door.http2().await;
    let (first, rest) = GET.split_at(9 + 4);
    client.0.send(first).await;
    settle().await;

    let run = begin(shutdown);
    client.frame_of(PING).await;
    sleep(millis(2_900)).await;
    client.0.send(rest).await;

    assert_eq!(client.frame_of(DATA).await.payload, b"hello");
    drop(client);
    assert!(soon(run).await.unwrap().is_clean());
}

#[tokio::test(start_paused = true)]
async fn requests_behind_an_answer_to_ping_that_comes_in_two_reads_are_served() {
    for cut in 1..17 {
        let (shutdown, handle) = exact(cluster());
        let (door, listener) = pipes();
        lameduck::serve(listener, hello(), &handle);
        let mut client = door.http2().await;
        sleep(seconds(2)).await;

        let run = begin(shutdown);
        let answer = client.frame_of(PING).await.answer();
        let (first, rest) = answer.split_at(cut);
        client.0.send(first).await;
        sleep(millis(100)).await;
        client.0.send(rest).await;
        sleep(millis(20)).await;
        client.0.send(GET).await;
        let end = client.0.end().await.unwrap();

        let bodies: Vec<_> = frames(&end)
            .into_iter()
            .filter(|frame| frame.kind == DATA)
            .map(|frame| frame.payload)
            .collect();
        assert_eq!(bodies, [b"hello"], "cut at {cut}");
        drop(client);
        assert!(soon(run).await.unwrap().is_clean());
    }
}
