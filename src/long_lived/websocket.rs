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
/// frame has been sent. A socket that has been split is closed by [`close_websocket_sink`].
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
    let handshake = async {
        send(socket, close).await?;
        // It ends when both have said close, and with an error when the connection ended before.
        let mut socket = Pin::new(socket);
        while let Some(message) = poll_fn(|cx| socket.as_mut().poll_next(cx)).await {
            message.ok()?;
        }
        Some(())
    };
    in_time(told, handshake).await
}

/// Ends a WebSocket that has been split (`StreamExt::split`): sends `close` on its sink while its stream is read elsewhere, and
/// waits until `reading` is over, for at most 2 s and not past [`Told::deadline`]. Returns whether `close` was sent and `reading`
/// was over by then.
///
/// `reading` is what reads the stream to the client's close frame, or to its end: the handle of a task, or a future that
/// reads it here. It is polled while `close` is sent. Messages that come before the client's close frame reach it, so none is
/// lost. Keep the sink until this returns: the connection ends when both halves are dropped.
///
/// ```
/// # use axum::extract::ws::{CloseFrame, Message, WebSocket};
/// # use futures_util::{SinkExt, StreamExt};
/// # use tokio::sync::mpsc;
/// use lameduck::{Moment, close_websocket_sink};
///
/// /// Sends what others say, while a task of its own reads what this client says.
/// async fn chat(socket: WebSocket, mut others: mpsc::Receiver<String>, mut moment: Moment) {
///     let (mut sink, mut stream) = socket.split();
///     let mut reading = tokio::spawn(async move {
///         while let Some(Ok(message)) = stream.next().await {
///             // passed on to the others
/// #           let _ = message;
///         }
///     });
///     loop {
///         tokio::select! {
///             Some(text) = others.recv() => {
///                 if sink.send(Message::Text(text.into())).await.is_err() { break }
///             }
///             _ = &mut reading => break,
///             told = &mut moment => {
///                 let restart = CloseFrame { code: 1012, reason: "service restart".into() };
///                 let close = Message::Close(Some(restart));
///                 close_websocket_sink(&mut sink, close, &told, &mut reading).await;
///                 break;
///             }
///         }
///     }
///     // A client that has not answered is waited for no longer.
///     reading.abort();
/// }
/// ```
///
/// # Cancel safety
///
/// Not cancel safe: it may have sent the frame, or a part of it.
pub async fn close_websocket_sink<S, M, R>(sink: &mut S, close: M, told: &Told, reading: R) -> bool
where
    S: Sink<M> + Unpin,
    R: Future,
{
    let sending = async { send(sink, close).await.ok_or(()) };
    // Together: a client that is still sending may not read before that has arrived.
    let reading = async {
        reading.await;
        Ok(())
    };
    let handshake = async { tokio::try_join!(sending, reading).ok() };
    in_time(told, handshake).await
}

/// Sends a message. `None` when that fails.
async fn send<S, M>(sink: &mut S, message: M) -> Option<()>
where
    S: Sink<M> + Unpin,
{
    let mut sink = Pin::new(sink);
    poll_fn(|cx| sink.as_mut().poll_ready(cx)).await.ok()?;
    sink.as_mut().start_send(message).ok()?;
    poll_fn(|cx| sink.as_mut().poll_flush(cx)).await.ok()
}

/// Whether a close handshake has succeeded in its time.
async fn in_time<T>(told: &Told, handshake: impl Future<Output = Option<T>>) -> bool {
    let deadline = told.deadline().min(Instant::now() + CLOSE_HANDSHAKE);
    matches!(timeout_at(deadline, handshake).await, Ok(Some(_)))
}
