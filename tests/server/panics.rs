//! A panic ends what it is in, and nothing else.

use std::convert::Infallible;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::routing::get;
use lameduck::Server;
use lameduck::server::Timeouts;
use tokio::io::DuplexStream;

use crate::frames::*;
use crate::pipes::*;
use crate::support::*;

/// `/handler` panics before it answers, `/body` after its first piece.
fn panicking() -> Router {
    async fn handler() {
        panic!("in the handler");
    }
    let pieces = || {
        futures_util::stream::unfold(0, |piece| async move {
            assert!(piece == 0, "in the body");
            Some((Ok::<_, Infallible>(Bytes::from_static(b"a piece")), 1))
        })
    };
    hello()
        .route("/handler", get(handler))
        .route("/body", get(async move || Body::from_stream(pieces())))
}

// Case 78.
#[tokio::test(start_paused = true)]
async fn a_panic_in_a_handler_or_a_body_ends_its_request_in_any_phase() {
    let (shutdown, handle) = exact(cluster());
    let (door, listener) = pipes();
    lameduck::serve(listener, panicking(), &handle);

    let mut statuses = Vec::new();
    let mut run = None;
    let mut shutdown = Some(shutdown);
    for _ in 0..2 {
        for path in ["/handler", "/body"] {
            let mut client = door.connect();
            client.ask(path).await;
            client.end().await.unwrap();
        }
        statuses.push(door.connect().get("/").await.status);
        settle().await;
        assert_eq!((handle.in_flight(), handle.connections()), (0, 0));
        run = run.or_else(|| shutdown.take().map(begin));
    }

    assert_eq!(statuses, [200, 200]);
    assert!(soon(run.unwrap()).await.unwrap().is_clean());
}

// Case 78: hyper runs the handlers of HTTP/2 in tasks of their own.
#[tokio::test(start_paused = true)]
async fn a_panic_in_a_handler_ends_its_http2_stream_and_not_the_connection() {
    /// `GET http://test/handler` on stream 1, whole.
    const PANIC: &[u8] = b"\0\0\x12\x01\x05\0\0\0\x01\x82\x86\x04\x08/handler\x41\x04test";
    let (shutdown, handle) = exact(cluster());
    let (door, listener) = pipes();
    lameduck::serve(listener, panicking(), &handle);
    let mut client = door.http2().await;

    client.0.send(PANIC).await;
    client.frame_of(RST_STREAM).await;
    let in_flight = handle.in_flight();
    let mut next = GET.to_vec();
    next[8] = 3;
    client.0.send(next).await;
    let body = client.frame_of(DATA).await;

    assert_eq!(in_flight, 0);
    assert_eq!(body.payload, b"hello");
    drop(client);
    assert!(soon(begin(shutdown)).await.unwrap().is_clean());
}

// Case 78: what the user gives to be called for each connection.
#[tokio::test(start_paused = true)]
async fn a_panic_in_a_handshake_or_an_extension_ends_its_connection_and_not_the_server() {
    let (shutdown, handle) = exact(cluster());
    let (door, listener) = pipes();
    let mut number = 0;
    let numbers = std::sync::Mutex::new(move || {
        number += 1;
        number
    });
    let numbers = std::sync::Arc::new(numbers);
    Server::new(&handle)
        .timeouts(Timeouts::new())
        .handshake(move |pipe: DuplexStream| {
            let number = numbers.lock().map(|mut next| next()).unwrap();
            assert!(number != 1, "in the handshake's closure");
            async move {
                assert!(number != 2, "in the handshake");
                Ok(pipe)
            }
        })
        .request_extension({
            let asked = std::sync::atomic::AtomicU32::new(0);
            let asked = std::sync::Arc::new(asked);
            move |_: &DuplexStream, _: &&str| {
                let before = asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                assert!(before != 0, "in the extension");
                before
            }
        })
        .serve(listener, hello());

    let mut ended = Vec::new();
    for _ in 0..3 {
        let mut client = door.connect();
        let _ = client.try_ask("/").await;
        ended.push(client.end().await.unwrap_or_default());
    }
    let response = door.connect().get("/").await;
    settle().await;

    assert_eq!(ended, [b"", b"", b""]);
    assert_eq!(response.status, 200);
    assert_eq!((handle.in_flight(), handle.connections()), (0, 0));
    let report = soon(begin(shutdown)).await.unwrap();
    assert!(report.is_clean(), "{report}");
}
