//! The servers that are put under load: each with one thread, on a core of its own, with and without TCP_NODELAY.

use std::net::SocketAddr;

use axum::Router;
use axum::routing::get;
use axum::serve::ListenerExt;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use lameduck::{Plan, Server, ShutdownCoordinator};
use tokio::net::TcpListener;
use tonic::service::Routes;
use tonic::transport::server::TcpIncoming;

use crate::wire::client::ANSWER;

/// A server, and whether TCP_NODELAY is set on its connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loaded {
    pub name: &'static str,
    /// What [`run`] is told.
    pub server: &'static str,
    pub nodelay: bool,
}

const fn loaded(name: &'static str, server: &'static str, nodelay: bool) -> Loaded {
    Loaded {
        name,
        server,
        nodelay,
    }
}

pub const SERVERS: [Loaded; 9] = [
    loaded("hyper-util `auto`, bare", "bare", false),
    loaded("hyper-util `auto`, bare, nodelay", "bare", true),
    loaded("axum::serve", "axum", false),
    loaded("axum::serve, nodelay", "axum", true),
    loaded("tonic, no nodelay", "tonic", false),
    loaded("tonic, nodelay", "tonic", true),
    loaded("lameduck::serve, no nodelay", "lameduck", false),
    loaded("lameduck::serve, nodelay", "lameduck", true),
    loaded(
        "lameduck::serve, nodelay, responses not gathered",
        "lameduck alone",
        true,
    ),
];

/// A short answer, one of 1 kB, which h2 does not copy, and one of 16 kB.
pub const SMALL: &str = "/orders/17";
pub const MEDIUM: &str = "/customers/17";
pub const LARGE: &str = "/pages/17";

static PAGE: [u8; 16_384] = [b'x'; 16_384];

/// Runs a server until it is killed.
#[tokio::main(worker_threads = 1)]
pub async fn run(server: &str, nodelay: bool) {
    let address = SocketAddr::from(([127, 0, 0, 1], 0));
    let listener = TcpListener::bind(address).await.expect("a port is free");
    println!(
        "port {}",
        listener.local_addr().expect("it is bound").port()
    );
    let app = Router::new()
        .route("/orders/{id}", get(async || ANSWER))
        .route("/customers/{id}", get(async || &PAGE[..1024]))
        .route("/pages/{id}", get(async || &PAGE[..]));
    match server {
        "bare" => bare(listener, app, nodelay).await,
        "axum" => {
            let listener = listener.tap_io(move |io| set(io, nodelay));
            axum::serve(listener, app).await.expect("it can accept");
        }
        "tonic" => {
            let incoming = TcpIncoming::from(listener).with_nodelay(Some(nodelay));
            let mut server = tonic::transport::Server::builder().accept_http1(true);
            let server = server.add_routes(Routes::from(app));
            let served = server.serve_with_incoming(incoming).await;
            served.expect("it can accept");
        }
        "lameduck" | "lameduck alone" => {
            let shutdown = ShutdownCoordinator::new(Plan::immediate());
            drop(
                Server::new(&shutdown)
                    .tcp_nodelay(nodelay)
                    .gather_responses(server == "lameduck")
                    .serve(listener, app),
            );
            shutdown.run().await;
        }
        _ => panic!("no such server: {server}"),
    }
}

async fn bare(listener: TcpListener, app: Router, nodelay: bool) {
    while let Ok((io, _)) = listener.accept().await {
        set(&io, nodelay);
        let app = TowerToHyperService::new(app.clone());
        tokio::spawn(async move {
            let builder = auto::Builder::new(TokioExecutor::new());
            let served = builder.serve_connection_with_upgrades(TokioIo::new(io), app);
            let _ = served.await;
        });
    }
}

fn set(io: &tokio::net::TcpStream, nodelay: bool) {
    io.set_nodelay(nodelay).expect("it is a TCP socket");
}
