//! SIGTERM and SIGINT trigger the shutdown, and a watchdog ends the process at the hard deadline.
//!
//! [`listen`] is all that most services call, as early in `main` as they can: a pod can be deleted while it starts, and PID 1
//! ignores a signal that it has no handler for (pid_namespaces(7)).
//!
//! The two signals mean the same: Kubernetes and systemd send SIGTERM, images with `STOPSIGNAL SIGINT` and Nomad send SIGINT.
//! A repeated SIGTERM is logged and changes nothing. A second SIGINT ends the process at once with
//! [`Report::EXIT_FORCED`](crate::Report::EXIT_FORCED) when standard error is a terminal and the process is not PID 1: a person
//! at a keyboard ([`Listener::force_on_second_interrupt`] sets it). With [`Listener::force_on_second_signal`] any second signal
//! does.
//!
//! Which signals are listened to is set with [`Listener::signals`]: an image's `STOPSIGNAL`, the `stopSignal` of a pod or a task, a
//! unit's `KillSignal=`. SIGQUIT can be [added](Listener::quit).
//!
//! Others may listen to the same signals, through signal-hook, `tokio::signal` or anything else that keeps the handlers that
//! it finds: each of them hears of each signal.
//!
//! When the coordinator is dropped and no shutdown has begun, the signals do again what they did before the first [`listen`] of the
//! process: SIGTERM and Ctrl-C end it. PID 1, for which the kernel takes no default action, exits with 128 and the signal's
//! number. On Linux a signal that was ignored by then, or had a handler of somebody else, is theirs again. A handler that was
//! added later cannot be seen: the default action comes before it.
//!
//! # Blocked signals, and forks
//!
//! A signal that every thread blocks is never delivered, and a process inherits the mask of the thread that started it. On Linux
//! [`listen`] looks, and warns when the calling thread blocks a signal that it listens to: the signal is not heard at all, or only
//! while a thread lives that does not block it. A signal that was ignored, as SIGINT is in a job that a script starts with `&`,
//! is listened to from then on, and the log says so.
//!
//! Call [`listen`] after the last fork that does not run another program, as a daemon's. The child has the handlers of its
//! parent, but not the thread that waits for signals, so it would hear none. A child that runs another program has the default
//! actions back.
//!
//! # Windows
//!
//! There Ctrl-C is what is listened to, and it counts as SIGINT. The watchdog is the same. That it compiles is checked; it
//! has not been run.

#[cfg(unix)]
mod defaults;
#[cfg(unix)]
mod masks;
#[cfg(unix)]
mod unix;
#[cfg(windows)]
mod windows;

use std::io::{self, IsTerminal};
use std::mem::forget;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

#[cfg(unix)]
use unix as platform;
#[cfg(windows)]
use windows as platform;

use crate::handle::ShutdownHandle;
use crate::process::cgroup::CpuQuota;
use crate::process::watchdog;
use crate::report::Report;
use crate::shared::Shared;

pub use crate::reason::Signal;

/// Triggers the shutdown at SIGTERM and SIGINT, and arms the watchdog.
///
/// Signals are waited for in a thread of their own. It ends with the coordinator; once the shutdown has begun it stays to the
/// end of the process, so a second SIGINT is heard also while `main` has returned and waits for blocking work.
///
/// The watchdog is a thread of its own. Once the shutdown is triggered, by whatever, it ends the process at
/// [`Plan::hard_deadline`](crate::Plan::hard_deadline) with [`Report::EXIT_WATCHDOG`](crate::Report::EXIT_WATCHDOG), also
/// when the runtime is wedged, or `main` has returned and waits for blocking work. Nothing disarms it, so do not call this
/// in a test.
///
/// The process then ends with the shutdown, so it does not end without a word: when no `tracing` subscriber takes even errors of the
/// target `lameduck`, the report's [`summary`](crate::Report::summary) is written to standard error.
///
/// # Errors
///
/// Somebody in this process listens already ([`AlreadyExists`](io::ErrorKind::AlreadyExists)), also for the same
/// coordinator, or has listened when a shutdown began; the coordinator was dropped, so a signal would begin no phase; or the
/// operating system gives no thread or handler.
///
/// A [blocked signal](self#blocked-signals-and-forks) is no error; it is warned of.
pub fn listen(handle: &ShutdownHandle) -> io::Result<()> {
    Listener::new().listen(handle)
}

/// [`listen`] with settings.
#[derive(Clone, Debug)]
#[must_use = "it listens only when `listen` is called"]
pub struct Listener {
    force_on_interrupt: Option<bool>,
    force: bool,
    /// A bit each: see [`bit`].
    signals: u8,
}

impl Default for Listener {
    fn default() -> Self {
        Listener::new()
    }
}

impl Listener {
    /// The settings of [`listen`].
    pub const fn new() -> Self {
        Listener {
            force_on_interrupt: None,
            force: false,
            signals: bit(Signal::Terminate) | bit(Signal::Interrupt),
        }
    }

