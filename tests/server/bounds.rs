//! How long the server waits for what clients still have to send.

use std::time::Duration;

use axum::Router;
use axum::routing::any;
use lameduck::server::Timeouts;
use lameduck::{Phase, Plan, Server, ShutdownHandle};
use tokio::time::sleep;

use crate::frames::*;
use crate::pipes::*;
use crate::support::*;

fn serve(app: Router, handle: &ShutdownHandle) -> Door {
    serve_with(Timeouts::new(), app, handle)
}

fn serve_with(timeouts: Timeouts, app: Router, handle: &ShutdownHandle) -> Door {
    let (door, listener) = pipes();
    Server::new(handle).timeouts(timeouts).serve(listener, app);
    door
}

/// Answers whatever is sent to it, and reads all of it.
fn echo() -> Router {
    Router::new().fallback(any(|body: String| async move { body }))
}

#[tokio::test(start_paused = true)]
async fn half_a_head_is_waited_for_10_s_from_its_first_byte_however_it_trickles() {
    let (_shutdown, handle) = exact(cluster());
    let door = serve(hello(), &handle);
    let mut client = door.connect();
    sleep(seconds(30)).await;

    client.send("GET / HTTP/1.1\r\n").await;
    let trickle = async {
        for _ in 0..9 {
            sleep(seconds(1)).await;
            client.send("X: y\r\n").await;
        }
        client.end().await
    };
    let (ended, took) = timed(trickle).await;

    assert_eq!(ended.unwrap(), b"");
    assert_took(took, seconds(10));
}

#[tokio::test(start_paused = true)]
async fn half_of_a_later_head_is_waited_for_10_s_too() {
    let (_shutdown, handle) = exact(cluster());
    let door = serve(hello(), &handle);
    let mut client = door.connect();
    client.get("/").await;
    sleep(seconds(90)).await;

    client.send("GET / HT").await;
    let (ended, took) = timed(client.end()).await;

    assert_eq!(ended.unwrap(), b"");
    assert_took(took, seconds(10));
}

// The wait for one head is not the wait for the next.
#[tokio::test(start_paused = true)]
async fn each_head_has_its_own_10_s() {
    let (_shutdown, handle) = exact(cluster());
    let door = serve(hello(), &handle);
    let mut client = door.connect();

    client.send("GET / HTTP/1.1\r\n").await;
    for _ in 0..3 {
        sleep(seconds(9)).await;
        client.send("Host: test\r\n\r\nGET / HTTP/1.1\r\n").await;
        assert_eq!(client.response().await.status, 200);
        // It began in the segment of the request before.
        client.send("X: y\r\n").await;
    }
    let (ended, took) = timed(client.end()).await;

    assert_eq!(ended.unwrap(), b"");
    assert_took(took, seconds(10));
}

// Cases 35, 66.
#[tokio::test(start_paused = true)]
async fn from_the_shutdown_on_half_a_head_is_waited_for_2_s() {
    let (shutdown, handle) = exact(cluster());
    let door = serve(hello(), &handle);
    let mut old = door.connect();
    old.send("GET / HT").await;
    sleep(seconds(5)).await;

    let run = begin(shutdown);
    let (ended, took) = timed(old.end()).await;
    let mut new = door.connect();
    new.send("GET / HT").await;
    let (new_ended, new_took) = timed(new.end()).await;

    assert_eq!(ended.unwrap(), b"");
    assert_took(took, seconds(2));
    assert_eq!(new_ended.unwrap(), b"");
    assert_took(new_took, seconds(2));
    let report = soon(run).await.unwrap();
    assert!(report.is_clean());
    assert_eq!((report.connections.closed, report.connections.cut), (2, 0));
    assert_took(report.took, seconds(10));
}

// Case 66: the shutdown does not give an old head more time than it had.
#[tokio::test(start_paused = true)]
async fn half_a_head_that_is_nearly_over_at_the_shutdown_keeps_its_first_bound() {
    let (shutdown, handle) = exact(cluster());
    let door = serve(hello(), &handle);
    let mut client = door.connect();
    client.send("GET / HT").await;
    sleep(seconds(9)).await;

    let run = begin(shutdown);
    let (_, took) = timed(client.end()).await;

    assert_took(took, seconds(1));
    assert!(soon(run).await.unwrap().is_clean());
}

