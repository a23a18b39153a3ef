//! A paused clock beside clients that run outside the runtime: over real sockets, on threads of their own.
//!
//! Such a clock jumps to the next timer as soon as the runtime has nothing to do. It does not know that a client's bytes are on
//! their way.

#![cfg(feature = "hyper")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use lameduck::{Plan, Server, ShutdownCoordinator};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

const CLIENTS: usize = 20;

#[tokio::test(start_paused = true)]
async fn clients_on_threads_are_answered_in_normal_service() {
    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    let listener = lameduck::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    lameduck::serve(listener, hello(), &shutdown.handle());

    assert_eq!(answered(address).await, CLIENTS);
}

#[tokio::test(start_paused = true)]
async fn clients_on_threads_are_answered_where_connections_have_an_age() {
    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    let listener = lameduck::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    Server::new(&shutdown.handle())
        .max_connection_age(Duration::from_secs(600))
        .serve(listener, hello());

    assert_eq!(answered(address).await, CLIENTS);
}

// The control.
#[tokio::test(start_paused = true)]
async fn clients_on_threads_are_answered_by_axum() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(axum::serve(listener, hello()).into_future());

    assert_eq!(answered(address).await, CLIENTS);
}

fn hello() -> Router {
    Router::new().route("/", get(async || "hello"))
}

/// How many of the clients, each on a connection of its own, are answered.
async fn answered(address: SocketAddr) -> usize {
    let mut answered = 0;
    for _ in 0..CLIENTS {
        // Not `spawn_blocking`: tokio stops a paused clock while that runs.
        let (say, said) = oneshot::channel();
        thread::spawn(move || say.send(ask(address)));
        let answer = said.await.unwrap();
        answered += usize::from(answer.is_some_and(|it| it.ends_with("hello")));
    }
    answered
}

/// Asks in two pieces, after a moment of silence, as a client that is busy does.
fn ask(address: SocketAddr) -> Option<String> {
    const MOMENT: Duration = Duration::from_millis(5);
    let mut stream = TcpStream::connect(address).ok()?;
    for piece in ["GET / HTTP/1.1\r\n", "Host: test\r\n\r\n"] {
        thread::sleep(MOMENT);
        stream.write_all(piece.as_bytes()).ok()?;
    }
    let mut answer = vec![0; 1024];
    let length = stream.read(&mut answer).ok()?;
    String::from_utf8(answer[..length].to_vec()).ok()
}
