//! The cut: a connection's end from outside, whichever task has its IO by then.

use std::task::Waker;

use crate::sync::AtomicWaker;
use crate::sync::atomic::{AtomicU8, Ordering};

/// It is over now, whatever it is doing.
const CUT: u8 = 1;
/// Its IO belongs, or is about to belong, to another task than the one that drives it: one that reads and one that writes,
/// perhaps.
const UPGRADED: u8 = 2;

/// Whether a connection has been cut, and who is woken for it.
///
/// Invariant: every task that may wait on the connection's behalf registers before it looks, so it sees the cut or is woken
/// by it.
pub(crate) struct Cut {
    /// One word, so that who reads or writes looks at both with one load.
    flags: AtomicU8,
    driver: AtomicWaker,
    reader: AtomicWaker,
    writer: AtomicWaker,
}

impl Cut {
    pub(crate) fn new() -> Self {
        Cut {
            flags: AtomicU8::new(0),
            driver: AtomicWaker::new(),
            reader: AtomicWaker::new(),
            writer: AtomicWaker::new(),
        }
    }

    /// Cuts it. Returns whether this was the first time.
    pub(crate) fn cut(&self) -> bool {
        let first = self.end();
        self.driver.wake();
        self.reader.wake();
        self.writer.wake();
        first
    }

    /// The connection is gone. Returns whether it was never cut.
    ///
    /// One step, as in [`cut`](Cut::cut): so it is one of the two that counts it, whatever orders them otherwise.
    pub(crate) fn end(&self) -> bool {
        self.flags.fetch_or(CUT, Ordering::AcqRel) & CUT == 0
    }

    /// Whether it was cut, or has left its driver.
    #[inline]
    pub(crate) fn is_any(&self) -> bool {
        self.flags.load(Ordering::Acquire) != 0
    }

    #[inline]
    pub(crate) fn is_cut(&self) -> bool {
        self.flags.load(Ordering::Acquire) & CUT != 0
    }

    /// Set before hyper can hand the IO over, so that its next owner is seen from its first poll on.
    pub(crate) fn upgrade(&self) {
        self.flags.fetch_or(UPGRADED, Ordering::Release);
    }

    #[inline]
    pub(crate) fn is_upgraded(&self) -> bool {
        self.flags.load(Ordering::Acquire) & UPGRADED != 0
    }

    /// Called by the task that drives it, before it looks at anything.
    pub(crate) fn register(&self, driver: &Waker) {
        self.driver.register(driver);
    }

    /// Wakes the task that drives it.
    pub(crate) fn wake(&self) {
        self.driver.wake();
    }

    /// The task that drives it is over. A waker left here would keep that task's memory.
    pub(crate) fn forget_driver(&self) {
        drop(self.driver.take());
    }

    /// Whether reading is over. If not, `reader` is woken when it is.
    #[inline]
    pub(crate) fn ends_reads(&self, reader: &Waker) -> bool {
        self.ends(&self.reader, reader)
    }

    /// Whether writing is over. If not, `writer` is woken when it is.
    #[inline]
    pub(crate) fn ends_writes(&self, writer: &Waker) -> bool {
        self.ends(&self.writer, writer)
    }

    #[inline]
    fn ends(&self, side: &AtomicWaker, waker: &Waker) -> bool {
        // Until it is upgraded the driver's task has the IO, and that is registered itself.
        self.flags.load(Ordering::Acquire) != 0 && self.ends_now(side, waker)
    }

    #[cold]
    fn ends_now(&self, side: &AtomicWaker, waker: &Waker) -> bool {
        if self.is_upgraded() {
            side.register(waker);
        }
        self.is_cut()
    }
}
