//! The connections of one server, as the coordinator sees them.

use std::any::Any;
use std::convert::Infallible;
use std::fmt::{self, Debug};
use std::net::SocketAddr;
use std::sync::{Arc, PoisonError};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::accept::Accepting;
use super::connection::{Connection, Home};
use super::exit::{Exit, Protocol};
use super::graceful::GracefulConnection;
use super::listener::Accept;
use super::peer::Peer;
use super::raw::Raw;
use super::room::Room;
use super::session::Session;
use super::socket::{SocketOptions, TcpKeepalive};
use super::terms::Terms;
use super::watched::Watched;
use crate::handle::ShutdownHandle;
use crate::in_flight::{Class, FINISHED, Generation, Ticket, WeakList};
use crate::long_lived::Moment;
use crate::phase::Phase;
use crate::random;
use crate::reason::Reason;
use crate::report::{Kind, LeftBehind};
use crate::shared::ServerControl;
use crate::sync::{Mutex, MutexGuard};

/// The connections of an accept loop of your own.
///
/// [`watch`](ConnectionGroup::watch) each connection that hyper serves: it is counted, asked to close at its own moment of
/// the spread, and cut at Close's deadline. Requests are counted by a [`DrainLayer`](crate::DrainLayer) in front of the
/// service, which also says `Connection: close`.
///
/// ```no_run
/// # #[cfg(feature = "hyper")]
/// # mod example {
/// # use axum::Router;
/// # use hyper_util::rt::{TokioExecutor, TokioIo};
/// # use hyper_util::server::conn::auto;
/// # use hyper_util::service::TowerToHyperService;
/// # use lameduck::{DrainLayer, ShutdownHandle};
/// # use lameduck::server::ConnectionGroup;
/// # use tokio::net::TcpListener;
/// # use tower::Layer;
/// async fn accept(listener: TcpListener, app: Router, handle: ShutdownHandle) {
///     let app = DrainLayer::new(&handle).layer(app);
///     let connections = ConnectionGroup::new(&handle);
///     let mut accepting = connections.accept(listener);
///     while let Some((stream, peer)) = accepting.next().await {
///         let connection = auto::Builder::new(TokioExecutor::new())
///             .serve_connection_with_upgrades(
///                 TokioIo::new(stream),
///                 TowerToHyperService::new(app.clone()),
///             )
///             .into_owned();
///         // Counted here, before the task is spawned.
///         if let Some(connection) = connections.watch(connection, peer) {
///             tokio::spawn(connection);
///         }
///     }
/// }
/// # }
/// ```
///
/// [`accept`](ConnectionGroup::accept) closes the listener as [`serve`](crate::serve) does. Where that does not fit, accept
/// by hand until [`closing`](ConnectionGroup::closing) is ready; then take what the kernel still holds, close the listener
/// ([`Accept::close`] does both), and drop the group: the coordinator waits for that before it looks for the last connection.
/// An error of `accept` is not the listener's end as a rule: it may be out of file descriptors for a moment.
///
/// What [`serve`](crate::serve) does beyond this: it follows an HTTP/1 connection's bytes, so that none are thrown away when
/// it closes, and an upgraded connection stays counted.
pub struct ConnectionGroup {
    /// Close waits for it. Whoever accepts has it.
    ticket: Mutex<Option<Ticket>>,
    name: String,
    shared: bool,
    socket: SocketOptions,
    group: Arc<Group>,
}

impl ConnectionGroup {
    /// A group for one listener. Making it says that requests are served here, so LameDuck has something to wait for. Its
    /// requests are not seen, so they count as having come, whatever [`readiness`](crate::readiness) was asked.
    #[must_use]
    pub fn new(handle: &ShutdownHandle) -> Self {
        handle.shared.routing.serve_unseen();
        ConnectionGroup {
            ticket: Mutex::new(handle.shared.tracker().take(Class::Listener)),
            name: "server".to_owned(),
            shared: false,
            socket: SocketOptions::default(),
            group: Group::new(handle, true, Terms::default()),
        }
    }

    /// What logs and the report call it. By default `server`.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Says that others accept from the same listener: see [`Server::shared`](crate::Server::shared).
    #[must_use]
    pub fn shared(mut self) -> Self {
        self.shared = true;
        self
    }

    /// `TCP_NODELAY` of what [`accept`](ConnectionGroup::accept) accepts: see [`Server::tcp_nodelay`](crate::Server::tcp_nodelay).
    #[must_use]
    pub fn tcp_nodelay(mut self, nodelay: bool) -> Self {
        self.socket.nodelay = nodelay;
        self
    }

