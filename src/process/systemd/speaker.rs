//! The thread that speaks to the service manager, which may hold it up.

use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::sync::Weak;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use sd_notify::NotifyState;

use super::Claim;
use crate::handle::ShutdownHandle;
use crate::plain::{self, LONGEST_TEXT};
use crate::progress::Snapshot;
use crate::shared::Shared;

/// How often the stop timeout is extended, and the status renewed, once the shutdown has begun.
const RENEWAL: Duration = Duration::from_secs(1);

/// What happens, for the thread.
enum Event {
    /// Something may have changed.
    Look {
        /// Start-up is over.
        ready: bool,
    },
    /// The runtime runs.
    Beat,
    /// The shutdown has begun. From then on the thread stays, whatever becomes of the runtime.
    Triggered { t0: Instant, stays: Sender<Event> },
}

/// Tells the thread what happens. Never blocks.
#[derive(Clone)]
pub(super) struct Speaks(Sender<Event>);

// The thread is gone when there is nothing to say any more.
impl Speaks {
    pub(super) fn look(&self, ready: bool) {
        let _ = self.0.send(Event::Look { ready });
    }

    pub(super) fn beat(&self) {
        let _ = self.0.send(Event::Beat);
    }

    pub(super) fn triggered(self, t0: Instant) {
        let stays = self.0.clone();
        let _ = self.0.send(Event::Triggered { t0, stays });
    }
}

pub(super) struct Speaker {
    shared: Weak<Shared>,
    /// The plan's budget.
    budget: Duration,
    stopping: Option<Stopping>,
    said_ready: bool,
    said_stopping: bool,
    /// The status that was said last.
    status: String,
    /// A message could not be sent, which was logged.
    failed: bool,
    /// Dropped with the thread.
    _claim: Claim,
}

struct Stopping {
    t0: Instant,
    /// When the stop timeout was extended last.
    renewed: Instant,
    /// Keeps the thread waiting, though nobody else may speak any more.
    _stays: Sender<Event>,
}

/// What is to be said next.
#[derive(Default)]
struct Due {
    ready: bool,
    beat: bool,
    /// The time to extend the stop timeout has come.
    renewal: bool,
}

impl Speaker {
    pub(super) fn new(shared: Weak<Shared>, claim: Claim) -> Self {
        let budget = shared.upgrade().map(|shared| shared.plan.budget());
        Speaker {
            shared,
            budget: budget.unwrap_or_default(),
            stopping: None,
            said_ready: false,
            said_stopping: false,
            status: String::new(),
            failed: false,
            _claim: claim,
        }
    }

    /// Speaks in a thread of its own, which ends when nobody can tell it anything any more, or the plan's time is over. An error if
    /// nobody listens at `socket`.
    pub(super) fn start(self, socket: &Path) -> io::Result<Speaks> {
        reach(socket)?;
        let (sender, events) = channel();
        thread::Builder::new()
            .name("lameduck-systemd".to_owned())
            .spawn(move || self.speak(&events))?;
        Ok(Speaks(sender))
    }

    fn speak(mut self, events: &Receiver<Event>) {
        self.say(&Due::default());
        while let Some(due) = self.wait(events) {
            self.say(&due);
        }
    }

    /// Waits for the next event, and takes all that have come by then. `None` when there will be nothing to say any more.
    fn wait(&mut self, events: &Receiver<Event>) -> Option<Due> {
        let mut due = Due::default();
        match &self.stopping {
            None => {
                let event = events.recv().ok()?;
                self.take(event, &mut due);
            }
            Some(stopping) => {
                let left = self.budget.checked_sub(stopping.t0.elapsed())?;
                let renewal = RENEWAL.saturating_sub(stopping.renewed.elapsed());
                match events.recv_timeout(renewal.min(left)) {
                    Ok(event) => self.take(event, &mut due),
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => return None,
                }
            }
        }
        while let Ok(event) = events.try_recv() {
            self.take(event, &mut due);
        }
        self.renew(&mut due);
        Some(due)
    }

