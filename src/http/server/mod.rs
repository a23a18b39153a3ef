//! A server: what a user can set of it.
//!
//! `serve` is its accept loop, `find_client` and `handshake` what comes before HTTP, `extension` what its requests are given.

mod extension;
mod find_client;
mod handshake;
#[cfg(feature = "proxy-protocol")]
mod proxy_protocol;
mod serve;

use std::fmt;
use std::io;
use std::time::Duration;

use hyper::server::conn::{http1, http2};

use crate::handle::ShutdownHandle;
use crate::http::connection::drive::{Builders, Executor};
use crate::http::traffic::{ExemptRule, RequestHead};
use crate::net::age::SHORTEST;
use crate::net::exit::Protocol;
use crate::net::socket::TcpKeepalive;
use crate::net::terms::{RequestNames, Terms};
use crate::net::timeouts::Timeouts;
use crate::phase::Phase;

pub(crate) use extension::Insert;
pub use extension::{ConnectionExtension, RequestExtension};
pub use find_client::FindClient;
pub use handshake::{Handshake, HandshakeFn};
#[cfg(feature = "proxy-protocol")]
pub use proxy_protocol::{Proxied, ProxyProtocolFn};
pub use serve::{Serving, serve, serve_admin};

/// A server's settings. [`serve`](crate::serve) is a server with none of them changed.
///
/// ```no_run
/// # use std::net::SocketAddr;
/// # use axum::{Router, extract::ConnectInfo, routing::get};
/// # use lameduck::{Plan, Server, ShutdownCoordinator};
/// # async fn example() -> std::io::Result<()> {
/// # let shutdown = ShutdownCoordinator::new(Plan::immediate());
/// # let handle = shutdown.handle();
/// let app = Router::new().route(
///     "/",
///     get(|ConnectInfo(peer): ConnectInfo<SocketAddr>| async move { format!("hello {peer}") }),
/// );
/// let listener = lameduck::bind("127.0.0.1:3000").await?;
/// Server::new(&handle)
///     .name("api")
///     .request_extension(|_, peer: &SocketAddr| ConnectInfo(*peer))
///     .serve(listener, app);
/// # Ok(())
/// # }
/// ```
///
/// # Defaults
///
/// | setting | default |
/// |---|---|
/// | name | `server` |
/// | shared | no, unless the listener knows better |
/// | request extension | none |
/// | request names | method and path, without the query |
/// | PROXY protocol | none |
/// | handshake | none |
/// | exempt requests | none but this crate's probes |
/// | timeouts | those of [`Timeouts`] |
/// | a connection's age, and the grace behind it | no limit |
/// | connections | no limit |
/// | `TCP_NODELAY` | on |
/// | TCP keepalive | none |
/// | GOAWAY at an HTTP/2 connection's moment | yes |
/// | requests and upgrades during the shutdown | accepted while the listener is open |
/// | a request's context in its extensions | no |
/// | HTTP/2 responses that are ready together | leave together |
/// | versions | HTTP/1 and HTTP/2: the client chooses |
/// | HTTP/1, HTTP/2 | hyper's own, without its header timer, and with extended CONNECT (WebSockets over HTTP/2) |
///
/// How they compare with those of hyper-util, axum, tonic and axum-server is in `docs/settings.md`.
///
/// # Two listeners
///
/// A clone has the same settings, and is a server of its own when it [serves](Server::serve): with its own limit of connections, and its own
/// line in the log.
///
/// ```no_run
/// # use axum::Router;
/// # use lameduck::{Server, ShutdownHandle};
/// # async fn example(app: Router, handle: ShutdownHandle) -> std::io::Result<()> {
/// let server = Server::new(&handle).http1_only();
/// server.clone().serve(lameduck::bind("127.0.0.1:3000").await?, app.clone());
/// server.serve(lameduck::bind("[::1]:3000").await?, app);
/// # Ok(())
/// # }
/// ```
///
/// # The executor
///
/// A server runs on the tokio runtime in which [`serve`](Server::serve) is called: its accept loop, a task for each connection, and a task
/// for each request of HTTP/2. The executor in the type of [`http2`](Server::http2)'s builder cannot be replaced.
#[derive(Clone)]
#[must_use = "it serves only when `serve` is called"]
pub struct Server<X = (), H = (), C = ()> {
    pub(crate) handle: ShutdownHandle,
    pub(crate) counted: bool,
    pub(crate) name: String,
    pub(crate) shared: bool,
    pub(crate) extension: X,
    pub(crate) handshake: H,
    pub(crate) find_client: C,
    pub(crate) goaway: bool,
    pub(crate) terms: Terms,
    pub(crate) builders: Builders,
}

