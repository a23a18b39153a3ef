//! `close_websocket` and `close_websocket_sink`: the close frame, and how long the client's is waited for.

#![cfg(feature = "tower")]

use std::future::pending;
use std::time::Duration;

use futures_util::stream::SplitStream;
use futures_util::{SinkExt, StreamExt};
use lameduck::{Phase, Plan, ShutdownCoordinator, Told, close_websocket, close_websocket_sink};
use tokio::io::{DuplexStream, duplex};
use tokio::time::{Instant, timeout};
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

/// Reads a stream to its end. What came.
async fn read(mut stream: SplitStream<Socket>) -> Vec<Message> {
    let mut all = Vec::new();
    while let Some(Ok(message)) = stream.next().await {
        all.push(message);
    }
    all
}

fn numbered(n: usize) -> Message {
    Message::text(n.to_string())
}

#[tokio::test(start_paused = true)]
async fn split_socket_is_closed_with_the_code_and_loses_no_message_of_either_side() {
    const MESSAGES: usize = 100;
    let (server, mut client) = sockets().await;
    let told = told(Plan::immediate()).await;
    let (mut sink, stream) = server.split();
    let reading = tokio::spawn(read(stream));
    for n in 0..MESSAGES {
        sink.feed(numbered(n)).await.unwrap();
    }
    // They are on their way when the server says close.
    for n in 0..MESSAGES {
        client.send(numbered(n)).await.unwrap();
    }
    let client = tokio::spawn(async move {
        let mut all = Vec::new();
        while let Some(Ok(message)) = client.next().await {
            all.push(message);
        }
        all
    });

    let begun = Instant::now();
    let mut heard = Vec::new();
    let reading = async { heard = reading.await.unwrap() };
    let answered = close_websocket_sink(&mut sink, restart(), &told, reading).await;
    drop(sink);

    assert!(answered);
    assert_eq!(begun.elapsed(), Duration::ZERO);
    let mut said: Vec<Message> = (0..MESSAGES).map(numbered).collect();
    said.push(restart());
    assert_eq!(client.await.unwrap(), said);
    // The client's close frame, too.
    assert_eq!(heard, said);
}

#[tokio::test(start_paused = true)]
async fn split_socket_whose_client_does_not_answer_is_waited_for_two_seconds() {
    let (server, client) = sockets().await;
    let told = told(Plan::immediate()).await;
    let (mut sink, stream) = server.split();

    let begun = Instant::now();
    let answered = close_websocket_sink(&mut sink, restart(), &told, read(stream)).await;

    assert!(!answered);
    assert_eq!(begun.elapsed(), secs(2));
    drop(client);
}

// Its buffers are full in both directions.
#[tokio::test(start_paused = true)]
async fn split_socket_is_closed_though_its_client_reads_only_when_what_it_sends_has_arrived() {
    let (server, mut client) = sockets().await;
    let told = told(Plan::immediate()).await;
    let (mut sink, stream) = server.split();
    let large = || Message::binary(vec![0; 1 << 18]);
    let client = tokio::spawn(async move {
        client.send(large()).await.unwrap();
        while client.next().await.is_some() {}
    });
    // More than a pipe holds, and not flushed.
    let full = sink.send(large());
    assert!(timeout(secs(1), full).await.is_err());

    assert!(close_websocket_sink(&mut sink, restart(), &told, read(stream)).await);
    drop(sink);
    client.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn split_socket_whose_client_is_gone_is_not_waited_for() {
    let (server, client) = sockets().await;
    let told = told(Plan::immediate()).await;
    let (mut sink, stream) = server.split();
    drop(client);

    let begun = Instant::now();
    let answered = close_websocket_sink(&mut sink, restart(), &told, pending::<()>()).await;

    assert!(!answered);
    assert_eq!(begun.elapsed(), Duration::ZERO);
    drop(stream);
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