    /// Whatever else happens meanwhile, the stop timeout is extended at T0 and each second from then on.
    fn renew(&mut self, due: &mut Due) {
        if let Some(stopping) = &mut self.stopping {
            due.renewal |= stopping.renewed.elapsed() >= RENEWAL;
            if due.renewal {
                stopping.renewed = Instant::now();
            }
        }
    }

    fn take(&mut self, event: Event, due: &mut Due) {
        match event {
            Event::Look { ready } => due.ready |= ready,
            Event::Beat => due.beat = true,
            Event::Triggered { t0, stays } => {
                due.renewal = true;
                self.stopping = Some(Stopping {
                    t0,
                    renewed: t0,
                    _stays: stays,
                });
            }
        }
    }

    fn say(&mut self, due: &Due) {
        let mut words = Vec::new();
        if due.ready && !self.said_ready && self.stopping.is_none() {
            self.said_ready = true;
            words.push(NotifyState::Ready);
        }
        if let Some(stopping) = &self.stopping {
            if !self.said_stopping {
                self.said_stopping = true;
                words.push(NotifyState::Stopping);
            }
            if due.renewal {
                let left = self.budget.saturating_sub(stopping.t0.elapsed());
                words.push(NotifyState::ExtendTimeoutUsec(micros(left)));
            }
        }
        // systemd's watchdog does not watch a service that stops; a beat would set it going again.
        if due.beat && self.stopping.is_none() {
            words.push(NotifyState::Watchdog);
        }
        if let Some(status) = self.status().filter(|status| *status != self.status) {
            self.status = status;
            words.push(NotifyState::Status(&self.status));
        }
        if words.is_empty() {
            return;
        }
        if let Err(error) = sd_notify::notify(&words) {
            self.fail(&error);
        }
    }

    /// Logs the first time only: the next message may be heard again.
    fn fail(&mut self, error: &io::Error) {
        if !self.failed {
            tracing::debug!(target: "lameduck", %error, "the service manager does not hear");
            self.failed = true;
        }
    }

    /// What `systemctl status` shows. `None` when nobody knows any more.
    fn status(&self) -> Option<String> {
        let shared = self.shared.upgrade()?;
        let handle = ShutdownHandle::of_shared(shared);
        if handle.is_shutting_down() {
            return Some(Snapshot::new(&handle).to_string());
        }
        let because = handle.not_ready_because();
        let because = because.join(", ");
        let words = match (self.said_ready, because.is_empty()) {
            (false, true) => "starting".to_owned(),
            (false, false) => format!("starting: {because}"),
            (true, true) => "serving".to_owned(),
            (true, false) => format!("serving, not ready: {because}"),
        };
        // A line end would begin the next message.
        Some(plain::line(format_args!("{words}"), LONGEST_TEXT))
    }
}

/// Whether anybody listens there. No message: that would wait for whoever does not read.
fn reach(socket: &Path) -> io::Result<()> {
    UnixDatagram::unbound()?.connect(socket)
}

/// For a plan of more than 71 minutes as much as there is room for: it is extended each second.
fn micros(time: Duration) -> u32 {
    u32::try_from(time.as_micros()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn manager_that_does_not_read_is_reached_at_once() {
        let name = format!("lameduck-full-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let manager = UnixDatagram::bind(&path).unwrap();
        let client = UnixDatagram::unbound().unwrap();
        client.set_nonblocking(true).unwrap();
        // Until its queue is full.
        while client.send_to(b"STATUS=starting", &path).is_ok() {}

        let full = reach(&path);
        drop(manager);
        let gone = reach(&path);
        std::fs::remove_file(&path).unwrap();
        let missing = reach(&path);

        full.unwrap();
        assert_eq!(gone.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        assert_eq!(missing.unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