    /// TCP keepalive of what [`accept`](ConnectionGroup::accept) accepts: see
    /// [`Server::tcp_keepalive`](crate::Server::tcp_keepalive).
    ///
    /// # Panics
    ///
    /// If `keepalive` is a time shorter than 1 s or longer than 32,767 s.
    #[must_use]
    pub fn tcp_keepalive(mut self, keepalive: impl Into<TcpKeepalive>) -> Self {
        self.socket.keepalive = Some(keepalive.into());
        self
    }

    /// Accepts from `listener` as [`serve`](crate::serve) does, to the end of Close. [`Accepting::next`] gives each
    /// connection.
    ///
    /// Close waits until the listener is closed, so call [`next`](Accepting::next) until it gives `None`, or drop what this
    /// returns.
    pub fn accept<L: Accept>(&self, listener: L) -> Accepting<L> {
        let ticket = self
            .ticket
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let name = self.name.clone();
        Accepting::new(
            &self.group,
            name,
            self.shared,
            listener,
            ticket,
            self.socket,
        )
    }

    /// Ready when it is time to close the listener: at the end of Close, when what stood before is gone.
    ///
    /// The future is owned and `'static`. It is cancel safe.
    pub fn closing(&self) -> impl Future<Output = ()> + Send + use<> {
        self.group.closing()
    }

    /// Counts a connection and gives it its times. Call it before the task is spawned. `peer` names it in the report.
    ///
    /// `None` when Release has begun: drop the connection.
    pub fn watch<C, A>(&self, connection: C, peer: A) -> Option<Watched<C>>
    where
        C: GracefulConnection,
        A: Debug + Send + Sync + 'static,
    {
        let state = self.group.open(peer)?;
        Some(Watched::new(connection, state))
    }

    /// Like [`watch`](ConnectionGroup::watch), for a protocol that is not HTTP: `work` serves the connection. It is given the
    /// [`Moment`] at which it should end, and dropped at Close's deadline if it has not.
    ///
    /// What must not be cut short in it takes a [`guard`](ShutdownHandle::guard); to be cut without one does not spoil the
    /// report.
    ///
    /// ```no_run
    /// # use lameduck::ShutdownHandle;
    /// # use lameduck::server::ConnectionGroup;
    /// # use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
    /// # use tokio::net::TcpListener;
    /// # async fn example(listener: TcpListener, handle: ShutdownHandle) {
    /// let connections = ConnectionGroup::new(&handle).name("echo");
    /// let mut accepting = connections.accept(listener);
    /// while let Some((stream, peer)) = accepting.next().await {
    ///     let connection = connections.watch_raw(peer, async move |mut moment| {
    ///         let mut stream = BufReader::new(stream);
    ///         let mut line = String::new();
    ///         loop {
    ///             line.clear();
    ///             tokio::select! {
    ///                 read = stream.read_line(&mut line) => match read {
    ///                     Ok(1..) => stream.write_all(line.as_bytes()).await.unwrap_or_default(),
    ///                     _ => return,
    ///                 },
    ///                 _ = &mut moment => {
    ///                     let _ = stream.write_all(b"bye\n").await;
    ///                     return;
    ///                 }
    ///             }
    ///         }
    ///     });
    ///     if let Some(connection) = connection {
    ///         tokio::spawn(connection);
    ///     }
    /// }
    /// # }
    /// ```
    ///
    /// `None` when Release has begun: drop the connection.
    pub fn watch_raw<F, Fut, A>(&self, peer: A, work: F) -> Option<Watched<Raw<Fut>>>
    where
        F: FnOnce(Moment) -> Fut,
        Fut: Future,
        A: Debug + Send + Sync + 'static,
    {
        let state = self.group.open(peer)?;
        state.tell(|exit| exit.set_protocol(Protocol::Raw));
        let moment = Moment::new(Arc::clone(&state.handle.shared), state.lot);
        Some(Watched::new(Raw::new(work(moment)), state))
    }

