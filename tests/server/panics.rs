//! A panic ends what it is in, and nothing else.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::routing::get;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use lameduck::server::{ConnectionGroup, Timeouts};
use lameduck::{DrainLayer, Phase, Plan, Server, ShutdownHandle};
use tokio::io::DuplexStream;

use crate::frames::*;
use crate::pipes::*;
use crate::support::*;

/// `/handler` panics before it answers, `/body` after its first piece.
fn panicking() -> Router {
    async fn handler() {
        panic!("in the handler");
    }
    let pieces = || {
        futures_util::stream::unfold(0, |piece| async move {
            assert!(piece == 0, "in the body");
            Some((Ok::<_, Infallible>(Bytes::from_static(b"a piece")), 1))
        })
    };
    hello()
        .route("/handler", get(handler))
        .route("/body", get(async move || Body::from_stream(pieces())))
}

// Case 78.
#[tokio::test(start_paused = true)]
async fn a_panic_in_a_handler_or_a_body_ends_its_request_in_any_phase() {
    let (shutdown, handle) = exact(cluster());
    let (door, listener) = pipes();
    lameduck::serve(listener, panicking(), &handle);

    let mut statuses = Vec::new();
    let mut run = None;
    let mut shutdown = Some(shutdown);
    for _ in 0..2 {
        for path in ["/handler", "/body"] {
            let mut client = door.connect();
            client.ask(path).await;
            client.end().await.unwrap();
        }
        statuses.push(door.connect().get("/").await.status);
        settle().await;
        assert_eq!((handle.in_flight(), handle.connections()), (0, 0));
        run = run.or_else(|| shutdown.take().map(begin));
    }

    assert_eq!(statuses, [200, 200]);
    assert!(soon(run.unwrap()).await.unwrap().is_clean());
}

// Case 78: hyper runs the handlers of HTTP/2 in tasks of their own.
#[tokio::test(start_paused = true)]
async fn a_panic_in_a_handler_ends_its_http2_stream_and_not_the_connection() {
    /// `GET http://test/handler` on stream 1, whole.
    const PANIC: &[u8] = b"\0\0\x12\x01\x05\0\0\0\x01\x82\x86\x04\x08/handler\x41\x04test";
    let (shutdown, handle) = exact(cluster());
    let (door, listener) = pipes();
    lameduck::serve(listener, panicking(), &handle);
    let mut client = door.http2().await;

    client.0.send(PANIC).await;
    client.frame_of(RST_STREAM).await;
    let in_flight = handle.in_flight();
    let mut next = GET.to_vec();
    next[8] = 3;
    client.0.send(next).await;
    let body = client.frame_of(DATA).await;

    assert_eq!(in_flight, 0);
    assert_eq!(body.payload, b"hello");
    drop(client);
    assert!(soon(begin(shutdown)).await.unwrap().is_clean());
}

// Case 78: what the user gives to be called for each connection.
#[tokio::test(start_paused = true)]
async fn a_panic_in_a_handshake_or_an_extension_ends_its_connection_and_not_the_server() {
    let (shutdown, handle) = exact(cluster());
    let (door, listener) = pipes();
    let mut number = 0;
    let numbers = std::sync::Mutex::new(move || {
        number += 1;
        number
    });
    let numbers = std::sync::Arc::new(numbers);
    Server::new(&handle)
        .timeouts(Timeouts::new())
        .handshake(move |pipe: DuplexStream| {
            let number = numbers.lock().map(|mut next| next()).unwrap();
            assert!(number != 1, "in the handshake's closure");
            async move {
                assert!(number != 2, "in the handshake");
                Ok(pipe)
            }
        })
        .request_extension({
            let asked = std::sync::atomic::AtomicU32::new(0);
            let asked = std::sync::Arc::new(asked);
            move |_: &DuplexStream, _: &&str| {
                let before = asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                assert!(before != 0, "in the extension");
                before
            }
        })
        .serve(listener, hello());

    let mut ended = Vec::new();
    for _ in 0..3 {
        let mut client = door.connect();
        let _ = client.try_ask("/").await;
        ended.push(client.end().await.unwrap_or_default());
    }
    let response = door.connect().get("/").await;
    settle().await;

    assert_eq!(ended, [b"", b"", b""]);
    assert_eq!(response.status, 200);
    assert_eq!((handle.in_flight(), handle.connections()), (0, 0));
    let report = soon(begin(shutdown)).await.unwrap();
    assert!(report.is_clean(), "{report}");
}

/// What a test gives a server, and where it panics, once it is armed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Rule,
    LayersRule,
    ExtensionsClone,
    Ready,
    Call,
    FuturesDrop,
    BodysDrop,
}

const PLACES: [Place; 7] = [
    Place::Rule,
    Place::LayersRule,
    Place::ExtensionsClone,
    Place::Ready,
    Place::Call,
    Place::FuturesDrop,
    Place::BodysDrop,
];

/// Panics there, once.
#[derive(Debug)]
struct Mine(Place, Arc<AtomicBool>);