impl Server {
    /// A server that is part of the service.
    pub fn new(handle: &ShutdownHandle) -> Self {
        Server {
            handle: handle.clone(),
            counted: true,
            name: "server".to_owned(),
            shared: false,
            extension: (),
            handshake: (),
            find_client: (),
            goaway: true,
            terms: Terms::default(),
            builders: Builders::default(),
        }
    }

    /// A server for probes and metrics: it stays until Exit is over, and nobody waits for its connections.
    pub fn admin(handle: &ShutdownHandle) -> Self {
        Server {
            counted: false,
            name: "admin".to_owned(),
            terms: Terms {
                names: RequestNames::Off,
                ..Terms::default()
            },
            ..Server::new(handle)
        }
    }
}

impl<X, H, C> Server<X, H, C> {
    /// What logs and the report call it.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Says that others accept from the same listener, now or when this server has left: a supervisor that keeps it, the
    /// process that comes next. So it is left as it is at the end of Close. Otherwise its queue is emptied, and on Linux new
    /// connections are kept out first, which the others would see.
    ///
    /// Who passes a listener on and does not say so is found out on Linux as a rule: by the variables of socket activation
    /// (sd_listen_fds(3)), and by a look at which processes have the socket open ([`Accept::is_shared`]). The look cannot see
    /// into processes of other users or outside the container.
    ///
    /// One thing stays on a shared socket in any case: it does not block. That belongs to all who got their descriptor from
    /// the same one, so a parent that accepts from it has to be ready for `WouldBlock`.
    ///
    /// [`Accept::is_shared`]: crate::server::Accept::is_shared
    pub fn shared(mut self) -> Self {
        self.shared = true;
        self
    }

