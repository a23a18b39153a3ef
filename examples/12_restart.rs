//! A restart on one host: the successor takes over the listener, and no client notices.
//!
//! ```console
//! $ cargo run --example restart --features restart
//! process 4711 listens on 127.0.0.1:3000
//! $ curl http://127.0.0.1:3000
//! process 4711
//! $ kill -HUP 4711
//! process 4712 listens on 127.0.0.1:3000
//! $ curl http://127.0.0.1:3000
//! process 4712
//! ```
//!
//! The old process leaves when the new one has been ready for a second:
//!
//! ```text
//! left in 0.031 s of 9.000 s, clean: requested: process 4712 has taken over
//! ```
//!
//! Build a new version in between, and it is the one that takes over. One that does not start changes nothing.
//!
//! The same program runs under systemd, where the socket unit keeps the listener: see `examples/systemd/`.

use std::error::Error;
use std::process::ExitCode;

use axum::Router;
use axum::routing::get;
use lameduck::restart::Restart;
use lameduck::systemd::{self, Listeners};
use lameduck::{Plan, ShutdownCoordinator};
use tokio::signal::unix::SignalKind;

#[tokio::main]
async fn main() -> Result<ExitCode, Box<dyn Error>> {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .init();
    let address = std::env::args().nth(1).unwrap_or("127.0.0.1:3000".into());
    // From systemd, or from the process before this one.
    let mut passed = Listeners::from_env()?;

    let shutdown = ShutdownCoordinator::new(Plan::from_env()?);
    let handle = shutdown.handle();
    lameduck::signal::listen(&handle)?;
    systemd::notify(&handle)?;

    let listener = passed.tcp_or_bind("http", address.as_str()).await?;
    Restart::new(&handle)?
        .pass("http", &listener)?
        .at(SignalKind::hangup())?;

    let process = std::process::id();
    println!("process {process} listens on {}", listener.local_addr()?);
    let app = Router::new()
        .route("/", get(async move || format!("process {process}\n")))
        .route_service("/readyz", lameduck::readiness(&handle));
    lameduck::serve(listener, app, &handle);

    let report = shutdown.run().await; // ready
    println!("{report}");
    Ok(report.exit_code())
}
