//! Three kinds of connections that last: an event stream, a WebSocket, and gRPC's health service, which is watched.
//!
//! ```console
//! $ cargo run --features axum,tonic --example long_connections
//! listening on 127.0.0.1:3000
//! $ curl -N http://127.0.0.1:3000/events
//! $ grpcurl -plaintext 127.0.0.1:3000 grpc.health.v1.Health/Watch # with grpcurl's copy of health.proto
//! ```
//!
//! Or open the page in a browser: it has one of each of the first two, and says what it sees of them. Then press Ctrl-C, or
//! send SIGTERM. All of them are told at once; in a pod each at a moment of its own:
//!
//! - the event stream ends between two events, and says when to come back. Its handler does nothing for it;
//! - the WebSocket is closed with 1012, "service restart". Its handler waits for that moment;
//! - the watch learns that the service does not serve any more, and ends with UNAVAILABLE.

use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;

use axum::Router;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{Html, Response};
use axum::routing::get;
use futures_util::stream::{self, Stream};
use lameduck::{Moment, Plan, ShutdownCoordinator, close_websocket};
use tokio::time::interval;
use tonic::service::Routes;

/// RFC 6455 leaves it to IANA's registry of close codes: the service is restarted, come back in a moment.
const SERVICE_RESTART: u16 = 1012;

#[tokio::main]
async fn main() -> Result<ExitCode, Box<dyn Error>> {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .init();
    let address = std::env::args().nth(1);
    let address = address.as_deref().unwrap_or("127.0.0.1:3000");

    let shutdown = ShutdownCoordinator::new(Plan::from_env()?);
    let handle = shutdown.handle();
    lameduck::signal::listen(&handle)?;

    let (health, health_server) = lameduck::grpc::health(&handle)?;
    health
        .set_service_status("example.Ticks", tonic_health::ServingStatus::Serving)
        .await;
    let app = Router::new()
        .route("/", get(Html(PAGE)))
        .route("/events", get(events))
        .route("/socket", get(socket))
        .merge(Routes::new(health_server).into_axum_router());
    let listener = lameduck::bind(address).await?;
    println!("listening on {}", listener.local_addr()?);
    lameduck::serve(listener, app, &handle);

    let report = shutdown.run().await;
    println!("{report}");
    Ok(report.exit_code())
}

async fn events() -> Sse<impl Stream<Item = Result<Event, axum::Error>>> {
    let ticks = stream::unfold((interval(TICK), 0_u64), async |(mut clock, tick)| {
        clock.tick().await;
        let event = Event::default().data(tick.to_string());
        Some((Ok(event), (clock, tick + 1)))
    });
    Sse::new(ticks).keep_alive(KeepAlive::default())
}

async fn socket(upgrade: WebSocketUpgrade, moment: Moment) -> Response {
    upgrade.on_upgrade(async |socket| {
        // The client may be gone at any time: then there is nobody left to tell.
        let _ = talk(socket, moment).await;
    })
}

async fn talk(mut socket: WebSocket, mut moment: Moment) -> Result<(), axum::Error> {
    let mut clock = interval(TICK);
    for tick in 0_u64.. {
        tokio::select! {
            _ = clock.tick() => socket.send(tick.to_string().into()).await?,
            message = socket.recv() => match message.transpose()? {
                None | Some(Message::Close(_)) => return Ok(()),
                Some(Message::Text(text)) => socket.send(format!("you said {text}").into()).await?,
                Some(_) => {}
            },
            told = &mut moment => {
                let frame = CloseFrame { code: SERVICE_RESTART, reason: told.reason().to_string().into() };
                close_websocket(&mut socket, Message::Close(Some(frame)), &told).await;
                return Ok(());
            }
        }
    }
    Ok(())
}

const TICK: Duration = Duration::from_secs(1);

const PAGE: &str = r#"<!doctype html>
<meta charset="utf-8">
<title>Long connections</title>
<p>Event stream: <output id="events"></output>
<p>WebSocket: <output id="socket"></output>
<pre id="log"></pre>
<script>
  const log = text => document.getElementById("log").append(`${new Date().toLocaleTimeString()} ${text}\n`);

  // A browser's event stream comes back by itself, after the time that the server named last.
  const events = new EventSource("/events");
  events.onopen = () => log("event stream: open");
  events.onmessage = event => document.getElementById("events").textContent = event.data;
  events.onerror = () => log("event stream: ended, will come back");

  // A WebSocket has to be opened again by the page, and not by all pages at once.
  function open() {
    const socket = new WebSocket(`ws://${location.host}/socket`);
    socket.onopen = () => log("WebSocket: open");
    socket.onmessage = message => document.getElementById("socket").textContent = message.data;
    socket.onclose = end => {
      if (end.code !== 1006) log(`WebSocket: closed with ${end.code}, ${end.reason}`);
      setTimeout(open, 1000 + 2000 * Math.random());
    };
  }
  open();
</script>
"#;
