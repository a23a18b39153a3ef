//! Heads that come slowly, where a server might take their bytes for something else: behind a body, behind empty lines, behind
//! a request that is being handled.

use axum::Router;
use axum::routing::any;
use lameduck::ShutdownHandle;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, sleep};

use crate::pipes::*;
use crate::support::*;

const POST: &str = "POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 1\r\n\r\nx";

/// Reads what is sent to it, and answers with it.
fn echo() -> Router {
    Router::new().fallback(any(|body: String| async move { body }))
}

fn serve(app: Router, handle: &ShutdownHandle) -> Door {
    let (door, listener) = pipes();
    lameduck::serve(listener, app, handle);
    door
}

/// Sends one byte of a head each 9 s, until the server takes none. For how long it did: an hour means for ever.
async fn trickle<S>(client: &mut Client<S>) -> std::time::Duration
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let begun = Instant::now();
    if client.try_send("GET / HTTP/1.1\r\n").await.is_err() {
        return begun.elapsed();
    }
    while begun.elapsed() < seconds(3_600) {
        // Either it ends its side, or what is sent fails.
        if !client.is_silent().await {
            break;
        }
        sleep(millis(8_900)).await;
        if client.try_send("x").await.is_err() {
            break;
        }
    }
    begun.elapsed()
}

