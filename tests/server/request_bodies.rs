//! Request bodies that nobody reads, and those that are read behind the response.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, HttpBody};
use axum::extract::Request;
use axum::http::StatusCode;
use axum::routing::{any, post};
use futures_util::future::join_all;

use http_body_util::BodyExt;
use lameduck::report::Kind;
use lameduck::{Phase, Plan, Report, ShutdownHandle};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::{Instant, sleep};

use crate::frames::*;
use crate::pipes::*;
use crate::support::*;

/// Answers 401, with the body unread; at once, or after it has held the request for a moment.
fn refusing(held: Duration) -> Router {
    Router::new().fallback(any(async move |request: Request| {
        sleep(held).await;
        drop(request);
        StatusCode::UNAUTHORIZED
    }))
}

/// A request with a body of this length, sent in one piece.
fn upload(length: usize) -> String {
    let body = "b".repeat(length);
    format!("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: {length}\r\n\r\n{body}")
}

/// How long after T0 the server ends an idle connection.
async fn end_of<S>(mut client: Client<S>, t0: Instant) -> Duration
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    assert_eq!(client.end().await.unwrap(), b"");
    t0.elapsed()
}

/// Close begins 10 s after T0 in these tests, and idle connections linger in it for 1 s at most.
#[track_caller]
fn assert_ended_in_close(took: Duration, what: &str) {
    let close = seconds(10)..millis(11_250);
    assert!(close.contains(&took), "{what}: ended {took:?} after T0");
}

