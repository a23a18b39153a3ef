//! The hard deadline: a thread that no runtime can hold up.
//!
//! A timer of the runtime is no deadline: with all workers blocked it fires when they are free again.

use std::fmt::Write as _;
use std::io;
use std::sync::{Arc, Weak, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use crate::handle::ShutdownHandle;
use crate::hook::Hooks;
use crate::phase::Phase;
use crate::plain;
use crate::process::standard_error::{self, PATIENCE};
use crate::process::termination_log::TerminationLog;
use crate::progress::Progress;
use crate::report::{PhaseReport, Report};
use crate::shared::Shared;

/// How long the last words may take when SIGKILL should have come already: the process was stopped, or had no processor.
const LATE_PATIENCE: Duration = Duration::from_millis(10);

/// Ends the process at the hard deadline after the trigger, whatever happens until then.
pub(crate) fn arm(handle: &ShutdownHandle) -> io::Result<()> {
    let (trigger, triggered) = mpsc::channel::<Instant>();
    let (deadline, sigkill) = (handle.plan().hard_deadline(), handle.plan().budget());
    let shared = Arc::downgrade(&handle.shared);
    let progress = Arc::clone(&handle.shared.progress);
    let termination_log = Arc::clone(&handle.shared.termination_log);
    thread::Builder::new()
        .name("lameduck-watchdog".to_owned())
        .spawn(move || {
            let Ok(t0) = triggered.recv() else {
                // The coordinator is gone, so nothing will begin.
                return;
            };
            // The coordinator may be gone by then, and a blocking hook of it still run.
            let hooks = shared.upgrade().map(|shared| Arc::clone(&shared.hooks));
            sleep_until(t0 + deadline);
            let left = (t0 + sigkill).saturating_duration_since(Instant::now());
            let witness = Witness {
                t0,
                shared,
                hooks,
                progress,
            };
            say_last_words(witness, termination_log);
            thread::sleep(patience(left));
            drop(End);
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

/// How long the last words may take when SIGKILL is `left` away: a short grace period leaves less than they want.
fn patience(left: Duration) -> Duration {
    match left {
        Duration::ZERO => LATE_PATIENCE,
        left => PATIENCE.min(left / 2),
    }
}

/// Ends the process when it is dropped.
struct End;

impl Drop for End {
    fn drop(&mut self) {
        signal_hook::low_level::exit(i32::from(Report::EXIT_WATCHDOG));
    }
}

/// Says who was still running, to standard error and to the termination log. Either may block, so each is written by a thread of its
/// own. The one that is done last ends the process: where processor time is short, nobody waits until the watchdog has its turn.
fn say_last_words(witness: Witness, termination_log: Arc<TerminationLog>) {
    let said = Arc::new(End);
    let shared = witness.shared.upgrade();
    // Kept to the end: its last owner drops what the application gave to it, and that may block.
    let kept = (Arc::clone(&said), shared.clone());
    let words = move || {
        let words = witness.last_words(shared.as_ref());
        let line = words.clone();
        // An error here has nobody left to go to.
        let _ = thread::Builder::new().spawn(move || {
            termination_log.write(&line);
            drop(said);
        });
        format!("lameduck: {words}\n")
    };
    standard_error::say(words, kept);
}

/// What the watchdog knows of the shutdown.
struct Witness {
    t0: Instant,
    shared: Weak<Shared>,
    hooks: Option<Arc<Hooks>>,
    progress: Arc<Progress>,
}

impl Witness {
    /// `shared` is what is left of the coordinator, if anything is.
    fn last_words(&self, shared: Option<&Arc<Shared>>) -> String {
        let after = self.t0.elapsed().as_secs_f64();
        let code = Report::EXIT_WATCHDOG;
        let hooks = list(self.hooks.as_deref().and_then(Hooks::try_running));
        let handle = shared.map(|shared| ShutdownHandle::of_shared(Arc::clone(shared)));
        let stands = how_it_stands(
            &self.progress,
            handle.as_ref().and_then(ShutdownHandle::phase),
        );
        let mut words = format!(
            "still running {after:.1} s after the trigger, {stands} ended by the watchdog (exit code {code}); hooks: {hooks}"
        );
        if let Some(handle) = handle {
            let tasks = list(handle.shared.roster.try_running());
            let (work, connections) = (handle.in_flight(), handle.connections());
            // To a string there is always room.
            let _ = write!(
                words,
                "; tasks: {tasks}; in flight: {work}; connections: {connections}"
            );
        }
        words
    }
}

/// Where the shutdown is, or why it is nowhere; with the sign that goes on from it.
fn how_it_stands(progress: &Progress, phase: Option<Phase>) -> String {
    let (called, began) = (progress.is_run_called(), progress.have_phases_begun());
    let (over, dropped) = (progress.report().is_some(), progress.is_abandoned());
    match phase {
        _ if over => "though the shutdown is over: something keeps the process;".to_owned(),
        _ if dropped && !called => "no phase ran: the coordinator was dropped;".to_owned(),
        _ if dropped && !began => "no phase ran: `run` was dropped;".to_owned(),
        _ if !called => "no phase ran: `run` was not called;".to_owned(),
        Some(phase) if dropped => format!("`run` was dropped in {phase};"),
        None if dropped => "`run` was dropped;".to_owned(),
        Some(phase) => format!("in {phase}:"),
        None => "in no phase:".to_owned(),
    }
}

/// How much of a name there is room for.
const LONGEST_NAME: usize = 60;

fn list(names: Option<Vec<String>>) -> String {
    match names {
        None => "not known (locked)".to_owned(),
        Some(names) if names.is_empty() => "none".to_owned(),
        Some(names) => {
            let named = names.len().min(PhaseReport::MOST_NAMED);
            let more = match names.len() - named {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            let plain = |name: &String| plain::line(format_args!("{name}"), LONGEST_NAME);
            let names: Vec<String> = names[..named].iter().map(plain).collect();
            format!("{}{more}", names.join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Plan;

    #[test]
    fn last_words_are_over_before_sigkill_however_short_the_grace_period_is() {
        for seconds in [1, 2, 3, 4, 5, 6, 30] {
            let plan = Plan::builder().grace_period(Duration::from_secs(seconds));
            let plan = plan.build().expect("it fits");
            let left = plan.budget() - plan.hard_deadline();

            assert!(patience(left) < left, "{seconds} s: {left:?}");
        }
    }

    #[test]
    fn last_words_name_twenty_at_most_and_say_what_they_do_not_know() {
        let names = |count: usize| Some((1..=count).map(|at| format!("hook {at}")).collect());

        assert_eq!(list(None), "not known (locked)");
        assert_eq!(list(names(0)), "none");
        assert_eq!(list(names(2)), "hook 1, hook 2");
        assert!(list(names(20)).ends_with("hook 19, hook 20"));
        assert!(list(names(300)).ends_with("hook 19, hook 20 and 280 more"));
        let long = list(Some(vec![format!("a\nb{}", "c".repeat(1_000))]));
        assert!(
            long.starts_with("a bc") && long.chars().count() == LONGEST_NAME,
            "{long}"
        );
    }

    #[test]
    fn last_words_take_no_more_than_a_tenth_of_a_second() {
        assert_eq!(patience(Duration::from_millis(500)), PATIENCE);
        assert_eq!(patience(Duration::ZERO), LATE_PATIENCE);
    }
}