    /// The signals that trigger the shutdown, in place of SIGTERM and SIGINT. What is left out does what it did before; name SIGTERM
    /// and SIGINT as well if they shall go on triggering it.
    ///
    /// Windows has only Ctrl-C; there this changes nothing.
    ///
    /// ```no_run
    /// # use lameduck::ShutdownHandle;
    /// use lameduck::signal::{Listener, Signal};
    ///
    /// # fn listen(handle: &ShutdownHandle) -> std::io::Result<()> {
    /// // The image has `STOPSIGNAL SIGUSR1`.
    /// Listener::new()
    ///     .signals(&[Signal::User1, Signal::Terminate, Signal::Interrupt])
    ///     .listen(handle)
    /// # }
    /// ```
    pub const fn signals(mut self, signals: &[Signal]) -> Self {
        self.signals = 0;
        let mut at = 0;
        // A `const fn` has no iterators.
        while at < signals.len() {
            self.signals |= bit(signals[at]);
            at += 1;
        }
        self
    }

    /// Whether a second SIGINT ends the process at once. By default it does when standard error is a terminal and the process is
    /// not PID 1: a container with a terminal (`tty: true`) may be sent its stop signal twice, and that may be SIGINT. Set it for
    /// an image that people run with `docker run -it`.
    pub const fn force_on_second_interrupt(mut self, force: bool) -> Self {
        self.force_on_interrupt = Some(force);
        self
    }

    /// Whether a second signal of any kind that is listened to ends the process at once, with
    /// [`Report::EXIT_FORCED`](crate::Report::EXIT_FORCED), also as PID 1, and also when the runtime is wedged. Off by default.
    ///
    /// It is for a supervisor that escalates by a second SIGTERM, and for whoever stops services by hand. Where it cannot be known
    /// that the second one is meant so, leave it off: a kubelet that is restarted sends the stop signal again, and Heroku may send more
    /// than one SIGTERM. The first signal need not be the trigger, but it has to be a signal.
    ///
    /// Two of a kind that come before the first has been heard are one, as signals are (signal(7)).
    pub const fn force_on_second_signal(mut self, force: bool) -> Self {
        self.force = force;
        self
    }

    /// Whether SIGQUIT triggers the shutdown, too: nginx's and php-fpm's images have `STOPSIGNAL SIGQUIT`, and whoever takes
    /// their place is stopped with it. By default it does what it always does: the process dumps its core and is gone.
    ///
    /// It adds SIGQUIT to [`signals`](Listener::signals), or takes it out. Windows has no such signal; there this changes nothing.
    pub const fn quit(mut self, quit: bool) -> Self {
        self.signals = match quit {
            true => self.signals | bit(Signal::Quit),
            false => self.signals & !bit(Signal::Quit),
        };
        self
    }

    /// See [`listen`](listen()).
    ///
    /// # Errors
    ///
    /// See [`listen`](listen()). No signal to listen to is an error of kind [`InvalidInput`](io::ErrorKind::InvalidInput).
    pub fn listen(self, handle: &ShutdownHandle) -> io::Result<()> {
        if handle.shared.progress.report().is_some() {
            return Err(io::Error::other(
                "the shutdown is over: a signal would begin no phase",
            ));
        }
        if handle.shared.progress.is_abandoned() {
            return Err(io::Error::other(
                "the coordinator was dropped: a signal would begin no phase",
            ));
        }
        let is_listened = |signal: &Signal| self.signals & bit(*signal) != 0;
        let listened: Vec<Signal> = Signal::ALL.iter().copied().filter(is_listened).collect();
        if listened.is_empty() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "there is no signal to listen to",
            ));
        }
        let claim = Claim::take()?;
        let receiver = Receiver {
            shared: Arc::downgrade(&handle.shared),
            force_on_interrupt: self.force_on_interrupt.unwrap_or_else(somebody_types),
            force: self.force,
            interrupts: 0,
            signals: 0,
        };
        // Dropped in this order: the thread is told to end, then the next one may listen.
        let listening = (platform::listen(receiver, &listened)?, claim);
        watchdog::arm(handle)?;
        if let Some(late) = handle.plan().too_late_under(CpuQuota::of_this_process()) {
            tracing::warn!(target: "lameduck", "{late}");
        }
        handle.shared.own_process();
        // Dropped uncalled with the coordinator. Once the shutdown has begun it stays, as the watchdog does: a second SIGINT
        // is heard while `main` waits for blocking work, and a process that leaves has no thread to end first.
        handle.shared.on_trigger(move |_| forget(listening));
        Ok(())
    }
}

const fn bit(signal: Signal) -> u8 {
    1 << signal as u8
}

/// The first process of a PID namespace.
const INIT: u32 = 1;

/// Whether a SIGINT is a person's Ctrl-C. A container may have a terminal as well (`tty: true`), and an orchestrator that sends
/// the stop signal again is no person.
fn somebody_types() -> bool {
    io::stderr().is_terminal() && std::process::id() != INIT
}

/// What is done with the signals that come. It never logs: with standard error full it would hang, and miss the next one.
struct Receiver {
    shared: Weak<Shared>,
    force_on_interrupt: bool,
    force: bool,
    interrupts: u32,
    signals: u32,
}

impl Receiver {
    /// Returns whether anybody heard it.
    fn receive(&mut self, signal: Signal) -> bool {
        self.interrupts += u32::from(signal == Signal::Interrupt);
        self.signals += 1;
        if self.force_on_interrupt && self.interrupts > 1 || self.force && self.signals > 1 {
            signal_hook::low_level::exit(i32::from(Report::EXIT_FORCED));
        }
        let Some(shared) = self.shared.upgrade() else {
            return false;
        };
        let handle = ShutdownHandle::of_shared(shared);
        handle.shutdown(signal);
        !handle.shared.is_disarmed()
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
