//! Requests, one after the other, on one connection.

use bytes::Bytes;
use http::Request;
use http_body::Body;
use hyper::body::Incoming;
use lameduck::server::RequestNames;
use lameduck::{DrainLayer, Plan, ShutdownCoordinator};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tower::Layer;
use tower_http::metrics::InFlightRequestsLayer;

use crate::servers::{self, App};
use crate::wire::client::{Client, REQUEST};
use crate::wire::{Connector, Listener, Version, connector};

/// The servers by name, the first without any server: client and transport alone.
pub const SERVERS: [&str; 9] = [
    "wire",
    "bare",
    "hyper-util",
    "axum",
    "tower-http",
    "layer",
    "lameduck",
    "lameduck-off",
    "lameduck+layer",
];

/// What it is called in a table.
pub fn describe(server: &str) -> &str {
    match server {
        "bare" => "hyper-util `auto`, bare",
        "hyper-util" => "hyper-util GracefulShutdown",
        "axum" => "axum::serve, graceful",
        "tower-http" => "bare + tower-http InFlightRequestsLayer",
        "layer" => "bare + lameduck DrainLayer",
        "lameduck" => "lameduck::serve",
        "lameduck-off" => "lameduck::serve, requests not named",
        "lameduck+layer" => "lameduck::serve + DrainLayer",
        _ => server,
    }
}

/// `http1/router/bare`: the version, the application, the server.
pub fn run(name: &str, times: u64) {
    with_server(name, async move |connect, version| {
        let mut client = Client::open(connect.connect(), version).await;
        for _ in 0..times {
            client.request().await;
        }
    });
}

/// Starts the server of that name, and lets `work` use it.
pub fn with_server(name: &str, work: impl AsyncFnOnce(Connector, Version)) {
    let parts: Vec<&str> = name.split('/').collect();
    let [version, app, server] = parts[..] else {
        panic!("version, application, server: {name}");
    };
    let version = match version {
        "http1" => Version::Http1,
        "http2" => Version::Http2,
        _ => panic!("no such version: {version}"),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime can be had");
    runtime.block_on(async {
        let shutdown = ShutdownCoordinator::new(Plan::immediate());
        let (connector, listener) = connector();
        match (server, app) {
            ("wire", _) => drop(tokio::spawn(wire(listener, version))),
            ("axum", _) => {
                let served = axum::serve(listener, servers::router());
                let served = served.with_graceful_shutdown(std::future::pending());
                tokio::spawn(served.into_future());
            }
            (_, "router") => serve(server, listener, servers::router(), &shutdown),
            _ => serve(server, listener, servers::plain(), &shutdown),
        }
        work(connector, version).await;
    });
}

fn serve<S, B>(server: &str, listener: Listener, app: S, shutdown: &ShutdownCoordinator)
where
    S: App<B>,
    B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send + 'static,
    S: tower::Service<Request<Incoming>>,
{
    let handle = shutdown.handle();
    match server {
        "bare" => drop(tokio::spawn(servers::bare(listener, app))),
        "hyper-util" => drop(tokio::spawn(servers::hyper_util(listener, app))),
        "tower-http" => {
            let (layer, _) = InFlightRequestsLayer::pair();
            tokio::spawn(servers::bare(listener, layer.layer(app)));
        }
        "layer" => {
            let app = DrainLayer::new(&handle).layer(app);
            tokio::spawn(servers::bare(listener, app));
        }
        "lameduck" => servers::lameduck(listener, app, &handle, RequestNames::MethodAndPath),
        "lameduck-off" => servers::lameduck(listener, app, &handle, RequestNames::Off),
        "lameduck+layer" => {
            let app = DrainLayer::new(&handle).layer(app);
            servers::lameduck(listener, app, &handle, RequestNames::MethodAndPath);
        }
        _ => panic!("no such server: {server}"),
    }
}

/// Answers with fixed bytes, of the length of a real answer.
async fn wire(mut listener: Listener, version: Version) {
    let (hello, request, response) = match version {
        Version::Http1 => (0, REQUEST.len(), HTTP1_RESPONSE.to_vec()),
        Version::Http2 => (24 + 9, 9 + 41, http2_response()),
    };
    while let Some(mut io) = listener.next().await {
        let response = response.clone();
        tokio::spawn(async move {
            let mut bytes = vec![0; hello.max(request)];
            io.read_exact(&mut bytes[..hello]).await?;
            while io.read_exact(&mut bytes[..request]).await.is_ok() {
                let stream = [bytes[5], bytes[6], bytes[7], bytes[8]];
                if version == Version::Http2 {
                    let mut response = response.clone();
                    let length = response.len();
                    response[5..9].copy_from_slice(&stream);
                    // The frame of the data: its head, and five bytes.
                    response[length - 9..length - 5].copy_from_slice(&stream);
                    io.write_all(&response).await?;
                } else {
                    io.write_all(&response).await?;
                }
            }
            io.shutdown().await
        });
    }
}

const HTTP1_RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: 5\r\ndate: Thu, 01 Jan 1970 00:00:00 GMT\r\n\r\nhello";

fn http2_response() -> Vec<u8> {
    let mut response = vec![0, 0, 40, 1, 4, 0, 0, 0, 0, 0x88];
    response.extend([0; 39]);
    response.extend([0, 0, 5, 0, 1, 0, 0, 0, 0]);
    response.extend(b"hello");
    response
}
