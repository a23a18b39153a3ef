//! The three ways of stopping that are compared.

use std::fmt;

/// One column of the table: how its replicas stop. Everything else about them is the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Column {
    /// `axum::serve(..).with_graceful_shutdown(sigterm)`.
    Axum,
    /// The same, with a sleep before it.
    AxumSleep,
    Lameduck,
}

impl Column {
    pub(crate) const ALL: [Column; 3] = [Column::Axum, Column::AxumSleep, Column::Lameduck];

    /// As it is given on the command line.
    pub(crate) const fn key(self) -> &'static str {
        match self {
            Column::Axum => "axum",
            Column::AxumSleep => "axum-sleep",
            Column::Lameduck => "lameduck",
        }
    }

    pub(crate) fn parse(key: &str) -> Option<Self> {
        Column::ALL.into_iter().find(|column| column.key() == key)
    }
}

impl fmt::Display for Column {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Column::Axum => "axum",
            Column::AxumSleep => "axum + sleep",
            Column::Lameduck => "lameduck",
        })
    }
}
