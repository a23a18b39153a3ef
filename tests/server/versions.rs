//! Servers that speak one version of HTTP only, beside hyper-util's.

use std::net::SocketAddr;

use hyper::Request;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use lameduck::{Plan, Server, ShutdownHandle};
use tower::ServiceExt;

use crate::frames::*;
use crate::support::*;

async fn serve(server: Server, handle: &ShutdownHandle) -> SocketAddr {
    let listener = lameduck::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    server.serve(listener, hello());
    ready(handle).await;
    address
}

/// The same service behind hyper-util.
async fn control(builder: auto::Builder<TokioExecutor>) -> SocketAddr {
    let listener = lameduck::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((io, _)) = listener.accept().await {
            let app = hello().map_request(|request: Request<Incoming>| request);
            let served = builder.serve_connection(TokioIo::new(io), TowerToHyperService::new(app));
            let _ = served.await;
        }
    });
    address
}

/// What the server says to these bytes, to its end.
async fn answer(address: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut client = Client::connect(address).await;
    client.send(bytes).await;
    let mut all = Vec::new();
    let _ = client.end_into(&mut all).await;
    all
}

#[tokio::test(start_paused = true)]
async fn http1_only_closes_an_http2_connection_without_an_answer_as_hyper_util_does() {
    let (shutdown, handle) = coordinator(Plan::immediate());
    let address = serve(Server::new(&handle).http1_only(), &handle).await;
    let control = control(auto::Builder::new(TokioExecutor::new()).http1_only()).await;
    let begin_http2 = [PREFACE, SETTINGS].concat();

    let closed = answer(address, &begin_http2).await;
    let response = Client::connect(address).await.get("/").await;

    assert_eq!(closed, b"");
    assert_eq!(answer(control, &begin_http2).await, closed);
    assert_eq!(response.text(), "hello");
    assert!(soon(begin(shutdown)).await.unwrap().is_clean());
}

#[tokio::test(start_paused = true)]
async fn http2_only_answers_http1_with_its_settings_and_closes_as_hyper_util_does() {
    let (shutdown, handle) = coordinator(Plan::immediate());
    let address = serve(Server::new(&handle).http2_only(), &handle).await;
    let control = control(auto::Builder::new(TokioExecutor::new()).http2_only()).await;
    let http1 = request("/");

    let refused = answer(address, http1.as_bytes()).await;
    let mut client = Raw::connect(address).await;
    client.0.send(GET).await;
    let body = client.frame_of(DATA).await;

    assert!(is_settings(&refused), "{refused:?}");
    assert!(is_settings(&answer(control, http1.as_bytes()).await));
    assert_eq!(body.payload, b"hello");
    drop(client);
    assert!(soon(begin(shutdown)).await.unwrap().is_clean());
}

/// Whether this is one frame of settings, and no more.
fn is_settings(bytes: &[u8]) -> bool {
    const SETTINGS: u8 = 4;
    matches!(bytes, [0, 0, length, SETTINGS, 0, 0, 0, 0, 0, rest @ ..] if rest.len() == usize::from(*length))
}

#[tokio::test(start_paused = true)]
async fn last_choice_of_a_version_counts() {
    let (_shutdown, handle) = coordinator(Plan::immediate());
    let server = Server::new(&handle).http2_only().http1_only();
    let address = serve(server, &handle).await;

    let response = Client::connect(address).await.get("/").await;

    assert_eq!(response.text(), "hello");
}
