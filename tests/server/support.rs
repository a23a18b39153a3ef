//! What the subjects share: a client that speaks raw HTTP/1, a gate to hold a handler, a coordinator that runs.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use lameduck::server::{Accept, Serving};
use lameduck::{Phase, Plan, Report, ShutdownCoordinator, ShutdownHandle};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use crate::pace::pace;

pub(crate) const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub(crate) const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// LameDuck to 10 s, Drain to 16.5 s, Close to 23 s, linger 1 s; every connection is asked to close at T0.
pub(crate) fn cluster() -> Plan {
    Plan::builder().spread(Duration::ZERO).build().unwrap()
}

pub(crate) fn coordinator(plan: Plan) -> (ShutdownCoordinator, ShutdownHandle) {
    tokio::spawn(pace());
    let shutdown = ShutdownCoordinator::new(plan).termination_log("/nonexistent");
    let handle = shutdown.handle();
    (shutdown, handle)
}

/// The same, with a seed by which the first connection of the first server ends late in its linger.
pub(crate) fn late_end(plan: Plan) -> (ShutdownCoordinator, ShutdownHandle) {
    const LATE: u64 = 4;
    let (shutdown, handle) = coordinator(plan);
    (shutdown.seed(LATE), handle)
}

/// Triggers the shutdown and lets it run.
pub(crate) fn begin(shutdown: ShutdownCoordinator) -> JoinHandle<Arc<Report>> {
    shutdown.handle().shutdown("test");
    tokio::spawn(shutdown.run())
}

/// A server for `app` that accepts.
pub(crate) async fn start(app: Router, handle: &ShutdownHandle) -> (SocketAddr, Serving) {
    let listener = lameduck::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = lameduck::serve(listener, app, handle);
    ready(handle).await;
    (address, serving)
}

/// A TCP listener whose connections have their bounds in normal service on a paused clock, too: `pace` lets what is on its way
/// through the kernel arrive.
pub(crate) struct Paced(pub(crate) TcpListener);

impl Accept for Paced {
    type Io = TcpStream;
    type Peer = SocketAddr;

    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<(TcpStream, SocketAddr)>> {
        Accept::poll_accept(&mut self.0, cx)
    }

    fn close(self) -> Vec<(TcpStream, SocketAddr)> {
        Accept::close(self.0)
    }
}

/// Waits until every server accepts.
pub(crate) async fn ready(handle: &ShutdownHandle) {
    while !handle.not_ready_because().is_empty() {
        tokio::task::yield_now().await;
    }
}

pub(crate) fn hello() -> Router {
    Router::new().route("/", get(|| async { "hello" }))
}

/// `/` answers when the gate lets it.
pub(crate) fn gated(gate: &Arc<Gate>) -> Router {
    let gate = Arc::clone(gate);
    let handler = async move || {
        gate.pass().await;
        "hello"
    };
    Router::new().fallback(handler)
}

/// Holds handlers until it opens.
#[derive(Debug)]
pub(crate) struct Gate {
    entered: Semaphore,
    open: Semaphore,
}

impl Gate {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Gate {
            entered: Semaphore::new(0),
            open: Semaphore::new(0),
        })
    }

    pub(crate) async fn pass(&self) {
        self.entered.add_permits(1);
        self.open.acquire().await.unwrap().forget();
    }

    /// Waits until somebody stands at the gate.
    pub(crate) async fn entered(&self) {
        let entered = soon(self.entered.acquire()).await;
        entered.unwrap().forget();
    }

    pub(crate) fn open(&self) {
        self.open.add_permits(1);
    }
}

/// A test that waits for what never comes fails.
pub(crate) async fn soon<F: Future>(future: F) -> F::Output {
    let waited = timeout(seconds(100), future).await;
    waited.expect("it never came")
}

/// Lets everybody do what they can do now: the clock moves only when nobody has anything left to do.
pub(crate) async fn settle() {
    sleep(MOMENT).await;
}

/// Short for every plan here, and long enough for what is between two sockets to arrive.
const MOMENT: Duration = millis(100);

pub(crate) async fn reached(handle: &ShutdownHandle, phase: Phase) {
    soon(handle.reached(phase)).await;
}

