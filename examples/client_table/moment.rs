//! The moments that catch a client in the middle of its action.

use std::fmt;
use std::time::Duration;

use crate::column::Column;

/// What begins while the client is in the middle of its action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moment {
    /// Nothing: the server gets SIGTERM when the action is over.
    Normal,
    LameDuck,
    Drain,
    Close,
}

impl Moment {
    pub(crate) const ALL: [Moment; 4] = [
        Moment::Normal,
        Moment::LameDuck,
        Moment::Drain,
        Moment::Close,
    ];

    /// As the servers name it on standard output, and the table in its head.
    pub(crate) const fn key(self) -> &'static str {
        match self {
            Moment::Normal => "normal",
            Moment::LameDuck => "LameDuck",
            Moment::Drain => "Drain",
            Moment::Close => "Close",
        }
    }

    /// The phase in which the clients begin; `None` before SIGTERM.
    pub(crate) const fn clients_begin_in(self) -> Option<Moment> {
        match self {
            Moment::Normal | Moment::LameDuck => None,
            Moment::Drain => Some(Moment::LameDuck),
            Moment::Close => Some(Moment::Drain),
        }
    }

    /// Whether a server has this moment. The peers' listener closes when their graceful shutdown begins, which is their Drain:
    /// nobody can begin anything between that and a later phase.
    pub(crate) fn exists_for(self, column: Column) -> bool {
        self != Moment::Close || column == Column::Lameduck
    }

    /// The phase in which a server ends idle connections.
    pub(crate) const fn closes_in(column: Column) -> Moment {
        match column {
            Column::Lameduck => Moment::Close,
            Column::Axum | Column::HyperUtil => Moment::Drain,
        }
    }

    /// How long LameDuck lasts. Where nothing happens in it, nobody has to wait for it.
    pub(crate) const fn lame_duck(self) -> Duration {
        match self {
            Moment::Normal | Moment::Close => Duration::from_millis(300),
            Moment::LameDuck | Moment::Drain => Duration::from_secs(3),
        }
    }

    /// Whether an idle connection has to stay open, and a request on it be served.
    pub(crate) const fn serves_on(self) -> bool {
        matches!(self, Moment::Normal | Moment::LameDuck)
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.key())
    }
}
