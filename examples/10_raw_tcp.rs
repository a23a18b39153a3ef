//! A protocol that is not HTTP: a small key-value store that speaks lines, as Redis does inline.
//!
//! ```console
//! $ cargo run --no-default-features --features net,signal --example raw_tcp
//! listening on 127.0.0.1:3000
//! $ nc 127.0.0.1 3000
//! SET name duck
//! +OK
//! GET name
//! +duck
//! ```
//!
//! Its clients are not told to leave: the protocol has no words for that. So each connection goes on at SIGTERM, and ends at a moment of
//! its own, when its client pauses. Every command that was begun is answered. The report says:
//!
//! ```text
//! requests after T0: 212 served, 0 refused; last arrival T0+0.410 s
//! cut at the end of Close: 0 requests, tasks and guards
//! connections after T0: 1 closed, 0 cut
//! ```
//!
//! What lasts in such a protocol (a subscription, say) is `ConnectionGroup::watch_raw`'s: it is given its `Moment`.

use std::collections::HashMap;
use std::error::Error;
use std::io;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

use lameduck::server::{ConnectionGroup, Session};
use lameduck::{Plan, ShutdownCoordinator, ShutdownHandle};
use tokio::io::AsyncWriteExt;
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
    let store = Store::default();
    let connections = ConnectionGroup::new(&handle).name("store");
    let mut accepting = connections.accept(listener);
    while let Some((stream, peer)) = accepting.next().await {
        let store = store.clone();
        let work = async move |session| {
            if let Err(error) = serve(session, store).await {
                tracing::debug!(%peer, %error, "connection failed");
            }
        };
        // Counted here, before the task is spawned.
        if let Some(connection) = connections.watch_session(stream, peer, work) {
            tokio::spawn(connection);
        }
    }
}

async fn serve(mut session: Session<TcpStream>, store: Store) -> io::Result<()> {
    // A command is in flight until the next one is asked for.
    while let Some(command) = session.next(line).await? {
        let answer = store.run(&command);
        session.write_all(answer.as_bytes()).await?;
    }
    Ok(())
}

/// A line, and how many bytes it takes. `None` if its end has not come.
fn line(bytes: &[u8]) -> io::Result<Option<(String, usize)>> {
    const LONGEST: usize = 64 * 1024;
    let Some(end) = bytes.iter().position(|&byte| byte == b'\n') else {
        return match bytes.len() {
            0..LONGEST => Ok(None),
            _ => Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "too long a line",
            )),
        };
    };
    let line = String::from_utf8_lossy(&bytes[..end]);
    Ok(Some((line.trim_end().to_owned(), end + 1)))
}

#[derive(Clone, Default)]
struct Store(Arc<Mutex<HashMap<String, String>>>);

impl Store {
    /// The answer, with its end of line.
    fn run(&self, command: &str) -> String {
        let mut values = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match command.splitn(3, ' ').collect::<Vec<_>>()[..] {
            ["PING"] => "+PONG\r\n".to_owned(),
            ["SET", key, value] => {
                values.insert(key.to_owned(), value.to_owned());
                "+OK\r\n".to_owned()
            }
            ["GET", key] => match values.get(key) {
                Some(value) => format!("+{value}\r\n"),
                None => "$-1\r\n".to_owned(),
            },
            _ => "-ERR unknown command\r\n".to_owned(),
        }
    }
}
