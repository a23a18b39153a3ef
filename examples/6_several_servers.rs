//! Several servers under one coordinator: an API, an internal API on a Unix socket, and probes that stay to the end.
//!
//! ```console
//! $ cargo run --example several_servers
//! api on 127.0.0.1:3000, probes on 127.0.0.1:3001, internal on lameduck-internal.sock
//! $ curl --unix-socket lameduck-internal.sock http://internal/
//! in flight: 1, connections: 1
//! ```
//!
//! The socket file lies in the directory for temporary files, or where the third argument says; the line says where. It is
//! left there at the end: by then the path may belong to a successor, whose file would be removed. The next start replaces it.

use std::error::Error;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use axum::Router;
use axum::extract::{ConnectInfo, State};
use axum::routing::get;
use lameduck::{Plan, Server, ShutdownCoordinator, ShutdownHandle};
use tokio::net::UnixListener;

#[tokio::main]
async fn main() -> Result<ExitCode, Box<dyn Error>> {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .init();
    let mut args = std::env::args().skip(1);
    let address = args.next().unwrap_or("127.0.0.1:3000".to_owned());
    let admin_address = args.next().unwrap_or("127.0.0.1:3001".to_owned());
    let socket = match args.next() {
        Some(path) => PathBuf::from(path),
        None => std::env::temp_dir().join("lameduck-internal.sock"),
    };

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
        .request_extension(|_, peer: &SocketAddr| ConnectInfo(*peer))
        .serve(api, Router::new().route("/", get(hello)));

    let internal = bind_unix(&socket)?;
    let app = Router::new()
        .route("/", get(load))
        .with_state(handle.clone());
    Server::new(&handle).name("internal").serve(internal, app);
    println!(
        "api on {api_at}, probes on {admin_at}, internal on {}",
        socket.display()
    );

    let report = shutdown.run().await;
    println!("{report}");
    Ok(report.exit_code())
}

/// Listens at `path`, whatever lies there: a file that was left behind, or the socket of a predecessor that is still leaving.
///
/// A rename replaces a file in one step, so there is no moment at which clients find nothing.
fn bind_unix(path: &Path) -> std::io::Result<UnixListener> {
    let own = path.with_extension(format!("{}.sock", std::process::id()));
    let listener = UnixListener::bind(&own)?;
    std::fs::rename(own, path)?;
    Ok(listener)
}

async fn hello(ConnectInfo(peer): ConnectInfo<SocketAddr>) -> String {
    format!("hello {peer}\n")
}

async fn load(State(handle): State<ShutdownHandle>) -> String {
    let (in_flight, connections) = (handle.in_flight(), handle.connections());
    format!("in flight: {in_flight}, connections: {connections}\n")
}
