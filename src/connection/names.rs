//! What the report calls a request.

/// How the report calls requests that were left behind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum RequestNames {
    /// `GET /orders/17`. The query is never shown: tokens live there.
    #[default]
    MethodAndPath,
    /// `GET`, for paths that are secret themselves.
    Method,
    /// Nothing: requests are counted, but not named.
    Off,
}
