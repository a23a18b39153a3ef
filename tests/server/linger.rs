//! Lingering close: what a client still sends is read until it ends, so that no reset destroys the response.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::http::StatusCode;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use lameduck::server::Timeouts;
use lameduck::{Phase, Plan, Server, ShutdownHandle};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::sleep;

use crate::pipes::*;
use crate::support::*;

const UPLOAD: &str = "POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 1000000\r\n\r\n";

/// Answers without having read the upload.
fn refusing() -> Router {
    Router::new().fallback(|_: Request| async { StatusCode::PAYLOAD_TOO_LARGE })
}

fn serve(timeouts: Timeouts, handle: &ShutdownHandle) -> Door {
    let (door, listener) = pipes();
    Server::new(handle)
        .timeouts(timeouts)
        .serve(listener, refusing());
    door
}

// Case 37, in small and before the shutdown: hyper closes after an answer to an upload that it has not read.
#[tokio::test(start_paused = true)]
async fn after_the_end_of_our_side_the_clients_is_read_until_it_ends() {
    let (_shutdown, handle) = exact(cluster());
    let door = serve(Timeouts::new(), &handle);
    let mut client = door.connect();

    client.send(UPLOAD).await;
    let response = client.response().await;
    let end = client.end().await.unwrap();
    // More than the pipe holds.
    client.send(vec![7; 1_000_000]).await;
    sleep(millis(900)).await;
    let lingering = handle.connections();
    drop(client);
    settle().await;

    assert_eq!((response.status, &*end), (413, &b""[..]));
    assert_eq!((lingering, handle.connections()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_end_is_left_after_1_s() {
    let (_shutdown, handle) = exact(cluster());
    let door = serve(Timeouts::new(), &handle);
    let mut client = door.connect();
    client.send(UPLOAD).await;
    client.response().await;

    let gone = async {
        while handle.connections() > 0 {
            sleep(millis(1)).await;
        }
    };
    let ((), took) = timed(gone).await;

    assert_took(took, seconds(1));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_sends_on_and_on_is_left_after_as_many_bytes_as_are_set() {
    let timeouts = Timeouts::new().lingering_close(Duration::MAX, 10_000);
    let (_shutdown, handle) = exact(cluster());
    let door = serve(timeouts, &handle);
    let mut client = door.connect();
    client.send(UPLOAD).await;
    client.response().await;

    client.send(vec![7; 9_000]).await;
    settle().await;
    let before = handle.connections();
    client.send(vec![7; 1_000]).await;
    settle().await;

    assert_eq!((before, handle.connections()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn lingering_close_can_be_switched_off() {
    let timeouts = Timeouts::new().lingering_close(Duration::ZERO, 0);
    let (_shutdown, handle) = exact(cluster());
    let door = serve(timeouts, &handle);
    let mut client = door.connect();

    client.send(UPLOAD).await;
    client.response().await;
    client.end().await.unwrap();

    assert_eq!(handle.connections(), 0);
}

// It counts to its end, and Close's deadline ends it, too.
#[tokio::test(start_paused = true)]
async fn a_lingering_connection_is_cut_at_the_deadline_of_close_and_named() {
    let timeouts = Timeouts::new().lingering_close(Duration::MAX, usize::MAX);
    let (shutdown, handle) = exact(Plan::immediate());
    let door = serve(timeouts, &handle);
    let mut client = door.connect();
    client.send(UPLOAD).await;
    client.response().await;

    let report = soon(begin(shutdown)).await.unwrap();

    assert!(report.is_clean());
    assert_eq!((report.connections.closed, report.connections.cut), (0, 1));
    let close = report.phase(Phase::Close).unwrap();
    let name = &close.left_behind[0].name;
    assert_eq!(name, "\"pipe\" (HTTP/1: closed, but not by the client)");
}

/// A response that no socket buffer holds, to an upload that is as large. The client reads when it has sent what it can.
const LARGE: usize = 8 << 20;

fn large() -> Router {
    Router::new().fallback(|_: Request| async { (StatusCode::PAYLOAD_TOO_LARGE, vec![7; LARGE]) })
}

/// How much of the response's body arrives.
async fn upload(address: SocketAddr) -> usize {
    let head = format!("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: {LARGE}\r\n\r\n");
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    let (mut reader, mut writer) = stream.split();
    let mut received = Vec::new();
    let send = async {
        // It fails when the server has reset the connection, and a client that is polite enough reads all the same.
        let _ = writer.write_all(&vec![7; LARGE]).await;
    };
    let read = async {
        // Not before the server has answered all of it, as far as it can.
        reader.readable().await.unwrap();
        sleep(millis(50)).await;
        while let Ok(1..) = reader.read_buf(&mut received).await {}
    };
    soon(async { tokio::join!(send, read) }).await;
    let head = received.windows(4).position(|end| end == b"\r\n\r\n");
    head.map_or(0, |head| received.len() - head - 4)
}

// Case 37, on real sockets and a real clock.
#[tokio::test]
async fn a_large_response_to_an_upload_that_nobody_reads_arrives_whole() {
    let (shutdown, handle) = exact(Plan::immediate());
    let (address, _) = start(large(), &handle).await;

    for _ in 0..5 {
        assert_eq!(upload(address).await, LARGE);
    }

    assert!(soon(begin(shutdown)).await.unwrap().is_clean());
}

// The control: hyper closes as soon as it has written, and the kernel drops what has not left yet.
#[tokio::test]
async fn plain_hyper_destroys_a_large_response_to_an_upload_that_nobody_reads() {
    let listener = lameduck::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let service = TowerToHyperService::new(large());
            let connection = http1::Builder::new();
            tokio::spawn(async move {
                let _ = connection
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    });

    // It depends on how much of the upload is unread at that moment.
    let mut tries = 0..100;
    while upload(address).await == LARGE {
        assert!(tries.next().is_some(), "it never bites");
    }
}
