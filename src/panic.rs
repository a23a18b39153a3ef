//! Keeping a panic where it happened: when something of an application's is called, polled, printed or dropped.
//!
//! What cannot be kept is a second panic while the first one unwinds: that ends the process, as everywhere in Rust.

use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;

use crate::plain;

/// Calls something of an application's; a panic becomes its message.
pub(crate) fn call<T>(call: impl FnOnce() -> T) -> Result<T, String> {
    // Whatever the panic may have left half done is dropped, and not looked at again.
    catch_unwind(AssertUnwindSafe(call)).map_err(message)
}

/// Builds a future and runs it; a panic in either becomes its message. `owner` is named in the log when the future panics as
/// it is dropped.
pub(crate) async fn contain<F: Future>(
    owner: impl fmt::Display,
    build: impl FnOnce() -> F,
) -> Result<F::Output, String> {
    let future = Some(call(build)?);
    Contained { future, owner }.await
}

/// Drops something of an application's.
pub(crate) fn drop_contained<T>(owner: impl fmt::Display, value: T) {
    log_panic(owner, call(|| drop(value)));
}

/// Prints an error of an application's, as far as it is kept, and drops it.
pub(crate) fn text_of<E: fmt::Display>(error: E) -> String {
    let text = call(|| plain::error(&error))
        .unwrap_or_else(|panic| format!("an error that panicked when it was printed: {panic}"));
    drop_contained("an error", error);
    text
}

fn log_panic(owner: impl fmt::Display, dropped: Result<(), String>) {
    if let Err(panic) = dropped {
        tracing::error!(target: "lameduck", %panic, "{owner} panicked when it was dropped");
    }
}

/// What a panic said, as far as it is kept.
fn message(panic: Box<dyn Any + Send>) -> String {
    let panic = match panic.downcast::<String>() {
        Ok(text) => return plain::error(text),
        Err(panic) => panic,
    };
    match panic.downcast::<&'static str>() {
        Ok(text) => plain::error(text),
        Err(panic) => {
            forget_panic(panic);
            "no message".to_owned()
        }
    }
}

/// A payload may panic when it is dropped, too. What it panics with then is leaked, because it could do the same.
fn forget_panic(payload: Box<dyn Any + Send>) {
    if let Err(next) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        std::mem::forget(next);
    }
}

/// Something of an application's that is kept until it is used. When it is dropped unused, a panic in that goes no further.
pub(crate) struct Kept<T>(Option<T>);

impl<T> Kept<T> {
    pub(crate) const fn new(value: T) -> Self {
        Kept(Some(value))
    }

    pub(crate) fn take(mut self) -> T {
        self.0.take().expect("it is taken once")
    }
}

impl<T> Drop for Kept<T> {
    fn drop(&mut self) {
        if let Some(value) = self.0.take() {
            drop_contained("what never ran", value);
        }
    }
}

pin_project! {
    /// A future whose panics go no further.
    struct Contained<F, O: fmt::Display> {
        #[pin]
        future: Option<F>,
        owner: O,
    }

    impl<F, O: fmt::Display> PinnedDrop for Contained<F, O> {
        fn drop(mut this: Pin<&mut Self>) {
            let dropped = this.as_mut().drop_future();
            log_panic(this.project().owner, dropped);
        }
    }
}

impl<F, O: fmt::Display> Contained<F, O> {
    fn drop_future(self: Pin<&mut Self>) -> Result<(), String> {
        let mut future = self.project().future;
        call(|| future.set(None))
    }
}

impl<F: Future, O: fmt::Display> Future for Contained<F, O> {
    type Output = Result<F::Output, String>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let future = self.as_mut().project().future.as_pin_mut();
        let future = future.expect("it is not polled when it is over");
        let ended = match call(|| future.poll(cx)) {
            Ok(polled) => Ok(ready!(polled)),
            Err(panic) => Err(panic),
        };
        Poll::Ready(match (ended, self.drop_future()) {
            // As in an `async` block that awaits the future.
            (Ok(output), Err(panic)) => {
                drop_contained("the output of a future that panicked", output);
                Err(panic)
            }
            (ended, _) => ended,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use tokio_test::{assert_pending, assert_ready_eq, task};

    use super::*;

    /// Panics when it is dropped, with itself, and with another for each that is left.
    struct Grenade(u32);

    impl Drop for Grenade {
        fn drop(&mut self) {
            if self.0 > 0 && !std::thread::panicking() {
                std::panic::panic_any(Grenade(self.0 - 1));
            }
        }
    }

    #[test]
    fn panic_becomes_its_message() {
        let said = |payload: Box<dyn Any + Send>| {
            call(|| std::panic::resume_unwind(payload)).expect_err("it panics")
        };

        assert_eq!(said(Box::new("text")), "text");
        assert_eq!(said(Box::new("text".to_owned())), "text");
        assert_eq!(said(Box::new(7)), "no message");
        assert_eq!(call(|| 7), Ok(7));
    }

    #[test]
    fn payload_that_panics_when_it_is_dropped_goes_no_further() {
        let panicked = call(|| std::panic::panic_any(Grenade(3)));

        assert_eq!(panicked, Err::<(), _>("no message".to_owned()));
        drop_contained("a grenade", Grenade(3));
        drop(Kept::new(Grenade(3)));
    }

    #[test]
    fn kept_value_is_given_back_as_it_was() {
        assert_eq!(Kept::new(7).take(), 7);
    }

    #[test]
    fn future_is_dropped_before_its_end_is_seen() {
        let held = Rc::new(());
        let inside = Rc::clone(&held);
        let mut future = task::spawn(contain("a future", || async {
            tokio::task::yield_now().await;
            drop(inside);
            7
        }));

        assert_pending!(future.poll());
        assert_eq!(Rc::strong_count(&held), 2);
        assert_ready_eq!(future.poll(), Ok(7));
        assert_eq!(Rc::strong_count(&held), 1);
    }

    #[test]
    fn panic_in_the_drop_of_a_future_at_its_end_is_its_own() {
        struct Mine(#[expect(dead_code)] Grenade);
        impl Future for Mine {
            type Output = u32;
            fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<u32> {
                Poll::Ready(7)
            }
        }
        let mut future = task::spawn(contain("a future", || Mine(Grenade(1))));

        assert_ready_eq!(future.poll(), Err("no message".to_owned()));
    }

    #[test]
    fn error_that_cannot_be_printed_or_dropped_has_a_text() {
        struct Error(#[expect(dead_code)] Grenade);
        impl fmt::Display for Error {
            fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
                Err(fmt::Error)
            }
        }

        let text = text_of(Error(Grenade(1)));

        assert!(text.starts_with("an error that panicked when it was printed: "));
        assert_eq!(text_of("plain"), "plain");
    }

    #[test]
    fn panic_while_building_becomes_its_message() {
        let mut future = task::spawn(contain("a future", || -> std::future::Ready<()> {
            panic!("built")
        }));

        assert_ready_eq!(future.poll(), Err("built".to_owned()));
    }
}
