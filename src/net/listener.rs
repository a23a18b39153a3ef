//! What a server accepts from.

use std::fmt::Debug;
use std::io;
use std::net::SocketAddr;
use std::task::{Context, Poll, ready};

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket, TcpStream, ToSocketAddrs, lookup_host};

#[cfg(target_os = "linux")]
use super::{
    holders::{Holders, holders, was_passed},
    syn_filter,
};

/// How many connections the kernel may hold for us until they are accepted. It takes the lesser of this and
/// `net.core.somaxconn`, 4096 by default. What does not fit is dropped, and the client tries again a second later.
const BACKLOG: u32 = 4096;

/// Listens on `address` with a deep backlog.
///
/// tokio's own `TcpListener::bind` has room for 128 connections that are not accepted yet, which a burst fills; this asks
/// for 4096. Otherwise they are the same: `SO_REUSEADDR` is set, but not on Windows, and the first address that works is taken.
///
/// # Errors
///
/// The address does not resolve, or cannot be listened on (a port in use, a privileged port). The error names the address.
pub async fn bind(address: impl ToSocketAddrs + Debug) -> io::Result<TcpListener> {
    let name = format!("{address:?}");
    let explain = |error: io::Error| {
        io::Error::new(error.kind(), format!("cannot listen on {name}: {error}"))
    };
    let mut last = None;
    for address in lookup_host(address).await.map_err(&explain)? {
        match listen(address) {
            Ok(listener) => return Ok(listener),
            Err(error) => last = Some(error),
        }
    }
    let none = || io::Error::new(io::ErrorKind::InvalidInput, "it resolves to no address");
    Err(explain(last.unwrap_or_else(none)))
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    // After a restart the port may be in TIME_WAIT. On Windows it is free then, and the option would let another process take it.
    #[cfg(unix)]
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// A listener that can be emptied before it is closed.
///
/// Implemented for tokio's [`TcpListener`] and, on Unix, `UnixListener`. [`accept_fn`](crate::server::accept_fn) makes one of a
/// function that accepts in a future, as axum's `Listener` does.
pub trait Accept: Send + 'static {
    /// A connection.
    type Io: AsyncRead + AsyncWrite + Unpin + Send + 'static;
    /// Who is at its other end.
    type Peer: Clone + Debug + Send + Sync + 'static;

    /// Called once, before anything else.
    ///
    /// Does nothing by default. The listeners that this is implemented for are made non-blocking: tokio's `from_std` leaves
    /// that to its caller, and a listener that blocks would hold a thread of the runtime. An implementation that wraps one
    /// of them should pass the call on.
    ///
    /// # Errors
    ///
    /// An error ends the server, which triggers the shutdown.
    fn prepare(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// Accepts a connection.
    ///
    /// # Errors
    ///
    /// An error of the operating system that leaves the listener usable is waited out: the connection that went away before
    /// it was accepted, too many open files. Any other ends the server, which triggers the shutdown.
    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<(Self::Io, Self::Peer)>>;

    /// The two ends of a TCP connection: ours, and its client's. By these the kernel is asked during the shutdown what the
    /// client has not acknowledged (Linux). `None` by default: that is not asked then.
    fn ends(io: &Self::Io) -> Option<[SocketAddr; 2]> {
        let _ = io;
        None
    }

    /// Whether others accept from the same socket, now or when this process has left: then it is not emptied when the server
    /// ends, but dropped, and what is in its queue is theirs. [`Server::shared`](crate::Server::shared) says the same for one
    /// server.
    ///
    /// `false` by default. The listeners that this is implemented for know it on Linux: the service manager passed the
    /// socket when it started the process (sd_listen_fds(3)), or another process has it open. It is asked when the listener
    /// is about to close, and twice if the answer is yes: a child that has just been forked holds all descriptors for a moment.
    fn is_shared(&self) -> bool {
        false
    }

    /// The listener is about to close: from now on nobody new should begin, and those who have begun may finish. Connections
    /// are accepted for some milliseconds more, if any came lately; then [`close`](Accept::close) is called.
    ///
    /// Between the last look into the queue and the close there is always a moment in which a connection can be completed,
    /// and reset. Does nothing by default; the listeners that this is implemented for close that gap on Linux.
    fn last_call(&mut self) {}

    /// Whether [`close`](Accept::close) asks the operating system for what it has completed. If not, connections are accepted
    /// for 20 ms after the [last call](Accept::last_call) in any case, so that tokio looks once more.
    ///
    /// `true` by default.
    fn close_empties(&self) -> bool {
        true
    }

    /// Takes every connection that the kernel has completed, then closes the listener.
    ///
    /// Closing a listener resets what is still in its queue. `poll_accept` being pending does not say that there is nothing:
    /// tokio remembers what the last look said. So this must ask the operating system itself, or
    /// [`close_empties`](Accept::close_empties) must say that it does not.
    fn close(self) -> Vec<(Self::Io, Self::Peer)>;
}

impl Accept for TcpListener {
    type Io = TcpStream;
    type Peer = SocketAddr;

    fn prepare(&mut self) -> io::Result<()> {
        SockRef::from(&*self).set_nonblocking(true)
    }

    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<(TcpStream, SocketAddr)>> {
        let (stream, peer) = ready!(TcpListener::poll_accept(self, cx))?;
        Poll::Ready(Ok((stream, peer)))
    }

    fn ends(io: &TcpStream) -> Option<[SocketAddr; 2]> {
        Some([io.local_addr().ok()?, io.peer_addr().ok()?])
    }

    #[cfg(target_os = "linux")]
    fn is_shared(&self) -> bool {
        was_passed(self) || holders(self) == Holders::Others
    }

    #[cfg(target_os = "linux")]
    fn last_call(&mut self) {
        syn_filter::tcp(self);
    }

    fn close(self) -> Vec<(TcpStream, SocketAddr)> {
        let Ok(listener) = self.into_std() else {
            return Vec::new();
        };
        #[cfg(target_os = "linux")]
        let stays = holders(&listener) != Holders::Us;
        let mut accepted: Vec<_> = all(|| listener.accept()).collect();
        #[cfg(target_os = "linux")]
        if stays {
            syn_filter::lift(&listener);
            accepted.extend(all(|| listener.accept()));
        }
        drop(listener);
        accepted
            .into_iter()
            .filter_map(|(stream, peer)| {
                stream.set_nonblocking(true).ok()?;
                Some((TcpStream::from_std(stream).ok()?, peer))
            })
            .collect()
    }
}

#[cfg(unix)]
impl Accept for tokio::net::UnixListener {
    type Io = tokio::net::UnixStream;
    type Peer = std::sync::Arc<tokio::net::unix::SocketAddr>;

    fn prepare(&mut self) -> io::Result<()> {
        SockRef::from(&*self).set_nonblocking(true)
    }

    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<(Self::Io, Self::Peer)>> {
        let (stream, peer) = ready!(tokio::net::UnixListener::poll_accept(self, cx))?;
        Poll::Ready(Ok((stream, peer.into())))
    }

    #[cfg(target_os = "linux")]
    fn is_shared(&self) -> bool {
        was_passed(self) || holders(self) == Holders::Others
    }

    #[cfg(target_os = "linux")]
    fn last_call(&mut self) {
        if holders(self) == Holders::Us {
            syn_filter::unix(self);
        }
    }

    fn close(self) -> Vec<(Self::Io, Self::Peer)> {
        let Ok(listener) = self.into_std() else {
            return Vec::new();
        };
        all(|| listener.accept())
            .filter_map(|(stream, peer)| {
                stream.set_nonblocking(true).ok()?;
                let stream = tokio::net::UnixStream::from_std(stream).ok()?;
                Some((stream, tokio::net::unix::SocketAddr::from(peer).into()))
            })
            .collect()
    }
}

/// What is in the queue of a listener that is about to close.
fn all<T>(mut accept: impl FnMut() -> io::Result<T>) -> impl Iterator<Item = T> {
    std::iter::from_fn(move || taken(&mut accept))
}

/// Accepts one more from a listener that is about to close; `None` when there is none.
fn taken<T>(mut accept: impl FnMut() -> io::Result<T>) -> Option<T> {
    loop {
        match accept() {
            Ok(accepted) => return Some(accepted),
            Err(error) if is_about_one_connection(&error) => {}
            // Empty, or out of file descriptors: in both cases there is no more to be had.
            Err(_) => return None,
        }
    }
}

/// An error of the one connection that was to be accepted: it has gone already, or the network reports what happened to it
/// (accept(2)).
pub(crate) fn is_about_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{
        BrokenPipe, ConnectionAborted, ConnectionRefused, ConnectionReset, HostUnreachable,
        Interrupted, NetworkDown, NetworkUnreachable, NotConnected, TimedOut,
    };
    matches!(
        error.kind(),
        ConnectionAborted
            | ConnectionRefused
            | ConnectionReset
            | Interrupted
            | TimedOut
            | HostUnreachable
            | NetworkDown
            | NetworkUnreachable
            | NotConnected
            | BrokenPipe
    )
}

/// Out of file descriptors or memory, or forbidden by a firewall: it passes, but not at once.
pub(crate) fn passes_with_time(error: &io::Error) -> bool {
    error.raw_os_error().is_some() && !is_about_the_listener(error)
}

/// The listener is no listener any more.
fn is_about_the_listener(error: &io::Error) -> bool {
    // EBADF, EINVAL, ENOTSOCK, EOPNOTSUPP: numbers of Linux and the BSDs where they agree.
    matches!(error.raw_os_error(), Some(9 | 22 | 88 | 95))
}