    /// Inserts an extension into every request of a connection.
    ///
    /// `make` is called once for each connection, with its IO after the [`handshake`](Server::handshake) and its peer. It runs
    /// in the connection's own task; if it panics, that ends the connection. Each request gets a clone of the result. None is
    /// inserted unasked: it costs an allocation or more for each request.
    ///
    /// The types of both arguments have to be written when the closure uses them. They are the listener's
    /// [`Accept::Io`](crate::server::Accept::Io), or what the handshake resolves to, and its
    /// [`Accept::Peer`](crate::server::Accept::Peer), or a `Proxied` of that with `Server::proxy_protocol`. For TCP:
    ///
    /// ```no_run
    /// # use std::net::SocketAddr;
    /// # use axum::extract::ConnectInfo;
    /// # use lameduck::{Server, ShutdownHandle};
    /// # use tokio::net::TcpListener;
    /// # fn example(listener: TcpListener, app: axum::Router, handle: ShutdownHandle) {
    /// Server::new(&handle)
    ///     .request_extension(|_, peer: &SocketAddr| ConnectInfo(*peer))
    ///     .serve(listener, app);
    /// # }
    /// ```
    ///
    /// The credentials of a Unix socket's peer:
    ///
    /// ```no_run
    /// # #[cfg(unix)]
    /// # mod example {
    /// # use lameduck::{Server, ShutdownHandle};
    /// # use tokio::net::{UnixListener, UnixStream};
    /// # fn example(listener: UnixListener, app: axum::Router, handle: ShutdownHandle) {
    /// Server::new(&handle)
    ///     .request_extension(|io: &UnixStream, _| io.peer_cred().ok())
    ///     .serve(listener, app);
    /// # }
    /// # }
    /// ```
    ///
    /// A TLS client's certificate:
    ///
    /// ```no_run
    /// # use std::sync::Arc;
    /// # use lameduck::{Server, ShutdownHandle};
    /// # use tokio::net::{TcpListener, TcpStream};
    /// # use tokio_rustls::TlsAcceptor;
    /// # use tokio_rustls::rustls::pki_types::CertificateDer;
    /// # use tokio_rustls::server::TlsStream;
    /// # fn example(acceptor: TlsAcceptor, listener: TcpListener, app: axum::Router, handle: ShutdownHandle) {
    /// #[derive(Clone)]
    /// struct Client(Option<Arc<CertificateDer<'static>>>);
    ///
    /// Server::new(&handle)
    ///     .handshake(move |tcp| acceptor.accept(tcp))
    ///     .request_extension(|tls: &TlsStream<TcpStream>, _| {
    ///         let certificates = tls.get_ref().1.peer_certificates();
    ///         Client(certificates.map(|chain| Arc::new(chain[0].clone())))
    ///     })
    ///     .serve(listener, app);
    /// # }
    /// ```
    ///
    /// tonic's `Request::remote_addr` and `Request::peer_certs` read the extension that `Connected::connect_info` returns:
    ///
    /// ```no_run
    /// # use lameduck::{Server, ShutdownHandle};
    /// # use tokio::net::{TcpListener, TcpStream};
    /// # use tonic::service::Routes;
    /// use tonic::transport::server::Connected;
    ///
    /// # fn example(listener: TcpListener, routes: Routes, handle: ShutdownHandle) {
    /// Server::new(&handle)
    ///     .request_extension(|io: &TcpStream, _| io.connect_info())
    ///     .serve(listener, routes);
    /// # }
    /// ```
    ///
    /// With TLS, `io` is a `&TlsStream<TcpStream>`.
    ///
    /// Each call adds an extension. If two have the same type, the later one replaces the earlier one.
    pub fn request_extension<F, I, P, T>(
        self,
        make: F,
    ) -> Server<(X, ConnectionExtension<F, T>), H, C>
    where
        F: Fn(&I, &P) -> T + Clone + Send + Sync + 'static,
        T: Clone + Send + Sync + 'static,
    {
        self.change(|extension, handshake, find_client| {
            let extension = (extension, ConnectionExtension::new(make));
            (extension, handshake, find_client)
        })
    }

    /// Does something on each connection before HTTP: a TLS handshake.
    ///
    /// It runs in the connection's own task, so a slow client holds nobody else up; the connection is counted meanwhile, and
    /// bounded by [`Timeouts::handshake`]. With `tokio-rustls`:
    ///
    /// ```no_run
    /// # use axum::Router;
    /// # use lameduck::{Server, ShutdownHandle};
    /// # use tokio_rustls::TlsAcceptor;
    /// # async fn example(acceptor: TlsAcceptor, app: Router, handle: ShutdownHandle) -> std::io::Result<()> {
    /// let listener = lameduck::bind("0.0.0.0:3443").await?;
    /// Server::new(&handle)
    ///     .handshake(move |tcp| acceptor.accept(tcp))
    ///     .serve(listener, app);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// A client that speaks HTTP/2 is recognized by what it sends first, so ALPN (RFC 7301) has to offer `h2` and
    /// `http/1.1`, and nothing else has to be done for it. An error ends the connection, and is logged with `debug`.
    pub fn handshake<F, I, Fut, T>(self, handshake: F) -> Server<X, HandshakeFn<F>, C>
    where
        F: Fn(I) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = io::Result<T>> + Send + 'static,
    {
        self.change(|extension, _, find_client| (extension, HandshakeFn(handshake), find_client))
    }

