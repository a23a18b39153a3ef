//! Signals, through signal-hook.

use std::io;
use std::thread;

use signal_hook::iterator::{Handle, Signals};

use super::Receiver;
use super::defaults::Defaults;
pub(super) use super::defaults::act as default_action;
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
    let defaults = Defaults::of(listened, before)?;
    let mut signals = Signals::new(listened.iter().map(|signal| i32::from(signal.number())))?;
    defaults.suspend();
    let close = Close {
        _defaults: defaults,
        _thread: CloseThread(signals.handle()),
    };
    thread::Builder::new()
        .name("lameduck-signals".to_owned())
        .spawn(move || {
            for signal in signals.forever() {
                receiver.receive(named(signal));
            }
            // They came while the last handle went, so nobody else has seen them.
            signals.pending().map(named).for_each(default_action);
        })?;
    masks::notice(listened, before);
    Ok(close)
}

fn named(number: i32) -> Signal {
    let named = |signal: &&Signal| i32::from(signal.number()) == number;
    *SIGNALS.iter().find(named).unwrap_or(&Signal::Terminate)
}

// The defaults are back before the thread ends, so no signal comes in between.
pub(super) struct Close {
    _defaults: Defaults,
    _thread: CloseThread,
}

struct CloseThread(Handle);

impl Drop for CloseThread {
    fn drop(&mut self) {
        self.0.close();
    }
}
