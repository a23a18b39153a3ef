//! What a hook does, and how that ends.

use std::pin::Pin;
use std::sync::Arc;

use crate::panic::{contain, message};
use crate::report::Outcome;

/// What a hook does.
pub(crate) enum Work {
    Async(Box<dyn FnOnce() -> WorkFuture + Send>),
    Blocking(Box<dyn FnOnce() -> Result<(), String> + Send>),
}

pub(crate) type WorkFuture = Pin<Box<dyn Future<Output = Result<(), String>> + Send>>;

impl Work {
    /// `alive` is dropped with the work: by a blocking one when it returns, whether or not it is waited for.
    pub(super) async fn run(self, alive: Arc<()>) -> Outcome {
        let ended = match self {
            Work::Async(build) => {
                let _alive = alive;
                contain(build).await
            }
            Work::Blocking(call) => {
                let call = move || {
                    let _alive = alive;
                    call()
                };
                tokio::task::spawn_blocking(call).await.map_err(|error| {
                    error
                        .try_into_panic()
                        .map_or_else(|error| error.to_string(), message)
                })
            }
        };
        match ended {
            Ok(Ok(())) => Outcome::Done,
            Ok(Err(error)) => Outcome::Failed(error),
            Err(message) => Outcome::Panicked(message),
        }
    }
}
