//! The programs of `docs/migrating.md`: each as it was and as it is with this crate, run on loopback, and the page's diffs.

#![cfg(all(feature = "hyper", feature = "axum", feature = "signal", unix))]

mod chat;
mod grpc;
mod mtls;
mod page;
mod proxy;
mod support;
