//! What other crates are given, each under a feature.
//!
//! - `axum` has axum's extractors.
//! - `grpc` has gRPC's health service, for tonic.
//! - `health` is what that answers.
//! - `metrics` tells the recorder of the crate `metrics`.
//! - `serde` has the shape of the report and the plan as data.

#[cfg(feature = "axum")]
pub(crate) mod axum;
#[cfg(feature = "tonic")]
pub mod grpc;
#[cfg(feature = "tonic")]
mod health;
#[cfg(feature = "metrics")]
pub(crate) mod metrics;
#[cfg(feature = "serde")]
mod serde;
