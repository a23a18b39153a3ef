//! What a connection has been asked to do.

use std::pin::pin;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll};

use tokio::task::yield_now;

/// One word, so that a request looks at all of it with one load.
#[derive(Default)]
pub(crate) struct Asked(AtomicU8);

/// Its moment has come: HTTP/1 responses say close.
const SAYS_CLOSE: u8 = 1;
/// It closes when it is idle and nothing has arrived.
const ENDING: u8 = 2;
/// It has been waited for long enough: half a head does not hold it any more.
const GIVEN_UP: u8 = 4;
/// The runtime's driver has been polled since it was last idle.
const DRIVEN: u8 = 8;

impl Asked {
    /// Whether it has been asked to do anything.
    #[inline]
    pub(crate) fn is_any(&self) -> bool {
        self.0.load(Ordering::Relaxed) != 0
    }

    #[inline]
    fn is(&self, what: u8) -> bool {
        self.0.load(Ordering::Relaxed) & what != 0
    }

    fn ask(&self, what: u8) {
        self.0.fetch_or(what, Ordering::Relaxed);
    }

    /// Whether its moment lies in the past.
    #[inline]
    pub(crate) fn says_close(&self) -> bool {
        self.is(SAYS_CLOSE)
    }

    pub(crate) fn say_close(&self) {
        self.ask(SAYS_CLOSE);
    }

    /// Whether it closes when it is idle and nothing has arrived.
    #[inline]
    pub(crate) fn is_ending(&self) -> bool {
        self.is(ENDING)
    }

    pub(crate) fn end(&self) {
        self.ask(ENDING);
    }

    pub(crate) fn is_given_up(&self) -> bool {
        self.is(GIVEN_UP)
    }

    /// Ends it when nothing more has arrived, half a head or not. What is complete by then is still served.
    pub(crate) fn give_up(&self) {
        self.ask(SAYS_CLOSE | ENDING | GIVEN_UP);
        self.forget_driven();
    }

    /// Ready when it can be believed that the socket is dry.
    ///
    /// tokio says so from what it remembers, and asks the operating system only after an event. What has arrived since the
    /// last one, or before a socket was registered, is seen when the driver has been polled: that is what `yield_now` waits
    /// for. So the answer is no at first, and the task is woken for the second look.
    pub(crate) fn poll_driven(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.0.fetch_or(DRIVEN, Ordering::Relaxed) & DRIVEN != 0 {
            return Poll::Ready(());
        }
        // What it keeps for its second poll is kept here.
        let yielded = pin!(yield_now()).poll(cx);
        debug_assert!(yielded.is_pending(), "it yields once");
        Poll::Pending
    }

    /// It was busy meanwhile: the next look at its socket is a first one.
    pub(crate) fn forget_driven(&self) {
        self.0.fetch_and(!DRIVEN, Ordering::Relaxed);
    }
}
