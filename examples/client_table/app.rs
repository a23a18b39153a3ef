//! The application: the same in every column.
//!
//! Each handler says on standard output that it was entered, before it does anything else.

use std::convert::Infallible;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, Request, State};
use axum::http::header::CONTENT_LENGTH;
use axum::http::{StatusCode, Uri};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use futures_util::stream;
use http_body_util::BodyExt;
use lameduck::ShutdownHandle;
use tokio::time::sleep;

const PIECE: usize = 64;
const BETWEEN_PIECES: Duration = Duration::from_millis(250);

pub(crate) const REFUSED: &str = "who are you\n";
pub(crate) const ACCEPTED: &str = "it is taken\n";

/// `handle` is lameduck's; the peers have none.
pub(crate) fn app(handle: Option<ShutdownHandle>) -> Router {
    Router::new()
        .route("/large/{bytes}/{key}", get(large))
        .route("/drip/{pieces}/{key}", get(drip))
        .route("/upload/{key}", post(upload))
        .route("/behind/{key}", post(behind))
        .route("/unread/{key}", post(unread))
        .layer(from_fn(enter))
        .with_state(handle)
}

/// The body of a response of that length. No two places that are near each other look the same.
pub(crate) fn pattern(length: usize) -> Vec<u8> {
    /// A prime: no buffer's size is a multiple of it.
    const PERIOD: u8 = 251;
    let period: Vec<u8> = (0..PERIOD).collect();
    // Copied, not counted: the parent and its servers share the machine, and must not be late for this.
    let mut pattern = period.repeat(length / period.len() + 1);
    pattern.truncate(length);
    pattern
}

/// The body of a response that drips.
pub(crate) fn dripped(pieces: usize) -> Vec<u8> {
    pattern(PIECE).repeat(pieces)
}

/// The answer to an upload.
pub(crate) fn count(length: usize) -> String {
    format!("{length}\n")
}

async fn enter(request: Request, next: Next) -> Response {
    println!("entered {}", request.uri().path());
    next.run(request).await
}

async fn large(Path((bytes, _)): Path<(usize, String)>) -> Vec<u8> {
    pattern(bytes)
}

/// A response that takes its time, with a length: HTTP/1.0 has no other end of a body than that and the connection's.
async fn drip(Path((pieces, _)): Path<(usize, String)>) -> Response {
    let body = Body::from_stream(stream::unfold(0, move |piece| async move {
        if piece == pieces {
            return None;
        }
        if piece > 0 {
            sleep(BETWEEN_PIECES).await;
        }
        Some((Ok::<_, Infallible>(Bytes::from(pattern(PIECE))), piece + 1))
    }));
    ([(CONTENT_LENGTH, pieces * PIECE)], body).into_response()
}

async fn upload(body: Body) -> Response {
    match read(body).await {
        Ok(length) => count(length).into_response(),
        Err(error) => (StatusCode::BAD_REQUEST, error.to_string()).into_response(),
    }
}

/// Answers first, and reads the body behind its response.
async fn behind(State(handle): State<Option<ShutdownHandle>>, uri: Uri, body: Body) -> Response {
    let guard = handle.and_then(|handle| handle.guard());
    tokio::spawn(async move {
        let path = uri.path();
        match read(body).await {
            Ok(length) => println!("body {path} {length} whole"),
            Err(error) => println!("body {path} failed: {error}"),
        }
        drop(guard);
    });
    (StatusCode::ACCEPTED, ACCEPTED).into_response()
}

async fn unread() -> Response {
    (StatusCode::UNAUTHORIZED, REFUSED).into_response()
}

async fn read(mut body: Body) -> Result<usize, axum::Error> {
    let mut length = 0;
    while let Some(frame) = body.frame().await {
        length += frame?.data_ref().map_or(0, Bytes::len);
    }
    Ok(length)
}
