//! What the process's exit says of how it went.

use std::process;

use crate::reason::{Reason, Signal};

pub(crate) const UNCLEAN: u8 = 3;
pub(crate) const WATCHDOG: u8 = 4;
/// What a shell says of a process that died of SIGINT.
pub(crate) const FORCED: u8 = 130;

/// What the process's exit says of how it went. The default: 0 when the shutdown was clean, 3
/// ([`Report::EXIT_UNCLEAN`](crate::Report::EXIT_UNCLEAN)) when it was not.
///
/// Set with [`ShutdownCoordinator::exit_policy`](crate::ShutdownCoordinator::exit_policy). It speaks of
/// [`exit_code`](crate::Report::exit_code) and [`exit_process`](crate::Report::exit_process); the codes of the watchdog and of
/// a forced end are always their own.
///
/// ```
/// use lameduck::{Plan, ShutdownCoordinator};
/// use lameduck::report::ExitPolicy;
///
/// // A supervisor that restarts whatever does not end with 0 shall not restart this after a deploy that cut something.
/// let shutdown = ShutdownCoordinator::new(Plan::local()).exit_policy(ExitPolicy::new().unclean(0));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExitPolicy {
    clean: Clean,
    unclean: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Clean {
    Code(u8),
    SignalCode,
    Reraise,
}

impl ExitPolicy {
    /// The default policy.
    #[must_use]
    pub const fn new() -> Self {
        ExitPolicy {
            clean: Clean::Code(0),
            unclean: UNCLEAN,
        }
    }

    /// The code of a clean shutdown; 0 by default.
    #[must_use]
    pub const fn clean(mut self, code: u8) -> Self {
        self.clean = Clean::Code(code);
        self
    }

    /// The code of a shutdown that was not clean; 3 by default.
    #[must_use]
    pub const fn unclean(mut self, code: u8) -> Self {
        self.unclean = code;
        self
    }

    /// The code of a clean shutdown is 128 and the number of the signal that was its reason (143 for SIGTERM), as if the
    /// process had no handler and a shell reported it; 0 when the reason was no signal.
    #[must_use]
    pub const fn signal_code(mut self) -> Self {
        self.clean = Clean::SignalCode;
        self
    }

    /// After a clean shutdown [`exit_process`](crate::Report::exit_process) gives the signal that was the reason its default
    /// action back and raises it again, so that the parent's `waitpid` sees a process that died of it: what a shell needs to
    /// stop a script at Ctrl-C.
    /// Nothing of the process runs after that; standard output is flushed before. SIGQUIT dumps the core, as ever.
    ///
    /// [`exit_code`](crate::Report::exit_code) cannot do that, and neither can PID 1, for which default actions do not exist
    /// (pid_namespaces(7)); there, on Windows, and without the feature `signal` the code is that of
    /// [`signal_code`](ExitPolicy::signal_code).
    #[must_use]
    pub const fn reraise(mut self) -> Self {
        self.clean = Clean::Reraise;
        self
    }

    pub(crate) const fn code(self, clean: bool, reason: &Reason) -> u8 {
        match (clean, self.clean, reason) {
            (false, ..) => self.unclean,
            (true, Clean::Code(code), _) => code,
            (true, Clean::SignalCode | Clean::Reraise, Reason::Signal(signal)) => {
                128 + signal.number()
            }
            (true, ..) => 0,
        }
    }

    /// Ends the process.
    pub(crate) fn end(self, clean: bool, reason: &Reason) -> ! {
        if let (true, Clean::Reraise, Reason::Signal(signal)) = (clean, self.clean, reason) {
            die_of(*signal);
        }
        process::exit(i32::from(self.code(clean, reason)))
    }
}

impl Default for ExitPolicy {
    fn default() -> Self {
        ExitPolicy::new()
    }
}

/// Returns where a process cannot die of a signal.
#[cfg(all(feature = "signal", unix))]
fn die_of(signal: Signal) {
    if process::id() == 1 {
        return;
    }
    // The default action runs nothing of ours, so nobody else would do it.
    let _ = std::io::Write::flush(&mut std::io::stdout());
    let _ = signal_hook::low_level::emulate_default_handler(i32::from(signal.number()));
}

#[cfg(not(all(feature = "signal", unix)))]
const fn die_of(_: Signal) {}

#[cfg(test)]
mod tests {
    use super::*;

    const SIGTERM: Reason = Reason::Signal(Signal::Terminate);

    #[test]
    fn what_was_not_clean_has_its_own_code_whatever_the_rest_says() {
        let policies = [
            ExitPolicy::new(),
            ExitPolicy::new().clean(7),
            ExitPolicy::new().signal_code(),
            ExitPolicy::new().reraise(),
        ];
        for policy in policies {
            assert_eq!(policy.code(false, &SIGTERM), UNCLEAN);
            assert_eq!(policy.unclean(9).code(false, &SIGTERM), 9);
        }
    }

    #[test]
    fn a_clean_shutdown_has_the_code_of_the_policy() {
        let requested = Reason::from("done");
        for (policy, of_signal, of_request) in [
            (ExitPolicy::new(), 0, 0),
            (ExitPolicy::new().clean(7), 7, 7),
            (ExitPolicy::new().signal_code(), 143, 0),
            (ExitPolicy::new().reraise(), 143, 0),
        ] {
            assert_eq!(policy.code(true, &SIGTERM), of_signal, "{policy:?}");
            assert_eq!(policy.code(true, &requested), of_request, "{policy:?}");
        }
        let quit = Reason::Signal(Signal::Quit);
        assert_eq!(ExitPolicy::new().signal_code().code(true, &quit), 131);
    }
}
