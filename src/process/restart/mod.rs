//! A restart on one host: a successor takes over the listeners, and only then this process leaves.
//!
//! At SIGHUP the old process starts its program anew and passes its listeners on. Both accept from the same queue, so no connection
//! is refused or reset meanwhile. When the successor says that it is ready, and has stayed for a moment, the old one stops accepting
//! and drains what it has. A successor that fails changes nothing.
//!
//! ```no_run
//! # #[cfg(feature = "hyper")]
//! # async fn example(shutdown: lameduck::ShutdownCoordinator, app: axum::Router) -> Result<(), Box<dyn std::error::Error>> {
//! use lameduck::restart::Restart;
//! use lameduck::systemd::Listeners;
//! use tokio::signal::unix::SignalKind;
//!
//! # let handle = shutdown.handle();
//! let mut passed = Listeners::from_env()?; // from the process before this one, if there was one
//! let listener = passed.tcp_or_bind("http", "0.0.0.0:3000").await?;
//! Restart::new(&handle)?
//!     .pass("http", &listener)?
//!     .at(SignalKind::hangup())?;
//! lameduck::serve(listener, app, &handle);
//! shutdown.run().await; // says to the process before that this one is ready
//! # Ok(())
//! # }
//! ```
//!
//! # The contract
//!
//! - **The successor is the same program**, with the same arguments, environment and working directory. It is looked up anew: a file
//!   that was replaced meanwhile is the new version. [`Restart::program`] sets another.
//! - **It gets the listeners as systemd passes them**: descriptors from 3 on, `LISTEN_FDS` and `LISTEN_FDNAMES`.
//!   [`Listeners`](crate::systemd::Listeners) reads them, and so does the crate `listenfd`. `LISTEN_PID` is not set.
//! - **It says that it is ready as it would to systemd**: `READY=1` to `NOTIFY_SOCKET`. [`Restart::new`] does it, by
//!   [`systemd::notify`](crate::systemd::notify): when [`run`](crate::ShutdownCoordinator::run) was called and nobody holds a
//!   [`NotReady`](crate::NotReady).
//! - **Then it is watched**, for a second by default ([`Restart::settle`]). If it is still there, the old process triggers its shutdown.
//!   LameDuck is skipped, because nothing has to be routed elsewhere, and all its listeners close at once: those that were passed are the
//!   successor's, with their queue. So pass all of them. What the old one has accepted is drained as at any shutdown.
//! - **One at a time**: while a successor is started, another restart is refused. A shutdown that begins meanwhile stops both.
//! - **A successor that fails changes nothing**: one that ends before it was watched long enough, or is not ready in time
//!   ([`Restart::ready_within`]). The latter is told to stop (SIGTERM), has the plan's budget to drain what it has accepted, and is then
//!   killed. What a successor has accepted when it crashes is lost with it. So a program should call `serve` last: if its start fails,
//!   it has accepted nothing.
//! - **A successor that fails later**, while the old process still drains, is replaced by another one, for which the old process
//!   stays as long as its plan allows. It keeps the listeners open for that, and clients wait in their queue. One that was stopped by
//!   SIGTERM or SIGINT has not failed. When the old process has left, the service's supervisor has to notice.
//!
//! # Where it does not fit
//!
//! In a container the first process's end is the container's end, so there [`Restart::new`] is an error; an orchestrator replaces
//! containers. Under systemd a service whose main process ends is over, and its successor is killed with it: use a socket unit,
//! whose queue waits while `systemctl restart` runs. [`systemd::Listeners`](crate::systemd::Listeners) reads both.

mod error;
mod successor;

use std::env;
use std::ffi::OsString;
use std::fmt;
use std::future::pending;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::path::{self, Path};
use std::process::ExitStatus;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::sys::signal::Signal;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{sleep, timeout};

use self::successor::{Inbox, Program, Successor};
use crate::handle::ShutdownHandle;
use crate::phase::Phase;
use crate::process::systemd;
use crate::reason::Reason;

