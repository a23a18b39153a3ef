//! A chat: what one says, all hear.

use std::error::Error;
use std::process::ExitCode;

use axum::Router;
use axum::extract::State;
use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket, WebSocketUpgrade};
use axum::response::Response;
use axum::routing::get;
use futures_util::{SinkExt, StreamExt};
use lameduck::{Moment, Plan, ShutdownCoordinator, ShutdownHandle, close_websocket_sink};
use tokio::net::TcpListener;
use tokio::sync::broadcast;

type Room = broadcast::Sender<Utf8Bytes>;

#[tokio::main]
async fn main() -> Result<ExitCode, Box<dyn Error>> {
    let shutdown = ShutdownCoordinator::new(Plan::from_env()?);
    lameduck::signal::listen(&shutdown)?;
    let listener = lameduck::bind("0.0.0.0:3000").await?;
    serve(listener, &shutdown);
    Ok(shutdown.run().await.exit_code())
}

pub fn serve(listener: TcpListener, handle: &ShutdownHandle) {
    lameduck::serve(listener, app(), handle);
}

fn app() -> Router {
    let (room, _) = broadcast::channel(100);
    Router::new().route("/chat", get(join)).with_state(room)
}

async fn join(upgrade: WebSocketUpgrade, State(room): State<Room>, moment: Moment) -> Response {
    upgrade.on_upgrade(|socket| chat(socket, room, moment))
}

async fn chat(socket: WebSocket, room: Room, mut moment: Moment) {
    let (mut sender, mut receiver) = socket.split();
    let mut said = room.subscribe();
    let mut reading = tokio::spawn(async move {
        while let Some(Ok(Message::Text(text))) = receiver.next().await {
            // Fails when nobody listens.
            let _ = room.send(text);
        }
    });
    let mut writing = tokio::spawn(async move {
        loop {
            let text = tokio::select! {
                biased; // what was said before the moment is sent first
                text = said.recv() => text.ok()?,
                told = &mut moment => return Some((sender, told)),
            };
            sender.send(Message::Text(text)).await.ok()?;
        }
    });
    tokio::select! {
        _ = &mut reading => writing.abort(),
        written = &mut writing => {
            if let Ok(Some((mut sender, told))) = written {
                let restart = CloseFrame { code: 1012, reason: "service restart".into() };
                let close = Message::Close(Some(restart));
                close_websocket_sink(&mut sender, close, &told, &mut reading).await;
            }
            reading.abort();
        }
    }
}
