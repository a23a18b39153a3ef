//! Words on standard error, for which nobody waits long: it may be a pipe that is full and that nobody reads.

use std::io::{self, Write};
use std::thread;
use std::time::Duration;

/// How long whoever has something to say waits for it, at most.
pub(crate) const PATIENCE: Duration = Duration::from_millis(100);

/// Writes to standard error from a thread of its own, which the write may hold for ever. `said` is dropped when it is over.
pub(crate) fn say(words: impl FnOnce() -> String + Send + 'static, said: impl Send + 'static) {
    // Without a thread nothing is said, and `said` is dropped here.
    let _ = thread::Builder::new().spawn(move || {
        // An error here has nobody left to go to.
        let _ = io::stderr().write_all(words().as_bytes());
        drop(said);
    });
}
