//! SIGTERM and SIGINT trigger the shutdown, and a watchdog ends the process at the hard deadline.
//!
//! [`listen`] is all that most services call, as early in `main` as they can: a pod can be deleted while it starts, and PID 1
//! ignores a signal that it has no handler for (pid_namespaces(7)).
//!
//! The two signals mean the same: Kubernetes and systemd send SIGTERM, images with `STOPSIGNAL SIGINT` and Nomad send SIGINT.
//! A repeated SIGTERM is logged and changes nothing. A second SIGINT ends the process at once with
//! [`Report::EXIT_FORCED`](crate::Report::EXIT_FORCED) when standard error is a terminal: a person at a keyboard.
//!
//! This module exists on Unix only.

use std::io::{self, IsTerminal};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::{Handle, Signals};

use crate::handle::ShutdownHandle;
use crate::reason::Signal;
use crate::report::Report;
use crate::watchdog;

/// Triggers the shutdown at SIGTERM and SIGINT, and arms the watchdog.
///
/// The watchdog is a thread of its own. Once the shutdown is triggered, by whatever, it ends the process at
/// [`Plan::hard_deadline`](crate::Plan::hard_deadline) with [`Report::EXIT_WATCHDOG`](crate::Report::EXIT_WATCHDOG), also
/// when the runtime is wedged, or `main` has returned and waits for blocking work. Nothing disarms it, so do not call this
/// in a test.
///
/// # Errors
///
/// Somebody in this process listens already ([`AlreadyExists`](io::ErrorKind::AlreadyExists)), also for the same
/// coordinator; or the operating system gives no thread or handler.
pub fn listen(handle: &ShutdownHandle) -> io::Result<()> {
    Listener::new().listen(handle)
}

/// [`listen`] with settings.
#[derive(Clone, Debug, Default)]
#[must_use = "it listens only when `listen` is called"]
pub struct Listener {
    force: Option<bool>,
}

impl Listener {
    /// The settings of [`listen`].
    pub const fn new() -> Self {
        Listener { force: None }
    }

    /// Whether a second SIGINT ends the process at once. By default it does when standard error is a terminal.
    pub const fn force_on_second_interrupt(mut self, force: bool) -> Self {
        self.force = Some(force);
        self
    }

    /// See [`listen`](listen()).
    ///
    /// # Errors
    ///
    /// See [`listen`](listen()).
    pub fn listen(self, handle: &ShutdownHandle) -> io::Result<()> {
        let claim = Claim::take()?;
        let mut signals = Signals::new([SIGTERM, SIGINT])?;
        let listening = Listening {
            signals: signals.handle(),
            _claim: claim,
        };
        let force = self.force.unwrap_or_else(|| io::stderr().is_terminal());
        let shared = Arc::downgrade(&handle.shared);

        watchdog::arm(handle)?;
        thread::Builder::new()
            .name("lameduck-signals".to_owned())
            .spawn(move || {
                // Never logs: with standard error full it would hang, and not see the next signal.
                let mut interrupts = 0;
                for signal in signals.forever() {
                    let signal = match signal {
                        SIGINT => Signal::Interrupt,
                        _ => Signal::Terminate,
                    };
                    interrupts += u32::from(signal == Signal::Interrupt);
                    if force && interrupts > 1 {
                        signal_hook::low_level::exit(i32::from(Report::EXIT_FORCED));
                    }
                    if let Some(shared) = shared.upgrade() {
                        ShutdownHandle { shared }.shutdown(signal);
                    }
                }
            })?;
        handle.shared.attach(listening);
        Ok(())
    }
}

/// Ends the signal thread with the last handle.
struct Listening {
    signals: Handle,
    _claim: Claim,
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.signals.close();
    }
}

static CLAIMED: AtomicBool = AtomicBool::new(false);

/// Held by the one coordinator that listens.
struct Claim;

impl Claim {
    fn take() -> io::Result<Self> {
        if CLAIMED.swap(true, Ordering::AcqRel) {
            return Err(io::Error::new(
                io::ErrorKind::AlreadyExists,
                "a coordinator of this process listens to signals already",
            ));
        }
        Ok(Claim)
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        CLAIMED.store(false, Ordering::Release);
    }
}
