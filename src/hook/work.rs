//! What a hook does, and how that ends.

use std::pin::Pin;

use crate::panic::{contain, message};
use crate::report::Outcome;

/// What a hook does.
pub(crate) enum Work {
    Async(Box<dyn FnOnce() -> WorkFuture + Send>),
    Blocking(Box<dyn FnOnce() -> Result<(), String> + Send>),
}

pub(crate) type WorkFuture = Pin<Box<dyn Future<Output = Result<(), String>> + Send>>;

impl Work {
    pub(super) async fn run(self) -> Outcome {
        let ended = match self {
            Work::Async(build) => contain(build).await,
            Work::Blocking(call) => tokio::task::spawn_blocking(call).await.map_err(|error| {
                error
                    .try_into_panic()
                    .map_or_else(|error| error.to_string(), message)
            }),
        };
        match ended {
            Ok(Ok(())) => Outcome::Done,
            Ok(Err(error)) => Outcome::Failed(error),
            Err(message) => Outcome::Panicked(message),
        }
    }
}
