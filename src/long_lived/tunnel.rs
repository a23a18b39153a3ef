//! Tunnels: bytes that are passed on in both directions, and what they mean is not known.

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf, copy_bidirectional};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::moment::Moment;
use super::notices::Told;
use crate::phase::Phase;
use crate::plan::Plan;

/// How long the client's end is waited for, after ours.
const LINGERING_CLOSE: Duration = Duration::from_secs(1);

/// Passes bytes on between `client` and `upstream`, as [`tokio::io::copy_bidirectional`] does, and ends when its `moment` has
/// come and nothing has moved for a while. Returns how many bytes came from each.
///
/// For a proxy: of CONNECT (RFC 9110, section 9.3.6), of WebSockets, of TCP. What the bytes mean is not known here, nor when a
/// tunnel is over that both sides keep open. Before the moment only the two sides end it. From the moment on:
///
/// 1. It goes on until no byte has moved in either direction for the plan's linger ([`Plan::linger`](crate::Plan::linger), 1 s by
///    default). If `client` was the last to send, an answer may be on its way: then for half of the time to
///    [`Told::deadline`](crate::Told::deadline).
/// 2. It ends the side of `upstream`, as if the client had ended: what comes from there meanwhile is still passed on. If
///    `upstream` does not end its own side, that takes the linger once more.
/// 3. It ends the side of `client`, and reads and discards what still comes until the client ends its own, for 1 s at most. So
///    what was sent last is not destroyed by a reset.
///
/// A request that `upstream` answers later than that is lost. At the deadline all of it is over.
///
/// When the moment comes because of its [connection's age](crate::Server::max_connection_age), and there is no grace, the deadline
/// is decades away. An answer is then waited for at most half of the plan's time from the trigger to the end of Release
/// ([`Plan::deadline`](crate::Plan::deadline)): 14 s by default. A shutdown that begins meanwhile is told to the tunnel at its
/// moment, and gives it the deadline of Close.
///
/// ```
/// use axum::body::Body;
/// use axum::extract::Request;
/// use axum::response::Response;
/// use hyper_util::rt::TokioIo;
/// use lameduck::Moment;
/// use lameduck::server::tunnel;
/// use tokio::net::TcpStream;
///
/// /// Answers `CONNECT example.org:443`.
/// async fn connect(request: Request) -> Response {
///     // Here, not in the task: only the handler knows which request it serves.
///     let moment = Moment::of(request.extensions()).expect("served by lameduck");
///     let authority = request.uri().authority().map(ToString::to_string);
///     tokio::spawn(async move {
///         let mut upstream = TcpStream::connect(authority?).await.ok()?;
///         let mut client = TokioIo::new(hyper::upgrade::on(request).await.ok()?);
///         tunnel(&mut client, &mut upstream, moment).await.ok()
///     });
///     Response::new(Body::empty())
/// }
/// ```
///
/// # Errors
///
/// An error of either side; of kind [`io::ErrorKind::TimedOut`] if bytes were still moving at
/// [`Told::deadline`](crate::Told::deadline).
///
/// # Cancel safety
///
/// Not cancel safe: bytes that were read from one side may not have been written to the other.
pub async fn tunnel<A, B>(
    client: &mut A,
    upstream: &mut B,
    mut moment: Moment,
) -> io::Result<(u64, u64)>
where
    A: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    let flow = Flow::default();
    let mut near = flow.side(&mut *client, true);
    let mut far = flow.side(upstream, false);
    let mut copy = Box::pin(copy_bidirectional(&mut near, &mut far));
    let told = tokio::select! {
        done = &mut copy => return done,
        told = &mut moment => told,
    };
    let plan = &moment.shared().plan;
    let (ended, told) = match moment.of_shutdown() {
        None => (end(copy.as_mut(), &flow, &told, plan).await, told),
        Some(shutdown) => tokio::select! {
            ended = end(copy.as_mut(), &flow, &told, plan) => (ended, told),
            then = shutdown => {
                // The grace behind its age may end before Close.
                let deadline = told.deadline.min(then.deadline);
                let told = Told { deadline, ..then };
                (end(copy.as_mut(), &flow, &told, plan).await, told)
            }
        },
    };
    let passed = ended?;
    drop(copy);
    let patience = told.remaining().min(LINGERING_CLOSE);
    // However the client takes it: all that there was has been passed on.
    let _ = timeout(patience, lingering_close(client)).await;
    Ok(passed)
}

