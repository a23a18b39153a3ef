//! The accept loop.

use std::convert::Infallible;
use std::fmt;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use pin_project_lite::pin_project;
use tokio::io::AsyncRead;
use tokio::sync::oneshot;
use tokio_util::sync::{CancellationToken, DropGuard};
use tower_service::Service;

use super::handshake::Handshake;
use super::{FindClient, RequestExtension, Server};
use crate::handle::ShutdownHandle;
use crate::http::connection::drive::{BoxError, Builders, HttpConnection, Parts};
use crate::http::connection::service::ConnectionService;
use crate::in_flight::Class;
use crate::net::accept::Accepting;
use crate::net::graceful::GracefulConnection;
use crate::net::group::Group;
use crate::net::listener::Accept;
use crate::net::watched::Watched;
use crate::panic::contain;

/// Serves HTTP/1 and HTTP/2 on `listener` until the shutdown closes it, at the end of Close.
///
/// Runs by itself, on tasks of the current runtime. Connections are counted, told at their moment of the spread, and cut at
/// Close's deadline; requests are counted to the last frame of their bodies. The listener goes on accepting meanwhile, and
/// is emptied before it closes. If the accept loop fails, or its runtime goes away, that triggers the shutdown.
///
/// `service` is any tower service of `http::Request<hyper::body::Incoming>`: an `axum::Router`, tonic's `Routes`, your own.
/// What is returned is ready when nothing of the server is left, and may be dropped. [`Server`] has the settings.
///
/// When the shutdown has begun already, the listener is emptied and closed at once.
///
/// # Panics
///
/// Outside a tokio runtime.
pub fn serve<L, S, B>(listener: L, service: S, handle: &ShutdownHandle) -> Serving
where
    L: Accept,
    S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Into<BoxError>,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    Server::new(handle).serve(listener, service)
}

/// Serves probes and metrics until Exit is over. Its connections and requests are not counted, told or refused.
///
/// The kubelet opens a connection for each probe, so probes that shall be answered in Release need a listener that is still
/// open then.
///
/// # Panics
///
/// Outside a tokio runtime.
pub fn serve_admin<L, S, B>(listener: L, service: S, handle: &ShutdownHandle) -> Serving
where
    L: Accept,
    S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Into<BoxError>,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    Server::admin(handle).serve(listener, service)
}

impl<X, H, C> Server<X, H, C> {
    /// Serves `service` on `listener`. See [`serve`].
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub fn serve<L, S, B>(self, listener: L, service: S) -> Serving
    where
        L: Accept,
        S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + 'static,
        S::Future: Send + 'static,
        S::Error: Into<BoxError>,
        X: RequestExtension<H::Io, C::Peer>,
        H: Handshake<L::Io>,
        C: FindClient<L::Peer>,
        B: Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<BoxError>,
    {
        // Asked for before anything is declared: outside a runtime it panics.
        let runtime = tokio::runtime::Handle::current();
        let Server {
            handle,
            counted,
            name,
            shared: held_by_others,
            extension,
            handshake,
            find_client,
            goaway,
            mut terms,
            builders,
        } = self;
        let shared = &handle.shared;
        terms.agents = shared.probe_agents();
        let socket = terms.socket;
        let (group, end) = Group::with_end(&handle, counted, terms);
        let mut ticket = None;
        let mut starting = None;
        if counted {
            // Before it is declared, or it would count as ready in between.
            starting = Some(handle.not_ready(format!("{name} does not accept yet")));
            shared.routing.serve();
            ticket = shared.tracker().take(Class::Listener);
        }
        let mut accepting = Accepting::new(
            &group,
            name.clone(),
            held_by_others,
            listener,
            ticket,
            socket,
        );
        let spawner = Spawner {
            group: Arc::clone(&group),
            service,
            extension,
            handshake,
            find_client,
            goaway,
            builders: Arc::new(builders),
        };
        let closed = CancellationToken::new();
        let mut running = Running {
            group,
            name,
            over: false,
            _closed: closed.clone().drop_guard(),
        };
        runtime.spawn(async move {
            drop(starting);
            let accept = async move || {
                while let Some((io, peer)) = accepting.next().await {
                    spawner.spawn(L::ends(&io), io, peer);
                }
            };
            let accepted = contain("an accept loop", accept).await;
            running.over = true;
            if let Err(panic) = accepted {
                running.group.server_failed(&running.name, panic);
            }
        });
        Serving { closed, end }
    }
}

