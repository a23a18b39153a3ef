//! Signals, through signal-hook.

use std::io;
use std::thread;

use signal_hook::iterator::{Handle, Signals};

use super::Receiver;
use super::masks::{self, Masks};
use crate::reason::Signal;

const SIGNALS: [Signal; 3] = [Signal::Terminate, Signal::Interrupt, Signal::Quit];

/// Starts the thread that waits for signals; it ends with what is returned.
pub(super) fn listen(mut receiver: Receiver, quit: bool) -> io::Result<Close> {
    let listened = match quit {
        true => &SIGNALS[..],
        false => &SIGNALS[..2],
    };
    // Once it is listened to, no signal is ignored any more.
    let before = Masks::of_this_thread();
    let mut signals = Signals::new(listened.iter().map(|signal| i32::from(signal.number())))?;
    let close = Close(signals.handle());
    thread::Builder::new()
        .name("lameduck-signals".to_owned())
        .spawn(move || {
            for signal in signals.forever() {
                receiver.receive(named(signal));
            }
        })?;
    masks::notice(listened, before);
    Ok(close)
}

fn named(number: i32) -> Signal {
    let named = |signal: &&Signal| i32::from(signal.number()) == number;
    *SIGNALS.iter().find(named).unwrap_or(&Signal::Terminate)
}

pub(super) struct Close(Handle);

impl Drop for Close {
    fn drop(&mut self) {
        self.0.close();
    }
}
