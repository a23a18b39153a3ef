//! Why the process is leaving.

use std::borrow::Cow;
use std::fmt;

use crate::panic::text_of;

/// Why a shutdown began, or why something that lasts is told to end. A shutdown has the first reason; later ones change nothing.
///
/// A string is a request, so a shutdown with `handle.shutdown("maintenance")` can be clean. A failure of the application's own
/// is [`Reason::failed`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// The process received a signal.
    Signal(Signal),
    /// The program asked for it, and said why.
    Requested(Cow<'static, str>),
    /// A background task returned an error or panicked.
    #[non_exhaustive]
    TaskFailed {
        /// The task's name.
        name: String,
        /// Its error or panic message.
        error: String,
    },
    /// A server could not go on accepting connections, or its runtime went away.
    #[non_exhaustive]
    ServerFailed {
        /// The server's name.
        name: String,
        /// What went wrong.
        error: String,
    },
    /// Something else that the process needs failed. Made by [`Reason::failed`].
    #[non_exhaustive]
    Failed {
        /// What failed.
        name: String,
        /// What went wrong.
        error: String,
    },
    /// The connection's age is over ([`Server::max_connection_age`](crate::Server::max_connection_age)), and the process stays:
    /// what [`Told`](crate::Told) says. No shutdown begins for it.
    ConnectionAge,
}

impl Reason {
    /// A failure of the application's own: `name` is what failed. Of the error's text the first 4,096 characters are kept; an
    /// ellipsis (`…`) stands for the rest.
    ///
    /// The shutdown is as graceful as any other, but its report is not clean and its exit code is
    /// [`Report::EXIT_UNCLEAN`](crate::Report::EXIT_UNCLEAN), so that whoever supervises the process restarts it. Only the first
    /// reason counts: once a shutdown has begun, report a failure by the result of a hook or of a task.
    ///
    /// ```
    /// # use lameduck::{Plan, ShutdownCoordinator};
    /// use lameduck::Reason;
    ///
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() {
    /// # let shutdown = ShutdownCoordinator::new(Plan::immediate());
    /// # let handle = shutdown.handle();
    /// # let error = std::io::Error::other("connection refused");
    /// handle.shutdown(Reason::failed("database", error));
    ///
    /// let report = shutdown.run().await;
    /// assert!(!report.is_clean());
    /// assert_eq!(report.reason.to_string(), "`database` failed: connection refused");
    /// # }
    /// ```
    #[must_use]
    pub fn failed(name: impl Into<String>, error: impl fmt::Display) -> Self {
        Reason::Failed {
            name: name.into(),
            error: text_of(error),
        }
    }

    /// Whether something failed: [`Failed`](Reason::Failed), [`TaskFailed`](Reason::TaskFailed) or
    /// [`ServerFailed`](Reason::ServerFailed).
    #[must_use]
    pub const fn is_failure(&self) -> bool {
        match self {
            Reason::Failed { .. } | Reason::TaskFailed { .. } | Reason::ServerFailed { .. } => true,
            Reason::Signal(_) | Reason::Requested(_) | Reason::ConnectionAge => false,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Signal(signal) => signal.fmt(f),
            Reason::Requested(why) => write!(f, "requested: {why}"),
            Reason::TaskFailed { name, error } => write!(f, "task `{name}` failed: {error}"),
            Reason::ServerFailed { name, error } => write!(f, "server `{name}` failed: {error}"),
            Reason::Failed { name, error } => write!(f, "`{name}` failed: {error}"),
            Reason::ConnectionAge => f.write_str("the connection's age is over"),
        }
    }
}

impl From<Signal> for Reason {
    fn from(signal: Signal) -> Self {
        Reason::Signal(signal)
    }
}

impl From<&'static str> for Reason {
    fn from(why: &'static str) -> Self {
        Reason::Requested(Cow::Borrowed(why))
    }
}

impl From<String> for Reason {
    fn from(why: String) -> Self {
        Reason::Requested(Cow::Owned(why))
    }
}

/// A signal that asks a process to leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Signal {
    /// SIGTERM: what Kubernetes and systemd send.
    Terminate,
    /// SIGINT: Ctrl-C, and what Nomad and images with `STOPSIGNAL SIGINT` send.
    Interrupt,
    /// SIGQUIT: Ctrl-\\, and what images with `STOPSIGNAL SIGQUIT` send.
    Quit,
    /// SIGHUP: the terminal is gone.
    Hangup,
    /// SIGUSR1: what HAProxy's image has as `STOPSIGNAL`.
    User1,
    /// SIGUSR2.
    User2,
    /// SIGWINCH: what Apache httpd's image has as `STOPSIGNAL`.
    WindowChange,
}

impl Signal {
    /// All of them.
    pub const ALL: &'static [Signal] = &[
        Signal::Terminate,
        Signal::Interrupt,
        Signal::Quit,
        Signal::Hangup,
        Signal::User1,
        Signal::User2,
        Signal::WindowChange,
    ];

    /// The signal's name, as in `kill -l`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Signal::Terminate => "SIGTERM",
            Signal::Interrupt => "SIGINT",
            Signal::Quit => "SIGQUIT",
            Signal::Hangup => "SIGHUP",
            Signal::User1 => "SIGUSR1",
            Signal::User2 => "SIGUSR2",
            Signal::WindowChange => "SIGWINCH",
        }
    }

    /// The signal's number. POSIX fixes those of SIGHUP, SIGINT, SIGQUIT and SIGTERM in the description of `kill`; the others are those
    /// of the system that this is compiled for (signal(7)).
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Signal::Hangup => 1,
            Signal::Interrupt => 2,
            Signal::Quit => 3,
            Signal::Terminate => 15,
            Signal::User1 => NUMBERS.0,
            Signal::User2 => NUMBERS.1,
            Signal::WindowChange => NUMBERS.2,
        }
    }
}

/// Of SIGUSR1, SIGUSR2 and SIGWINCH.
const NUMBERS: (u8, u8, u8) = if cfg!(any(target_arch = "mips", target_arch = "mips64")) {
    (16, 17, 20)
} else if cfg!(any(target_os = "linux", target_os = "android"))
    && !cfg!(any(target_arch = "sparc", target_arch = "sparc64"))
{
    (10, 12, 28)
} else if cfg!(any(target_os = "solaris", target_os = "illumos")) {
    (16, 17, 20)
} else {
    // The BSDs and macOS; Linux on SPARC.
    (30, 31, 28)
};

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