impl Mine {
    fn at(&self, place: Place) {
        if self.0 == place && self.1.swap(false, Ordering::Relaxed) {
            panic!("at {place:?}");
        }
    }

    fn same(&self) -> Self {
        Mine(self.0, Arc::clone(&self.1))
    }
}

#[derive(Debug)]
struct Cloned(Mine);

impl Clone for Cloned {
    fn clone(&self) -> Self {
        self.0.at(Place::ExtensionsClone);
        Cloned(self.0.same())
    }
}

struct Dropped(Mine, Place);

impl Drop for Dropped {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.0.at(self.1);
        }
    }
}

/// A body that owns something.
struct Owning(Full<Bytes>, #[expect(dead_code)] Dropped);

impl http_body::Body for Owning {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, Infallible>>> {
        std::pin::Pin::new(&mut self.0).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }
}

/// A service that panics where it is told.
struct Panicking(Mine);

impl Clone for Panicking {
    fn clone(&self) -> Self {
        Panicking(self.0.same())
    }
}

impl tower::Service<Request<Incoming>> for Panicking {
    type Response = Response<Owning>;
    type Error = Infallible;
    type Future =
        std::pin::Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.0.at(Place::Ready);
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<Incoming>) -> Self::Future {
        self.0.at(Place::Call);
        let owned = Dropped(self.0.same(), Place::FuturesDrop);
        let body = Dropped(self.0.same(), Place::BodysDrop);
        Box::pin(async move {
            let _owned = owned;
            Ok(Response::new(Owning(Full::from("hello"), body)))
        })
    }
}

fn serve_panicking(listener: Pipes, handle: &ShutdownHandle, mine: &Mine) {
    let (rule, layers) = (mine.same(), Arc::new(mine.same()));
    let cloned = Arc::new(mine.same());
    let layer = DrainLayer::new(handle).exempt(move |_| {
        layers.at(Place::LayersRule);
        false
    });
    Server::new(handle)
        .context_in_extensions()
        .exempt(move |_| {
            rule.at(Place::Rule);
            false
        })
        .request_extension(move |_: &DuplexStream, _: &&str| Cloned(cloned.same()))
        .serve(
            listener,
            tower::Layer::layer(&layer, Panicking(mine.same())),
        );
}

// What the user gives to be called, cloned or dropped for each request.
#[tokio::test(start_paused = true)]
async fn a_panic_beside_the_handler_ends_its_request_and_leaves_no_count_behind() {
    for place in PLACES {
        let armed = Arc::new(AtomicBool::new(false));
        let mine = Mine(place, Arc::clone(&armed));
        let (shutdown, handle) = exact(cluster());
        let (door, listener) = pipes();
        serve_panicking(listener, &handle, &mine);
        ready(&handle).await;

        armed.store(true, Ordering::Relaxed);
        let mut http1 = door.connect();
        http1.ask("/").await;
        http1.end().await.unwrap();
        assert!(
            !armed.load(Ordering::Relaxed),
            "{place:?} was never reached"
        );
        settle().await;
        assert_eq!(
            (handle.in_flight(), handle.connections()),
            (0, 0),
            "{place:?}"
        );

        armed.store(true, Ordering::Relaxed);
        let mut http2 = door.http2().await;
        http2.0.send(GET).await;
        settle().await;
        assert!(
            !armed.load(Ordering::Relaxed),
            "{place:?} was never reached"
        );
        // hyper clones for a stream in the connection's own task.
        let open = u64::from(place != Place::ExtensionsClone);
        assert_eq!(
            (handle.in_flight(), handle.connections()),
            (0, open),
            "{place:?}"
        );

        let report = soon(begin(shutdown)).await.unwrap();
        assert!(report.is_clean(), "{place:?}: {report}");
        assert_eq!(report.connections.cut, 0, "{place:?}: {report}");
        drop(http2);
    }
}

// The coordinator prints it, and whoever has the connection last drops it.
#[tokio::test(start_paused = true)]
async fn a_peer_that_panics_when_it_is_printed_or_dropped_does_not_stop_the_shutdown() {
    struct Peer;

    impl std::fmt::Debug for Peer {
        fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            panic!("in the peer's name")
        }
    }

    impl Drop for Peer {
        fn drop(&mut self) {
            panic!("in the peer's drop")
        }
    }

    let (shutdown, handle) = exact(Plan::immediate());
    let group = ConnectionGroup::new(&handle);
    let connection = group.watch_raw(Peer, |_| std::future::pending::<()>());
    let connection = tokio::spawn(connection.unwrap());
    drop(group);

    let report = soon(begin(shutdown)).await.unwrap();

    let close = report.phase(Phase::Close).unwrap();
    let name = "a peer that panicked when it was printed (not HTTP: open)";
    assert_eq!(close.left_behind[0].name, name);
    assert_eq!(report.connections.cut, 1);
    assert!(soon(connection).await.unwrap().is_none());
}