/// Goes on with `copy` until nothing has moved for a while, and then without the client, at most to what `told` has for its
/// deadline. Returns how many bytes came from each side.
async fn end<F>(
    mut copy: Pin<&mut F>,
    flow: &Flow,
    told: &Told,
    plan: &Plan,
) -> io::Result<(u64, u64)>
where
    F: Future<Output = io::Result<(u64, u64)>>,
{
    let linger = plan.linger();
    // Behind a connection's age the deadline may be decades away. That of Close is never later than this.
    let left = told.remaining().min(plan.deadline(Phase::Release));
    let answer = linger.max(left / 2);
    let end = async {
        let quiet = || if flow.awaits_answer() { answer } else { linger };
        if !flow.is_client_ended() {
            if let Some(done) = until_quiet(copy.as_mut(), flow, quiet).await {
                return done;
            }
            flow.ends_client.store(true, Ordering::Relaxed);
        }
        let done = until_quiet(copy.as_mut(), flow, || linger).await;
        done.unwrap_or_else(|| Ok(flow.bytes()))
    };
    timeout_at(told.deadline(), end).await?
}

/// Polls `copy` until nothing has moved for as long as `quiet` says. Its output, if it is over before.
async fn until_quiet<F: Future>(
    mut copy: Pin<&mut F>,
    flow: &Flow,
    quiet: impl Fn() -> Duration,
) -> Option<F::Output> {
    let mut seen = flow.moved();
    let mut wait = pin!(sleep(quiet()));
    poll_fn(|cx| {
        if let Poll::Ready(done) = copy.as_mut().poll(cx) {
            return Poll::Ready(Some(done));
        }
        let moved = flow.moved();
        if moved.is_held() {
            // A side that reads slowly has not taken it yet. When it does, that wakes this task.
            return Poll::Pending;
        }
        if moved != seen {
            seen = moved;
            wait.as_mut().reset(Instant::now() + quiet());
        }
        wait.as_mut().poll(cx).map(|()| None)
    })
    .await
}

/// Ends our side, and discards what the client still sends until it ends its own.
async fn lingering_close(client: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> io::Result<()> {
    client.shutdown().await?;
    let mut discarded = [0; 4096];
    while client.read(&mut discarded).await? > 0 {}
    Ok(())
}

/// What has passed through a tunnel. Only its own task writes it; atomics let that be on any thread.
#[derive(Default)]
struct Flow {
    /// How many bytes have been read from the client, and written to it,
    client: [AtomicU64; 2],
    /// and from and to the upstream.
    upstream: [AtomicU64; 2],
    /// Whether the client was the last that sent anything.
    client_last: AtomicBool,
    /// Reading from the client ends when nothing is there.
    ends_client: AtomicBool,
}

/// How many bytes have been read and written on each side.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Moved {
    client: [u64; 2],
    upstream: [u64; 2],
}

impl Moved {
    /// Whether bytes that were read on one side have not been written to the other.
    fn is_held(self) -> bool {
        let (client, upstream) = (self.client, self.upstream);
        client[READ] != upstream[WRITTEN] || upstream[READ] != client[WRITTEN]
    }
}

const READ: usize = 0;
const WRITTEN: usize = 1;

impl Flow {
    fn side<'a, T>(&'a self, io: &'a mut T, is_client: bool) -> Side<'a, T> {
        Side {
            io,
            flow: self,
            is_client,
        }
    }

    fn moved(&self) -> Moved {
        let load = |counts: &[AtomicU64; 2]| {
            let [read, written] = counts;
            [read, written].map(|count| count.load(Ordering::Relaxed))
        };
        Moved {
            client: load(&self.client),
            upstream: load(&self.upstream),
        }
    }

    /// How many bytes came from each side.
    fn bytes(&self) -> (u64, u64) {
        let moved = self.moved();
        (moved.client[READ], moved.upstream[READ])
    }

    fn is_client_ended(&self) -> bool {
        self.ends_client.load(Ordering::Relaxed)
    }

    fn awaits_answer(&self) -> bool {
        self.client_last.load(Ordering::Relaxed)
    }
}

/// One side of a tunnel, whose bytes are counted.
struct Side<'a, T> {
    io: &'a mut T,
    flow: &'a Flow,
    is_client: bool,
}

impl<T> Side<'_, T> {
    fn count(&self, what: usize, bytes: usize) {
        let counts = match self.is_client {
            true => &self.flow.client,
            false => &self.flow.upstream,
        };
        counts[what].fetch_add(bytes as u64, Ordering::Relaxed);
    }

    fn is_ended(&self) -> bool {
        self.is_client && self.flow.is_client_ended()
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Side<'_, T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut *self.io).poll_read(cx, buf);
        if read.is_pending() && self.is_ended() {
            return Poll::Ready(Ok(()));
        }
        let bytes = buf.filled().len() - before;
        if bytes > 0 {
            self.count(READ, bytes);
            let last = &self.flow.client_last;
            last.store(self.is_client, Ordering::Relaxed);
        }
        read
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Side<'_, T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut *self.io).poll_write(cx, buf);
        if let Poll::Ready(Ok(bytes)) = written {
            self.count(WRITTEN, bytes);
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.io).poll_shutdown(cx)
    }
}