#[tokio::test(start_paused = true)]
async fn a_head_that_trickles_behind_a_post_is_bounded() {
    let (_shutdown, handle) = exact(cluster());
    let door = serve(echo(), &handle);
    let mut client = door.connect();
    client.send(POST).await;
    assert_eq!(client.response().await.text(), "x");

    let took = trickle(&mut client).await;

    assert!(took <= seconds(19), "it was open for {took:?}");
    assert_eq!(handle.connections(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_head_that_trickles_behind_a_post_is_bounded_over_tcp() {
    let (_shutdown, handle) = coordinator(cluster());
    let listener = lameduck::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    lameduck::serve(Paced(listener), echo(), &handle);
    let mut client = Client::connect(address).await;
    client.send(POST).await;
    assert_eq!(client.response().await.text(), "x");

    client.send("GET / HTTP/1.1\r\n").await;
    let (ended, took) =
        timed(async { tokio::time::timeout(seconds(60), client.end()).await }).await;

    assert!(ended.is_ok(), "it is open after {took:?}");
    assert!(about(took, seconds(10)), "{took:?}");
}

// From the first byte of that head on.
#[tokio::test(start_paused = true)]
async fn half_a_head_behind_a_body_that_was_read_is_waited_for_10_s() {
    let (_shutdown, handle) = exact(cluster());
    let door = serve(echo(), &handle);
    let mut client = door.connect();
    client.send(POST).await;
    assert_eq!(client.response().await.text(), "x");
    sleep(seconds(90)).await;
    assert!(client.is_silent().await, "idle ones are kept");

    client.send("GET / HT").await;
    let ended = timed(tokio::time::timeout(seconds(60), client.end()));
    let (ended, took) = ended.await;

    assert!(ended.is_ok(), "it is open after {took:?}");
    assert_took(took, seconds(10));
}

// Rule 7: the bound is the head's, not the connection's.
#[tokio::test(start_paused = true)]
async fn a_head_behind_a_body_that_is_completed_in_time_is_answered() {
    let (_shutdown, handle) = exact(cluster());
    let door = serve(echo(), &handle);
    let mut client = door.connect();

    for _ in 0..3 {
        client.send(POST).await;
        assert_eq!(client.response().await.text(), "x");
        client.send("GET / HTTP/1.1\r\n").await;
        sleep(seconds(9)).await;
        client.send("Host: test\r\n\r\n").await;
        assert_eq!(client.response().await.status, 200);
    }
}

// RFC 9112, section 2.2: empty lines are nothing, so they are not the first byte either.
#[tokio::test(start_paused = true)]
async fn empty_lines_do_not_lift_the_bound_of_a_silent_connection() {
    let (_shutdown, handle) = exact(cluster());
    let door = serve(hello(), &handle);
    let mut once = door.connect();
    let mut again = door.connect();

    let begun = Instant::now();
    once.send("\r\n").await;
    let keep_sending = async {
        while begun.elapsed() < seconds(90) && again.try_send("\r\n").await.is_ok() {
            sleep(seconds(9)).await;
        }
        begun.elapsed()
    };
    let ended = tokio::time::timeout(seconds(90), once.end());
    let (ended, lasted) = tokio::join!(
        async { (ended.await.is_ok(), begun.elapsed()) },
        keep_sending
    );

    assert!(ended.0, "one empty line: it is open after {:?}", ended.1);
    assert!(ended.1 <= millis(60_002), "one empty line: {:?}", ended.1);
    assert!(lasted <= seconds(69), "an empty line each 9 s: {lasted:?}");
}

#[tokio::test(start_paused = true)]
async fn from_the_shutdown_on_empty_lines_do_not_lift_it_either() {
    let (shutdown, handle) = exact(cluster());
    let door = serve(hello(), &handle);
    let mut client = door.connect();
    client.send("\r\n").await;
    settle().await;

    let run = begin(shutdown);
    let (ended, took) = timed(client.end()).await;

    assert_eq!(ended.unwrap(), b"");
    assert!(took <= millis(2_002), "{took:?}");
    assert!(soon(run).await.unwrap().is_clean());
}

/// A connection with a request in its handler, behind which half a head has come in a segment of its own.
async fn busy_with_half_a_head(door: &Door, gate: &Gate) -> Client<tokio::io::DuplexStream> {
    let mut client = door.connect();
    client.ask("/first").await;
    gate.entered().await;
    client.send("GET /second HTTP/1.1\r\n").await;
    settle().await;
    client
}

#[tokio::test(start_paused = true)]
async fn half_a_head_that_comes_while_a_request_is_handled_is_bounded_after_its_response() {
    let gate = Gate::new();
    let (_shutdown, handle) = exact(cluster());
    let door = serve(gated(&gate), &handle);
    let mut client = busy_with_half_a_head(&door, &gate).await;

    // The response takes longer than a head: that bound is not for it.
    sleep(seconds(30)).await;
    gate.open();
    let response = client.response().await;
    let ended = timed(tokio::time::timeout(seconds(60), client.end()));
    let (ended, took) = ended.await;

    assert_eq!(response.status, 200);
    assert!(ended.is_ok(), "it is open after {took:?}");
    assert!(took <= millis(10_002), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn half_a_head_that_comes_while_a_request_is_handled_is_answered_when_it_is_completed() {
    let gate = Gate::new();
    let (_shutdown, handle) = exact(cluster());
    let door = serve(gated(&gate), &handle);
    let mut client = busy_with_half_a_head(&door, &gate).await;

    gate.open();
    let first = client.response().await;
    sleep(seconds(5)).await;
    client.send("Host: test\r\n\r\n").await;
    gate.entered().await;
    gate.open();
    let second = client.response().await;

    assert_eq!((first.status, second.status), (200, 200));
}

// Its response was on its way before the shutdown, and did not say close.
#[tokio::test(start_paused = true)]
async fn half_a_head_that_came_while_a_request_was_handled_is_waited_for_2_s_from_the_shutdown_on()
{
    let gate = Gate::new();
    let (shutdown, handle) = exact(cluster());
    let door = serve(gated(&gate), &handle);
    let mut client = busy_with_half_a_head(&door, &gate).await;
    gate.open();
    let first = client.response().await;

    let run = begin(shutdown);
    let (ended, took) = timed(client.end()).await;

    assert_eq!(first.status, 200);
    assert_eq!(ended.unwrap(), b"");
    assert!(took <= millis(2_002), "{took:?}");
    assert!(soon(run).await.unwrap().is_clean());
}
