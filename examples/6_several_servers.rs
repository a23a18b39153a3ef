//! Several servers under one coordinator: an API, an internal API on a Unix socket, and probes that stay to the end.
//!
//! ```console
//! $ cargo run --example several_servers
//! api on 127.0.0.1:3000, probes on 127.0.0.1:3001, internal on lameduck-internal-4711.sock
//! $ curl --unix-socket lameduck-internal-4711.sock http://internal/
//! in flight: 1, connections: 1
//! ```
//!
//! The socket file lies in the directory for temporary files; the line says where.

use std::error::Error;
use std::net::SocketAddr;
use std::process::ExitCode;

use axum::Router;
use axum::extract::{ConnectInfo, State};
use axum::routing::get;
use lameduck::{Phase, Plan, Server, ShutdownCoordinator, ShutdownHandle};
use tokio::net::UnixListener;

#[tokio::main]
async fn main() -> Result<ExitCode, Box<dyn Error>> {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .init();
    let mut args = std::env::args().skip(1);
    let address = args.next().unwrap_or("127.0.0.1:3000".to_owned());
    let admin_address = args.next().unwrap_or("127.0.0.1:3001".to_owned());

    let shutdown = ShutdownCoordinator::new(Plan::from_env()?);
    let handle = shutdown.handle();
    lameduck::signal::listen(&handle)?;

    let admin = lameduck::bind(admin_address.as_str()).await?;
    let admin_at = admin.local_addr()?;
    lameduck::serve_admin(admin, lameduck::probes(&handle), &handle);

    let api = lameduck::bind(address.as_str()).await?;
    let api_at = api.local_addr()?;
    Server::new(&handle)
        .name("api")
        // For axum's `ConnectInfo` extractor.
        .request_extension(|peer: &SocketAddr| ConnectInfo(*peer))
        .serve(api, Router::new().route("/", get(hello)));

    let socket =
        std::env::temp_dir().join(format!("lameduck-internal-{}.sock", std::process::id()));
    let internal = UnixListener::bind(&socket)?;
    let app = Router::new()
        .route("/", get(load))
        .with_state(handle.clone());
    Server::new(&handle).name("internal").serve(internal, app);
    println!(
        "api on {api_at}, probes on {admin_at}, internal on {}",
        socket.display()
    );

    shutdown.try_hook(Phase::Exit, "socket file", async move || {
        tokio::fs::remove_file(socket).await
    })?;
    let report = shutdown.run().await;
    println!("{report}");
    Ok(report.exit_code())
}

async fn hello(ConnectInfo(peer): ConnectInfo<SocketAddr>) -> String {
    format!("hello {peer}\n")
}

async fn load(State(handle): State<ShutdownHandle>) -> String {
    let (in_flight, connections) = (handle.in_flight(), handle.connections());
    format!("in flight: {in_flight}, connections: {connections}\n")
}
