//! Clients that end their side right behind their request. hyper takes them for gone, unless it is told otherwise.

use axum::Router;
use lameduck::server::Accept;
use lameduck::{Phase, Server, ShutdownHandle};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::sleep;

use crate::pipes::*;
use crate::support::*;

fn serve<L: Accept>(listener: L, half_close: bool, app: Router, handle: &ShutdownHandle) {
    Server::new(handle)
        .http1(|http1| {
            http1.half_close(half_close);
        })
        .serve(listener, app);
}

/// Sends a request, and ends its side. The handler takes a while.
async fn ask<S>(mut client: Client<S>, gate: &Gate) -> Vec<u8>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    client.ask("/").await;
    client.half_close().await;
    gate.entered().await;
    settle().await;
    gate.open();
    client.end().await.unwrap()
}

/// Whether it is a whole response, and nothing else.
fn is_whole(received: &[u8]) -> bool {
    received.starts_with(b"HTTP/1.1 200 OK\r\n") && received.ends_with(b"\r\n\r\nhello")
}

#[tokio::test(start_paused = true)]
async fn with_half_close_a_client_that_ends_its_side_behind_its_request_is_answered() {
    let gate = Gate::new();
    let (_shutdown, handle) = exact(cluster());
    let (door, listener) = pipes();
    serve(listener, true, gated(&gate), &handle);

    let received = ask(door.connect(), &gate).await;

    assert!(is_whole(&received), "{}", received.escape_ascii());
    assert_eq!(handle.connections(), 0);
}

#[tokio::test(start_paused = true)]
async fn with_half_close_it_is_answered_in_each_phase_to_close() {
    for phase in [Phase::LameDuck, Phase::Drain, Phase::Close] {
        let gate = Gate::new();
        let (shutdown, handle) = exact(cluster());
        let (door, listener) = pipes();
        serve(listener, true, gated(&gate), &handle);
        // It holds Drain to its deadline, and Close for a while.
        let guard = handle.guard();

        let run = begin(shutdown);
        reached(&handle, phase).await;
        sleep(millis(100)).await;
        let received = ask(door.connect(), &gate).await;
        drop(guard);

        assert!(is_whole(&received), "{phase}: {}", received.escape_ascii());
        let report = soon(run).await.unwrap();
        assert!(report.is_clean(), "{report}");
        assert_eq!(report.traffic.served, 1, "{report}");
    }
}

#[tokio::test(start_paused = true)]
async fn with_half_close_it_is_answered_in_each_phase_to_close_over_tcp() {
    for phase in [Phase::LameDuck, Phase::Drain, Phase::Close] {
        let gate = Gate::new();
        let (shutdown, handle) = coordinator(cluster());
        let listener = lameduck::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        serve(listener, true, gated(&gate), &handle);
        let guard = handle.guard();

        let run = begin(shutdown);
        reached(&handle, phase).await;
        sleep(millis(100)).await;
        let received = ask(Client::connect(address).await, &gate).await;
        drop(guard);

        assert!(is_whole(&received), "{phase}: {}", received.escape_ascii());
        assert!(soon(run).await.unwrap().is_clean());
    }
}

// It asked long before, and its side has been over since.
#[tokio::test(start_paused = true)]
async fn with_half_close_a_request_that_is_in_flight_from_before_is_answered_in_close() {
    let gate = Gate::new();
    let (shutdown, handle) = exact(cluster());
    let (door, listener) = pipes();
    serve(listener, true, gated(&gate), &handle);
    let mut client = door.connect();
    client.ask("/").await;
    client.half_close().await;
    gate.entered().await;
    settle().await;

    let run = begin(shutdown);
    reached(&handle, Phase::Close).await;
    sleep(seconds(3)).await;
    gate.open();
    let received = client.end().await.unwrap();

    assert!(is_whole(&received), "{}", received.escape_ascii());
    assert!(soon(run).await.unwrap().is_clean());
}

// An idle connection on which the client has ended its side is over.
#[tokio::test(start_paused = true)]
async fn with_half_close_an_idle_connection_ends_with_its_client() {
    let (shutdown, handle) = exact(cluster());
    let (door, listener) = pipes();
    serve(listener, true, hello(), &handle);
    let mut client = door.connect();
    client.get("/").await;

    client.half_close().await;

    assert_eq!(client.end().await.unwrap(), b"");
    settle().await;
    assert_eq!(handle.connections(), 0);
    let report = soon(begin(shutdown)).await.unwrap();
    assert!(report.is_clean());
}

// hyper's default, and `axum::serve`'s: so the handlers of clients that went away are dropped.
#[tokio::test(start_paused = true)]
async fn by_default_a_client_that_ends_its_side_behind_its_request_is_taken_for_gone() {
    let gate = Gate::new();
    let (_shutdown, handle) = exact(cluster());
    let (door, listener) = pipes();
    lameduck::serve(listener, gated(&gate), &handle);
    let mut client = door.connect();
    client.ask("/").await;
    gate.entered().await;

    client.half_close().await;

    assert_eq!(client.end().await.unwrap(), b"");
    assert_eq!((handle.in_flight(), handle.connections()), (0, 0));
}
