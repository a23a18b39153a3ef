//! What threads share: std's locks and atomics, or, under the model checker, loom's in their place.

#[cfg(not(lameduck_loom))]
pub(crate) use {
    atomic_waker::AtomicWaker,
    std::sync::{Mutex, MutexGuard, OnceLock, atomic},
};
#[cfg(lameduck_loom)]
pub(crate) use {
    loom::sync::{Mutex, MutexGuard, atomic},
    modelled::{AtomicWaker, OnceLock},
};

#[cfg(lameduck_loom)]
mod modelled {
    use std::task::Waker;

    use loom::sync::Mutex;

    /// loom's, with the names of the real one.
    #[derive(Default)]
    pub(crate) struct AtomicWaker(loom::future::AtomicWaker);

    impl AtomicWaker {
        pub(crate) fn new() -> Self {
            AtomicWaker::default()
        }

        pub(crate) fn register(&self, waker: &Waker) {
            self.0.register_by_ref(waker);
        }

        pub(crate) fn wake(&self) {
            self.0.wake();
        }

        pub(crate) fn take(&self) -> Option<Waker> {
            self.0.take_waker()
        }
    }

    /// std's, whose parts loom would not see. It always takes the lock: what a token orders, loom does not see either. What it
    /// holds is leaked: a model is small.
    pub(crate) struct OnceLock<T: 'static>(Mutex<Option<&'static T>>);

    impl<T> OnceLock<T> {
        pub(crate) fn new() -> Self {
            OnceLock(Mutex::new(None))
        }

        pub(crate) fn get(&self) -> Option<&T> {
            *self.0.lock().unwrap()
        }

        pub(crate) fn set(&self, value: T) -> Result<(), T> {
            let mut held = self.0.lock().unwrap();
            match *held {
                Some(_) => Err(value),
                None => {
                    *held = Some(Box::leak(Box::new(value)));
                    Ok(())
                }
            }
        }
    }

    impl<T> Default for OnceLock<T> {
        fn default() -> Self {
            OnceLock::new()
        }
    }
}
