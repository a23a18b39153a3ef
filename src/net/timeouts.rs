//! How long a server waits for its clients.

use std::time::Duration;

/// How long a server waits for what its clients still have to send, where plain hyper would wait for ever.
///
/// A request's body and a client that reads slowly have no bound but Close's deadline: only the application knows how long
/// they may take. An idle connection that has completed a request has none either, before the shutdown: a server that closes
/// it before its balancer does makes errors all day.
///
/// ```
/// # use std::time::Duration;
/// # use lameduck::{Plan, Server, ShutdownCoordinator};
/// # use lameduck::server::Timeouts;
/// # let shutdown = ShutdownCoordinator::new(Plan::immediate());
/// # let handle = shutdown.handle();
/// let slow_clients = Timeouts::new().head(Duration::from_secs(30), Duration::from_secs(5));
/// let server = Server::new(&handle).timeouts(slow_clients);
/// # let _ = server;
/// ```
///
/// # Defaults
///
/// | time | in normal service | once the shutdown has begun |
/// |---|---|---|
/// | [`head`](Timeouts::head) | 10 s | 2 s |
/// | [`silent`](Timeouts::silent) | 60 s | 1 s |
/// | [`handshake`](Timeouts::handshake) | 10 s | 2 s |
/// | [`pong`](Timeouts::pong) | – | 1 s |
/// | [`lingering_close`](Timeouts::lingering_close) | 1 s, however much that is | 1 s of silence |
///
/// `Duration::MAX` means for ever, in the end to Close's deadline. Zero means not at all, and is no bound for normal service.
///
/// # Panics
///
/// [`head`](Timeouts::head), [`silent`](Timeouts::silent) and [`handshake`](Timeouts::handshake) panic if the time in normal service
/// is zero: a client whose bytes come in two pieces would never be served.
///
/// # On a paused clock
///
/// A test's clock that is paused (`start_paused`, of tokio's feature `test-util`) jumps to the next timer as soon as the runtime
/// has nothing else to do. Bytes that a client outside the runtime is about to send do not keep it. So the bounds of normal service
/// do not hold for TCP connections that were accepted while the clock was paused, and these have no
/// [age](crate::Server::max_connection_age): their clients are answered, as by a server that has no timers. A
/// test of these bounds serves an [`Accept`](crate::server::Accept) of its own, which gives [`tokio::io::duplex`] streams.
///
/// TCP connections are those of a `TcpListener`, or of [`accept_fn`](crate::server::accept_fn). For all others, those of a
/// `UnixListener` and of other listeners of your own among them, the bounds and the age hold: over them a client outside the runtime
/// is served only while [`spawn_blocking`](tokio::task::spawn_blocking) stops the clock.
///
/// From the trigger on the clock jumps over the phases in the same way. A test whose client is to be served meanwhile runs it in
/// [`spawn_blocking`](tokio::task::spawn_blocking), which stops a paused clock while it runs:
///
/// ```
/// use std::io::{self, Read, Write};
/// use std::net::{SocketAddr, TcpStream};
///
/// use axum::{Router, routing::get};
/// use lameduck::{Plan, ShutdownCoordinator};
/// use tokio::task::spawn_blocking;
///
/// # /*
/// #[tokio::test(start_paused = true)]
/// # */
/// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() {
/// #     client_is_answered_in_lame_duck().await;
/// # }
/// async fn client_is_answered_in_lame_duck() {
///     let shutdown = ShutdownCoordinator::new(Plan::builder().build().unwrap()); // LameDuck takes 10 s
///     let handle = shutdown.handle();
///     let listener = lameduck::bind("127.0.0.1:0").await.unwrap();
///     let address = listener.local_addr().unwrap();
///     lameduck::serve(listener, Router::new().route("/", get(async || "hello")), &handle);
///
///     let run = tokio::spawn(shutdown.run());
///     // The clock stands still until this is over; then LameDuck takes no real time.
///     let answer = spawn_blocking(move || {
///         handle.shutdown("the test says so");
///         ask(address)
///     });
///
///     assert!(answer.await.unwrap().unwrap().ends_with("hello"));
///     assert!(run.await.unwrap().is_clean());
/// }
///
/// fn ask(address: SocketAddr) -> io::Result<String> {
///     let mut stream = TcpStream::connect(address)?;
///     stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
///     let mut answer = String::new();
///     stream.read_to_string(&mut answer)?;
///     Ok(answer)
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "it does nothing until a server is given it"]
pub struct Timeouts {
    pub(crate) head: Limit,
    pub(crate) silent: Limit,
    pub(crate) handshake: Limit,
    pub(crate) pong: Duration,
    pub(crate) lingering_close: Duration,
    pub(crate) discarded: usize,
}

