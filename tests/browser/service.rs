//! The service whose replicas leave. It knows how to close a WebSocket, and nothing of how event streams end.

use std::convert::Infallible;
use std::future::pending;
use std::net::{SocketAddr, TcpListener};
use std::pin::pin;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade};
use axum::response::sse::{Event, Sse};
use axum::response::{Html, Response};
use axum::routing::get;
use futures_util::stream::{self, Stream, StreamExt};
use lameduck::{Moment, ShutdownHandle, close_websocket};
use tokio::runtime::{self, Runtime};

/// When an `EventSource` may come back, as long as nobody is leaving.
const COME_BACK: Duration = Duration::from_millis(100);
/// In IANA's registry of close codes.
const SERVICE_RESTART: u16 = 1012;

/// Each replica says its name to whoever comes.
fn app(name: &'static str) -> Router {
    Router::new()
        .route("/", get(async || Html(include_str!("page.html"))))
        .route("/events", get(events))
        .route("/socket", get(upgrade))
        .with_state(name)
}

async fn events(
    State(name): State<&'static str>,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let first = Event::default().retry(COME_BACK).data(name);
    Sse::new(stream::iter([Ok(first)]).chain(stream::pending()))
}

async fn upgrade(State(name): State<&'static str>, upgrade: WebSocketUpgrade) -> Response {
    // Under plain axum there is none.
    let moment = Moment::current();
    upgrade.on_upgrade(move |socket| talk(socket, name, moment))
}

async fn talk(mut socket: WebSocket, name: &'static str, moment: Option<Moment>) {
    let mut told = pin!(async {
        match moment {
            Some(moment) => moment.await,
            None => pending().await,
        }
    });
    if socket.send(Message::text(name)).await.is_err() {
        return;
    }
    loop {
        tokio::select! {
            message = socket.recv() => {
                let Some(Ok(_)) = message else { return };
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

/// A replica that leaves when its coordinator does.
pub(crate) async fn replica(name: &'static str, handle: &ShutdownHandle) -> SocketAddr {
    let listener = lameduck::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    lameduck::serve(listener, app(name), handle);
    address
}

/// A replica under plain `axum::serve`. Dropping it drops its connections, as the end of its process would.
pub(crate) struct PlainReplica {
    pub(crate) address: SocketAddr,
    runtime: Option<Runtime>,
}

impl PlainReplica {
    pub(crate) fn start(name: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        listener.set_nonblocking(true).unwrap();
        let runtime = runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        runtime.spawn(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            axum::serve(listener, app(name)).await.unwrap();
        });
        PlainReplica {
            address,
            runtime: Some(runtime),
        }
    }
}

impl Drop for PlainReplica {
    fn drop(&mut self) {
        // A runtime may not be waited for inside another.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
