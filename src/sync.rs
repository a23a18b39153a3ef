//! What threads share: std's locks and atomics, or, under the model checker, loom's in their place.

#[cfg(not(lameduck_loom))]
pub(crate) use {
    atomic_waker::AtomicWaker,
    std::sync::{Mutex, MutexGuard, atomic},
};
#[cfg(lameduck_loom)]
pub(crate) use {
    loom::sync::{Mutex, MutexGuard, atomic},
    modelled::AtomicWaker,
};

#[cfg(lameduck_loom)]
mod modelled {
    use std::task::Waker;

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
}
