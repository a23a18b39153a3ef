//! Servers in a runtime of their own, and runtimes that go away.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use axum::Router;
use lameduck::server::Accept;
use lameduck::{Phase, Plan, Reason, Server, ShutdownHandle};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{Semaphore, oneshot};
use tokio::time::sleep;

use crate::frames::*;
use crate::pipes::*;
use crate::support::*;

/// Both kinds of runtime.
fn runtimes() -> [Runtime; 2] {
    let one = Builder::new_current_thread().enable_all().build();
    [one.unwrap(), two_workers()]
}

fn two_workers() -> Runtime {
    let mut many = Builder::new_multi_thread();
    many.worker_threads(2).enable_all().build().unwrap()
}

fn listen() -> (std::net::TcpListener, SocketAddr) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// A server on a thread and in a runtime of its own, for as long as it says that it serves; and when its listener is closed.
fn serve(
    runtime: Runtime,
    app: Router,
    handle: &ShutdownHandle,
) -> (SocketAddr, oneshot::Receiver<()>, JoinHandle<()>) {
    let (listener, address) = listen();
    let (close, closed) = oneshot::channel();
    let handle = handle.clone();
    let thread = std::thread::spawn(move || {
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            let serving = lameduck::serve(listener, app, &handle);
            serving.listener_closed().await;
            let _ = close.send(());
            serving.await;
        });
    });
    (address, closed, thread)
}

/// The same, until `go` is sent: then the runtime is dropped, whatever it is doing.
fn serve_until(
    runtime: Runtime,
    app: Router,
    handle: &ShutdownHandle,
) -> (SocketAddr, oneshot::Sender<()>, JoinHandle<()>) {
    let (listener, address) = listen();
    let listener = || tokio::net::TcpListener::from_std(listener).unwrap();
    let (go, thread) = serve_from_until(listener, runtime, app, handle);
    (address, go, thread)
}

/// The same, from a listener that is made in the runtime.
fn serve_from_until<L: Accept>(
    listener: impl FnOnce() -> L + Send + 'static,
    runtime: Runtime,
    app: Router,
    handle: &ShutdownHandle,
) -> (oneshot::Sender<()>, JoinHandle<()>) {
    let (go, gone) = oneshot::channel();
    let handle = handle.clone();
    let thread = std::thread::spawn(move || {
        runtime.block_on(async {
            let _serving = Server::new(&handle).name("api").serve(listener(), app);
            let _ = gone.await;
        });
    });
    (go, thread)
}

async fn connect(address: SocketAddr, handle: &ShutdownHandle) -> Client {
    // The thread may not have come to serve yet; the kernel takes the connection all the same.
    let client = Client::connect(address).await;
    while handle.connections() == 0 {
        sleep(millis(1)).await;
    }
    client
}

async fn join(thread: JoinHandle<()>) {
    let joined = soon(tokio::task::spawn_blocking(|| thread.join())).await;
    joined.unwrap().unwrap();
}

/// No LameDuck, 0.5 s of Drain, and a Close of 3.5 s: the listener closes 0.7 s before its deadline.
fn short() -> Plan {
    let plan = Plan::builder().grace_period(seconds(7));
    let plan = plan.lame_duck(Duration::ZERO).drain(millis(500));
    plan.close(millis(3_500)).build().unwrap()
}

#[tokio::test]
async fn a_server_in_a_thread_of_its_own_answers_what_is_in_flight_when_its_listener_has_closed() {
    for runtime in runtimes() {
        let gate = Gate::new();
        let (shutdown, handle) = exact(short());
        let (address, closed, thread) = serve(runtime, gated(&gate), &handle);
        let mut client = connect(address, &handle).await;
        client.ask("/").await;
        gate.entered().await;

        let run = begin(shutdown);
        soon(closed).await.unwrap();
        let returned = thread.is_finished();
        // Time for a runtime that is going to go.
        sleep(millis(50)).await;
        gate.open();
        let response = client.try_response().await;
        drop(client);
        let report = soon(run).await.unwrap();

        assert_eq!(response.map(|it| it.status).ok(), Some(200), "{report}");
        assert!(!returned);
        assert!(report.is_clean(), "{report}");
        assert_eq!(report.cut, 0, "{report}");
        join(thread).await;
    }
}

