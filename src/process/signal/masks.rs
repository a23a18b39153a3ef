//! Which signals are held back or dropped, as `/proc` shows it. Linux alone has it; elsewhere nothing is known.

use std::fs;
use std::path::Path;

use crate::reason::Signal;

/// The signals of a thread, one bit each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Masks {
    blocked: u64,
    ignored: u64,
    caught: u64,
}

impl Masks {
    pub(super) fn of_this_thread() -> Option<Self> {
        Masks::read(Path::new("/proc/thread-self/status"))
    }

    /// Those of the threads that live; one that ends meanwhile is left out.
    fn of_all_threads() -> Vec<Self> {
        let threads = fs::read_dir("/proc/self/task").into_iter().flatten();
        let threads = threads.flatten().map(|thread| thread.path().join("status"));
        threads.filter_map(|status| Masks::read(&status)).collect()
    }

    fn read(status: &Path) -> Option<Self> {
        Masks::parse(&fs::read_to_string(status).ok()?)
    }

    /// See proc_pid_status(5).
    fn parse(status: &str) -> Option<Self> {
        let mask = |name| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            u64::from_str_radix(line?.trim(), 16).ok()
        };
        Some(Masks {
            blocked: mask("SigBlk:")?,
            ignored: mask("SigIgn:")?,
            caught: mask("SigCgt:")?,
        })
    }

    const fn blocks(self, signal: Signal) -> bool {
        self.blocked & bit(signal) != 0
    }

    pub(super) const fn ignores(self, signal: Signal) -> bool {
        self.ignored & bit(signal) != 0
    }

    /// Whether somebody has a handler for it.
    pub(super) const fn catches(self, signal: Signal) -> bool {
        self.caught & bit(signal) != 0
    }
}

const fn bit(signal: Signal) -> u64 {
    1 << (signal.number() - 1)
}

/// Warns of signals that will not be heard, or not for long, and tells of those that were ignored. `before` is how the calling
/// thread was before it listened.
pub(super) fn notice(signals: &[Signal], before: Option<Masks>) {
    let Some(here) = before else {
        return;
    };
    for &signal in signals {
        if here.ignores(signal) {
            tracing::info!(
                target: "lameduck",
                "{signal} was ignored, as it is in a job that a script starts with `&`; from now on it begins the shutdown"
            );
        }
        if here.blocks(signal) {
            tracing::warn!(target: "lameduck", "{}", blocked(signal, &Masks::of_all_threads()));
        }
    }
}

/// What there is to say of a signal that the calling thread blocks.
fn blocked(signal: Signal, threads: &[Masks]) -> String {
    let what = match threads.iter().all(|thread| thread.blocks(signal)) {
        true => "in every thread of this process: it will not be heard",
        false => {
            "in the thread that calls `signal::listen`, and in those that it starts: it is heard only while another thread \
             lives that does not block it"
        }
    };
    format!(
        "{signal} is blocked {what}; unblock it with pthread_sigmask(3) before `listen`, or in the parent before it starts this \
         process, which inherits the mask"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATUS: &str = "Name:\tservice\nSigQ:\t0/1\nShdPnd:\t0000000000000000\nSigBlk:\t0000000000004000\n\
                          SigIgn:\t0000000000001006\nSigCgt:\t0000000100000440\n";

    #[test]
    fn masks_are_read_from_a_threads_status() {
        let masks = Masks::parse(STATUS).unwrap();

        assert!(masks.blocks(Signal::Terminate) && !masks.blocks(Signal::Interrupt));
        assert!(masks.ignores(Signal::Interrupt) && masks.ignores(Signal::Quit));
        assert!(!masks.ignores(Signal::Terminate) && !masks.catches(Signal::Terminate));
    }

    #[test]
    fn status_without_masks_says_nothing() {
        for status in [
            "",
            "SigBlk:\t",
            "SigBlk:\t0\nSigIgn:\t0\n",
            "SigBlk:\tx\nSigIgn:\t0\nSigCgt:\t0\n",
        ] {
            assert_eq!(Masks::parse(status), None);
        }
    }

    #[test]
    fn signal_that_one_thread_takes_is_heard_while_that_lives() {
        let blocks = Masks::parse(STATUS).unwrap();
        let every = blocked(Signal::Terminate, &[blocks, blocks]);
        let one = blocked(Signal::Terminate, &[blocks, Masks::default()]);

        assert!(
            every.contains("SIGTERM is blocked in every thread"),
            "{every}"
        );
        assert!(one.contains("only while another thread lives"), "{one}");
    }
}