// hyper drains behind the response what it can get at once, and closes if there is more: which lengths survive depends on its
// buffers. Those that do are idle connections like any other.
#[tokio::test(start_paused = true)]
async fn an_idle_connection_whose_last_body_nobody_read_ends_in_close() {
    for held in [Duration::ZERO, millis(20)] {
        let mut kept = Vec::new();
        for length in [0, 5, 4_000, 8_192, 12_000, 16_500, 24_000, 32_000] {
            let (shutdown, handle) = exact(cluster());
            let (door, listener) = pipes();
            lameduck::serve(listener, refusing(held), &handle);
            let mut client = door.connect();
            client.send(upload(length)).await;
            assert_eq!(client.response().await.status, 401);
            sleep(seconds(30)).await;
            if !client.is_silent().await {
                continue;
            }

            let t0 = Instant::now();
            let run = begin(shutdown);
            let ended = end_of(client, t0).await;

            assert_ended_in_close(ended, &format!("{length} bytes, held {held:?}"));
            assert!(soon(run).await.unwrap().is_clean());
            kept.push(length);
        }
        assert!(kept.len() > 2, "{kept:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_whose_last_body_nobody_read_ends_in_close_over_tcp() {
    for length in [0, 5, 16_500, 24_000] {
        let (shutdown, handle) = coordinator(cluster());
        let (address, _) = start(refusing(millis(20)), &handle).await;
        let mut client = Client::connect(address).await;
        client.send(upload(length)).await;
        assert_eq!(client.response().await.status, 401);
        sleep(seconds(2)).await;
        if !client.is_silent().await {
            continue;
        }

        let t0 = Instant::now();
        let run = begin(shutdown);
        let ended = end_of(client, t0).await;

        assert_ended_in_close(ended, &format!("{length} bytes"));
        assert!(soon(run).await.unwrap().is_clean());
    }
}

// The body comes behind its head, while the handler runs.
#[tokio::test(start_paused = true)]
async fn an_idle_connection_whose_last_body_came_late_and_unread_ends_in_close() {
    let (shutdown, handle) = exact(cluster());
    let (door, listener) = pipes();
    lameduck::serve(listener, refusing(millis(20)), &handle);
    let mut client = door.connect();
    let request = upload(5);
    let (head, body) = request.split_at(request.len() - 5);
    client.send(head).await;
    sleep(millis(5)).await;
    client.send(body).await;
    assert_eq!(client.response().await.status, 401);
    sleep(seconds(30)).await;
    assert!(client.is_silent().await);

    let t0 = Instant::now();
    let run = begin(shutdown);
    let ended = end_of(client, t0).await;

    assert_ended_in_close(ended, "a late body");
    assert!(soon(run).await.unwrap().is_clean());
}

#[tokio::test(start_paused = true)]
async fn of_100_idle_connections_whose_last_body_nobody_read_none_ends_in_lame_duck() {
    let (shutdown, handle) = exact(Plan::builder().build().unwrap());
    let (door, listener) = pipes();
    lameduck::serve(listener, refusing(Duration::ZERO), &handle);
    let mut clients = Vec::new();
    for _ in 0..100 {
        let mut client = door.connect();
        client.send(upload(24_000)).await;
        assert_eq!(client.response().await.status, 401);
        clients.push(client);
    }

    let t0 = Instant::now();
    let run = begin(shutdown);
    let ends = clients.into_iter().map(|it| end_of(it, t0));
    let ends = join_all(ends).await;

    for took in ends {
        assert_ended_in_close(took, "24 kB");
    }
    assert!(soon(run).await.unwrap().is_clean());
}

/// Answers 202 at once. A task reads the body, holds a guard meanwhile, and tells how much came.
fn accepting(handle: &ShutdownHandle) -> (Router, UnboundedReceiver<Result<usize, String>>) {
    let (sender, received) = unbounded_channel();
    let handle = handle.clone();
    let accept = async move |body: Body| {
        let guard = handle.guard().unwrap();
        tokio::spawn(async move {
            let _guard = guard;
            let _ = sender.send(read(body).await.map_err(|error| error.to_string()));
        });
        StatusCode::ACCEPTED
    };
    (Router::new().route("/upload", post(accept)), received)
}

/// Reads as much as the body has by its length. Behind a response that keeps the connection hyper tells the end of a body only
/// with the next message.
async fn read(mut body: Body) -> Result<usize, axum::Error> {
    let mut length = 0;
    let all = body.size_hint().exact().map(|all| all as usize);
    while Some(length) != all {
        let Some(frame) = body.frame().await else {
            break;
        };
        length += frame?.data_ref().map_or(0, |data| data.len());
    }
    Ok(length)
}

const TOTAL: usize = 240;
/// Each second.
const PIECE: usize = 10;

/// Sends pieces of an upload until all of it is sent, or the server does not take it.
async fn trickle<S>(client: &mut Client<S>, pieces: usize, piece: &[u8]) -> usize
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    for sent in 0..pieces {
        if client.try_send(piece).await.is_err() {
            return sent;
        }
        sleep(seconds(1)).await;
    }
    pieces
}

fn accepted_upload(total: usize) -> String {
    format!("POST /upload HTTP/1.1\r\nHost: test\r\nContent-Length: {total}\r\n\r\n")
}

/// A head for an upload on stream 1: `POST http://test/upload`.
const POST: &[u8] = b"\0\0\x11\x01\x04\0\0\0\x01\x83\x86\x04\x07/upload\x41\x04test";
/// Ten bytes of it.
const PART: &[u8] = b"\0\0\x0a\0\0\0\0\0\x01yyyyyyyyyy";
const LAST_PART: &[u8] = b"\0\0\x0a\0\x01\0\0\0\x01yyyyyyyyyy";

// Its last byte comes 3 s before Close's deadline.
#[tokio::test(start_paused = true)]
async fn an_upload_that_goes_on_behind_its_response_is_read_to_its_end() {
    let (shutdown, handle) = exact(cluster());
    let (app, mut received) = accepting(&handle);
    let (door, listener) = pipes();
    lameduck::serve(listener, app, &handle);
    let mut client = door.connect();
    client.send(accepted_upload(TOTAL)).await;
    assert_eq!(client.response().await.status, 202);
    trickle(&mut client, 4, &[b'x'; PIECE]).await;

    let run = begin(shutdown);
    let sent = trickle(&mut client, TOTAL / PIECE - 4, &[b'y'; PIECE]).await;

    let read = soon(received.recv()).await;
    assert_eq!(read, Some(Ok(TOTAL)), "sent for {sent} s");
    drop(client);
    let report = soon(run).await.unwrap();
    assert!(report.is_clean(), "{report}");
    assert_eq!(report.connections.cut, 0, "{report}");
}

// Its response says close.
#[tokio::test(start_paused = true)]
async fn an_upload_behind_a_response_of_the_shutdown_is_read_to_its_end() {
    const LATE: usize = TOTAL - 4 * PIECE;
    let (shutdown, handle) = exact(cluster());
    let (app, mut received) = accepting(&handle);
    let (door, listener) = pipes();
    lameduck::serve(listener, app, &handle);
    let mut client = door.connect();
    settle().await;

    let run = begin(shutdown);
    settle().await;
    client.send(accepted_upload(LATE)).await;
    let response = client.response().await;
    let sent = trickle(&mut client, LATE / PIECE, &[b'y'; PIECE]).await;

    assert_eq!(response.status, 202);
    let read = soon(received.recv()).await;
    assert_eq!(read, Some(Ok(LATE)), "sent for {sent} s");
    drop(client);
    let report = soon(run).await.unwrap();
    assert!(report.is_clean(), "{report}");
    assert_eq!(report.connections.cut, 0, "{report}");
}

#[tokio::test(start_paused = true)]
async fn an_upload_that_goes_on_behind_its_response_is_read_to_its_end_over_tcp() {
    let (shutdown, handle) = coordinator(cluster());
    let (app, mut received) = accepting(&handle);
    let (address, _) = start(app, &handle).await;
    let mut client = Client::connect(address).await;
    client.send(accepted_upload(TOTAL)).await;
    assert_eq!(client.response().await.status, 202);
    trickle(&mut client, 4, &[b'x'; PIECE]).await;

    let run = begin(shutdown);
    let sent = trickle(&mut client, TOTAL / PIECE - 4, &[b'y'; PIECE]).await;

    let read = soon(received.recv()).await;
    assert_eq!(read, Some(Ok(TOTAL)), "sent for {sent} s");
    drop(client);
    let report = soon(run).await.unwrap();
    assert!(report.is_clean(), "{report}");
}

#[tokio::test(start_paused = true)]
async fn over_http2_an_upload_that_goes_on_behind_its_response_is_read_to_its_end() {
    let (shutdown, handle) = exact(cluster());
    let (app, mut received) = accepting(&handle);
    let (door, listener) = pipes();
    lameduck::serve(listener, app, &handle);
    let mut client = door.http2().await;
    client.0.send(POST).await;
    client.frame_of(HEADERS).await;
    trickle(&mut client.0, 4, PART).await;

    let run = begin(shutdown);
    let ping = client.frame_of(PING).await;
    client.0.send(ping.answer()).await;
    let sent = trickle(&mut client.0, TOTAL / PIECE - 5, PART).await;
    let _ = client.0.try_send(LAST_PART).await;

    let read = soon(received.recv()).await;
    assert_eq!(read, Some(Ok(TOTAL)), "sent for {sent} s");
    drop(client);
    let report = soon(run).await.unwrap();
    assert!(report.is_clean(), "{report}");
}

// It would end 10 s after the deadline of Close.
#[tokio::test(start_paused = true)]
async fn an_upload_behind_its_response_is_cut_at_the_deadline_of_close_and_named() {
    let (shutdown, handle) = exact(cluster());
    let (app, received) = accepting(&handle);
    let (door, listener) = pipes();
    lameduck::serve(listener, app, &handle);
    let mut client = door.connect();
    client.send(accepted_upload(1_000)).await;
    assert_eq!(client.response().await.status, 202);

    let run = begin(shutdown);
    let sent = trickle(&mut client, 33, &[b'x'; PIECE]).await;

    assert_cut_at_the_deadline(sent, received, soon(run).await.unwrap()).await;
}

#[tokio::test(start_paused = true)]
async fn over_http2_an_upload_behind_its_response_is_cut_at_the_deadline_of_close_and_named() {
    let (shutdown, handle) = exact(cluster());
    let (app, received) = accepting(&handle);
    let (door, listener) = pipes();
    lameduck::serve(listener, app, &handle);
    let mut client = door.http2().await;
    client.0.send(POST).await;
    client.frame_of(HEADERS).await;

    let run = begin(shutdown);
    let sent = trickle(&mut client.0, 33, PART).await;

    assert_cut_at_the_deadline(sent, received, soon(run).await.unwrap()).await;
}

/// `sent`: for how many seconds the server took it.
async fn assert_cut_at_the_deadline(
    sent: usize,
    mut received: UnboundedReceiver<Result<usize, String>>,
    report: Arc<Report>,
) {
    let read = soon(received.recv()).await;
    assert!(matches!(read, Some(Err(_))), "{read:?}");
    assert!((27..=29).contains(&sent), "cut after {sent} s");
    assert!(!report.is_clean(), "{report}");
    assert!(report.cut >= 1, "{report}");
    let close = report.phase(Phase::Close).unwrap();
    let mut kinds = close.left_behind.iter().map(|left| left.kind);
    assert!(kinds.any(|kind| kind == Kind::Connection), "{close}");
}
