//! The drill: what is drilled, how, and the playing of it.

use std::fmt;
use std::future::Future;
use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::Duration;

use tokio::runtime::Builder;

use crate::error::DrillError;
use crate::outcome::Outcome;
use crate::play::Play;
use crate::scenario::Scenario;
use crate::settings::{Contract, Settings, Signal};
use crate::target::{Function, Program, Stop, Target};

type Progress = Box<dyn Fn(&str) + Send + Sync>;

/// Stops a server under load, again and again, and accounts for every request.
///
/// ```no_run
/// use std::process::Command;
/// use std::time::Duration;
///
/// use lameduck_drill::Drill;
///
/// let outcome = Drill::new(Command::new("target/debug/app"))
///     .port_arg("--port")
///     .grace(Duration::from_secs(10))
///     .run();
/// assert!(outcome.is_clean(), "{outcome}");
/// ```
///
/// # Defaults
///
/// | setting | default |
/// |---|---|
/// | `scenarios` | all that can be played |
/// | `runs` | 3 of each scenario |
/// | `seed` | 1 |
/// | `signal` | SIGTERM |
/// | `grace` | 30 s from the signal to SIGKILL |
/// | `propagation` | 1 s from the signal until no new connection is routed to the server |
/// | `patience` | 10 s for an answer |
/// | `path` | `/` |
/// | other routes, `contract` | none |
#[must_use = "a drill is held when it is run"]
pub struct Drill {
    target: Target,
    settings: Settings,
    progress: Progress,
}

impl Drill {
    /// Drills a program: in any language, of which the command line and the port are known.
    ///
    /// `{port}` in an argument is replaced by the port that the server has to listen on, on 127.0.0.1. A server that takes it
    /// otherwise needs [`port_arg`](Drill::port_arg), [`port_env`](Drill::port_env) or [`port`](Drill::port). The
    /// drill uses the command's program, arguments, variables and directory. It ignores standard streams and `env_clear`.
    pub fn new(command: Command) -> Self {
        Drill::of(Target::Program(Box::new(Program::new(command))))
    }

    /// Drills a function. The function serves on 127.0.0.1, at the port that is its argument, until the [`Stop`] is requested,
    /// and returns when it has stopped.
    ///
    /// The function runs on a runtime of its own. The runtime, and each task on it, is dropped when the function returns: this
    /// stands for a process's exit. When the grace period is over the function is dropped, which stands for SIGKILL.
    pub fn function<F, S>(serve: F) -> Self
    where
        F: Fn(u16, Stop) -> S + Send + Sync + 'static,
        S: Future<Output = ()> + 'static,
    {
        Drill::of(Target::Function(Function::new(serve)))
    }

    fn of(target: Target) -> Self {
        Drill {
            target,
            settings: Settings::default(),
            progress: Box::new(|_| {}),
        }
    }

    /// Adds two arguments to the command: `name`, and the port. A function ignores it, as it ignores the next two.
    pub fn port_arg(mut self, name: impl Into<String>) -> Self {
        if let Target::Program(program) = &mut self.target {
            program.port_arg = Some(name.into());
        }
        self
    }

    /// Sets the environment variable `name` to the port.
    pub fn port_env(mut self, name: impl Into<String>) -> Self {
        if let Target::Program(program) = &mut self.target {
            program.port_env = Some(name.into());
        }
        self
    }

    /// Sets a fixed port, for a server that takes none. By default each server gets a free port.
    pub fn port(mut self, port: u16) -> Self {
        if let Target::Program(program) = &mut self.target {
            program.port = Some(port);
        }
        self
    }

    /// Plays these scenarios and no others. A scenario that cannot be played is then a
    /// [`DrillError::Unplayable`]; by default it is left out, and [`Outcome::unknown`] says so.
    pub fn scenarios(mut self, scenarios: impl IntoIterator<Item = Scenario>) -> Self {
        self.settings.scenarios = scenarios.into_iter().collect();
        self.settings.chosen = true;
        self
    }