// Case 35.
#[tokio::test(start_paused = true)]
async fn a_head_that_is_completed_within_its_bound_is_served() {
    let (shutdown, handle) = exact(cluster());
    let door = serve(hello(), &handle);
    let mut client = door.connect();
    client.send("GET / HT").await;

    let run = begin(shutdown);
    sleep(millis(1_990)).await;
    client.send("TP/1.1\r\nHost: test\r\n\r\n").await;
    let response = client.response().await;

    assert_eq!(response.status, 200);
    assert!(response.says_close());
    drop(client);
    assert!(soon(run).await.unwrap().is_clean());
}

// What comes after a response may be the rest of a body that nobody has read. Here the body is over.
#[tokio::test(start_paused = true)]
async fn half_a_head_behind_a_request_with_a_body_is_bounded_like_any_other() {
    let (shutdown, handle) = exact(cluster());
    let door = serve(echo(), &handle);
    let mut client = door.connect();
    client
        .send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 2\r\n\r\nhi")
        .await;
    assert_eq!(client.response().await.text(), "hi");

    sleep(seconds(90)).await;
    client.send("GET / HT").await;
    let (_, took) = timed(client.end()).await;

    assert_took(took, seconds(10));
    drop(client);
    assert!(soon(begin(shutdown)).await.unwrap().is_clean());
}

// Rule 7, RFC 9112, section 2.2.
#[tokio::test(start_paused = true)]
async fn empty_lines_between_requests_are_no_half_head() {
    let (shutdown, handle) = exact(cluster());
    let door = serve(hello(), &handle);
    let mut client = door.connect();
    client.get("/").await;

    client.send("\r\n\r\n").await;
    sleep(seconds(90)).await;
    let response = client.get("/").await;
    client.send("\r\n").await;
    let run = begin(shutdown);
    let (ended, took) = timed(client.end()).await;

    assert_eq!(response.status, 200);
    assert_eq!(ended.unwrap(), b"");
    // As an idle one: within the linger.
    assert!((seconds(10)..=seconds(11)).contains(&took), "{took:?}");
    assert!(soon(run).await.unwrap().is_clean());
}

// Case 71.
#[tokio::test(start_paused = true)]
async fn a_silent_connection_is_kept_for_60_s() {
    let (_shutdown, handle) = exact(cluster());
    let door = serve(hello(), &handle);
    let mut client = door.connect();

    let (ended, took) = timed(client.end()).await;

    assert_eq!(ended.unwrap(), b"");
    assert_took(took, seconds(60));
}

// Case 71.
#[tokio::test(start_paused = true)]
async fn from_the_shutdown_on_a_silent_connection_is_kept_for_1_s() {
    let (shutdown, handle) = exact(cluster());
    let door = serve(hello(), &handle);
    let mut old = door.connect();
    sleep(seconds(10)).await;

    let run = begin(shutdown);
    let (ended, took) = timed(old.end()).await;
    let mut new = door.connect();
    let (new_ended, new_took) = timed(new.end()).await;

    assert_eq!(ended.unwrap(), b"");
    assert_took(took, seconds(1));
    assert_eq!(new_ended.unwrap(), b"");
    assert_took(new_took, seconds(1));
    assert!(soon(run).await.unwrap().is_clean());
}

// They do not all go in the same instant either.
#[tokio::test(start_paused = true)]
async fn silent_connections_are_spread_over_the_same_window_as_the_others() {
    let plan = Plan::builder().spread(seconds(4)).build().unwrap();
    let (shutdown, handle) = exact(plan);
    let door = serve(hello(), &handle);
    let mut clients: Vec<_> = (0..100).map(|_| door.connect()).collect();
    settle().await;

    let run = begin(shutdown);
    let ends = clients.iter_mut().map(|client| timed(client.end()));
    let took: Vec<_> = futures_util::future::join_all(ends)
        .await
        .into_iter()
        .map(|(_, took)| took)
        .collect();

    let early = took.iter().filter(|took| **took < seconds(3)).count();
    assert!((25..=75).contains(&early), "{early} in the first half");
    assert!(took.iter().all(|took| *took >= seconds(1)));
    assert!(took.iter().all(|took| *took <= millis(5_002)));
    assert!(soon(run).await.unwrap().is_clean());
}