    /// Like [`watch_raw`](ConnectionGroup::watch_raw), for a protocol of requests and answers: `work` serves the [`Session`], which
    /// counts its requests, and ends at its moment in the spread as soon as its client pauses.
    ///
    /// ```no_run
    /// # use std::io;
    /// # use lameduck::ShutdownHandle;
    /// # use lameduck::server::{ConnectionGroup, Session};
    /// # use tokio::io::AsyncWriteExt;
    /// # use tokio::net::{TcpListener, TcpStream};
    /// # async fn example(listener: TcpListener, handle: ShutdownHandle) {
    /// let connections = ConnectionGroup::new(&handle).name("ping");
    /// let mut accepting = connections.accept(listener);
    /// while let Some((stream, peer)) = accepting.next().await {
    ///     let connection = connections.watch_session(stream, peer, async |mut session: Session<TcpStream>| {
    ///         while let Some(line) = session.next(line).await? {
    ///             session.write_all(format!("+{line}\r\n").as_bytes()).await?;
    ///         }
    ///         io::Result::Ok(())
    ///     });
    ///     if let Some(connection) = connection {
    ///         tokio::spawn(connection);
    ///     }
    /// }
    /// # }
    ///
    /// /// A line, and how many bytes it takes. `None` if its end has not come.
    /// fn line(bytes: &[u8]) -> io::Result<Option<(String, usize)>> {
    ///     let Some(end) = bytes.iter().position(|&byte| byte == b'\n') else {
    ///         return match bytes.len() {
    ///             0..1024 => Ok(None),
    ///             _ => Err(io::ErrorKind::InvalidData.into()),
    ///         };
    ///     };
    ///     let line = String::from_utf8_lossy(&bytes[..end]);
    ///     Ok(Some((line.trim_end().to_owned(), end + 1)))
    /// }
    /// ```
    ///
    /// `work` keeps the session in its own future, not in a task that it spawns: the connection is driven with that future. The future's
    /// output is lost if the client has not ended its side when the lingering close is over.
    ///
    /// `None` when Release has begun: drop the connection.
    pub fn watch_session<I, F, Fut, A>(&self, io: I, peer: A, work: F) -> Option<Watched<Raw<Fut>>>
    where
        I: AsyncRead + AsyncWrite + Unpin + 'static,
        F: FnOnce(Session<I>) -> Fut,
        Fut: Future,
        A: Debug + Send + Sync + 'static,
    {
        let ends = (&io as &dyn Any)
            .downcast_ref()
            .and_then(<TcpListener as Accept>::ends);
        let state = self.group.open_between(peer, ends)?;
        state.tell(|exit| exit.set_protocol(Protocol::Session));
        let session = Session::new(io, Arc::clone(&state));
        Some(Watched::new(Raw::new(work(session)), state))
    }
}

impl Debug for ConnectionGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectionGroup").finish_non_exhaustive()
    }
}

/// What the connections of one server have in common.
pub(crate) struct Group {
    handle: ShutdownHandle,
    /// An admin server's connections are neither counted nor told: they stay to the end.
    counted: bool,
    terms: Terms,
    /// If its connections have a limit.
    room: Option<Room>,
    /// What its connections draw from.
    seed: u64,
    /// Locked when a connection begins, by the one accept loop, and when the coordinator speaks to all.
    connections: Mutex<List>,
    /// Dropped with the group: the accept loop and each connection hold that. Somebody may wait for it.
    _over: oneshot::Sender<Infallible>,
}

#[derive(Default)]
struct List {
    all: WeakList<Connection>,
    opened: u64,
}

impl Group {
    pub(crate) fn new(handle: &ShutdownHandle, counted: bool, terms: Terms) -> Arc<Self> {
        Group::with_end(handle, counted, terms).0
    }

    /// The same, with its end: closed when the accept loop is over and the last connection is gone.
    pub(crate) fn with_end(
        handle: &ShutdownHandle,
        counted: bool,
        terms: Terms,
    ) -> (Arc<Self>, oneshot::Receiver<Infallible>) {
        let (over, end) = oneshot::channel();
        let group = Arc::new(Group {
            handle: handle.clone(),
            counted,
            room: terms.max_connections.map(Room::new),
            terms,
            seed: handle.shared.draws.next_server(),
            connections: Mutex::default(),
            _over: over,
        });
        let server: Arc<dyn ServerControl> = Arc::clone(&group) as _;
        handle.shared.add_server(&server);
        (group, end)
    }

    /// Counts a connection. `None` when Release has begun.
    pub(crate) fn open<A>(self: &Arc<Self>, peer: A) -> Option<Arc<Connection>>
    where
        A: Debug + Send + Sync + 'static,
    {
        self.open_between(peer, None)
    }

    /// The same, of a connection whose two ends are known.
    pub(crate) fn open_between<A>(
        self: &Arc<Self>,
        peer: A,
        ends: Option<[SocketAddr; 2]>,
    ) -> Option<Arc<Connection>>
    where
        A: Debug + Send + Sync + 'static,
    {
        let tracker = self.handle.tracker;
        // Locked before it is counted: so the cut, which comes when no ticket is given any more, finds all that have one.
        let mut list = self.list();
        let ticket = match self.counted {
            true => Some(tracker.take(Class::Connection)?),
            false if tracker.stage() == FINISHED => return None,
            false => None,
        };
        let home: Arc<dyn Home> = Arc::clone(self) as _;
        let lot = random::mix(self.seed, list.opened);
        let peer = Peer::new(peer);
        let handle = self.handle.clone();
        let connection = Arc::new(Connection::new(handle, home, ticket, lot, peer, ends));
        list.all.add(&connection);
        list.opened += 1;
        if let Some(room) = &self.room {
            room.enter();
        }
        Some(connection)
    }