pub use self::error::RestartError;

/// How long a successor may take until it is ready.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// How long it is watched then.
const SETTLE: Duration = Duration::from_secs(1);
/// How long nothing is started after a successor has failed behind the handover.
const BETWEEN_STARTS: Duration = Duration::from_millis(200);

/// Starts a successor that takes over the listeners. See the [module](self).
///
/// Clones are the same restart.
#[derive(Clone)]
pub struct Restart {
    handle: ShutdownHandle,
    program: Arc<Program>,
    ready_within: Duration,
    settle: Duration,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    stage: Stage,
    /// Second descriptors, to be passed on.
    listeners: Vec<(String, OwnedFd)>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Serving,
    /// A successor is being started.
    Starting,
    /// It has taken over.
    HandedOver,
}

impl Restart {
    /// A restart of this program, which passes nothing on yet. If this process is a successor itself, the process before it is told
    /// when this one is ready ([`systemd::notify`](crate::systemd::notify)).
    ///
    /// # Errors
    ///
    /// This is process 1, with which a container ends ([`Unsupported`](ErrorKind::Unsupported)); the program's own path cannot be
    /// known; or those of [`systemd::notify`](crate::systemd::notify), but for `AlreadyExists`.
    pub fn new(handle: &ShutdownHandle) -> io::Result<Self> {
        if std::process::id() == 1 {
            return Err(io::Error::new(
                ErrorKind::Unsupported,
                "a successor of process 1 would end with it",
            ));
        }
        let program = Program {
            path: own_path()?,
            args: env::args_os().skip(1).collect(),
        };
        match systemd::notify(handle) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        let state = Arc::<Mutex<State>>::default();
        // When the process leaves for good, nothing may keep its listeners open.
        let released = Arc::downgrade(&state);
        handle.shared.on_trigger(move |_| {
            if let Some(state) = released.upgrade() {
                release(&state);
            }
        });
        Ok(Restart {
            handle: handle.clone(),
            program: Arc::new(program),
            ready_within: READY_WITHIN,
            settle: SETTLE,
            state,
        })
    }

    /// Passes a listener on, under a name by which the successor takes it ([`Listeners`](crate::systemd::Listeners)): a TCP or Unix
    /// listener, of tokio's or std's. A second descriptor is made for that, and kept until a shutdown begins.
    ///
    /// # Errors
    ///
    /// The name is empty, or has a colon or a control character ([`InvalidInput`](ErrorKind::InvalidInput)); or the process is out of file
    /// descriptors.
    pub fn pass(self, name: impl Into<String>, listener: &impl AsFd) -> io::Result<Self> {
        let name = name.into();
        if name.is_empty() || name.contains(|it: char| it == ':' || it.is_control()) {
            let said =
                format!("{name:?} is no name for a listener: no colon, no control character");
            return Err(io::Error::new(ErrorKind::InvalidInput, said));
        }
        let descriptor = listener.as_fd().try_clone_to_owned()?;
        self.state().listeners.push((name, descriptor));
        Ok(self)
    }

    /// Another program, or other arguments, for the successor. By default those of this process. A path without a slash is looked up
    /// in `PATH`.
    #[must_use]
    pub fn program<A>(mut self, path: impl AsRef<Path>, args: impl IntoIterator<Item = A>) -> Self
    where
        A: Into<OsString>,
    {
        self.program = Arc::new(Program {
            path: path.as_ref().into(),
            args: args.into_iter().map(Into::into).collect(),
        });
        self
    }

    /// How long a successor may take until it is ready: 60 s by default.
    #[must_use]
    pub fn ready_within(mut self, time: Duration) -> Self {
        self.ready_within = time;
        self
    }

    /// How long a successor is watched when it has said that it is ready: 1 s by default. If it ends in this time, nothing has changed.
    #[must_use]
    pub fn settle(mut self, time: Duration) -> Self {
        self.settle = time;
        self
    }

