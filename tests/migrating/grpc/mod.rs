//! gRPC beside REST on one port, written for tonic's `Server`: one method streams.

use std::net::SocketAddr;

use http::uri::PathAndQuery;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tonic::codec::Streaming;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};
use tonic_prost::ProstCodec;

use crate::support::*;

#[expect(
    dead_code,
    unreachable_pub,
    reason = "a program has a `main`, and a test calls its `serve`"
)]
mod after;
#[expect(
    dead_code,
    unreachable_pub,
    reason = "a program has a `main`, and a test calls its `serve`"
)]
mod before;
mod proto;

#[tokio::test(flavor = "multi_thread")]
async fn unary_calls_are_answered_and_streams_end_with_unavailable() {
    let program = After::start(after::serve).await;
    let address = program.address;
    let mut ticks = tick(address).await.unwrap();
    assert_eq!(soon(ticks.message()).await.unwrap().unwrap(), "tick");
    let in_flight = tokio::spawn(greet(address));

    let run = program.begin().await;
    let late = tokio::spawn(greet(address));
    assert_eq!(page(address).await, "a clock\n");
    let end = rest(ticks).await;
    for call in [in_flight, late] {
        assert_eq!(soon(call).await.unwrap().unwrap(), "hello, duck");
    }
    let report = soon(run).await.unwrap();

    assert_eq!(end.code(), Code::Unavailable, "{end:?}");
    assert!(report.is_clean(), "{report}");
    assert_eq!((report.long.told, report.long.cut), (1, 0), "{report}");
    assert_eq!((report.cut, report.connections.cut), (0, 0), "{report}");
}

// The control.
#[tokio::test(flavor = "multi_thread")]
async fn before_a_stream_held_the_program_and_late_calls_were_not_answered() {
    let program = Before::start(before::serve).await;
    let address = program.address;
    let mut ticks = tick(address).await.unwrap();
    assert_eq!(soon(ticks.message()).await.unwrap().unwrap(), "tick");

    program.stop.send(()).unwrap();
    let gone = timeout(millis(2_000), program.gone).await;
    // tonic 0.14.9 has closed the listener by now; 0.14.5 keeps it open, and accepts nothing.
    let late = timeout(millis(2_000), greet(address)).await;

    assert!(gone.is_err(), "it did not wait for the stream");
    assert!(!matches!(late, Ok(Ok(_))), "{late:?}");
    assert_eq!(soon(ticks.message()).await.unwrap().unwrap(), "tick");
}

async fn tick(address: SocketAddr) -> Result<Streaming<String>, Status> {
    let mut grpc = client(address).await?;
    let path = PathAndQuery::from_static("/example.Clock/Tick");
    let call = grpc.server_streaming(Request::new(String::new()), path, codec());
    Ok(soon(call).await?.into_inner())
}

async fn greet(address: SocketAddr) -> Result<String, Status> {
    let mut grpc = client(address).await?;
    let path = PathAndQuery::from_static("/example.Clock/Greet");
    let call = grpc.unary(Request::new("duck".to_owned()), path, codec());
    Ok(soon(call).await?.into_inner())
}

/// A client with a connection of its own.
async fn client(address: SocketAddr) -> Result<tonic::client::Grpc<Channel>, Status> {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
    let channel = soon(endpoint.connect()).await;
    let channel = channel.map_err(|error| Status::from_error(error.into()))?;
    let mut grpc = tonic::client::Grpc::new(channel);
    soon(grpc.ready()).await.unwrap();
    Ok(grpc)
}

fn codec() -> ProstCodec<String, String> {
    ProstCodec::default()
}

/// The status it ends with. All before it is a tick.
async fn rest(mut ticks: Streaming<String>) -> Status {
    loop {
        match soon(ticks.message()).await {
            Ok(Some(message)) => assert_eq!(message, "tick"),
            Ok(None) => return Status::ok(""),
            Err(status) => return status,
        }
    }
}

/// The page, over HTTP/1.
async fn page(address: SocketAddr) -> String {
    let tcp = TokioIo::new(TcpStream::connect(address).await.unwrap());
    let (mut requests, connection) = http1::handshake(tcp).await.unwrap();
    tokio::spawn(connection);
    let request = http::Request::get("/").header("host", "localhost");
    let request = request.body(axum::body::Body::empty()).unwrap();
    let response = soon(requests.send_request(request)).await.unwrap();
    let body = axum::body::Body::new(response.into_body());
    let body = soon(axum::body::to_bytes(body, 100)).await.unwrap();
    String::from_utf8(body.to_vec()).unwrap()
}
