//! Responses of an HTTP/2 connection that are ready together, and the writes in which they leave.
//!
//! The runtime has one worker, which runs the server; the client is outside of it. So tasks run in the order in which they do on
//! each thread of a server.
#![cfg(feature = "hyper")]

use std::convert::Infallible;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::routing::get;
use futures_util::stream::{self, StreamExt};
use lameduck::server::accept_fn;
use lameduck::{Plan, Server, ShutdownCoordinator};
use tokio::io::{
    AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf, duplex,
};
use tokio::sync::{Semaphore, broadcast};
use tokio::time::timeout;

/// How many requests are in flight.
const STREAMS: usize = 16;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
const SETTINGS_ACK: &[u8] = b"\0\0\0\x04\x01\0\0\0\0";
/// For the connection.
const WIDER: &[u8] = b"\0\0\x04\x08\0\0\0\0\0\x10\0\0\0";
const DATA: u8 = 0;
const SETTINGS: u8 = 4;

static PAGE: [u8; 16_384] = [7; 16_384];

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn responses_that_are_ready_together_leave_together() {
    for size in [5, 200, 900] {
        let mut served = Served::start(|it| it).await;

        let writes = served.answers(STREAMS, size).await;

        assert!(writes <= 2, "{writes} writes of {size} bytes each");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn more_than_the_buffer_holds_leaves_in_order() {
    let mut served = Served::start(|it| it).await;

    let writes = served.answers(STREAMS, 4_000).await;

    assert!((4..=8).contains(&writes), "{writes} writes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn large_bodies_are_not_copied() {
    let mut served = Served::start(|it| it).await;

    let writes = served.answers(STREAMS, PAGE.len()).await;

    assert!(writes >= STREAMS, "{writes} writes");
    // h2 copies the first bytes, up to 256.
    let in_place = served.counts.in_place.load(Ordering::SeqCst);
    assert!(in_place >= STREAMS * (PAGE.len() - 256), "{in_place}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn each_response_leaves_alone_where_gathering_is_off() {
    let mut served = Served::start(|it| it.gather_responses(false)).await;

    let writes = served.answers(STREAMS, 900).await;

    assert_eq!(writes, STREAMS);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn response_does_not_wait_for_handlers_that_wait_for_something() {
    let mut served = Served::start(|it| it).await;
    served.ask("/gate").await;
    served.ask("/gate").await;

    for size in [5, 900] {
        served.answers(1, size).await;
    }

    served.gate.add_permits(2);
    assert_eq!(served.data().await, b"opened");
    assert_eq!(served.data().await, b"opened");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn whatever_the_socket_does_each_response_arrives_or_the_connection_ends() {
    for seed in 1..=300 {
        let mut served = Served::start_on(Socket::Moody(Draws(seed)), |it| it).await;
        let mut broken = false;
        for round in 0..4 {
            let sizes = [5, 300, 900, 4_000, 16_384];
            let size = sizes[(seed as usize + round) % sizes.len()];
            served
                .ask_all(1 + (seed as usize + 3 * round) % STREAMS, size)
                .await;
        }
        while served.asked > 0 && !broken {
            broken = soon(served.try_frame()).await.is_err();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn frames_that_many_streams_give_at_once_leave_together() {
    let mut served = Served::start(|it| it).await;
    for _ in 0..STREAMS {
        served.ask("/events").await;
        // Its stream is open, and listens.
        assert_eq!(served.data().await, b"listens");
    }
    let before = served.counts.writes.load(Ordering::SeqCst);

    served.ask("/tell").await;
    for _ in 0..=STREAMS {
        assert_eq!(served.data().await, b"told");
    }

    let writes = served.counts.writes.load(Ordering::SeqCst) - before;
    assert!(writes <= 4, "{writes} writes");
}

/// A client's end of a connection.
struct Served {
    client: DuplexStream,
    /// The next stream's number.
    stream: u32,
    /// How many responses are missing.
    asked: usize,
    counts: Arc<Counts>,
    gate: Arc<Semaphore>,
    _shutdown: ShutdownCoordinator,
}

#[derive(Clone)]
struct App {
    gate: Arc<Semaphore>,
    events: broadcast::Sender<&'static str>,
}

impl Served {
    /// `set` changes the server's settings.
    async fn start(set: impl FnOnce(Server) -> Server) -> Self {
        Served::start_on(Socket::Plain, set).await
    }

    async fn start_on(socket: Socket, set: impl FnOnce(Server) -> Server) -> Self {
        let gate = Arc::new(Semaphore::new(0));
        let app = Router::new()
            .route("/{size}", get(body))
            .route("/gate", get(pass))
            .route("/events", get(events))
            .route("/tell", get(tell))
            .with_state(App {
                gate: Arc::clone(&gate),
                events: broadcast::Sender::new(1),
            });
        let shutdown = ShutdownCoordinator::new(Plan::immediate());
        let (client, stream) = duplex(1 << 20);
        let counts = Arc::<Counts>::default();
        let counted = Counted {
            stream,
            socket,
            counts: Arc::clone(&counts),
        };
        let listener = accept_fn(Some(counted), async |mut counted| match counted.take() {
            Some(counted) => (Ok((counted, "pipe")), None),
            None => std::future::pending().await,
        });
        set(Server::new(&shutdown)).serve(listener, app);
        let mut served = Served {
            client,
            stream: 1,
            asked: 0,
            counts,
            gate,
            _shutdown: shutdown,
        };
        served.client.write_all(PREFACE).await.unwrap();
        let mut settings = 0;
        while settings < 2 {
            match served.try_frame().await {
                Ok((kind, _)) => settings += usize::from(kind == SETTINGS),
                // A moody socket fails here, too.
                Err(_) => break,
            }
        }
        let _ = served
            .client
            .write_all(&[SETTINGS_ACK, WIDER].concat())
            .await;
        served
    }

    async fn ask(&mut self, path: &str) {
        let request = self.request(path);
        let _ = self.client.write_all(&request).await;
    }

    /// In one write.
    async fn ask_all(&mut self, requests: usize, size: usize) {
        let path = format!("/{size}");
        let all: Vec<u8> = (0..requests).flat_map(|_| self.request(&path)).collect();
        let _ = self.client.write_all(&all).await;
    }

    /// `GET` on the next stream, whole.
    fn request(&mut self, path: &str) -> Vec<u8> {
        let mut block = b"\x82\x86\x41\x04test\x04".to_vec();
        block.push(path.len() as u8);
        block.extend_from_slice(path.as_bytes());
        let [a, b] = (self.stream as u16).to_be_bytes();
        self.stream += 2;
        self.asked += 1;
        let head = [0, 0, block.len() as u8, 1, 5, 0, 0, a, b];
        [&head[..], &block].concat()
    }

    /// Sends so many requests at once, and reads their responses. Returns in how many writes those came.
    async fn answers(&mut self, requests: usize, size: usize) -> usize {
        let before = self.counts.writes.load(Ordering::SeqCst);
        self.ask_all(requests, size).await;
        for _ in 0..requests {
            assert_eq!(self.data().await.len(), size);
        }
        self.counts.writes.load(Ordering::SeqCst) - before
    }

    /// A response's body, which is one frame.
    async fn data(&mut self) -> Vec<u8> {
        loop {
            let (kind, payload) = soon(self.try_frame()).await.unwrap();
            if kind == DATA {
                return payload;
            }
        }
    }

    async fn try_frame(&mut self) -> io::Result<(u8, Vec<u8>)> {
        let mut head = [0; 9];
        self.client.read_exact(&mut head).await?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length as usize];
        self.client.read_exact(&mut payload).await?;
        const END_STREAM: u8 = 1;
        if head[3] == DATA && head[4] == END_STREAM {
            self.asked -= 1;
        }
        Ok((head[3], payload))
    }
}

async fn body(Path(size): Path<usize>) -> Bytes {
    Bytes::from_static(&PAGE[..size])
}

async fn pass(State(app): State<App>) -> &'static str {
    app.gate.acquire().await.unwrap().forget();
    "opened"
}

async fn events(State(app): State<App>) -> Body {
    let first = stream::iter(["listens"]);
    let events = stream::unfold(app.events.subscribe(), async |mut events| {
        Some((events.recv().await.ok()?, events))
    });
    Body::from_stream(first.chain(events).map(Ok::<_, Infallible>))
}

async fn tell(State(app): State<App>) -> &'static str {
    app.events.send("told").unwrap();
    "told"
}

/// A test that waits for what never comes fails.
async fn soon<F: Future>(future: F) -> F::Output {
    let waited = timeout(Duration::from_secs(30), future).await;
    waited.expect("it never came")
}

#[derive(Default)]
struct Counts {
    writes: AtomicUsize,
    /// Bytes that were written from where the handler had them.
    in_place: AtomicUsize,
}

/// The server's end of the connection.
struct Counted {
    stream: DuplexStream,
    socket: Socket,
    counts: Arc<Counts>,
}

enum Socket {
    Plain,
    /// Accepts a part, or nothing for now, and fails in the end.
    Moody(Draws),
}

struct Draws(u64);

impl Draws {
    fn below(&mut self, bound: u64) -> u64 {
        // Numerical Recipes' generator; its upper bits are good enough.
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (self.0 >> 33) % bound
    }
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Counted {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let Counted {
            stream,
            socket,
            counts,
        } = &mut *self;
        if let Socket::Moody(draws) = socket {
            match draws.below(100) {
                0 => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
                1..40 => {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                40..80 => {
                    let first = bufs.iter().find(|buf| !buf.is_empty()).expect("something");
                    let part = 1 + draws.below(first.len() as u64) as usize;
                    return Pin::new(stream).poll_write(cx, &first[..part]);
                }
                _ => {}
            }
        }
        counts.writes.fetch_add(1, Ordering::SeqCst);
        let page = PAGE.as_ptr_range();
        let in_place = bufs.iter().filter(|buf| page.contains(&buf.as_ptr()));
        let in_place = in_place.map(|buf| buf.len()).sum();
        counts.in_place.fetch_add(in_place, Ordering::SeqCst);
        Pin::new(stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }
}