/// A time before the shutdown, and one from then on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limit {
    pub(crate) serving: Duration,
    pub(crate) leaving: Duration,
}

impl Limit {
    /// # Panics
    ///
    /// If `serving` is zero.
    const fn new(serving: Duration, leaving: Duration) -> Self {
        assert!(
            !serving.is_zero(),
            "a server that does not wait for its clients in normal service serves none of them"
        );
        Limit { serving, leaving }
    }

    const fn seconds(serving: u64, leaving: u64) -> Self {
        Limit {
            serving: Duration::from_secs(serving),
            leaving: Duration::from_secs(leaving),
        }
    }
}

impl Timeouts {
    /// The defaults.
    pub const fn new() -> Self {
        Timeouts {
            head: Limit::seconds(10, 2),
            silent: Limit::seconds(60, 1),
            handshake: Limit::seconds(10, 2),
            pong: Duration::from_secs(1),
            lingering_close: Duration::from_secs(1),
            discarded: usize::MAX,
        }
    }

    /// The same, but what a client still has to send is waited for without end.
    pub(crate) const fn without_end(mut self) -> Self {
        const NEVER: Limit = Limit {
            serving: Duration::MAX,
            leaving: Duration::MAX,
        };
        (self.head, self.silent, self.handshake) = (NEVER, NEVER, NEVER);
        self
    }

    /// For the rest of a request's head on HTTP/1, from its first byte. Once the shutdown has begun, `leaving` counts from
    /// then, if the head is older.
    ///
    /// While a request is handled nothing is waited for; half of the next head is bounded from the end of the response on.
    ///
    /// On HTTP/2 it bounds the rest of a header block and of any frame that is not the body of an open stream, from the end of
    /// [`pong`](Timeouts::pong) on: behind the first GOAWAY.
    pub const fn head(mut self, serving: Duration, leaving: Duration) -> Self {
        self.head = Limit::new(serving, leaving);
        self
    }

    /// For the first byte on a connection. Once the shutdown has begun, `leaving` counts from the connection's moment in the
    /// spread.
    pub const fn silent(mut self, serving: Duration, leaving: Duration) -> Self {
        self.silent = Limit::new(serving, leaving);
        self
    }

    /// For a TLS handshake ([`Server::handshake`](crate::Server::handshake)), with the PROXY protocol header before it, from the
    /// connection's begin, and for HTTP/2's preface, from its first byte. Once the shutdown has begun, `leaving` counts from
    /// then, if it is older.
    pub const fn handshake(mut self, serving: Duration, leaving: Duration) -> Self {
        self.handshake = Limit::new(serving, leaving);
        self
    }

    /// For an HTTP/2 client to acknowledge the first GOAWAY, by the answer to a PING (RFC 9113, section 6.8). Without an
    /// answer the second GOAWAY is sent all the same; streams that are open by then are finished. Behind an answer it is sent
    /// 50 ms later, for the requests that the client had queued.
    pub const fn pong(mut self, pong: Duration) -> Self {
        self.pong = pong;
        self
    }

    /// For the client's end of a connection that we have closed (RFC 9112, section 9.6). During the shutdown the time counts
    /// from when the client was last heard of, and starts only when it has acknowledged all that was sent, where the
    /// kernel tells (TCP on Linux). What the client still sends is read and
    /// discarded, up to `bytes`. Closing at once would make the kernel send a reset, which can destroy the response. So does
    /// closing when `bytes` have come and more is on its way; the default has no such limit.
    pub const fn lingering_close(mut self, time: Duration, bytes: usize) -> Self {
        self.lingering_close = time;
        self.discarded = bytes;
        self
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Timeouts::new()
    }
}