/// An accept loop in its task. The task may be dropped with its runtime, also before it has run.
struct Running {
    group: Arc<Group>,
    name: String,
    over: bool,
    /// Cancels what [`Serving::listener_closed`] waits for.
    _closed: DropGuard,
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.over {
            self.group.accept_loop_dropped(&self.name);
        }
    }
}

/// Starts a server's connections.
struct Spawner<S, X, H, C> {
    group: Arc<Group>,
    service: S,
    extension: X,
    handshake: H,
    find_client: C,
    goaway: bool,
    builders: Arc<Builders>,
}

impl<S, X, H, C> Spawner<S, X, H, C> {
    fn spawn<I, P, B>(&self, ends: Option<[SocketAddr; 2]>, mut io: I, peer: P)
    where
        I: AsyncRead + Unpin + Send + 'static,
        P: Clone + fmt::Debug + Send + Sync + 'static,
        S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + 'static,
        S::Future: Send + 'static,
        S::Error: Into<BoxError>,
        X: RequestExtension<H::Io, C::Peer>,
        H: Handshake<I>,
        C: FindClient<P>,
        B: Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<BoxError>,
    {
        // Counted before its task is spawned, or a connection could be forgotten between the two.
        let Some(state) = self.group.open_between(peer.clone(), ends) else {
            return;
        };
        let inner = self.service.clone();
        let builders = Arc::clone(&self.builders);
        let find_client = self.find_client.clone();
        let handshake = self.handshake.clone();
        let extension = self.extension.clone();
        let served = Arc::clone(&state);
        // Runs in the connection's own task: if it panics, that ends this connection and not the server.
        let begin = async move {
            let peer = find_client.find(&mut io, peer).await?;
            if let Some(client) = C::client(&peer) {
                served.set_client(client);
            }
            let io = handshake.start(io).await?;
            let service = ConnectionService {
                inner,
                extension: extension.make(&io, &peer),
                state: served,
            };
            Ok((io, Parts { service, builders }))
        };
        let connection = HttpConnection::new(begin, self.goaway, Arc::clone(&state));
        let watched = Watched::new(connection, state);
        tokio::spawn(Task { watched });
    }
}

pin_project! {
    /// The task of one connection. No `async` block: that keeps room for what it captures beside what it awaits, and would
    /// hold the connection twice.
    struct Task<C> {
        #[pin]
        watched: Watched<C>,
    }
}

impl<C> Future for Task<C>
where
    C: GracefulConnection + Future<Output = Result<(), BoxError>>,
{
    type Output = ();

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(Err(error)) = ready!(self.project().watched.poll(cx)) {
            tracing::debug!(target: "lameduck", %error, "connection failed");
        }
        Poll::Ready(())
    }
}

/// A server that is running: a future that is ready when nothing of the server is left. Its listener is closed then, and its
/// last connection is gone, upgraded ones included. Dropping it changes nothing.
///
/// So a runtime that serves and nothing else may end with it:
///
/// ```no_run
/// # use axum::Router;
/// # use lameduck::ShutdownHandle;
/// # fn example(runtime: tokio::runtime::Runtime, app: Router, handle: ShutdownHandle) {
/// std::thread::spawn(move || {
///     runtime.block_on(async {
///         let listener = lameduck::bind("0.0.0.0:3000").await?;
///         lameduck::serve(listener, app, &handle).await;
///         std::io::Result::Ok(())
///     })
/// });
/// # }
/// ```
pub struct Serving {
    closed: CancellationToken,
    end: oneshot::Receiver<Infallible>,
}

impl Serving {
    /// Ready when the listener has closed, at the end of Close; connections may be left. For whoever wants the address.
    ///
    /// The future is owned and `'static`. It is cancel safe.
    pub fn listener_closed(&self) -> impl Future<Output = ()> + Send + use<> {
        self.closed.clone().cancelled_owned()
    }
}

impl Future for Serving {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        // Nothing is sent: an error says that the group is gone.
        Pin::new(&mut self.end).poll(cx).map(|_| ())
    }
}

impl fmt::Debug for Serving {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Serving").finish_non_exhaustive()
    }
}