    /// Sets how many times each scenario is played; at least once.
    pub fn runs(mut self, runs: usize) -> Self {
        self.settings.runs = runs.max(1);
        self
    }

    /// Sets the seed of the random numbers: moments, pauses, and which routes are asked. What the kernel schedules does not
    /// follow from it.
    pub fn seed(mut self, seed: u64) -> Self {
        self.settings.seed = seed;
        self
    }

    /// Sets the signal that tells the server to stop.
    pub fn signal(mut self, signal: Signal) -> Self {
        self.settings.signal = signal;
        self
    }

    /// Sets the time from the signal to SIGKILL.
    pub fn grace(mut self, grace: Duration) -> Self {
        self.settings.grace = grace;
        self
    }

    /// Sets the time from the signal until no new connection is routed to the server.
    pub fn propagation(mut self, propagation: Duration) -> Self {
        self.settings.propagation = propagation;
        self
    }

    /// Sets how long a client waits for an answer.
    pub fn patience(mut self, patience: Duration) -> Self {
        self.settings.patience = patience;
        self
    }

    /// Sets the route of most requests. It has to answer GET quickly, with the same status each time.
    pub fn path(mut self, path: impl Into<String>) -> Self {
        self.settings.path = path.into();
        self
    }

    /// Names a route that takes 10 to 500 ms to answer GET. Without one, few requests are in flight at the signal.
    pub fn slow_route(mut self, path: impl Into<String>) -> Self {
        self.settings.slow = Some(path.into());
        self
    }

    /// Names a route that takes a body of 64 KiB by POST.
    pub fn upload_route(mut self, path: impl Into<String>) -> Self {
        self.settings.upload = Some(path.into());
        self
    }

    /// Names a route whose answer has several MB, so that it does not fit into the kernel's buffers.
    pub fn download_route(mut self, path: impl Into<String>) -> Self {
        self.settings.download = Some(path.into());
        self
    }

    /// Names a WebSocket's route.
    pub fn websocket_route(mut self, path: impl Into<String>) -> Self {
        self.settings.websocket = Some(path.into());
        self
    }

    /// Names an event stream's route.
    pub fn events_route(mut self, path: impl Into<String>) -> Self {
        self.settings.events = Some(path.into());
        self
    }

    /// Sets where the server says which handlers were entered.
    pub fn contract(mut self, contract: Contract) -> Self {
        self.settings.contract = Some(contract);
        self
    }

    /// Sets [`Contract::File`].
    pub fn contract_file(self, path: impl Into<PathBuf>) -> Self {
        self.contract(Contract::File(path.into()))
    }

    /// Sets a function that is called with a line of text when the drill has made progress.
    pub fn on_progress(mut self, tell: impl Fn(&str) + Send + Sync + 'static) -> Self {
        self.progress = Box::new(tell);
        self
    }

    /// Holds the drill, and blocks until it is over: a minute or more, depending on `runs` and on how long the server takes to leave.
    ///
    /// May be called inside a runtime: the drill has a thread and a runtime of its own. It blocks the caller's thread.
    ///
    /// # Panics
    ///
    /// Panics if the drill cannot be held, with the [`DrillError`].
    pub fn run(self) -> Outcome {
        self.try_run().unwrap_or_else(|error| panic!("{error}"))
    }

    /// Like [`run`](Drill::run), but returns the error.
    ///
    /// # Errors
    ///
    /// Returns an error if the server cannot be started, does not answer in normal service, or lacks what a scenario needs that was
    /// asked for.
    pub fn try_run(self) -> Result<Outcome, DrillError> {
        thread::scope(|scope| {
            let drill = scope.spawn(|| {
                let runtime = Builder::new_multi_thread()
                    .worker_threads(2)
                    .enable_all()
                    .build()
                    .map_err(|error| DrillError::Client(error.to_string()))?;
                let drill = Play {
                    target: &self.target,
                    settings: &self.settings,
                    say: &*self.progress,
                };
                runtime.block_on(drill.play())
            });
            let outcome = drill.join();
            outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }
}

impl fmt::Debug for Drill {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Drill")
            .field("target", &self.target)
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}
