//! What a server sets on the sockets that it accepts.

use std::any::Any;
use std::io;
use std::time::Duration;

use socket2::SockRef;
use tokio::net::TcpStream;

// Linux' limits: `MAX_TCP_KEEPIDLE`, `MAX_TCP_KEEPINTVL` and `MAX_TCP_KEEPCNT` in `include/net/tcp.h`.
const LONGEST_SECONDS: u64 = 32_767;
const MOST_RETRIES: u32 = 127;

/// When the kernel looks whether a silent client is still there. A [`Duration`] is one, too: the time before the first probe.
///
/// ```
/// use std::time::Duration;
/// use lameduck::server::TcpKeepalive;
///
/// // Without an answer the connection ends after 60 + 3 * 10 s.
/// let keepalive = TcpKeepalive::after(Duration::from_secs(60))
///     .interval(Duration::from_secs(10))
///     .retries(3);
/// # let _ = keepalive;
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct TcpKeepalive {
    after: Duration,
    interval: Option<Duration>,
    retries: Option<u32>,
}

impl TcpKeepalive {
    /// The kernel sends a first probe when nothing has passed for so long (`TCP_KEEPIDLE`). Systems count in whole seconds; what is
    /// more is cut off.
    ///
    /// # Panics
    ///
    /// If `idle` is shorter than 1 s, or longer than 32,767 s, which is Linux' limit.
    pub const fn after(idle: Duration) -> Self {
        assert_fits(idle);
        TcpKeepalive {
            after: idle,
            interval: None,
            retries: None,
        }
    }

    /// The time between two probes (`TCP_KEEPINTVL`). By default the system's: 75 s on Linux.
    ///
    /// # Panics
    ///
    /// As [`after`](TcpKeepalive::after): if `interval` is shorter than 1 s, or longer than 32,767 s.
    pub const fn interval(mut self, interval: Duration) -> Self {
        assert_fits(interval);
        self.interval = Some(interval);
        self
    }

    /// How many probes stay unanswered before the connection ends (`TCP_KEEPCNT`). By default the system's: 9 on Linux.
    /// Set on Linux only.
    ///
    /// # Panics
    ///
    /// If `retries` is zero, or more than 127, which is Linux' limit.
    pub const fn retries(mut self, retries: u32) -> Self {
        assert!(
            0 < retries && retries <= MOST_RETRIES,
            "TCP keepalive sends 1 to 127 probes"
        );
        self.retries = Some(retries);
        self
    }

    fn set(self, stream: &TcpStream) -> io::Result<()> {
        let mut keepalive = socket2::TcpKeepalive::new().with_time(self.after);
        #[cfg(any(target_os = "linux", target_vendor = "apple", windows))]
        if let Some(interval) = self.interval {
            keepalive = keepalive.with_interval(interval);
        }
        #[cfg(target_os = "linux")]
        if let Some(retries) = self.retries {
            keepalive = keepalive.with_retries(retries);
        }
        SockRef::from(stream).set_tcp_keepalive(&keepalive)
    }
}

/// The kernel refuses what does not fit, when it is too late to tell whoever has set it.
const fn assert_fits(time: Duration) {
    let seconds = time.as_secs();
    assert!(
        0 < seconds && seconds <= LONGEST_SECONDS,
        "a time of TCP keepalive is 1 s to 32767 s"
    );
}

/// # Panics
///
/// As [`TcpKeepalive::after`].
impl From<Duration> for TcpKeepalive {
    fn from(idle: Duration) -> Self {
        TcpKeepalive::after(idle)
    }
}

/// The options of a server's TCP connections.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SocketOptions {
    pub(crate) nodelay: bool,
    pub(crate) keepalive: Option<TcpKeepalive>,
}

impl Default for SocketOptions {
    fn default() -> Self {
        SocketOptions {
            // A response is not held back until the client has acknowledged the one before.
            nodelay: true,
            keepalive: None,
        }
    }
}

impl SocketOptions {
    /// Sets them on `io`, if it is a TCP connection.
    pub(crate) fn set<I: 'static>(self, io: &I) {
        let Some(stream) = (io as &dyn Any).downcast_ref::<TcpStream>() else {
            return;
        };
        // Some systems refuse options to a connection that has been reset meanwhile (EINVAL on macOS). Its first read says so,
        // too, and the listener is none the worse for it.
        if let Err(error) = stream.set_nodelay(self.nodelay) {
            tracing::debug!(target: "lameduck", %error, "no TCP_NODELAY");
        }
        if let Some(Err(error)) = self.keepalive.map(|keepalive| keepalive.set(stream)) {
            tracing::debug!(target: "lameduck", %error, "no TCP keepalive");
        }
    }
}
