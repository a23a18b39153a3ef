//! Connections that last: WebSockets and event streams.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use tokio::io::AsyncReadExt;
use tokio::time::{sleep, timeout};
use tokio_tungstenite::client_async;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::handshake::client::Request;
use tokio_tungstenite::tungstenite::{Error, Message};

use super::http1::{headers, send};
use super::wire::Wire;
use super::{Field, Ready, answer};
use crate::attempt::{Begun, Fate, Lost, Way};

/// What a client waits for the server's end of the connection behind the close frames.
const FAREWELL: Duration = Duration::from_secs(1);

/// Before another one is opened.
const BETWEEN: Duration = Duration::from_millis(20);

/// Opens a WebSocket, and another one if it ends before the signal, until one has seen the server leave.
pub(crate) async fn websocket(field: Arc<Field>, ready: Ready) {
    let Some(target) = field.routes.websocket.clone() else {
        return;
    };
    let mut ready = Some(ready);
    while !field.cluster.is_told() && !field.has_left() {
        let begun = field.log.begin(Way::WebSocket);
        let opened = open_websocket(&field, &target, begun.number).await;
        ready.take();
        let end = match opened {
            Ok(socket) => farewell(socket).await,
            Err(lost) => Err(lost),
        };
        if !conclude(&field, begun, end).await {
            return;
        }
    }
}

pub(crate) type Socket = tokio_tungstenite::WebSocketStream<Box<dyn super::wire::Io>>;

pub(crate) async fn open_websocket(
    field: &Field,
    target: &str,
    number: u64,
) -> Result<Socket, Lost> {
    let wire = field.connect().await?;
    let request = websocket_request(field, target, number)
        .map_err(|error| (Fate::Rejected, error.to_string()))?;
    match timeout(field.patience, client_async(request, wire.io)).await {
        Ok(Ok((socket, _))) => Ok(socket),
        Ok(Err(Error::Http(answer))) => {
            let status = answer.status();
            Err((Fate::Rejected, format!("status {status}, not 101")))
        }
        Ok(Err(error)) => Err((Fate::Closed, error.to_string())),
        Err(_) => Err(super::hung()),
    }
}

fn websocket_request(field: &Field, target: &str, number: u64) -> Result<Request, Error> {
    let mut request = format!("ws://{}{target}", field.address).into_client_request()?;
    request.headers_mut().insert("drill-request", number.into());
    Ok(request)
}

/// Reads until the server says that it leaves (RFC 6455, section 7.1.2: a close frame), or ends the connection without.
async fn farewell(mut socket: Socket) -> Result<(), Lost> {
    loop {
        match socket.next().await {
            Some(Ok(Message::Close(_))) => {
                // Sends the close frame that answers it.
                let _ = timeout(FAREWELL, async { while socket.next().await.is_some() {} }).await;
                return Ok(());
            }
            Some(Ok(_)) => {}
            Some(Err(error)) => return Err((Fate::Cut, error.to_string())),
            None => return Err((Fate::Cut, "ended without a close frame".to_owned())),
        }
    }
}

/// Opens an event stream, and another one if it ends before the signal, until one has seen the server leave.
pub(crate) async fn events(field: Arc<Field>, ready: Ready) {
    let Some(target) = field.routes.events.clone() else {
        return;
    };
    let mut ready = Some(ready);
    while !field.cluster.is_told() && !field.has_left() {
        let begun = field.log.begin(Way::Events);
        let opened = open_events(&field, &target, begun.number).await;
        ready.take();
        let end = match opened {
            Ok(stream) => stream.end().await,
            Err(lost) => Err(lost),
        };
        if !conclude(&field, begun, end).await {
            return;
        }
    }
}

/// Returns whether to open another one: what ends well before the signal says nothing of how the server leaves.
async fn conclude(field: &Field, begun: Begun, end: Result<(), Lost>) -> bool {
    if end.is_ok() && !field.cluster.is_told() {
        sleep(BETWEEN).await;
        return true;
    }
    if end.is_ok() {
        field.log.told();
    }
    field.log.end(begun, end);
    false
}

pub(crate) struct Stream {
    wire: Wire,
    /// Its end has a mark: a last chunk. Otherwise the connection's end is its end.
    chunked: bool,
}

pub(crate) async fn open_events(field: &Field, target: &str, number: u64) -> Result<Stream, Lost> {
    let mut wire = field.connect().await?;
    let headers = headers(field, number);
    let request = format!("GET {target} HTTP/1.1\r\n{headers}accept: text/event-stream\r\n\r\n");
    send(&mut wire, request.as_bytes()).await;
    let head = timeout(field.patience, answer::stream(&mut wire)).await;
    let (status, chunked) = head.unwrap_or_else(|_| Err(super::hung()))?;
    match status {
        200 => Ok(Stream { wire, chunked }),
        status => Err((Fate::Rejected, format!("status {status}, not 200"))),
    }
}

impl Stream {
    /// Reads until the server ends it.
    async fn end(mut self) -> Result<(), Lost> {
        if self.chunked {
            return answer::chunks(&mut self.wire).await;
        }
        loop {
            self.wire.buffer.clear();
            match self.wire.io.read_buf(&mut self.wire.buffer).await {
                Ok(0) => return Ok(()),
                Ok(_) => {}
                // Without close_notify it cannot be told from a cut (RFC 8446, section 6.1).
                Err(error) => return Err((Fate::Cut, error.to_string())),
            }
        }
    }
}