    /// Restarts whenever this signal comes, until a shutdown begins. The log says how it went.
    ///
    /// SIGHUP is what daemons are told to reload with, nginx begins its upgrade at SIGUSR2. The signal's default action is gone for the
    /// rest of the process's life.
    ///
    /// # Errors
    ///
    /// The operating system gives no handler for this signal.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub fn at(&self, kind: SignalKind) -> io::Result<()> {
        let mut signals = signal(kind)?;
        let restart = self.clone();
        // Changes when a shutdown begins, and when none can begin any more.
        let mut progress = self.handle.progress();
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    received = signals.recv() => if received.is_none() { return },
                    _ = progress.changed() => return,
                }
                // Not waited for: another signal meanwhile is answered, not remembered.
                tokio::spawn(restart.clone().attempt());
            }
        });
        Ok(())
    }

    /// Restarts now. Returns the successor's process id when it has taken over and this process's shutdown has begun.
    ///
    /// # Errors
    ///
    /// No successor has taken over, and this process goes on as before.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    ///
    /// # Cancel safety
    ///
    /// The restart goes on in a task of its own when this future is dropped.
    pub async fn now(&self) -> Result<u32, RestartError> {
        let attempt = tokio::spawn(self.clone().attempt());
        // Its runtime goes away.
        attempt.await.unwrap_or(Err(RestartError::ShuttingDown))
    }

    async fn attempt(self) -> Result<u32, RestartError> {
        let result = self.restart().await;
        match &result {
            Ok(process) => {
                tracing::info!(target: "lameduck", process, "the successor has taken over");
            }
            Err(error) => {
                tracing::warn!(target: "lameduck", %error, "no restart: this process goes on");
            }
        }
        result
    }

    async fn restart(&self) -> Result<u32, RestartError> {
        // A shutdown that begins meanwhile waits until the successor has been told to stop.
        let guard = self.handle.named_guard("restart");
        let guard = guard.ok_or(RestartError::ShuttingDown)?;
        self.begin()?;
        let shutdown = self.handle.reached(Phase::LameDuck);
        let successor = match self.start(shutdown).await {
            Ok(successor) => successor,
            Err(error) => {
                self.state().stage = Stage::Serving;
                return Err(error);
            }
        };
        let id = successor.id();
        self.state().stage = Stage::HandedOver;
        let reason = format!("process {id} has taken over");
        if !self.handle.shared.hand_over(Reason::from(reason)) {
            self.state().stage = Stage::Serving;
            release(&self.state);
            self.dismiss(successor);
            return Err(RestartError::ShuttingDown);
        }
        tokio::spawn(self.clone().keep(successor));
        drop(guard);
        Ok(id)
    }

    /// There is one restart at a time, and none when the process leaves.
    fn begin(&self) -> Result<(), RestartError> {
        let mut state = self.state();
        if self.handle.is_shutting_down() {
            return Err(RestartError::ShuttingDown);
        }
        match state.stage {
            Stage::Serving => {
                state.stage = Stage::Starting;
                Ok(())
            }
            Stage::Starting => Err(RestartError::InProgress),
            Stage::HandedOver => Err(RestartError::ShuttingDown),
        }
    }

    /// Starts a successor, waits until it is ready, and watches it for a moment. It is dismissed when `stop` is ready before.
    async fn start(&self, stop: impl Future<Output = ()>) -> Result<Successor, RestartError> {
        let not_started = |error| RestartError::NotStarted { error };
        let listeners = self.listeners().map_err(not_started)?;
        let (mut successor, mut inbox) =
            Successor::start(&self.program, listeners).map_err(not_started)?;
        let process = successor.id();
        tracing::info!(target: "lameduck", process, "a successor is started");

        tokio::select! {
            biased;
            ended = self.proves_itself(&mut successor, &mut inbox) => match ended {
                Ok(()) => Ok(successor),
                Err(RestartError::NotReady { within, .. }) => {
                    self.dismiss(successor);
                    let status = inbox.status();
                    Err(RestartError::NotReady { within, status })
                }
                Err(error) => Err(error),
            },
            () = stop => {
                self.dismiss(successor);
                Err(RestartError::ShuttingDown)
            }
        }
    }

    async fn proves_itself(
        &self,
        successor: &mut Successor,
        inbox: &mut Inbox,
    ) -> Result<(), RestartError> {
        let within = self.ready_within;
        let ready = timeout(within, inbox.ready());
        let ended = |status, was_ready| RestartError::Ended { status, was_ready };
        tokio::select! {
            biased;
            status = successor.ended() => return Err(ended(status, false)),
            ready = ready => match ready {
                Ok(Ok(())) => {}
                Ok(Err(error)) => return Err(RestartError::NotStarted { error }),
                Err(_) => return Err(RestartError::NotReady { within, status: None }),
            },
        }
        match timeout(self.settle, successor.ended()).await {
            Ok(status) => Err(ended(status, true)),
            Err(_) => Ok(()),
        }
    }

    /// Tells a successor to stop that has not taken over. It has as long as this process would have.
    fn dismiss(&self, successor: Successor) {
        let patience = self.handle.plan().budget();
        successor.terminate();
        tokio::spawn(successor.end(patience));
    }

    /// While this process still drains, a successor that fails is replaced: the listeners are open for that.
    async fn keep(self, mut successor: Successor) {
        loop {
            let status = successor.ended().await;
            if !has_failed(status) {
                return;
            }
            tracing::warn!(target: "lameduck", %status, "the successor has failed: another one is started");
            // Nobody else would serve: this process stays until another one does, as long as its plan allows.
            let _stays = self.handle.named_guard("another successor");
            successor = self.start_another().await;
        }
    }

    async fn start_another(&self) -> Successor {
        loop {
            match self.start(pending()).await {
                Ok(successor) => return successor,
                Err(error) => {
                    tracing::warn!(target: "lameduck", %error, "no other successor");
                }
            }
            sleep(BETWEEN_STARTS).await;
        }
    }

    fn listeners(&self) -> io::Result<Vec<(String, OwnedFd)>> {
        let state = self.state();
        let again =
            |(name, descriptor): &(String, OwnedFd)| Ok((name.clone(), descriptor.try_clone()?));
        state.listeners.iter().map(again).collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl fmt::Debug for Restart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Restart")
            .field("program", &self.program.path)
            .field("ready_within", &self.ready_within)
            .field("settle", &self.settle)
            .finish_non_exhaustive()
    }
}