#[tokio::test]
async fn over_http2_a_server_in_a_thread_of_its_own_answers_what_is_in_flight() {
    for runtime in runtimes() {
        let gate = Gate::new();
        let (shutdown, handle) = exact(short());
        let (address, closed, thread) = serve(runtime, gated(&gate), &handle);
        let mut client = Raw::new(connect(address, &handle).await).await;
        client.0.send(GET).await;
        gate.entered().await;

        let run = begin(shutdown);
        let ping = client.frame_of(PING).await;
        client.0.send(ping.answer()).await;
        soon(closed).await.unwrap();
        sleep(millis(50)).await;
        gate.open();
        let rest = client.0.end().await.unwrap();
        drop(client);
        let report = soon(run).await.unwrap();

        let data = frames(&rest).into_iter().find(|frame| frame.kind == DATA);
        assert_eq!(data.unwrap().payload, b"hello");
        assert!(report.is_clean(), "{report}");
        assert_eq!(report.cut, 0, "{report}");
        join(thread).await;
    }
}

// In one runtime, and to the millisecond: the listener closes at 22 s, Close's deadline is at 23 s.
#[tokio::test(start_paused = true)]
async fn a_server_is_over_when_its_last_connection_is() {
    let gate = Gate::new();
    let (shutdown, handle) = exact(cluster());
    let (door, listener) = pipes();
    let serving = lameduck::serve(listener, gated(&gate), &handle);
    let mut client = door.connect();
    client.ask("/").await;
    gate.entered().await;

    let run = begin(shutdown);
    let release = async {
        sleep(millis(22_500)).await;
        gate.open();
        let response = client.response().await;
        drop(client);
        response
    };
    let (((), took), response) = tokio::join!(timed(serving), release);

    assert_eq!(response.status, 200);
    assert_took(took, millis(22_500));
    assert!(soon(run).await.unwrap().is_clean());
}

#[tokio::test(start_paused = true)]
async fn a_server_whose_last_connection_is_cut_is_over_then() {
    let gate = Gate::new();
    let (shutdown, handle) = exact(cluster());
    let (door, listener) = pipes();
    let serving = lameduck::serve(listener, gated(&gate), &handle);
    let mut client = door.connect();
    client.ask("/").await;
    gate.entered().await;

    let run = begin(shutdown);
    let ((), took) = timed(serving).await;

    assert_took(took, seconds(28));
    assert_eq!(soon(run).await.unwrap().cut, 1);
}

#[tokio::test(start_paused = true)]
async fn a_server_without_connections_is_over_when_its_listener_has_closed() {
    let (shutdown, handle) = exact(cluster());
    let (_door, listener) = pipes();
    let serving = lameduck::serve(listener, hello(), &handle);
    settle().await;

    let run = begin(shutdown);
    let ((), took) = timed(serving).await;

    assert_took(took, seconds(10));
    assert!(soon(run).await.unwrap().is_clean());
}

#[tokio::test]
async fn a_request_whose_runtime_goes_away_during_the_shutdown_is_cut_and_counted() {
    for runtime in runtimes() {
        let gate = Gate::new();
        let (shutdown, handle) = exact(Plan::immediate());
        let (address, go, thread) = serve_until(runtime, gated(&gate), &handle);
        let mut client = connect(address, &handle).await;
        client.ask("/").await;
        gate.entered().await;

        let run = begin(shutdown);
        reached(&handle, Phase::Drain).await;
        go.send(()).unwrap();
        join(thread).await;
        let report = soon(run).await.unwrap();

        assert!(!report.is_clean(), "{report}");
        assert_eq!((report.traffic.served, report.cut), (0, 1), "{report}");
        assert_eq!((report.connections.closed, report.connections.cut), (0, 1));
    }
}

#[tokio::test]
async fn over_http2_a_request_whose_runtime_goes_away_is_cut_and_counted() {
    for runtime in runtimes() {
        let gate = Gate::new();
        let (shutdown, handle) = exact(Plan::immediate());
        let (address, go, thread) = serve_until(runtime, gated(&gate), &handle);
        let mut client = Raw::new(connect(address, &handle).await).await;
        client.0.send(GET).await;
        gate.entered().await;

        let run = begin(shutdown);
        reached(&handle, Phase::Drain).await;
        go.send(()).unwrap();
        join(thread).await;
        let report = soon(run).await.unwrap();

        assert!(!report.is_clean(), "{report}");
        assert_eq!((report.traffic.served, report.cut), (0, 1), "{report}");
        assert_eq!((report.connections.closed, report.connections.cut), (0, 1));
    }
}

/// Pipes whose next read can be held up, on the thread that polls the connection.
struct Held(Pipes, Arc<Hold>);

