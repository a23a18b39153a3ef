//! The clients: real WebSockets, which stay until they are told.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

/// So many open at the same time: fewer than any backlog has room for.
const AT_ONCE: usize = 64;
/// For all of them, on a machine that is busy.
const OPENING: Duration = Duration::from_secs(120);
/// Small, because the clients are not what is measured.
const BUFFER: usize = 1024;

pub(crate) type Socket = WebSocketStream<TcpStream>;

/// What a client saw of the end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct End {
    /// When the close frame came, or the end of the connection without one.
    pub(crate) at: SystemTime,
    /// The close frame's code.
    pub(crate) code: Option<u16>,
    /// The connection was ended behind it, and not reset.
    pub(crate) whole: bool,
}

/// Opens so many, and has each of them echo once.
pub(crate) async fn open(address: SocketAddr, number: usize) -> Result<Vec<Socket>, String> {
    let permits = Arc::new(Semaphore::new(AT_ONCE));
    let mut opening = JoinSet::new();
    for _ in 0..number {
        let permits = Arc::clone(&permits);
        opening.spawn(async move {
            let _permit = permits.acquire().await;
            open_one(address).await
        });
    }
    let opened = timeout(OPENING, opening.join_all()).await;
    let opened = opened.map_err(|_| format!("{number} clients did not get in"))?;
    opened
        .into_iter()
        .collect::<Result<_, _>>()
        .map_err(|error| format!("a client did not get in: {error}"))
}

async fn open_one(address: SocketAddr) -> Result<Socket, Box<dyn std::error::Error + Send + Sync>> {
    let config = WebSocketConfig::default()
        .read_buffer_size(BUFFER)
        .write_buffer_size(BUFFER);
    let stream = TcpStream::connect(address).await?;
    let url = format!("ws://{address}/");
    let (mut socket, _) = client_async_with_config(url, stream, Some(config)).await?;
    socket.send(Message::text("hello")).await?;
    match socket.next().await {
        Some(Ok(Message::Text(text))) if text.as_str() == "hello" => Ok(socket),
        other => Err(format!("{other:?} in place of an echo").into()),
    }
}

/// Each stays, in a task of its own, until the connection has ended.
pub(crate) fn stay(sockets: Vec<Socket>) -> JoinSet<End> {
    sockets.into_iter().map(until_the_end).collect()
}

async fn until_the_end(mut socket: Socket) -> End {
    let message = loop {
        match socket.next().await {
            Some(Ok(Message::Close(frame))) => break Some(frame),
            Some(Ok(_)) => {}
            Some(Err(_)) | None => break None,
        }
    };
    // Before the next poll, which sends the answer: until that has arrived, the server must not count this one out.
    let at = SystemTime::now();
    let Some(frame) = message else {
        return End {
            at,
            code: None,
            whole: false,
        };
    };
    // `None` says that both sides have said close and the server has ended the connection.
    let whole = loop {
        match socket.next().await {
            Some(Ok(_)) => {}
            Some(Err(_)) => break false,
            None => break true,
        }
    };
    End {
        at,
        code: frame.map(|frame| u16::from(frame.code)),
        whole,
    }
}
