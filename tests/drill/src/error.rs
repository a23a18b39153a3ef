//! Why a drill could not be held.

use std::error::Error;
use std::fmt;

/// Why a drill could not be held. What the server does wrong when it is stopped is no error: see
/// [`Outcome`](crate::Outcome).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DrillError {
    /// The command does not say where the port goes.
    NoPort,
    /// The server could not be started.
    Start(String),
    /// The server left before it was told to. With the last lines that it wrote.
    Died(String),
    /// The server accepted no connection in time. With the last lines that it wrote.
    Silent(String),
    /// It accepts, and answers neither HTTP/1.1 nor HTTP/2, with or without TLS.
    Unknown(String),
    /// A scenario that was asked for needs something that was not given, or that this server does not speak.
    Unplayable(String),
    /// A route that was given does not answer as it should in normal service.
    Route(String),
    /// The server does not keep the contract in normal service.
    Contract(String),
    /// A client could not work, for another reason than the server.
    Client(String),
}

impl fmt::Display for DrillError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DrillError::NoPort => f.write_str(
                "the server does not learn its port: write {port} into its command, or name an argument, a variable or the port",
            ),
            DrillError::Start(why) => write!(f, "the server could not be started: {why}"),
            DrillError::Died(said) => {
                write!(f, "the server left before it was told to; it wrote:\n{said}")
            }
            DrillError::Silent(said) => {
                write!(f, "the server accepted no connection in time; it wrote:\n{said}")
            }
            DrillError::Unknown(why) => {
                write!(f, "the server accepts, and speaks neither HTTP/1.1 nor HTTP/2: {why}")
            }
            DrillError::Unplayable(why) => f.write_str(why),
            DrillError::Route(why) => write!(f, "in normal service: {why}"),
            DrillError::Contract(why) => write!(f, "the contract is not kept: {why}"),
            DrillError::Client(why) => write!(f, "a client of the drill could not work: {why}"),
        }
    }
}

impl Error for DrillError {}