// A request that comes on it in time is the end of the wait.
#[tokio::test(start_paused = true)]
async fn a_connection_that_was_silent_for_long_has_no_bound_after_its_first_request() {
    let (_shutdown, handle) = exact(cluster());
    let door = serve(hello(), &handle);
    let mut client = door.connect();
    sleep(seconds(59)).await;

    client.get("/").await;
    sleep(seconds(90)).await;

    assert_eq!(client.get("/").await.status, 200);
}

// Case 68.
#[tokio::test(start_paused = true)]
async fn half_a_preface_is_waited_for_10_s_and_from_the_shutdown_on_2_s() {
    let (shutdown, handle) = exact(cluster());
    let door = serve(hello(), &handle);
    let mut first = door.connect();
    let mut second = door.connect();

    first.send(&PREFACE[..10]).await;
    let (ended, took) = timed(first.end()).await;
    second.send(&PREFACE[..10]).await;
    settle().await;
    let run = begin(shutdown);
    let (second_ended, second_took) = timed(second.end()).await;

    assert_eq!(ended.unwrap(), b"");
    assert_took(took, seconds(10));
    assert_eq!(second_ended.unwrap(), b"");
    assert_took(second_took, seconds(2));
    assert!(soon(run).await.unwrap().is_clean());
}

// Not twice the time: a byte that may begin a preface and turns out to begin a head.
#[tokio::test(start_paused = true)]
async fn what_begins_like_a_preface_and_goes_on_as_a_head_has_one_bound() {
    let (_shutdown, handle) = exact(cluster());
    let door = serve(hello(), &handle);
    let mut client = door.connect();

    let slow = async {
        client.send("P").await;
        sleep(seconds(6)).await;
        client.send("OST / HT").await;
        client.end().await
    };
    let (ended, took) = timed(slow).await;

    assert_eq!(ended.unwrap(), b"");
    assert_took(took, seconds(10));
}

// Cases 68, 69: the preface, and then nothing at all, not even an answer to PING.
#[tokio::test(start_paused = true)]
async fn an_http2_client_that_never_answers_ping_gets_both_goaways_and_the_end_within_1_s() {
    let (shutdown, handle) = exact(cluster());
    let door = serve(hello(), &handle);
    let mut client = door.http2().await;
    sleep(seconds(5)).await;

    let run = begin(shutdown);
    let all = async {
        let first = client.frame_of(GOAWAY).await;
        client.frame_of(PING).await;
        let second = client.frame_of(GOAWAY).await;
        (first, second, client.0.end().await)
    };
    let ((first, second, ended), took) = timed(all).await;

    assert_eq!(first.payload, [0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0]);
    assert_eq!(second.payload, [0; 8]);
    assert_eq!(ended.unwrap(), b"");
    assert_took(took, seconds(1));
    drop(client);
    let report = soon(run).await.unwrap();
    assert!(report.is_clean());
    assert_eq!((report.connections.closed, report.connections.cut), (1, 0));
}

// Case 46: it does not hold the shutdown either.
#[tokio::test(start_paused = true)]
async fn a_stream_that_is_open_when_pong_is_overdue_is_finished_and_then_the_connection_ends() {
    let gate = Gate::new();
    let (shutdown, handle) = exact(cluster());
    let door = serve(gated(&gate), &handle);
    let mut client = door.http2().await;
    client.0.send(GET).await;
    gate.entered().await;

    let run = begin(shutdown);
    client.frame_of(PING).await;
    let (second, took) = timed(client.frame_of(GOAWAY)).await;
    sleep(seconds(3)).await;
    gate.open();
    let body = client.frame_of(DATA).await;
    let (ended, end_took) = timed(client.0.end()).await;

    assert_took(took, seconds(1));
    assert_eq!(second.payload, [0, 0, 0, 1, 0, 0, 0, 0]);
    assert_eq!(body.payload, b"hello");
    assert_eq!(ended.unwrap(), b"");
    assert_took(end_took, Duration::ZERO);
    drop(client);
    assert!(soon(run).await.unwrap().is_clean());
}

