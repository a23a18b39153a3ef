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
    /// otherwise needs [`port_arg`](Drill::port_arg), [`port_env`](Drill::port_env) or [`port`](Drill::port). Of the command its
    /// program, arguments, variables and directory are used, and what it does to standard streams and an emptied environment
    /// is not.
    pub fn new(command: Command) -> Self {
        Drill::of(Target::Program(Box::new(Program::new(command))))
    }

    /// Drills a function, which serves on 127.0.0.1 at the port that it is given until its [`Stop`] is requested, and returns
    /// when it has stopped.
    ///
    /// It runs on a runtime of its own, which is dropped when it returns, with all that it has spawned: that is the exit. When the
    /// grace period is over the function is dropped as well.
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

    /// Adds two arguments: this one, and the port.
    pub fn port_arg(mut self, name: impl Into<String>) -> Self {
        if let Target::Program(program) = &mut self.target {
            program.port_arg = Some(name.into());
        }
        self
    }

    /// Sets a variable to the port.
    pub fn port_env(mut self, name: impl Into<String>) -> Self {
        if let Target::Program(program) = &mut self.target {
            program.port_env = Some(name.into());
        }
        self
    }

    /// The server has this port. Otherwise it gets a free one each time.
    pub fn port(mut self, port: u16) -> Self {
        if let Target::Program(program) = &mut self.target {
            program.port = Some(port);
        }
        self
    }

    /// Plays these scenarios and no others. One that cannot be played is an error then.
    pub fn scenarios(mut self, scenarios: impl IntoIterator<Item = Scenario>) -> Self {
        self.settings.scenarios = scenarios.into_iter().collect();
        self.settings.chosen = true;
        self
    }

    /// Plays each scenario so often.
    pub fn runs(mut self, runs: usize) -> Self {
        self.settings.runs = runs;
        self
    }

    /// What is drawn follows from it: moments, pauses, and who asks what.
    pub fn seed(mut self, seed: u64) -> Self {
        self.settings.seed = seed;
        self
    }

    /// The signal that tells the server to stop.
    pub fn signal(mut self, signal: Signal) -> Self {
        self.settings.signal = signal;
        self
    }

    /// From the signal to SIGKILL.
    pub fn grace(mut self, grace: Duration) -> Self {
        self.settings.grace = grace;
        self
    }

    /// From the signal until no new connection is routed to the server.
    pub fn propagation(mut self, propagation: Duration) -> Self {
        self.settings.propagation = propagation;
        self
    }

    /// What a client waits for an answer.
    pub fn patience(mut self, patience: Duration) -> Self {
        self.settings.patience = patience;
        self
    }

    /// The route of most requests. It answers GET quickly, with the same status each time.
    pub fn path(mut self, path: impl Into<String>) -> Self {
        self.settings.path = path.into();
        self
    }

    /// A route that takes its time to answer GET: some 10 to 500 ms. Without it hardly a request is in flight at the signal.
    pub fn slow_route(mut self, path: impl Into<String>) -> Self {
        self.settings.slow = Some(path.into());
        self
    }

    /// A route that takes a body of 64 KiB by POST.
    pub fn upload_route(mut self, path: impl Into<String>) -> Self {
        self.settings.upload = Some(path.into());
        self
    }

    /// A route whose answer is large: several MB, so that it does not fit into the kernel's buffers.
    pub fn download_route(mut self, path: impl Into<String>) -> Self {
        self.settings.download = Some(path.into());
        self
    }

    /// A route of a WebSocket.
    pub fn websocket_route(mut self, path: impl Into<String>) -> Self {
        self.settings.websocket = Some(path.into());
        self
    }

    /// A route of an event stream.
    pub fn events_route(mut self, path: impl Into<String>) -> Self {
        self.settings.events = Some(path.into());
        self
    }

    /// The server says which handlers were entered.
    pub fn contract(mut self, contract: Contract) -> Self {
        self.settings.contract = Some(contract);
        self
    }

    /// The same, in a file.
    pub fn contract_file(self, path: impl Into<PathBuf>) -> Self {
        self.contract(Contract::File(path.into()))
    }

    /// Is told how far the drill is, a line each time.
    pub fn on_progress(mut self, tell: impl Fn(&str) + Send + Sync + 'static) -> Self {
        self.progress = Box::new(tell);
        self
    }

    /// Holds the drill, and blocks until it is over: a minute or more, by `runs` and by what the server takes to leave.
    ///
    /// It may be called inside a runtime: it has a thread and a runtime of its own.
    ///
    /// # Panics
    ///
    /// If the drill cannot be held, with the [`DrillError`].
    pub fn run(self) -> Outcome {
        self.try_run().unwrap_or_else(|error| panic!("{error}"))
    }

    /// The same, for who wants to know why a drill cannot be held.
    ///
    /// # Errors
    ///
    /// If the server cannot be started, does not answer in normal service, or something is missing that was asked for.
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
