use std::process::ExitCode;

use axum::Router;
use axum::routing::get;
use lameduck::{Plan, ShutdownCoordinator};

#[tokio::main]
async fn main() -> Result<ExitCode, Box<dyn std::error::Error>> {
    let shutdown = ShutdownCoordinator::new(Plan::from_env()?);
    let handle = shutdown.handle();
    lameduck::signal::listen(&handle)?;
    let app = Router::new()
        .route("/", get(|| async { "hello" }))
        .route_service("/livez", lameduck::liveness(&handle))
        .route_service("/readyz", lameduck::readiness(&handle));
    let listener = lameduck::bind("0.0.0.0:3000").await?;
    lameduck::serve(listener, app, &handle);
    Ok(shutdown.run().await.exit_code())
}
