//! Keeping a panic where it happened.

use std::any::Any;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::Poll;

/// Builds a future and runs it; a panic in either becomes its message.
pub(crate) async fn contain<F: Future>(build: impl FnOnce() -> F) -> Result<F::Output, String> {
    // Nothing that the panic may have left half done is looked at again: the future is dropped.
    let future = catch_unwind(AssertUnwindSafe(build)).map_err(message)?;
    let mut future = pin!(future);
    poll_fn(
        |cx| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
            Ok(poll) => poll.map(Ok),
            Err(panic) => Poll::Ready(Err(message(panic))),
        },
    )
    .await
}

/// What a panic said.
pub(crate) fn message(panic: Box<dyn Any + Send>) -> String {
    match panic.downcast::<String>() {
        Ok(text) => *text,
        Err(panic) => panic
            .downcast::<&'static str>()
            .map_or_else(|_| "no message".to_owned(), |text| (*text).to_owned()),
    }
}
