//! A protocol that is not HTTP: every line is echoed, and each client is told to leave at a moment of its own.
//!
//! ```console
//! $ cargo run --no-default-features --features net,signal --example raw_tcp
//! listening on 127.0.0.1:3000
//! $ nc 127.0.0.1 3000
//! hello
//! hello
//! ```
//!
//! At SIGTERM the client reads `bye`, and the report says:
//!
//! ```text
//! connections after T0: 1 closed, 0 cut
//! long-lived: 1 told to end, 0 cut
//! ```

use std::error::Error;
use std::process::ExitCode;

use lameduck::server::ConnectionGroup;
use lameduck::{Moment, Plan, ShutdownCoordinator, ShutdownHandle};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

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
    let connections = ConnectionGroup::new(&handle).name("echo");
    let mut accepting = connections.accept(listener);
    while let Some((stream, peer)) = accepting.next().await {
        let work = async move |moment| {
            if let Err(error) = echo(stream, moment).await {
                tracing::debug!(%peer, %error, "connection failed");
            }
        };
        // Counted here, before the task is spawned; dropped at Close's deadline if it has not ended by itself.
        if let Some(connection) = connections.watch_raw(peer, work) {
            tokio::spawn(connection);
        }
    }
}

async fn echo(stream: TcpStream, mut moment: Moment) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    loop {
        tokio::select! {
            read = stream.read_line(&mut line) => {
                if read? == 0 {
                    return Ok(());
                }
                stream.write_all(line.as_bytes()).await?;
                line.clear();
            }
            _ = &mut moment => {
                stream.write_all(b"bye\n").await?;
                return stream.shutdown().await;
            }
        }
    }
}
