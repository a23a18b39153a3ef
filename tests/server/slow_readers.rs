//! Clients that read slowly, or not at all. What the kernel has taken is not yet what the client has.
//!
//! Real sockets with small buffers at the client and large ones at the server, and a real clock: all of a response is in the
//! server's kernel at once, and its client takes seconds to fetch it.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use axum::Router;
use lameduck::report::Kind;
use lameduck::{Phase, Plan, Report, ShutdownHandle};
use tokio::net::{TcpListener, TcpSocket};
use tokio::task::spawn_blocking;

use crate::frames::*;
use crate::pipes::*;
use crate::support::*;

/// A response's body: it fits into the server's send buffer, and not into the client's receive buffer.
const LENGTH: usize = 300_000;

/// Responds with `LENGTH` bytes, and counts how often.
fn large() -> (Router, Arc<AtomicUsize>) {
    let handled = Arc::<AtomicUsize>::default();
    let counted = Arc::clone(&handled);
    let app = Router::new().fallback(async move || {
        counted.fetch_add(1, Ordering::Relaxed);
        vec![7_u8; LENGTH]
    });
    (app, handled)
}

/// A listener whose connections have a large send buffer, as a long fat path gives them.
fn listen() -> TcpListener {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_send_buffer_size(4 << 20).unwrap();
    socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
    socket.listen(16).unwrap()
}

async fn serve_large(handle: &ShutdownHandle) -> (SocketAddr, Arc<AtomicUsize>) {
    let (app, handled) = large();
    let listener = listen();
    let address = listener.local_addr().unwrap();
    lameduck::serve(listener, app, handle);
    ready(handle).await;
    (address, handled)
}

/// A blocking client with a small receive buffer.
async fn connect(address: SocketAddr) -> std::net::TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(16 << 10).unwrap();
    let stream = socket.connect(address).await.unwrap().into_std().unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_nonblocking(false).unwrap();
    stream.set_read_timeout(Some(seconds(30))).unwrap();
    stream
}

/// Waits until the server has answered so often, as far as it knows: nothing is in flight any more.
async fn answered(handle: &ShutdownHandle, handled: &AtomicUsize, count: usize) {
    while handled.load(Ordering::Relaxed) < count || handle.in_flight() > 0 {
        tokio::time::sleep(millis(5)).await;
    }
}

/// LameDuck to 0.2 s, with time for slow readers in Close.
fn patient() -> Plan {
    let plan = Plan::builder().lame_duck(millis(200));
    plan.spread(Duration::ZERO).build().unwrap()
}

/// Everything until the server ends its side, at 80 kB/s. `meanwhile` is called after each read.
fn read_slowly(
    stream: &mut std::net::TcpStream,
    mut meanwhile: impl FnMut(&mut std::net::TcpStream),
) -> (Vec<u8>, io::Result<()>) {
    let mut all = Vec::new();
    let mut part = vec![0; 8 << 10];
    loop {
        match stream.read(&mut part) {
            Ok(0) => return (all, Ok(())),
            Ok(read) => all.extend_from_slice(&part[..read]),
            Err(error) => return (all, Err(error)),
        }
        meanwhile(stream);
        thread::sleep(millis(100));
    }
}

/// Begins HTTP/2 with windows of 8 MB, and asks.
fn ask_http2(stream: &mut std::net::TcpStream) {
    const SETTINGS: &[u8] = &[0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 4, 0, 0x80, 0, 0];
    const WIDER: &[u8] = &[0, 0, 4, 8, 0, 0, 0, 0, 0, 0, 0x80, 0, 0];
    let all = [PREFACE, SETTINGS, WIDER, SETTINGS_ACK, GET].concat();
    stream.write_all(&all).unwrap();
}

fn body_of_stream_1(received: &[u8]) -> usize {
    let data = frames(received)
        .into_iter()
        .filter(|frame| (frame.kind, frame.stream) == (DATA, 1));
    data.map(|frame| frame.payload.len()).sum()
}

/// The first response in what a client has received: how much of its body, and what follows.
fn body_of_first(received: &[u8]) -> (usize, &[u8]) {
    let end = received.windows(4).position(|end| end == b"\r\n\r\n");
    let body = end.map_or(&[][..], |end| &received[end + 4..]);
    body.split_at_checked(LENGTH)
        .map_or((body.len(), &[][..]), |(body, rest)| (body.len(), rest))
}

fn assert_clean(report: &Report) {
    assert!(report.is_clean(), "{report}");
    assert_eq!(report.connections.cut, 0, "{report}");
}

// Its client widens the window as it reads, as all do: those frames must not meet a closed socket.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_http2_a_client_that_reads_slowly_gets_all() {
    let (shutdown, handle) = exact(patient());
    let (address, handled) = serve_large(&handle).await;
    let mut stream = connect(address).await;
    ask_http2(&mut stream);
    answered(&handle, &handled, 1).await;

    let run = begin(shutdown);
    let reading = spawn_blocking(move || {
        read_slowly(&mut stream, |stream| {
            let _ = stream.write_all(&wider(0));
        })
    });
    let (received, end) = reading.await.unwrap();

    assert_eq!(body_of_stream_1(&received), LENGTH, "then {end:?}");
    assert_clean(&soon(run).await.unwrap());
}

// It answers nothing at all for longer than anything is waited for, and then goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_http2_a_client_that_pauses_gets_all() {
    let (shutdown, handle) = exact(patient());
    let (address, handled) = serve_large(&handle).await;
    let mut stream = connect(address).await;
    ask_http2(&mut stream);
    answered(&handle, &handled, 1).await;

    let run = begin(shutdown);
    let reading = spawn_blocking(move || {
        thread::sleep(seconds(4));
        read_slowly(&mut stream, |stream| {
            let _ = stream.write_all(&wider(0));
        })
    });
    let (received, end) = reading.await.unwrap();

    assert_eq!(body_of_stream_1(&received), LENGTH, "then {end:?}");
    assert_clean(&soon(run).await.unwrap());
}

