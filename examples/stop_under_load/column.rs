//! The three ways of stopping that are compared.

use std::fmt;

/// One column of the tables: how its server stops. Everything else about the servers is the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Column {
    /// `lameduck::serve`, with `signal::listen`.
    Lameduck,
    /// `axum::serve(..).with_graceful_shutdown(..)`.
    Axum,
    /// An accept loop over hyper-util's `auto` connections and its `GracefulShutdown`.
    HyperUtil,
}

impl Column {
    pub(crate) const ALL: [Column; 3] = [Column::Lameduck, Column::Axum, Column::HyperUtil];

    /// As it is given on the command line, and shown.
    pub(crate) const fn key(self) -> &'static str {
        match self {
            Column::Lameduck => "lameduck",
            Column::Axum => "axum",
            Column::HyperUtil => "hyper-util",
        }
    }

    pub(crate) fn parse(key: &str) -> Option<Self> {
        Column::ALL.into_iter().find(|column| column.key() == key)
    }
}

impl fmt::Display for Column {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.key())
    }
}