/// Whether two times are the same, but for what the kernel needs to move bytes.
pub(crate) fn about(left: Duration, right: Duration) -> bool {
    left.abs_diff(right) <= millis(250)
}

/// How long something took.
pub(crate) async fn timed<F: Future>(future: F) -> (F::Output, Duration) {
    let begun = Instant::now();
    let output = soon(future).await;
    (output, begun.elapsed())
}

/// Speaks HTTP/1 byte by byte.
#[derive(Debug)]
pub(crate) struct Client<S = TcpStream> {
    stream: S,
    read: Vec<u8>,
}

impl Client {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        Client::new(TcpStream::connect(address).await.unwrap())
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.stream.local_addr().unwrap()
    }

    /// Puts bytes into the kernel without letting anybody else run.
    pub(crate) fn send_now(&mut self, bytes: impl AsRef<[u8]>) {
        let sent = self.stream.try_write(bytes.as_ref()).unwrap();
        assert_eq!(sent, bytes.as_ref().len());
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    pub(crate) fn new(stream: S) -> Self {
        Client {
            stream,
            read: Vec::new(),
        }
    }

    pub(crate) fn into_inner(self) -> S {
        self.stream
    }

    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.unwrap();
    }

    pub(crate) async fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream.write_all(bytes.as_ref()).await
    }

    pub(crate) async fn half_close(&mut self) {
        self.stream.shutdown().await.unwrap();
    }

    pub(crate) async fn ask(&mut self, path: &str) {
        self.send(request(path)).await;
    }

    pub(crate) async fn try_ask(&mut self, path: &str) -> io::Result<()> {
        self.stream.write_all(request(path).as_bytes()).await
    }

    pub(crate) async fn get(&mut self, path: &str) -> Response {
        self.ask(path).await;
        self.response().await
    }

    pub(crate) async fn response(&mut self) -> Response {
        self.try_response().await.unwrap()
    }

    pub(crate) async fn try_response(&mut self) -> io::Result<Response> {
        let head = self.try_until(b"\r\n\r\n").await?;
        let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let length = field(&head, "content-length").map(|length| length.parse().unwrap());
        let body = match length {
            Some(length) => self.try_exactly(length).await?,
            None => Vec::new(),
        };
        Ok(Response { status, head, body })
    }

    /// Everything until the server ends the stream; an error if it resets it.
    pub(crate) async fn end(&mut self) -> io::Result<Vec<u8>> {
        let mut rest = std::mem::take(&mut self.read);
        soon(self.stream.read_to_end(&mut rest)).await?;
        Ok(rest)
    }

    /// Everything until the end or the reset.
    pub(crate) async fn end_into(&mut self, all: &mut Vec<u8>) -> io::Result<()> {
        all.append(&mut self.read);
        soon(self.stream.read_to_end(all)).await.map(drop)
    }

    /// Whether the server has nothing to say, not even goodbye.
    pub(crate) async fn is_silent(&mut self) -> bool {
        let mut byte = [0];
        let read = timeout(MOMENT, self.stream.read(&mut byte)).await;
        self.read.is_empty() && read.is_err()
    }

    pub(crate) async fn until(&mut self, end: &[u8]) -> Vec<u8> {
        self.try_until(end).await.unwrap()
    }

    pub(crate) async fn exactly(&mut self, length: usize) -> Vec<u8> {
        self.try_exactly(length).await.unwrap()
    }

    async fn try_until(&mut self, end: &[u8]) -> io::Result<Vec<u8>> {
        loop {
            let found = self.read.windows(end.len()).position(|part| part == end);
            if let Some(at) = found {
                return Ok(self.read.drain(..at + end.len()).collect());
            }
            self.more().await?;
        }
    }

    async fn try_exactly(&mut self, length: usize) -> io::Result<Vec<u8>> {
        while self.read.len() < length {
            self.more().await?;
        }
        Ok(self.read.drain(..length).collect())
    }

    async fn more(&mut self) -> io::Result<()> {
        match soon(self.stream.read_buf(&mut self.read)).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }
}

pub(crate) fn request(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n")
}

/// A response; its head in lower case.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Response {
    pub(crate) fn says_close(&self) -> bool {
        field(&self.head, "connection") == Some("close")
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key == name).then_some(value.trim())
    })
}
