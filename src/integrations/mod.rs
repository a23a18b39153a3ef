//! Other crates, each under a feature.
//!
//! - `axum`: its extractors.
//! - `grpc`: gRPC's health service, for tonic.
//! - `metrics`: what its recorder is told.

#[cfg(feature = "axum")]
pub(crate) mod axum;
#[cfg(feature = "tonic")]
pub mod grpc;
#[cfg(feature = "metrics")]
pub(crate) mod metrics;
