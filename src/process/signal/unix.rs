//! Signals, through signal-hook.

use std::io;
use std::thread;

use signal_hook::iterator::{Handle, Signals};

use super::Receiver;
use super::defaults::{self, Defaults};
use super::masks::{self, Masks};
use crate::reason::Signal;

/// Starts the thread that waits for signals; it ends with what is returned.
pub(super) fn listen(mut receiver: Receiver, listened: &[Signal]) -> io::Result<Close> {
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
            let mut unheard = Vec::new();
            for signal in signals.forever().map(named) {
                if !receiver.receive(signal) && !unheard.contains(&signal) {
                    unheard.push(signal);
                }
            }
            // The coordinator is gone without a shutdown, and these came as it went.
            unheard.extend(signals.pending().map(named));
            unheard.into_iter().for_each(defaults::act);
        })?;
    masks::notice(listened, before);
    Ok(close)
}

fn named(number: i32) -> Signal {
    let named = |signal: &&Signal| i32::from(signal.number()) == number;
    *Signal::ALL.iter().find(named).unwrap_or(&Signal::Terminate)
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

#[cfg(test)]
mod tests {
    use signal_hook::consts;

    use super::*;

    #[test]
    fn signals_have_the_numbers_of_the_system() {
        let numbers = [
            consts::SIGTERM,
            consts::SIGINT,
            consts::SIGQUIT,
            consts::SIGHUP,
            consts::SIGUSR1,
            consts::SIGUSR2,
            consts::SIGWINCH,
        ];
        for (&signal, number) in Signal::ALL.iter().zip(numbers) {
            assert_eq!(i32::from(signal.number()), number, "{signal}");
            assert_eq!(named(number), signal);
        }
    }
}
