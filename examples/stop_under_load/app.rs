//! The application: the same in every column.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{RawQuery, Request, State};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};
use futures_util::stream;
use tokio::time::sleep;

use crate::entered::Entered;

/// On every answer: the request that it belongs to.
pub(crate) const ID: &str = "x-id";

const SLOW: Duration = Duration::from_millis(20);
const SLOWER: u64 = 30;
const PIECES: u32 = 5;
const BETWEEN_PIECES: Duration = Duration::from_millis(5);

/// Every path takes the request's number as its query: `/quick?17`.
pub(crate) fn app(entered: Entered) -> Router {
    Router::new()
        .route("/quick", any(|_: Bytes| async { "hello\n" }))
        .route("/slow", any(slow))
        .route("/pieces", get(pieces))
        .route("/upload", post(upload))
        .route("/early", post(|| async { "I have seen enough\n" }))
        .layer(from_fn_with_state(Arc::new(entered), enter))
}

/// Before anything else: the request is noted.
async fn enter(
    State(entered): State<Arc<Entered>>,
    RawQuery(query): RawQuery,
    request: Request,
    next: Next,
) -> Response {
    let Some(id) = query.and_then(|query| query.parse().ok()) else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    if entered.note(id).is_err() {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    }
    let mut response = next.run(request).await;
    let name = HeaderName::from_static(ID);
    response.headers_mut().insert(name, HeaderValue::from(id));
    response
}

/// 20 to 50 ms.
async fn slow(RawQuery(query): RawQuery, _: Bytes) -> &'static str {
    let id: u64 = query.and_then(|query| query.parse().ok()).unwrap_or(0);
    sleep(SLOW + Duration::from_millis(id % (SLOWER + 1))).await;
    "at last\n"
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

async fn upload(body: Bytes) -> String {
    format!("{}\n", body.len())
}