// What h2 holds back for the client's window is not lost when PONG is overdue.
#[tokio::test(start_paused = true)]
async fn a_response_that_waits_for_the_window_when_pong_is_overdue_arrives_whole() {
    const LENGTH: usize = 1 << 18;
    const WINDOW: usize = 65_535;
    let app = Router::new().fallback(|| async { vec![7_u8; LENGTH] });
    let (shutdown, handle) = exact(cluster());
    let door = serve(app, &handle);
    let mut client = door.http2().await;
    client.0.send(GET).await;
    let mut received = 0;
    while received < WINDOW {
        received += client.frame_of(DATA).await.payload.len();
    }

    let run = begin(shutdown);
    client.frame_of(PING).await;
    client.frame_of(GOAWAY).await;
    sleep(seconds(5)).await;
    client.0.send([wider(0), wider(1)].concat()).await;
    while received < LENGTH {
        received += client.frame_of(DATA).await.payload.len();
    }

    assert_eq!(received, LENGTH);
    assert_eq!(client.0.end().await.unwrap(), b"");
    drop(client);
    assert!(soon(run).await.unwrap().is_clean());
}

// The answer in its place comes between two frames: never inside one that the client has half sent.
#[tokio::test(start_paused = true)]
async fn a_client_that_is_in_mid_frame_when_pong_is_overdue_is_understood_afterwards() {
    let (shutdown, handle) = exact(cluster());
    let door = serve(hello(), &handle);
    let mut client = door.http2().await;
    client.0.send(&GET[..12]).await;
    settle().await;

    let run = begin(shutdown);
    client.frame_of(PING).await;
    sleep(seconds(3)).await;
    client.0.send(&GET[12..]).await;
    let last = client.frame_of(GOAWAY).await;
    let body = client.frame_of(DATA).await;

    assert_eq!(last.payload, [0, 0, 0, 1, 0, 0, 0, 0]);
    assert_eq!(body.payload, b"hello");
    assert_eq!(client.0.end().await.unwrap(), b"");
    drop(client);
    assert!(soon(run).await.unwrap().is_clean());
}

// A real answer that comes after ours changes nothing.
#[tokio::test(start_paused = true)]
async fn a_pong_that_comes_late_is_ignored() {
    let gate = Gate::new();
    let (shutdown, handle) = exact(cluster());
    let door = serve(gated(&gate), &handle);
    let mut client = door.http2().await;
    client.0.send(GET).await;
    gate.entered().await;

    let run = begin(shutdown);
    let ping = client.frame_of(PING).await;
    client.frame_of(GOAWAY).await;
    client.0.send(ping.answer()).await;
    settle().await;
    gate.open();

    assert_eq!(client.frame_of(DATA).await.payload, b"hello");
    assert_eq!(client.0.end().await.unwrap(), b"");
    drop(client);
    assert!(soon(run).await.unwrap().is_clean());
}

