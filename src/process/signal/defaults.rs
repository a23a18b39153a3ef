//! What signals do once nobody listens to them any more.
//!
//! signal-hook's handler stays when the last one that it called is gone, and does nothing then: the signal would be swallowed.
//! So the default action is registered with it, and is off while somebody listens.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use signal_hook::{flag, low_level};

use super::INIT;
use super::masks::Masks;
use crate::reason::Signal;

/// The default actions of the signals that a coordinator listens to. They are off from [`suspend`](Defaults::suspend) until this
/// is dropped.
pub(super) struct Defaults(Vec<Arc<AtomicBool>>);

impl Defaults {
    /// `before` is how the process was before this. A signal that somebody else caught or ignored by then stays theirs: its
    /// default action was off already.
    pub(super) fn of(signals: &[Signal], before: Option<Masks>) -> io::Result<Self> {
        let before = before.unwrap_or_default();
        let mut known = known();
        for &signal in signals {
            if known.iter().any(|known| known.signal == signal) {
                continue;
            }
            let is_default = !before.catches(signal) && !before.ignores(signal);
            // Its default action is none.
            let does_nothing = signal == Signal::WindowChange;
            let acts = match is_default && !does_nothing {
                true => Some(register(signal)?),
                false => None,
            };
            known.push(Known { signal, acts });
        }
        let listened = known.iter().filter(|known| signals.contains(&known.signal));
        Ok(Defaults(
            listened.filter_map(|known| known.acts.clone()).collect(),
        ))
    }

    /// Somebody listens from now on.
    pub(super) fn suspend(&self) {
        self.set(false);
    }

    fn set(&self, acts: bool) {
        for flag in &self.0 {
            flag.store(acts, Ordering::SeqCst);
        }
    }
}

impl Drop for Defaults {
    fn drop(&mut self) {
        self.set(true);
    }
}

/// Does what `signal` does when nobody listens: for one that came when the coordinator was about to go.
pub(super) fn act(signal: Signal) {
    let acts = known()
        .iter()
        .any(|known| known.signal == signal && known.acts.is_some());
    if acts {
        let number = i32::from(signal.number());
        if std::process::id() == INIT {
            low_level::exit(exit_code(signal));
        }
        // An error is for a signal that signal-hook does not know.
        let _ = low_level::emulate_default_handler(number);
    }
}

fn register(signal: Signal) -> io::Result<Arc<AtomicBool>> {
    let acts = Arc::new(AtomicBool::new(true));
    let (number, flag) = (i32::from(signal.number()), Arc::clone(&acts));
    match std::process::id() {
        INIT => flag::register_conditional_shutdown(number, exit_code(signal), flag)?,
        _ => flag::register_conditional_default(number, flag)?,
    };
    Ok(acts)
}

/// What PID 1 ends with, for which the kernel takes no default action (pid_namespaces(7)): the code that a shell would show.
fn exit_code(signal: Signal) -> i32 {
    128 + i32::from(signal.number())
}

/// A signal that a coordinator of this process has listened to.
struct Known {
    signal: Signal,
    /// Whether its default action is taken; `None` if it had none when it was listened to for the first time.
    acts: Option<Arc<AtomicBool>>,
}

/// Handlers are never taken away, so each signal has one for the whole process.
static KNOWN: Mutex<Vec<Known>> = Mutex::new(Vec::new());

fn known() -> MutexGuard<'static, Vec<Known>> {
    KNOWN.lock().unwrap_or_else(PoisonError::into_inner)
}
