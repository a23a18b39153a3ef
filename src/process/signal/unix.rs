//! Signals, through signal-hook.

use std::io;
use std::thread;

use signal_hook::consts::{SIGINT, SIGQUIT, SIGTERM};
use signal_hook::iterator::{Handle, Signals};

use super::Receiver;
use crate::reason::Signal;

/// Starts the thread that waits for signals; it ends with what is returned.
pub(super) fn listen(mut receiver: Receiver, quit: bool) -> io::Result<Close> {
    let mut signals = Signals::new([SIGTERM, SIGINT])?;
    let close = Close(signals.handle());
    if quit {
        close.0.add_signal(SIGQUIT)?;
    }
    thread::Builder::new()
        .name("lameduck-signals".to_owned())
        .spawn(move || {
            for signal in signals.forever() {
                receiver.receive(match signal {
                    SIGINT => Signal::Interrupt,
                    SIGQUIT => Signal::Quit,
                    _ => Signal::Terminate,
                });
            }
        })?;
    Ok(close)
}

pub(super) struct Close(Handle);

impl Drop for Close {
    fn drop(&mut self) {
        self.0.close();
    }
}
