//! Only the layer, under somebody else's server: `axum::serve` keeps its accept loop, `lameduck` counts the requests.
//!
//! ```console
//! $ cargo run --example layer_only
//! listening on 127.0.0.1:3000
//! ```
//!
//! Ask for `/slow` and press Ctrl-C meanwhile: the answer comes, with `Connection: close`, and the process leaves after it.
//! README has a table of what the layer alone cannot do.

use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use lameduck::{DrainLayer, Phase, Plan, ShutdownCoordinator};

#[tokio::main]
async fn main() -> Result<ExitCode, Box<dyn Error>> {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .init();
    let shutdown = ShutdownCoordinator::new(Plan::from_env()?);
    let handle = shutdown.handle();
    lameduck::signal::listen(&handle)?;

    let app = Router::new()
        .route("/", get(|| async { "hello\n" }))
        .route("/slow", get(slow))
        .route_service("/livez", lameduck::liveness(&handle))
        .route_service("/readyz", lameduck::readiness(&handle))
        // Probes are neither waited for nor refused.
        .layer(DrainLayer::new(&handle).exempt(|head| head.uri.path().ends_with("z")));

    let address = std::env::args()
        .nth(1)
        .unwrap_or("127.0.0.1:3000".to_owned());
    let listener = lameduck::bind(address.as_str()).await?;
    println!("listening on {}", listener.local_addr()?);
    // axum closes its listener when Drain begins: routing has had LameDuck to move away.
    let server = axum::serve(listener, app).with_graceful_shutdown(handle.reached(Phase::Drain));
    tokio::spawn(async move { server.await });

    let report = shutdown.run().await;
    println!("{report}");
    Ok(report.exit_code())
}

async fn slow() -> &'static str {
    tokio::time::sleep(Duration::from_secs(2)).await;
    "at last\n"
}
