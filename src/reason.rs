//! Why the process is leaving.

use std::borrow::Cow;
use std::fmt;

/// Why a shutdown began. The first reason counts; later ones change nothing.
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
}

impl Reason {
    /// Whether something failed, so that leaving is not what anybody asked for.
    #[must_use]
    pub const fn is_failure(&self) -> bool {
        matches!(
            self,
            Reason::TaskFailed { .. } | Reason::ServerFailed { .. }
        )
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Signal(signal) => signal.fmt(f),
            Reason::Requested(why) => write!(f, "requested: {why}"),
            Reason::TaskFailed { name, error } => write!(f, "task `{name}` failed: {error}"),
            Reason::ServerFailed { name, error } => write!(f, "server `{name}` failed: {error}"),
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
}

impl Signal {
    /// The signal's name, as in `kill -l`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Signal::Terminate => "SIGTERM",
            Signal::Interrupt => "SIGINT",
            Signal::Quit => "SIGQUIT",
        }
    }

    /// The signal's number, as POSIX fixes it in the description of `kill`.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Signal::Interrupt => 2,
            Signal::Quit => 3,
            Signal::Terminate => 15,
        }
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