// Cases 67, 38: only the application knows how long a body may take.
#[tokio::test(start_paused = true)]
async fn half_a_body_is_waited_for_to_the_deadline_of_close_and_named() {
    let (shutdown, handle) = exact(cluster());
    let door = serve(echo(), &handle);
    let mut client = door.connect();
    client
        .send("POST /upload HTTP/1.1\r\nHost: test\r\nContent-Length: 9\r\n\r\nhalf")
        .await;
    sleep(seconds(90)).await;

    let run = begin(shutdown);
    let (_, took) = timed(client.end()).await;

    assert_took(took, seconds(28));
    let report = soon(run).await.unwrap();
    assert!(!report.is_clean());
    assert_eq!((report.cut, report.connections.cut), (1, 1));
    let close = report.phase(Phase::Close).unwrap();
    let name = &close.left_behind[0].name;
    assert_eq!(name, "\"pipe\" (HTTP/1: POST /upload)");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_reads_slowly_is_waited_for_to_the_deadline_of_close() {
    let app = Router::new().fallback(|| async { vec![7_u8; 2 * PIPE] });
    let (shutdown, handle) = exact(cluster());
    let door = serve(app, &handle);
    let mut client = door.connect();
    client.ask("/").await;
    sleep(seconds(90)).await;

    let run = begin(shutdown);
    let report = soon(run).await.unwrap();
    client.until(b"\r\n\r\n").await;
    let body = client.end().await.unwrap();

    assert!(body.len() < 2 * PIPE);
    assert_eq!(report.cut, 1);
    assert_took(report.took, seconds(28));
    let close = report.phase(Phase::Close).unwrap();
    let name = &close.left_behind[0].name;
    assert_eq!(name, "\"pipe\" (HTTP/1: sending a response)");
}

// Rule 2: on HTTP/2 as well, what did not arrive is in the report.
#[tokio::test(start_paused = true)]
async fn an_http2_client_that_does_not_widen_its_window_is_cut_at_the_deadline_and_spoils_the_report()
 {
    let app = Router::new().fallback(|| async { vec![7_u8; 2 * PIPE] });
    let (shutdown, handle) = exact(cluster());
    let door = serve(app, &handle);
    let mut client = door.http2().await;
    client.0.send(GET).await;
    settle().await;
    let in_flight = handle.in_flight();

    let report = soon(begin(shutdown)).await.unwrap();

    assert_eq!(in_flight, 0, "h2 has all of it");
    assert!(!report.is_clean());
    assert_eq!((report.cut, report.connections.cut), (1, 1));
    let close = report.phase(Phase::Close).unwrap();
    let name = &close.left_behind[0].name;
    assert_eq!(name, "\"pipe\" (HTTP/2: sending a response)");
}

#[tokio::test(start_paused = true)]
async fn every_bound_can_be_set() {
    let timeouts = Timeouts::new()
        .head(seconds(3), millis(300))
        .silent(seconds(4), millis(400))
        .pong(millis(500));
    let (shutdown, handle) = exact(cluster());
    let door = serve_with(timeouts, hello(), &handle);
    let mut head = door.connect();
    head.send("GET").await;
    let mut silent = door.connect();

    let ((_, head_took), (_, silent_took)) = tokio::join!(timed(head.end()), timed(silent.end()));
    let mut head = door.connect();
    head.send("GET").await;
    let mut silent = door.connect();
    let mut client = door.http2().await;
    // It is fresh for a second.
    sleep(seconds(1)).await;
    let run = begin(shutdown);
    let pong = async {
        client.frame_of(PING).await;
        client.frame_of(GOAWAY).await
    };
    let ((_, head_late), (_, silent_late), (_, pong_late)) =
        tokio::join!(timed(head.end()), timed(silent.end()), timed(pong));

    assert_took(head_took, seconds(3));
    assert_took(silent_took, seconds(4));
    assert_took(head_late, millis(300));
    assert_took(silent_late, millis(400));
    assert_took(pong_late, millis(500));
    drop(client);
    assert!(soon(run).await.unwrap().is_clean());
}

#[tokio::test(start_paused = true)]
async fn without_a_bound_half_a_head_is_held_to_the_deadline_of_close_and_named() {
    let timeouts = Timeouts::new().head(Duration::MAX, Duration::MAX);
    let (shutdown, handle) = exact(cluster());
    let door = serve_with(timeouts, hello(), &handle);
    let mut client = door.connect();
    client.send("GET / HT").await;
    sleep(seconds(300)).await;

    let report = soon(begin(shutdown)).await.unwrap();

    assert_took(report.took, seconds(28));
    assert!(report.is_clean(), "nothing was in flight");
    assert_eq!((report.connections.closed, report.connections.cut), (0, 1));
    let close = report.phase(Phase::Close).unwrap();
    assert_eq!(
        close.left_behind[0].name,
        "\"pipe\" (HTTP/1: half-sent head)"
    );
}

// Case 81, on a connection whose timer has gone off for nothing in between.
#[tokio::test(start_paused = true)]
async fn an_admin_connection_is_bounded_as_in_normal_service_to_the_end() {
    let (shutdown, handle) = exact(cluster());
    let (door, listener) = pipes();
    lameduck::serve_admin(listener, hello(), &handle);
    shutdown
        .hook(Phase::Release, "slow", async || sleep(seconds(4)).await)
        .unwrap();
    let mut head = door.connect();
    head.send("GET / HT").await;

    let run = begin(shutdown);
    sleep(millis(3_900)).await;
    head.send("TP/1.1\r\nHost: test\r\n\r\n").await;

    assert_eq!(head.response().await.status, 200);
    soon(run).await.unwrap();
}
