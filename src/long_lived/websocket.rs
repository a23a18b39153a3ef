//! Closing a WebSocket.

use std::future::poll_fn;
use std::pin::Pin;
use std::time::Duration;

use futures_core::Stream;
use futures_sink::Sink;
use tokio::time::{Instant, timeout_at};

use super::notices::Told;

/// How long the other side's close frame is waited for.
const CLOSE_HANDSHAKE: Duration = Duration::from_secs(2);

/// Ends a WebSocket: sends `close`, then reads until the client has answered it (RFC 6455, section 7.1.2), for at most 2 s
/// and not past [`Told::deadline`]. Returns whether it has.
///
/// `socket` is anything that reads and writes messages: axum's `WebSocket`, tokio-tungstenite's `WebSocketStream`. `close` is
/// its close message; the code for a server that restarts is 1012 ("Service Restart", in IANA's registry of close codes);
/// 1001 says "going away". Messages that come before the client's close frame are discarded, as it is allowed once a close
/// frame has been sent.
///
/// [`Moment`](crate::Moment) has an example.
///
/// # Cancel safety
///
/// Not cancel safe: it may have sent the frame, or a part of it.
pub async fn close_websocket<S, M, E>(socket: &mut S, close: M, told: &Told) -> bool
where
    S: Stream<Item = Result<M, E>> + Sink<M> + Unpin,
{
    let deadline = told.deadline().min(Instant::now() + CLOSE_HANDSHAKE);
    let handshake = async {
        let mut socket = Pin::new(socket);
        poll_fn(|cx| socket.as_mut().poll_ready(cx)).await.ok()?;
        socket.as_mut().start_send(close).ok()?;
        poll_fn(|cx| socket.as_mut().poll_flush(cx)).await.ok()?;
        // It ends when both have said close, and with an error when the connection ended before.
        while let Some(message) = poll_fn(|cx| socket.as_mut().poll_next(cx)).await {
            message.ok()?;
        }
        Some(())
    };
    matches!(timeout_at(deadline, handshake).await, Ok(Some(())))
}
