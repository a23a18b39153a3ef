//! The application: one WebSocket that echoes. The same under both servers.

use std::future::pending;
use std::pin::pin;

use axum::Router;
use axum::extract::State;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade};
use axum::response::Response;
use axum::routing::get;
use lameduck::{Moment, close_websocket};

use crate::server::Buffers;

/// In IANA's registry of close codes.
pub(crate) const SERVICE_RESTART: u16 = 1012;

pub(crate) fn app(buffers: Buffers) -> Router {
    Router::new().route("/", get(upgrade)).with_state(buffers)
}

/// There is a moment under `lameduck` only.
async fn upgrade(
    State(buffers): State<Buffers>,
    moment: Option<Moment>,
    upgrade: WebSocketUpgrade,
) -> Response {
    let upgrade = match buffers {
        Buffers::Small => upgrade
            .read_buffer_size(Buffers::SMALL)
            .write_buffer_size(Buffers::SMALL),
        Buffers::Default => upgrade,
    };
    upgrade.on_upgrade(|socket| echo(socket, moment))
}

/// Echoes, until the client leaves or it is time to leave.
async fn echo(mut socket: WebSocket, moment: Option<Moment>) {
    let mut told = pin!(async {
        match moment {
            Some(moment) => moment.await,
            None => pending().await,
        }
    });
    loop {
        tokio::select! {
            message = socket.recv() => {
                let Some(Ok(message)) = message else { return };
                if socket.send(message).await.is_err() {
                    return;
                }
            }
            told = &mut told => {
                let restart = CloseFrame {
                    code: SERVICE_RESTART,
                    reason: "service restart".into(),
                };
                close_websocket(&mut socket, Message::Close(Some(restart)), &told).await;
                return;
            }
        }
    }
}