struct Hold {
    asked: AtomicBool,
    holds: Semaphore,
    handle: ShutdownHandle,
}

impl Hold {
    fn new(handle: &ShutdownHandle) -> Arc<Self> {
        Arc::new(Hold {
            asked: AtomicBool::new(false),
            holds: Semaphore::new(0),
            handle: handle.clone(),
        })
    }

    /// Holds up the one who reads next, until no request is in flight any more.
    fn ask(&self) {
        self.asked.store(true, Ordering::Relaxed);
    }

    async fn holds(&self) {
        soon(self.holds.acquire()).await.unwrap().forget();
    }

    fn pass(&self) {
        if self.asked.swap(false, Ordering::Relaxed) {
            self.holds.add_permits(1);
            let since = Instant::now();
            while self.handle.in_flight() > 0 && since.elapsed() < seconds(60) {
                std::thread::yield_now();
            }
        }
    }
}

impl Accept for Held {
    type Io = HeldIo;
    type Peer = &'static str;

    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<(HeldIo, Self::Peer)>> {
        let accepted = self.0.poll_accept(cx);
        accepted.map_ok(|(pipe, peer)| (HeldIo(pipe, Arc::clone(&self.1)), peer))
    }

    fn close(self) -> Vec<(HeldIo, Self::Peer)> {
        let rest = self.0.close().into_iter();
        rest.map(|(pipe, peer)| (HeldIo(pipe, Arc::clone(&self.1)), peer))
            .collect()
    }
}

struct HeldIo(DuplexStream, Arc<Hold>);

impl AsyncRead for HeldIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.1.pass();
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for HeldIo {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

// One worker drops the request's task while the other one polls the connection's, which then sends the stream's reset.
#[tokio::test]
async fn over_http2_a_request_whose_task_goes_before_its_connections_is_cut_and_counted() {
    let gate = Gate::new();
    let (shutdown, handle) = exact(Plan::immediate());
    let hold = Hold::new(&handle);
    let (door, pipes) = pipes();
    let listener = Held(pipes, Arc::clone(&hold));
    let (go, thread) = serve_from_until(|| listener, two_workers(), gated(&gate), &handle);
    let mut client = door.http2().await;
    client.0.send(GET).await;
    gate.entered().await;

    let run = begin(shutdown);
    reached(&handle, Phase::Drain).await;
    hold.ask();
    client.0.send(frame(PING, 0, 0, &[0; 8])).await;
    hold.holds().await;
    go.send(()).unwrap();
    join(thread).await;
    let report = soon(run).await.unwrap();

    let rest = client.0.end().await.unwrap();
    assert!(frames(&rest).iter().any(|it| it.kind == RST_STREAM));
    assert!(!report.is_clean(), "{report}");
    assert_eq!((report.traffic.served, report.cut), (0, 1), "{report}");
    assert_eq!((report.connections.closed, report.connections.cut), (0, 1));
}

#[tokio::test]
async fn an_idle_connection_whose_runtime_goes_away_during_the_shutdown_is_counted_as_cut() {
    for runtime in runtimes() {
        let (shutdown, handle) = exact(short());
        let guard = handle.guard().unwrap();
        let (address, go, thread) = serve_until(runtime, hello(), &handle);
        let mut client = connect(address, &handle).await;
        client.get("/").await;

        // The guard holds Drain meanwhile, so the connection is not asked to end yet.
        let run = begin(shutdown);
        go.send(()).unwrap();
        join(thread).await;
        drop(guard);
        let report = soon(run).await.unwrap();

        assert_eq!((report.connections.closed, report.connections.cut), (0, 1));
        assert_eq!((report.traffic.served, report.cut), (0, 0), "{report}");
    }
}

#[tokio::test]
async fn a_server_whose_runtime_goes_away_in_normal_service_triggers_the_shutdown() {
    for runtime in runtimes() {
        let (shutdown, handle) = exact(Plan::immediate());
        let (address, go, thread) = serve_until(runtime, hello(), &handle);
        let mut client = connect(address, &handle).await;
        client.get("/").await;

        go.send(()).unwrap();
        join(thread).await;
        let report = soon(shutdown.run());
        let report = tokio::time::timeout(seconds(10), report).await;

        let report = report.expect("it was not triggered");
        let Reason::ServerFailed { name, .. } = &report.reason else {
            panic!("{report}");
        };
        assert_eq!(name, "api");
        assert!(!report.is_clean(), "{report}");
    }
}
