//! The service behind nginx, and what it sees of nginx's connections.

use std::collections::HashMap;
use std::convert::Infallible;
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Path, Request, State};
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::{get, post};
use futures_util::{Stream, stream};
use http_body_util::StreamBody;
use hyper::body::{Bytes, Frame};
use tokio::time::{Instant, sleep};

use crate::millis;

/// What `/hello` takes: with it, a burst of requests stands on as many connections at once.
const MOMENT: Duration = millis(20);

pub(crate) const HELLO: &str = "hello";

const PIECES: usize = 4;
const PIECE: &[u8] = b"a piece of a body, ";

pub(crate) fn app(seen: &Seen) -> Router {
    Router::new()
        .route("/hello", get(hello))
        .route("/echo", post(async |body: Bytes| body))
        .route("/stream/{pause}", get(streamed))
        .layer(middleware::from_fn_with_state(seen.clone(), see))
}

async fn hello() -> &'static str {
    sleep(MOMENT).await;
    HELLO
}

async fn streamed(Path(pause): Path<u64>) -> Body {
    Body::new(StreamBody::new(pieces(millis(pause))))
}

/// A body with a pause before each of its pieces.
pub(crate) fn pieces(
    pause: Duration,
) -> impl Stream<Item = Result<Frame<Bytes>, Infallible>> + Send {
    stream::unfold(0, move |sent| async move {
        if sent == PIECES {
            return None;
        }
        sleep(pause).await;
        Some((Ok(Frame::data(Bytes::from_static(PIECE))), sent + 1))
    })
}

/// What [`pieces`] are when they are put together.
pub(crate) fn all_pieces() -> Vec<u8> {
    PIECE.repeat(PIECES)
}

pub(crate) fn peer<I>(_: &I, peer: &SocketAddr) -> ConnectInfo<SocketAddr> {
    ConnectInfo(*peer)
}

async fn see(State(seen): State<Seen>, request: Request, next: Next) -> Response {
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
    let peer = peer.map(|ConnectInfo(peer)| *peer);
    if let Some(peer) = peer {
        seen.begins(peer);
    }
    let response = next.run(request).await;
    if let Some(peer) = peer {
        seen.ends(peer);
    }
    response
}

/// nginx's connections, as the service sees them. It knows them by their ports, so one with the port of an earlier one is
/// not counted.
#[derive(Clone, Default)]
pub(crate) struct Seen(Arc<Mutex<Connections>>);

#[derive(Default)]
struct Connections {
    idle_since: HashMap<SocketAddr, Instant>,
    counts: Counts,
}

#[derive(Clone, Copy, Default)]
pub(crate) struct Counts {
    pub(crate) connections: usize,
    pub(crate) used_again: usize,
    /// The longest that a connection was idle before it was used again.
    pub(crate) longest_idle: Duration,
}

impl Seen {
    pub(crate) fn counts(&self) -> Counts {
        self.0.lock().unwrap().counts
    }

    fn begins(&self, peer: SocketAddr) {
        let mut seen = self.0.lock().unwrap();
        let idle_since = seen.idle_since.get(&peer).copied();
        let counts = &mut seen.counts;
        match idle_since {
            None => counts.connections += 1,
            Some(since) => {
                counts.used_again += 1;
                counts.longest_idle = counts.longest_idle.max(since.elapsed());
            }
        }
    }

    fn ends(&self, peer: SocketAddr) {
        let mut seen = self.0.lock().unwrap();
        seen.idle_since.insert(peer, Instant::now());
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} connections, used again {} times, once after {:.3?} of nothing",
            self.connections, self.used_again, self.longest_idle
        )
    }
}
