//! A chat: what one says, all hear.

use std::io;

use axum::Router;
use axum::extract::State;
use axum::extract::ws::{Message, Utf8Bytes, WebSocket, WebSocketUpgrade};
use axum::response::Response;
use axum::routing::get;
use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::broadcast;

type Room = broadcast::Sender<Utf8Bytes>;

#[tokio::main]
async fn main() -> io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let listener = TcpListener::bind("0.0.0.0:3000").await?;
    let stop = async move {
        terminate.recv().await;
    };
    serve(listener, stop).await
}

pub async fn serve(
    listener: TcpListener,
    stop: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let server = axum::serve(listener, app()).with_graceful_shutdown(stop);
    server.await
}

fn app() -> Router {
    let (room, _) = broadcast::channel(100);
    Router::new().route("/chat", get(join)).with_state(room)
}

async fn join(upgrade: WebSocketUpgrade, State(room): State<Room>) -> Response {
    upgrade.on_upgrade(|socket| chat(socket, room))
}

async fn chat(socket: WebSocket, room: Room) {
    let (mut sender, mut receiver) = socket.split();
    let mut said = room.subscribe();
    let mut reading = tokio::spawn(async move {
        while let Some(Ok(Message::Text(text))) = receiver.next().await {
            // Fails when nobody listens.
            let _ = room.send(text);
        }
    });
    let mut writing = tokio::spawn(async move {
        while let Ok(text) = said.recv().await {
            if sender.send(Message::Text(text)).await.is_err() {
                break;
            }
        }
    });
    tokio::select! {
        _ = &mut reading => writing.abort(),
        _ = &mut writing => reading.abort(),
    }
}