    /// Changes what has a type of its own.
    fn change<Y, G, Q>(self, change: impl FnOnce(X, H, C) -> (Y, G, Q)) -> Server<Y, G, Q> {
        let (extension, handshake, find_client) =
            change(self.extension, self.handshake, self.find_client);
        Server {
            handle: self.handle,
            counted: self.counted,
            name: self.name,
            shared: self.shared,
            extension,
            handshake,
            find_client,
            goaway: self.goaway,
            terms: self.terms,
            builders: self.builders,
        }
    }

    /// How the report calls requests that were left behind.
    pub fn request_names(mut self, names: RequestNames) -> Self {
        self.terms.names = names;
        self
    }

    /// Says which requests are exempt: health checks of your own, metrics, whatever asks without end and is no traffic. An exempt
    /// request is
    ///
    /// - not counted, and never refused,
    /// - waited for neither by Drain nor by Close,
    /// - no traffic: it neither keeps LameDuck from being over early ([`LeaveEarly`](crate::LeaveEarly)) nor makes it wait where
    ///   nothing else has come, and it is no arrival in the report,
    /// - not named in the report.
    ///
    /// Its answer is not cut short for that: a connection that carries nothing but exempt requests when Close waits for it
    /// is let go. It ends as an idle one does when the answer is out, in Release or Exit if need be. What an exempt
    /// handler uses must survive hooks of Release, or it fails then. What is still open at the end of Exit is dropped. An upgrade
    /// (a WebSocket) is a connection like any other, whoever asked for it.
    ///
    /// A [`DrainLayer`](crate::DrainLayer) under the server takes the request for exempt as well, and the server one that such a
    /// layer [exempts](crate::DrainLayer::exempt). This crate's probes, and `Check` of gRPC's health service, are exempt
    /// without a rule; but the server [refuses](Server::refuse_from) them as it does others, because it has not called them by then.
    /// Where a middleware spawns handlers, the server learns that of a layer or a probe within the task only with
    /// [`context_in_extensions`](Server::context_in_extensions). To have health checkers served like any client, but not counted as traffic, there is
    /// [`probe_user_agents`](crate::ShutdownCoordinator::probe_user_agents).
    ///
    /// The rule is called once for each request, and a panic in it ends the request as one in its handler does. A second call of
    /// this replaces the first.
    ///
    /// ```no_run
    /// # use axum::Router;
    /// # use lameduck::{Server, ShutdownHandle};
    /// # async fn example(app: Router, handle: ShutdownHandle) -> std::io::Result<()> {
    /// let listener = lameduck::bind("0.0.0.0:3000").await?;
    /// Server::new(&handle)
    ///     .exempt(|head| matches!(head.uri.path(), "/metrics" | "/healthz"))
    ///     .serve(listener, app);
    /// # Ok(())
    /// # }
    /// ```
    pub fn exempt<F>(mut self, exempt: F) -> Self
    where
        F: Fn(RequestHead<'_>) -> bool + Send + Sync + 'static,
    {
        self.terms.exempt = Some(ExemptRule::new(exempt));
        self
    }

    /// How long it waits for what clients still have to send.
    pub fn timeouts(mut self, timeouts: Timeouts) -> Self {
        self.terms.timeouts = timeouts;
        self
    }

    /// Limits for how long a connection is used in normal service, so that clients spread over the replicas again: a long
    /// HTTP/2 connection behind a Service stays with the pod that it was opened to. By default there is no limit.
    ///
    /// Each connection draws its own age, evenly from `age` ± 10 %, so those that were opened at once do not leave at once.
    /// When it is over the client is asked to leave, as it is at the connection's moment in a shutdown:
    ///
    /// - HTTP/1 responses say `Connection: close` (RFC 9112, section 9.6). An idle connection is kept for one more request for 1 s,
    ///   and then ends when its socket is dry. It may end while the client's next request is on the way, as any idle connection
    ///   that a server closes.
    /// - HTTP/2 gets GOAWAY in two steps, and finishes its streams (RFC 9113, section 6.8). With open streams it waits until they are
    ///   over, for 1 s at most. With [`goaway(false)`](Server::goaway) it waits for
    ///   1 s, and until nothing is in flight.
    /// - WebSockets, and all others that ask for their [`Moment`](crate::Moment), are told, with [`Reason::ConnectionAge`]; event
    ///   streams end.
    ///
    /// Nothing is cut, unless there is a [grace](Server::max_connection_age_grace). In a shutdown what comes first counts: the age, or
    /// the connection's moment. The contract is that of gRPC's `MAX_CONNECTION_AGE` (proposal A9).
    ///
    /// ```no_run
    /// # use std::time::Duration;
    /// # use axum::Router;
    /// # use lameduck::{Server, ShutdownHandle};
    /// # async fn example(app: Router, handle: ShutdownHandle) -> std::io::Result<()> {
    /// let listener = lameduck::bind("0.0.0.0:3000").await?;
    /// Server::new(&handle)
    ///     .max_connection_age(Duration::from_secs(10 * 60))
    ///     .serve(listener, app);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Panics
    ///
    /// When `age` is shorter than 1 ms, which is as exact as tokio's timers are.
    ///
    /// [`Reason::ConnectionAge`]: crate::Reason::ConnectionAge
    pub fn max_connection_age(mut self, age: Duration) -> Self {
        assert!(
            age >= SHORTEST,
            "a connection's age is 1 ms at least, not {age:?}"
        );
        self.terms.max_age.age = Some(age);
        self
    }

    /// Cuts what a connection still carries when its age has been over for so long: requests, streams, WebSockets. By default
    /// nothing is cut. An idle HTTP/1 connection ends by itself, after half of it at the latest.
    ///
    /// The log has each cut at `debug`, and the metrics count them (`lameduck_aged_connections_cut_total`). The report of a shutdown
    /// does not: it stays clean. Without a [`max_connection_age`](Server::max_connection_age) it changes nothing.
    pub fn max_connection_age_grace(mut self, grace: Duration) -> Self {
        self.terms.max_age.grace = Some(grace);
        self
    }

    /// How many connections this server has open at most. By default there is no limit.
    ///
    /// At the limit the server accepts no more until a connection is gone; an upgraded one is gone when its IO is dropped. New connections wait
    /// in the kernel's queue, whose length [`bind`](crate::bind) sets; what does not fit there is dropped, and its client tries
    /// again a second later. The log warns when the limit is reached, and says how long it held new connections up when it has
    /// not been reached for a second.
    ///
    /// The limit holds until the listener closes, at the end of Close. What is in the queue then is accepted and answered, however much
    /// it is. Each server has a limit of its own, an admin server too. It does not bound requests: an HTTP/2 connection carries many
    /// at once.
    ///
    /// # Panics
    ///
    /// If `max` is zero.
    pub fn max_connections(mut self, max: usize) -> Self {
        assert!(max > 0, "a server without connections serves nobody");
        self.terms.max_connections = Some(max);
        self
    }

    /// Whether TCP connections are accepted with `TCP_NODELAY`. By default they are: without it the last part of a response may
    /// wait for the client to acknowledge the part before (Nagle's algorithm, RFC 896), 40 ms with a client that delays its
    /// acknowledgements.
    ///
    /// It costs packets: a server whose connections carry many small HTTP/2 responses at once writes each by itself.
    ///
    /// Reaches each listener whose connections are [`TcpStream`](tokio::net::TcpStream)s, also one that implements
    /// [`Accept`](crate::server::Accept) around another, and no other kind.
    pub fn tcp_nodelay(mut self, nodelay: bool) -> Self {
        self.terms.socket.nodelay = nodelay;
        self
    }

    /// Lets the kernel find out that a silent client is gone, with TCP's keepalive. By default the sockets are left as they are
    /// accepted, which is without.
    ///
    /// ```no_run
    /// # use std::time::Duration;
    /// # use lameduck::{Server, ShutdownHandle};
    /// # fn example(handle: ShutdownHandle) {
    /// let server = Server::new(&handle).tcp_keepalive(Duration::from_secs(60));
    /// # let _ = server;
    /// # }
    /// ```
    ///
    /// Reaches the listeners that [`tcp_nodelay`](Server::tcp_nodelay) reaches.
    ///
    /// # Panics
    ///
    /// If `keepalive` is a time shorter than 1 s or longer than 32,767 s.
    pub fn tcp_keepalive(mut self, keepalive: impl Into<TcpKeepalive>) -> Self {
        self.terms.socket.keepalive = Some(keepalive.into());
        self
    }

    /// Whether an HTTP/2 connection gets its GOAWAY at its moment. `false` for an old proxy that takes a GOAWAY for a
    /// failure: nginx, when it speaks HTTP/2 to its upstreams, answered what was in flight with 502 until June 2026.
    ///
    /// Without it HTTP/2 connections are served as before through LameDuck and Drain. In Close each gets its GOAWAY when
    /// nothing is in flight on it, and ends; so its clients learn late that they should leave.
    pub fn goaway(mut self, goaway: bool) -> Self {
        self.goaway = goaway;
        self
    }

    /// From this phase on, answers each new request with 503 and `Retry-After` (RFC 9110, sections 15.6.4 and 10.2.3) before
    /// the handler is called, while the listener is open: for a gateway whose requests cost a GPU. On HTTP/1 that answer says
    /// `Connection: close`. Requests that began before are finished. An admin server refuses none.
    ///
    /// By default all are served for as long as the listener is open. A refused request is lost unless its client, or a proxy
    /// in front, tries it again elsewhere. So with [`Phase::LameDuck`] on Kubernetes, where traffic still comes for some seconds
    /// after SIGTERM, each of those requests gets 503; [`Phase::Drain`] refuses those that come after routing has had its time
    /// to move.
    ///
    /// Requests that [`exempt`](Server::exempt) names are never refused. This crate's probes, gRPC's health service, and what a
    /// [`DrainLayer`](crate::DrainLayer) under the server exempts are refused and count as refused, because the server has not called
    /// them by then: name them with [`exempt`](Server::exempt) as well, or let [`serve_admin`](crate::serve_admin) answer probes.
    ///
    /// The report counts them ([`Traffic::refused`](crate::report::Traffic::refused)). They are evidence of traffic, so
    /// [`leave_early`](crate::PlanBuilder::leave_early) waits until none comes. From Release on requests are refused in any case.
    pub fn refuse_from(mut self, phase: Phase) -> Self {
        self.terms.refusals.requests = Some(phase);
        self
    }

    /// From this phase on, answers requests for an upgrade (WebSockets; over HTTP/2 an extended CONNECT) and for a CONNECT tunnel
    /// with 503 and `Retry-After` before the handler is called, so that no long connection begins that is told to end a moment later.
    ///
    /// By default they are accepted for as long as the listener is: in an ordinary rollout none comes any more, and a replica
    /// that nobody took out of rotation may be the only one that its clients reach.
    pub fn refuse_upgrades_from(mut self, phase: Phase) -> Self {
        self.terms.refusals.upgrades = Some(phase);
        self
    }

    /// Puts a context into the extensions of each request, for handlers that run in a task of their own: where a middleware
    /// spawns them, or in a `LocalSet`; and for services that tower's `Buffer` calls. There it is found by [`Moment::of`],
    /// [`ShutdownHandle::of`] and axum's extractors, and what [`LongLivedLayer`](crate::layer::LongLivedLayer) marks lasts. What a probe
    /// of this crate or a [`DrainLayer`](crate::DrainLayer) [exempts](Server::exempt) there is exempt.
    ///
    /// ```no_run
    /// # use axum::{Router, extract::Request, http::StatusCode, middleware::{Next, from_fn}, response::Response};
    /// # use lameduck::{Server, ShutdownHandle};
    /// # async fn example(app: Router, handle: ShutdownHandle) -> std::io::Result<()> {
    /// /// A client that goes away does not cancel its handler.
    /// async fn spawned(request: Request, next: Next) -> Result<Response, StatusCode> {
    ///     let handler = tokio::spawn(next.run(request));
    ///     handler.await.map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)
    /// }
    ///
    /// Server::new(&handle)
    ///     .context_in_extensions()
    ///     .serve(lameduck::bind("0.0.0.0:3000").await?, app.layer(from_fn(spawned)));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// Off by default, because it costs each request some allocations. A request is in flight until its response is over or its
    /// client is gone, wherever its handler runs: a handler that goes on after that takes a
    /// [`guard`](ShutdownHandle::guard).
    ///
    /// [`Moment::of`]: crate::Moment::of
    pub fn context_in_extensions(mut self) -> Self {
        self.terms.context = true;
        self
    }

    /// Whether the responses of an HTTP/2 connection that are ready together leave together. On by default.
    ///
    /// When a response is ready and more requests of its connection are being answered, the connection goes to the back of the
    /// scheduler's queue once: tasks that are ready run first, and what they answer leaves in the same write. Without that each
    /// response is a system call, and with [`tcp_nodelay`](Server::tcp_nodelay) a packet. Frames of up to 4 KiB that are written in one poll of the connection
    /// are copied into one write, in a buffer of 16 KiB that is freed when it has been sent; larger ones are not copied.
    ///
    /// There is no timer: a response waits for tasks that are ready to run, not for handlers that wait for something. If tasks run
    /// for long between two `await`s, it waits for those that stand before it in the queue. A connection with one request in flight, and HTTP/1,
    /// are served as without it.
    pub fn gather_responses(mut self, gather: bool) -> Self {
        self.terms.gathers = gather;
        self
    }

    /// Serves HTTP/1 only. A connection that begins with HTTP/2's preface (RFC 9113, section 3.4) is closed without an answer, as by
    /// hyper's HTTP/1 server.
    ///
    /// By default the client chooses the version. TLS clients choose with ALPN, so leave `h2` out of what the
    /// [`handshake`](Server::handshake) offers.
    pub fn http1_only(mut self) -> Self {
        self.builders.only = Some(Protocol::Http1);
        self
    }

    /// Serves HTTP/2 only. A connection that does not begin with HTTP/2's preface gets the server's SETTINGS and is closed, as by hyper's
    /// HTTP/2 server.
    ///
    /// By default the client chooses the version. Of this and [`http1_only`](Server::http1_only) the last call counts.
    pub fn http2_only(mut self) -> Self {
        self.builders.only = Some(Protocol::Http2);
        self
    }

    /// Changes hyper's settings for HTTP/1.
    ///
    /// Leave its `header_read_timeout` off: it is its keep-alive limit, too, and closes idle connections in normal service. And
    /// leave `pipeline_flush` off: hyper then holds responses back for as long as something of the next request is there. If that is
    /// half a head whose rest does not come, it drops them when the connection ends, with plain hyper as well as here.
    pub fn http1(mut self, change: impl FnOnce(&mut http1::Builder)) -> Self {
        change(&mut self.builders.http1);
        self
    }

    /// Changes hyper's settings for HTTP/2.
    pub fn http2(mut self, change: impl FnOnce(&mut http2::Builder<Executor>)) -> Self {
        change(&mut self.builders.http2);
        self
    }
}

impl<X, H, C> fmt::Debug for Server<X, H, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
