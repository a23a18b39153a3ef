//! Why no successor has taken over.

use std::fmt;
use std::io;
use std::process::ExitStatus;
use std::time::Duration;

/// Why no successor has taken over. This process goes on as before.
#[derive(Debug)]
#[non_exhaustive]
pub enum RestartError {
    /// Another successor is being started: there is one at a time.
    InProgress,
    /// This process is shutting down, has handed over already, or its coordinator was dropped.
    ShuttingDown,
    /// The successor cannot be started.
    #[non_exhaustive]
    NotStarted {
        /// What went wrong.
        error: io::Error,
    },
    /// The successor has ended before it took over.
    #[non_exhaustive]
    Ended {
        /// How it ended.
        status: ExitStatus,
        /// Whether it had said that it is ready.
        was_ready: bool,
    },
    /// The successor was not ready in time. It is told to stop.
    #[non_exhaustive]
    NotReady {
        /// How long it was waited for.
        within: Duration,
        /// What it said last of its status.
        status: Option<String>,
    },
}

impl fmt::Display for RestartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RestartError::InProgress => f.write_str("another successor is being started"),
            RestartError::ShuttingDown => f.write_str("this process is shutting down"),
            RestartError::NotStarted { error } => {
                write!(f, "the successor cannot be started: {error}")
            }
            RestartError::Ended {
                status,
                was_ready: false,
            } => write!(f, "the successor ended before it was ready: {status}"),
            RestartError::Ended {
                status,
                was_ready: true,
            } => write!(f, "the successor ended when it was just ready: {status}"),
            RestartError::NotReady { within, status } => {
                let within = within.as_secs_f64();
                write!(f, "the successor was not ready within {within} s")?;
                match status {
                    Some(status) => write!(f, ", its status: {status}"),
                    None => Ok(()),
                }
            }
        }
    }
}

impl std::error::Error for RestartError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            RestartError::NotStarted { error } => Some(error),
            _ => None,
        }
    }
}
