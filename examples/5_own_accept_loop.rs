//! An accept loop of your own, with hyper-util's `auto` connections: `lameduck` counts them, tells them, and cuts them.
//!
//! ```console
//! $ cargo run --example own_accept_loop
//! listening on 127.0.0.1:3000
//! ```

use std::error::Error;
use std::process::ExitCode;

use axum::Router;
use axum::routing::get;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use lameduck::server::ConnectionGroup;
use lameduck::{DrainLayer, Plan, ShutdownCoordinator, ShutdownHandle};
use tokio::net::TcpListener;
use tower::Layer;

#[tokio::main]
async fn main() -> Result<ExitCode, Box<dyn Error>> {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .init();
    let shutdown = ShutdownCoordinator::new(Plan::from_env()?);
    let handle = shutdown.handle();
    lameduck::signal::listen(&handle)?;

    let address = std::env::args()
        .nth(1)
        .unwrap_or("127.0.0.1:3000".to_owned());
    let listener = lameduck::bind(address.as_str()).await?;
    println!("listening on {}", listener.local_addr()?);
    tokio::spawn(accept(listener, handle));

    let report = shutdown.run().await;
    println!("{report}");
    Ok(report.exit_code())
}

async fn accept(listener: TcpListener, handle: ShutdownHandle) {
    let app = Router::new().route("/", get(|| async { "hello\n" }));
    let app = DrainLayer::new(&handle).layer(app);
    let connections = ConnectionGroup::new(&handle);
    // Waits errors out, and closes the listener last and emptied: `None` is its end.
    let mut accepting = connections.accept(listener);
    while let Some((stream, peer)) = accepting.next().await {
        let service = TowerToHyperService::new(app.clone());
        let connection = auto::Builder::new(TokioExecutor::new())
            .serve_connection_with_upgrades(TokioIo::new(stream), service)
            .into_owned();
        // Counted here, before the task is spawned.
        if let Some(connection) = connections.watch(connection, peer) {
            tokio::spawn(connection);
        }
    }
}
