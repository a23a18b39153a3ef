//! The hard deadline: a thread that no runtime can hold up.
//!
//! A timer of the runtime is no deadline: with all workers blocked it fires when they are free again.

use std::io::{self, Write};
use std::sync::{Arc, Weak, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use crate::handle::ShutdownHandle;
use crate::report::Report;
use crate::shared::Shared;

/// How long the last words may take. Standard error may be a pipe that is full and that nobody reads.
const PATIENCE: Duration = Duration::from_millis(100);

/// Ends the process at the hard deadline after the trigger, whatever happens until then.
pub(crate) fn arm(handle: &ShutdownHandle) -> io::Result<()> {
    let (trigger, triggered) = mpsc::channel::<Instant>();
    let deadline = handle.plan().hard_deadline();
    let shared = Arc::downgrade(&handle.shared);
    thread::Builder::new()
        .name("lameduck-watchdog".to_owned())
        .spawn(move || {
            let Ok(t0) = triggered.recv() else {
                // The last handle is gone, so nothing will ever be triggered.
                return;
            };
            sleep_until(t0 + deadline);
            say_last_words(shared, deadline);
            signal_hook::low_level::exit(i32::from(Report::EXIT_WATCHDOG));
        })?;
    handle.shared.on_trigger(move |t0| {
        // The thread is there until it is told, so there is somebody to hear it.
        let _ = trigger.send(t0);
    });
    Ok(())
}

fn sleep_until(deadline: Instant) {
    while let Some(left) = deadline.checked_duration_since(Instant::now()) {
        if left.is_zero() {
            return;
        }
        thread::sleep(left);
    }
}

/// Says who was still running, from yet another thread, and does not wait for it.
fn say_last_words(shared: Weak<Shared>, deadline: Duration) {
    let (said, heard) = mpsc::channel::<()>();
    let speaker = thread::Builder::new().spawn(move || {
        let words = last_words(&shared, deadline);
        // An error here has nobody left to go to.
        let _ = io::stderr().write_all(words.as_bytes());
        drop(said);
    });
    if speaker.is_ok() {
        // Disconnected when it has been said.
        let _ = heard.recv_timeout(PATIENCE);
    }
}

fn last_words(shared: &Weak<Shared>, deadline: Duration) -> String {
    let after = deadline.as_secs_f64();
    let code = Report::EXIT_WATCHDOG;
    let Some(shared) = shared.upgrade() else {
        return format!(
            "lameduck: still running {after:.1} s after the trigger, though the shutdown is over: \
             something keeps the process; ended by the watchdog (exit code {code})\n"
        );
    };
    let (hooks, tasks) = (shared.hooks.try_running(), shared.roster.try_running());
    let handle = ShutdownHandle { shared };
    let phase = handle
        .phase()
        .map_or_else(|| "no phase".to_owned(), |phase| phase.to_string());
    format!(
        "lameduck: still running {after:.1} s after the trigger, in {phase}: ended by the watchdog \
         (exit code {code}); hooks: {}; tasks: {}; in flight: {}; connections: {}\n",
        list(hooks),
        list(tasks),
        handle.in_flight(),
        handle.connections(),
    )
}

fn list(names: Option<Vec<String>>) -> String {
    match names {
        None => "not known (locked)".to_owned(),
        Some(names) if names.is_empty() => "none".to_owned(),
        Some(names) => names.join(", "),
    }
}