/// Whether a successor that ended like this is to be replaced: not if it is over, or somebody has stopped it.
fn has_failed(status: ExitStatus) -> bool {
    let stops = [Signal::SIGTERM, Signal::SIGINT];
    let stopped = status
        .signal()
        .is_some_and(|signal| stops.iter().any(|&stop| stop as i32 == signal));
    !status.success() && !stopped
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Closes our second descriptors, if no successor needs them.
fn release(state: &Mutex<State>) {
    let mut state = lock(state);
    if state.stage != Stage::HandedOver {
        state.listeners.clear();
    }
}

/// How this program was called: a link to its current version is followed anew. A relative path is one from here.
fn own_path() -> io::Result<OsString> {
    match env::args_os().next().filter(|it| !it.is_empty()) {
        None => Ok(env::current_exe()?.into()),
        Some(name) if Path::new(&name).components().count() > 1 => Ok(path::absolute(name)?.into()),
        // It was found in PATH.
        Some(name) => Ok(name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn successor_that_was_stopped_has_not_failed() {
        let failed = |status| has_failed(ExitStatus::from_raw(status));

        // As wait(2) has them: a signal, or a code in the second byte.
        assert!(!failed(0));
        assert!(!failed(Signal::SIGTERM as i32));
        assert!(!failed(Signal::SIGINT as i32));
        assert!(failed(Signal::SIGKILL as i32));
        assert!(failed(3 << 8));
    }
}
