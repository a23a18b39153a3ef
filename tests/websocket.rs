//! `close_websocket`: the close frame, and how long the client's is waited for.

#![cfg(feature = "tower")]

use std::time::Duration;

use futures_util::StreamExt;
use lameduck::{Phase, Plan, ShutdownCoordinator, Told, close_websocket};
use tokio::io::{DuplexStream, duplex};
use tokio::time::Instant;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role};

type Socket = WebSocketStream<DuplexStream>;

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[tokio::test(start_paused = true)]
async fn a_client_that_answers_gets_the_code_and_is_not_waited_for() {
    let (mut server, mut client) = sockets().await;
    let told = told(Plan::immediate()).await;
    let client = tokio::spawn(async move {
        let first = client.next().await.unwrap().unwrap();
        while client.next().await.is_some() {}
        first
    });

    let begun = Instant::now();
    let answered = close_websocket(&mut server, restart(), &told).await;

    assert!(answered);
    assert_eq!(begun.elapsed(), Duration::ZERO);
    // The client waits for the server to end the connection (RFC 6455, section 7.1.1).
    drop(server);
    assert_eq!(client.await.unwrap(), restart());
}

#[tokio::test(start_paused = true)]
async fn a_client_that_goes_on_talking_is_read_until_it_answers() {
    let (mut server, mut client) = sockets().await;
    let told = told(Plan::immediate()).await;
    let client = tokio::spawn(async move {
        use futures_util::SinkExt;
        for _ in 0..10 {
            client.send(Message::text("still here")).await.unwrap();
        }
        while client.next().await.is_some() {}
    });

    assert!(close_websocket(&mut server, restart(), &told).await);
    drop(server);
    client.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_answer_is_waited_for_two_seconds() {
    let (mut server, client) = sockets().await;
    let told = told(Plan::immediate()).await;

    let begun = Instant::now();
    let answered = close_websocket(&mut server, restart(), &told).await;

    assert!(!answered);
    assert_eq!(begun.elapsed(), secs(2));
    drop(client);
}

#[tokio::test(start_paused = true)]
async fn no_client_is_waited_for_past_the_deadline() {
    let (mut server, client) = sockets().await;
    let plan = Plan::builder()
        .close(secs(1))
        .long_spread(Duration::ZERO)
        .drain(Duration::ZERO)
        .lame_duck(Duration::ZERO)
        .spread(Duration::ZERO)
        .release(Duration::ZERO);
    let told = told(plan.build().unwrap()).await;

    let begun = Instant::now();
    let answered = close_websocket(&mut server, restart(), &told).await;

    assert!(!answered);
    assert_eq!(begun.elapsed(), secs(1));
    drop(client);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_is_gone_has_not_answered() {
    let told = told(Plan::immediate()).await;

    // Before the close frame, and in its place.
    let (mut server, client) = sockets().await;
    drop(client);
    assert!(!close_websocket(&mut server, restart(), &told).await);

    let (mut server, mut client) = sockets().await;
    let leaves = tokio::spawn(async move { client.next().await.unwrap().unwrap() });
    // It has read the frame, and its library's answer has not been sent.
    assert!(!close_websocket(&mut server, restart(), &told).await);
    assert_eq!(leaves.await.unwrap(), restart());
}

fn restart() -> Message {
    Message::Close(Some(CloseFrame {
        code: CloseCode::Restart,
        reason: "service restart".into(),
    }))
}

async fn sockets() -> (Socket, Socket) {
    let (server, client) = duplex(1 << 16);
    (
        WebSocketStream::from_raw_socket(server, Role::Server, None).await,
        WebSocketStream::from_raw_socket(client, Role::Client, None).await,
    )
}

/// What a moment of this plan tells.
async fn told(plan: Plan) -> Told {
    let shutdown = ShutdownCoordinator::new(plan);
    let handle = shutdown.handle();
    let moment = handle.moment();
    let guard = handle.long_guard("socket");
    tokio::spawn(async move {
        shutdown.run().await;
        drop(guard);
    });
    handle.shutdown("test");
    handle.reached(Phase::Close).await;
    moment.await
}