// Its last response is still in the kernel when the connection is idle for long enough. Its next head comes then.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_http1_a_client_that_reads_slowly_and_asks_again_gets_all_of_the_first_response() {
    let (shutdown, handle) = exact(patient());
    let (address, handled) = serve_large(&handle).await;
    let mut stream = connect(address).await;
    stream.write_all(request("/first").as_bytes()).unwrap();
    answered(&handle, &handled, 1).await;

    let run = begin(shutdown);
    let reading = spawn_blocking(move || {
        let begun = Instant::now();
        let mut asked = false;
        read_slowly(&mut stream, |stream| {
            if !asked && begun.elapsed() > seconds(2) {
                asked = true;
                let _ = stream.write_all(request("/second").as_bytes());
            }
        })
    });
    let (received, end) = reading.await.unwrap();

    let (first, second) = body_of_first(&received);
    assert_eq!(first, LENGTH, "then {end:?}");
    // Whole, or not begun.
    let (second, _) = body_of_first(second);
    let answers = handled.load(Ordering::Relaxed);
    assert_eq!(second, (answers - 1) * LENGTH);
    assert_clean(&soon(run).await.unwrap());
}

// A response that says close.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_http1_a_client_that_reads_its_last_response_slowly_and_asks_again_gets_all() {
    let (shutdown, handle) = exact(patient());
    let (address, handled) = serve_large(&handle).await;
    let mut stream = connect(address).await;

    let run = begin(shutdown);
    reached(&handle, Phase::LameDuck).await;
    stream.write_all(request("/first").as_bytes()).unwrap();
    answered(&handle, &handled, 1).await;
    let reading = spawn_blocking(move || {
        let begun = Instant::now();
        let mut asked = false;
        read_slowly(&mut stream, |stream| {
            if !asked && begun.elapsed() > seconds(2) {
                asked = true;
                let _ = stream.write_all(request("/second").as_bytes());
            }
        })
    });
    let (received, end) = reading.await.unwrap();

    let (first, second) = body_of_first(&received);
    assert_eq!((first, second), (LENGTH, &b""[..]), "then {end:?}");
    assert_eq!(handled.load(Ordering::Relaxed), 1);
    assert_clean(&soon(run).await.unwrap());
}

/// Close's deadline at about 4 s.
fn short() -> Plan {
    let plan = Plan::builder().grace_period(seconds(6));
    let plan = plan.lame_duck(millis(100)).drain(millis(100));
    plan.close(seconds(3)).build().unwrap()
}

/// What is dropped unacknowledged is cut, and named.
fn assert_cut(report: &Report, address: SocketAddr, deadline: Duration) {
    assert!(report.took >= deadline, "{report}");
    assert!(!report.is_clean(), "{report}");
    assert_eq!((report.cut, report.connections.cut), (1, 1), "{report}");
    let close = report.phase(Phase::Close).unwrap();
    assert_eq!(close.left_behind_total, 1, "{close}");
    let left = &close.left_behind[0];
    assert_eq!(left.kind, Kind::Connection);
    assert!(left.name.starts_with(&address.to_string()), "{left}");
    assert!(left.name.contains("sending a response"), "{left}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_http2_a_client_that_never_reads_is_cut_at_the_deadline_of_close_and_named() {
    let plan = short();
    let deadline = plan.deadline(Phase::Close);
    let (shutdown, handle) = exact(plan);
    let (address, handled) = serve_large(&handle).await;
    let mut stream = connect(address).await;
    ask_http2(&mut stream);
    answered(&handle, &handled, 1).await;

    let report = soon(begin(shutdown)).await.unwrap();

    assert_cut(&report, stream.local_addr().unwrap(), deadline);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_http1_a_client_that_never_reads_is_cut_at_the_deadline_of_close_and_named() {
    let plan = short();
    let deadline = plan.deadline(Phase::Close);
    let (shutdown, handle) = exact(plan);
    let (address, handled) = serve_large(&handle).await;
    let mut stream = connect(address).await;
    stream.write_all(request("/").as_bytes()).unwrap();
    answered(&handle, &handled, 1).await;

    let report = soon(begin(shutdown)).await.unwrap();

    assert_cut(&report, stream.local_addr().unwrap(), deadline);
}

// The response says close.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_http1_a_client_that_never_reads_its_last_response_is_cut_and_named() {
    let plan = short();
    let deadline = plan.deadline(Phase::Close);
    let (shutdown, handle) = exact(plan);
    let (address, handled) = serve_large(&handle).await;
    let mut stream = connect(address).await;

    let run = begin(shutdown);
    reached(&handle, Phase::LameDuck).await;
    stream.write_all(request("/").as_bytes()).unwrap();
    answered(&handle, &handled, 1).await;
    let report = soon(run).await.unwrap();

    assert_cut(&report, stream.local_addr().unwrap(), deadline);
}

// The control: a client that has read all of it is no reason to wait.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_has_read_all_does_not_hold_close() {
    let (shutdown, handle) = exact(patient());
    let (address, _) = serve_large(&handle).await;
    let mut client = Client::connect(address).await;
    let response = client.get("/").await;

    let report = soon(begin(shutdown)).await.unwrap();

    assert_eq!(response.body.len(), LENGTH);
    assert_clean(&report);
    assert!(report.took < seconds(5), "{report}");
}
