//! `Server::goaway(false)`, for proxies that take a GOAWAY for a failure; and what comes after the second one.

use axum::Router;
use lameduck::{Phase, Server, ShutdownHandle};
use tokio::time::sleep;

use crate::frames::*;
use crate::pipes::*;
use crate::support::*;

fn serve_without(app: Router, handle: &ShutdownHandle) -> Door {
    let (door, listener) = pipes();
    Server::new(handle).goaway(false).serve(listener, app);
    door
}

#[tokio::test(start_paused = true)]
async fn without_goaway_an_http2_connection_is_served_and_not_told_before_close() {
    let (shutdown, handle) = exact(cluster());
    let door = serve_without(hello(), &handle);
    let mut client = door.http2().await;
    sleep(seconds(5)).await;

    let run = begin(shutdown);
    sleep(seconds(9)).await;
    client.0.send(GET).await;
    // It would come before the answer.
    let body = client.frame_of(DATA).await;
    assert_eq!(handle.phase(), Some(Phase::LameDuck));
    let (ping, took) = timed(client.frame_of(PING)).await;
    client.0.send(ping.answer()).await;
    let last = client.frame_of(GOAWAY).await;

    assert_eq!(body.payload, b"hello");
    // Within the first second of Close, which begins with the end of LameDuck here: as an idle HTTP/1 connection ends.
    assert!((seconds(1)..=seconds(2)).contains(&took), "{took:?}");
    assert_eq!(last.payload, [0, 0, 0, 1, 0, 0, 0, 0]);
    assert_eq!(client.0.end().await.unwrap(), b"");
    drop(client);
    assert!(soon(run).await.unwrap().is_clean());
}

#[tokio::test(start_paused = true)]
async fn without_goaway_a_busy_connection_is_told_when_its_last_stream_is_over() {
    let gate = Gate::new();
    let (shutdown, handle) = exact(cluster());
    let door = serve_without(gated(&gate), &handle);
    let mut client = door.http2().await;
    client.0.send(GET).await;
    gate.entered().await;

    let run = begin(shutdown);
    reached(&handle, Phase::Close).await;
    sleep(seconds(3)).await;
    gate.open();
    let body = client.frame_of(DATA).await;
    let ping = client.frame_of(PING).await;
    client.0.send(ping.answer()).await;

    assert_eq!(body.payload, b"hello");
    assert_eq!(
        client.0.end().await.unwrap().len(),
        17,
        "one GOAWAY is left"
    );
    drop(client);
    assert!(soon(run).await.unwrap().is_clean());
}

// h2 has all of the response, and the client's window lets it go only in Close: nothing else wakes the connection then.
#[tokio::test(start_paused = true)]
async fn without_goaway_a_connection_is_told_when_its_last_response_has_left() {
    const LENGTH: usize = 100_000;
    const WINDOW: usize = 65_535;
    let app = Router::new().fallback(|| async { vec![7_u8; LENGTH] });
    let (shutdown, handle) = exact(cluster());
    let door = serve_without(app, &handle);
    let mut client = door.http2().await;
    client.0.send(GET).await;
    let mut received = 0;
    while received < WINDOW {
        received += client.frame_of(DATA).await.payload.len();
    }

    let run = begin(shutdown);
    reached(&handle, Phase::Close).await;
    sleep(seconds(3)).await;
    client.0.send([wider(0), wider(1)].concat()).await;
    while received < LENGTH {
        received += client.frame_of(DATA).await.payload.len();
    }
    let (ping, took) = timed(client.frame_of(PING)).await;
    client.0.send(ping.answer()).await;
    drop(client);

    assert_eq!(received, LENGTH);
    assert_took(took, std::time::Duration::ZERO);
    assert!(soon(run).await.unwrap().is_clean());
}

// Case 41. A client that has just connected may be about to send more, and some fail what they send as a GOAWAY comes.
#[tokio::test(start_paused = true)]
async fn a_fresh_connection_gets_its_goaway_when_its_first_requests_are_answered_or_after_1_s() {
    let gate = Gate::new();
    let (shutdown, handle) = exact(cluster());
    let (door, listener) = pipes();
    lameduck::serve(listener, gated(&gate), &handle);
    let run = begin(shutdown);
    let mut quick = door.http2().await;
    let mut slow = door.http2().await;
    for client in [&mut quick, &mut slow] {
        let mut second = GET.to_vec();
        second[8] = 3;
        client.0.send([GET, &second].concat()).await;
        gate.entered().await;
        gate.entered().await;
    }

    let (_, slow_took) = timed(slow.frame_of(GOAWAY)).await;
    let mut next = door.http2().await;
    next.0.send(GET).await;
    gate.entered().await;
    sleep(millis(300)).await;
    gate.open();
    gate.open();
    gate.open();
    gate.open();
    gate.open();
    // It would come before the answer.
    next.frame_of(DATA).await;
    let (_, next_took) = timed(next.frame_of(GOAWAY)).await;

    // They were opened 100 ms one after the other, and settled as long.
    assert!(
        slow_took <= seconds(1) && slow_took >= millis(700),
        "{slow_took:?}"
    );
    assert_took(next_took, std::time::Duration::ZERO);
    drop((quick, slow, next));
    assert!(soon(run).await.unwrap().is_clean());
}