    pub(super) const fn room(&self) -> Option<&Room> {
        self.room.as_ref()
    }

    /// Whether no shutdown has begun.
    pub(crate) fn is_serving(&self) -> bool {
        self.handle.tracker.is_serving()
    }

    /// Whether the shutdown has begun before the server has.
    pub(crate) fn comes_late(&self) -> bool {
        self.counted && !self.is_serving()
    }

    /// The server cannot go on, which triggers the shutdown.
    pub(crate) fn server_failed(&self, name: &str, error: String) {
        tracing::error!(target: "lameduck", server = %name, %error, "server failed");
        let name = name.to_owned();
        self.handle.shutdown(Reason::ServerFailed { name, error });
    }

    /// Ready when the listener should close.
    pub(crate) fn closing(&self) -> WaitForCancellationFutureOwned {
        self.closes().clone().cancelled_owned()
    }

    /// The accept loop was dropped. If the listener should have stayed open, the server has failed.
    #[cfg(feature = "hyper")]
    pub(crate) fn accept_loop_dropped(&self, name: &str) {
        if !self.closes().is_cancelled() && !self.handle.shared.progress.is_abandoned() {
            self.server_failed(name, "its runtime went away".to_owned());
        }
    }

    /// Cancelled when the listener should close.
    fn closes(&self) -> &CancellationToken {
        let shared = &self.handle.shared;
        match self.counted {
            true => shared.progress.close_listeners(),
            false => shared.progress.close_admin(),
        }
    }

    fn each(&self) -> Vec<Arc<Connection>> {
        self.list().all.all()
    }

    fn list(&self) -> MutexGuard<'_, List> {
        self.connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Home for Group {
    fn terms(&self) -> &Terms {
        &self.terms
    }

    fn left(&self) {
        if let Some(room) = &self.room {
            room.leave();
        }
    }
}

impl ServerControl for Group {
    fn stage_moved(&self) {
        if self.handle.tracker.stage() == FINISHED {
            for connection in self.each() {
                connection.cut.cut();
            }
            return;
        }
        let wakes: fn(&Exit) -> bool = match self.handle.phase() {
            Some(Phase::LameDuck) => |_| true,
            // Who waits for its client's end has taken its last step.
            Some(Phase::Close) => |exit| !exit.is_lingering(),
            _ => return,
        };
        let closes = self.handle.phase() == Some(Phase::Close);
        for connection in self.each() {
            if closes {
                connection.let_go();
            }
            if wakes(&connection.life().exit) {
                connection.cut.wake();
            }
        }
    }

    fn cut(&self) {
        if !self.counted {
            return;
        }
        // What was let go goes on, to the end of Exit at most.
        let all = self.each().into_iter();
        for connection in all.filter(|one| !one.life().is_let_go()) {
            connection.end_now(false);
        }
    }

    fn left_behind(&self, kind: Kind, latest: Generation, left: &mut Vec<LeftBehind>) {
        if self.counted {
            for connection in self.each() {
                connection.left_behind(kind, latest, left);
            }
        }
    }

    fn requests(&self) -> u64 {
        if !self.counted {
            return 0;
        }
        let each = self.each();
        each.iter().map(|one| u64::from(one.in_flight())).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Plan, ShutdownCoordinator};

    #[cfg(feature = "hyper")]
    #[test]
    fn connection_that_ends_by_itself_behind_a_request_without_its_task_is_cut() {
        use crate::net::requests::Framing;
        use crate::sync::atomic::Ordering;

        let shutdown = ShutdownCoordinator::new(Plan::immediate());
        let handle = shutdown.handle();
        let group = Group::new(&handle, true, Terms::default());
        let connection = group.open("a peer").expect("nothing is over");
        handle.shutdown("the test says so");

        connection.begin(None, Framing::Empty);
        connection.abandon_request();
        drop(connection);

        let counts = &handle.shared.connections;
        assert_eq!(counts.closed.load(Ordering::Relaxed), 0);
        assert_eq!(counts.cut.load(Ordering::Relaxed), 1);
        assert_eq!(counts.cut_unfinished.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn gauge_is_free_for_the_next_coordinator_when_a_connection_had_the_last_handle() {
        let shutdown = ShutdownCoordinator::new(Plan::immediate());
        let group = Group::new(&shutdown.handle(), true, Terms::default());
        let connection = group.open("a peer").expect("nothing is over");
        let tracker = group.handle.shared.tracker();

        drop((shutdown, group));
        assert!(tracker.is_serving());
        drop(connection);

        // Of an epoch that is over.
        assert_eq!(tracker.stage(), FINISHED);
    }
}
