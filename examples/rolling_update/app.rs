//! The application: what every replica serves, in every column.

use std::convert::Infallible;
use std::future::pending;
use std::path::Path;
use std::pin::pin;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade};
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::response::sse::{Event, Sse};
use axum::routing::{get, post};
use futures_util::stream::{self, Stream};
use lameduck::{Moment, close_websocket};
use sqlx::SqlitePool;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use tokio::time::sleep;

const SLOW: Duration = Duration::from_millis(50);
const PIECES: u32 = 5;
const BETWEEN_PIECES: Duration = Duration::from_millis(10);
/// In IANA's registry of close codes.
const SERVICE_RESTART: u16 = 1012;
const BETWEEN_EVENTS: Duration = Duration::from_millis(500);

pub(crate) fn app(pool: SqlitePool) -> Router {
    Router::new()
        .route("/", get(|| async { "hello\n" }))
        .route("/slow", get(slow))
        .route("/long", get(long))
        .route("/stream", get(pieces))
        .route("/notes", post(write))
        .route("/events", get(events))
        .route("/ws", get(upgrade))
        .with_state(pool)
}

/// The database of one replica.
pub(crate) async fn open(file: &Path) -> Result<SqlitePool, sqlx::Error> {
    let options = SqliteConnectOptions::new()
        .filename(file)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Normal);
    // SQLite has one writer at a time.
    let pool = SqlitePoolOptions::new()
        .max_connections(1)
        .connect_with(options)
        .await?;
    sqlx::query("CREATE TABLE IF NOT EXISTS notes (text TEXT NOT NULL)")
        .execute(&pool)
        .await?;
    Ok(pool)
}

async fn slow() -> &'static str {
    sleep(SLOW).await;
    "at last\n"
}

/// As many milliseconds as the query says: `/long?5000`.
async fn long(RawQuery(query): RawQuery) -> Result<&'static str, StatusCode> {
    let milliseconds = query
        .and_then(|query| query.parse().ok())
        .ok_or(StatusCode::BAD_REQUEST)?;
    sleep(Duration::from_millis(milliseconds)).await;
    Ok("at long last\n")
}

async fn pieces() -> Body {
    Body::from_stream(stream::unfold(0, |piece| async move {
        if piece == PIECES {
            return None;
        }
        sleep(BETWEEN_PIECES).await;
        let bytes = Bytes::from_static(b"a piece\n");
        Some((Ok::<_, Infallible>(bytes), piece + 1))
    }))
}

async fn write(State(pool): State<SqlitePool>, text: String) -> Result<&'static str, StatusCode> {
    let written = sqlx::query("INSERT INTO notes (text) VALUES (?)")
        .bind(text)
        .execute(&pool)
        .await;
    written
        .map(|_| "written\n")
        .map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)
}

async fn events() -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    Sse::new(stream::unfold((), |()| async {
        sleep(BETWEEN_EVENTS).await;
        Some((Ok(Event::default().data("tick")), ()))
    }))
}

async fn upgrade(upgrade: WebSocketUpgrade) -> Response {
    // Only `lameduck` has one: the handler is the same in all columns.
    let moment = Moment::current();
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