// hyper's client fails the next request that it is given while a stream is open behind a GOAWAY.
#[tokio::test(start_paused = true)]
async fn a_busy_connection_gets_its_goaway_when_its_streams_are_over_or_1_s_behind_its_moment() {
    let gate = Gate::new();
    let (shutdown, handle) = exact(cluster());
    let (door, listener) = pipes();
    lameduck::serve(listener, gated(&gate), &handle);
    let mut quick = door.http2().await;
    quick.0.send(GET).await;
    gate.entered().await;
    sleep(seconds(5)).await;

    let run = begin(shutdown);
    sleep(millis(300)).await;
    gate.open();
    // It would come before the answer.
    quick.frame_of(DATA).await;
    let (_, quick_took) = timed(quick.frame_of(GOAWAY)).await;

    assert_took(quick_took, std::time::Duration::ZERO);
    drop(quick);
    assert!(soon(run).await.unwrap().is_clean());

    let gate = Gate::new();
    let (shutdown, handle) = exact(cluster());
    let (door, listener) = pipes();
    lameduck::serve(listener, gated(&gate), &handle);
    let mut slow = door.http2().await;
    slow.0.send(GET).await;
    gate.entered().await;
    sleep(seconds(5)).await;

    let run = begin(shutdown);
    let (_, slow_took) = timed(slow.frame_of(GOAWAY)).await;
    slow.frame_of(PING).await;
    gate.open();
    let body = slow.frame_of(DATA).await;

    assert_took(slow_took, seconds(1));
    assert_eq!(body.payload, b"hello");
    drop(slow);
    assert!(soon(run).await.unwrap().is_clean());
}

// hyper's client writes PONG before the requests that it had queued when the GOAWAY came, as a rule in the same write.
#[tokio::test(start_paused = true)]
async fn a_stream_that_was_queued_behind_the_pong_is_answered() {
    for apart in [millis(0), millis(40)] {
        let (shutdown, handle) = exact(cluster());
        let (door, listener) = pipes();
        lameduck::serve(listener, hello(), &handle);
        let mut client = door.http2().await;
        client.0.send(GET).await;
        client.frame_of(DATA).await;

        let run = begin(shutdown);
        let ping = client.frame_of(PING).await;
        let mut queued = GET.to_vec();
        queued[8] = 3;
        if apart.is_zero() {
            client.0.send([ping.answer(), queued].concat()).await;
        } else {
            client.0.send(ping.answer()).await;
            sleep(apart).await;
            client.0.send(queued).await;
        }
        let body = client.frame_of(DATA).await;
        let last = client.frame_of(GOAWAY).await;

        assert_eq!(body.payload, b"hello");
        assert_eq!(last.payload, [0, 0, 0, 3, 0, 0, 0, 0]);
        assert_eq!(client.0.end().await.unwrap(), b"");
        drop(client);
        assert!(soon(run).await.unwrap().is_clean());
    }
}

#[tokio::test(start_paused = true)]
async fn the_second_goaway_comes_50_ms_behind_the_pong() {
    let (shutdown, handle) = exact(cluster());
    let (door, listener) = pipes();
    lameduck::serve(listener, hello(), &handle);
    let mut client = door.http2().await;
    client.0.send(GET).await;
    client.frame_of(DATA).await;

    let run = begin(shutdown);
    let ping = client.frame_of(PING).await;
    client.0.send(ping.answer()).await;
    let (_, took) = timed(client.frame_of(GOAWAY)).await;

    assert_took(took, millis(50));
    drop(client);
    assert!(soon(run).await.unwrap().is_clean());
}

// Case 48.
#[tokio::test(start_paused = true)]
async fn a_stream_that_is_opened_after_the_second_goaway_is_not_handled() {
    const LATE: u8 = 3;
    let gate = Gate::new();
    let (shutdown, handle) = exact(cluster());
    let (door, listener) = pipes();
    lameduck::serve(listener, gated(&gate), &handle);
    let mut client = door.http2().await;
    client.0.send(GET).await;
    gate.entered().await;

    let run = begin(shutdown);
    let ping = client.frame_of(PING).await;
    client.0.send(ping.answer()).await;
    let last = client.frame_of(GOAWAY).await;
    let mut late = GET.to_vec();
    late[8] = LATE;
    client.0.send(late).await;
    settle().await;
    let in_flight = handle.in_flight();
    gate.open();
    let body = client.frame_of(DATA).await;

    assert_eq!(last.payload, [0, 0, 0, 1, 0, 0, 0, 0]);
    assert_eq!(in_flight, 1);
    assert_eq!(body.payload, b"hello");
    assert_eq!(client.0.end().await.unwrap(), b"");
    drop(client);
    let report = soon(run).await.unwrap();
    assert!(report.is_clean());
    assert_eq!(
        report.traffic.served, 0,
        "the one that was served came before"
    );
}
