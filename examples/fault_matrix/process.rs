//! A service's process, as the parent sees it.

use std::net::SocketAddr;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::abuse::{Deed, Now};
use crate::quota::Group;
use crate::service::Settings;

/// How long a service may take to start, and to begin its fault, on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(30);

/// A service that runs. Its process is killed when this is dropped.
pub(crate) struct Process {
    child: Child,
    id: Pid,
    /// Taken out of `child`, which would close it before it waits; the service leaves when it closes.
    input: ChildStdin,
    output: Output<ChildStdout>,
    errors: Output<ChildStderr>,
}

impl Process {
    /// In `group` from its first instruction on.
    pub(crate) fn start(settings: &Settings, group: Option<&Group>) -> Result<Self, String> {
        let program = std::env::current_exe().map_err(|error| error.to_string())?;
        let mut command = match group {
            Some(group) => {
                let mut command = Command::new("sh");
                command.args(["-c", r#"echo $$ >"$0" && exec "$@""#]);
                command.arg(group.members()).arg(program);
                command
            }
            None => Command::new(program),
        };
        let mut child = command
            .args(settings.to_args())
            // To look up its names in the symbols of a large program takes as long as a grace period.
            .env_remove("RUST_BACKTRACE")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| error.to_string())?;
        let id = child.id().and_then(|id| Pid::from_raw(id as i32));
        let stop_at = settings.abuse.has(Deed::Now(Now::FillOutput));
        let stop_at = stop_at.then_some("serving ");
        let unread = settings.abuse.has(Deed::Now(Now::FillErrors));
        Ok(Process {
            id: id.ok_or("a child has no id")?,
            input: child.stdin.take().expect("it is piped"),
            output: Output::read(child.stdout.take().expect("it is piped"), stop_at),
            errors: match (unread, child.stderr.take().expect("it is piped")) {
                (true, errors) => Output::Unread { _pipe: errors },
                (false, errors) => Output::read(errors, None),
            },
            child,
        })
    }

    pub(crate) const fn id(&self) -> Pid {
        self.id
    }

    /// It hears signals.
    pub(crate) async fn listening(&mut self) -> Result<(), String> {
        self.output.line("listening").await.map(drop)
    }

    /// It serves.
    pub(crate) async fn serving(&mut self) -> Result<SocketAddr, String> {
        let address = self.output.line("serving ").await?;
        address
            .parse()
            .map_err(|_| format!("no address: {address}"))
    }

    /// A client's fault has reached it.
    pub(crate) async fn suffering(&mut self, times: usize) -> Result<(), String> {
        self.output.lines("suffering", times).await.map(drop)
    }

    /// Begins the fault that waits for it.
    pub(crate) async fn begin(&mut self) -> Result<(), String> {
        let said = self.input.write_all(b"now\n").await;
        said.map_err(|error| format!("its standard input: {error}"))
    }

    /// Only to be called before [`exited`](Process::exited) was ready: the id is its own until then.
    pub(crate) fn signal(&self, signal: Signal) -> Result<(), String> {
        kill_process(self.id, signal).map_err(|error| format!("{signal:?}: {error}"))
    }

    pub(crate) async fn exited(&mut self) -> Result<ExitStatus, String> {
        self.child.wait().await.map_err(|error| error.to_string())
    }

    /// All that it said. It has to have exited.
    pub(crate) async fn said(self) -> String {
        let (output, errors) = (self.output.all().await, self.errors.all().await);
        output + &errors
    }
}

/// A pipe that it writes to.
enum Output<P> {
    Read {
        text: watch::Receiver<String>,
        reader: JoinHandle<BufReader<P>>,
    },
    /// Open, and full in the end.
    Unread { _pipe: P },
}

impl<P: AsyncRead + Unpin + Send + 'static> Output<P> {
    /// Reads to the end, or to the line that begins with `stop_at`.
    fn read(pipe: P, stop_at: Option<&'static str>) -> Self {
        let (sender, text) = watch::channel(String::new());
        let reader = tokio::spawn(async move {
            let mut pipe = BufReader::new(pipe);
            let mut line = String::new();
            while pipe.read_line(&mut line).await.is_ok_and(|read| read > 0) {
                let stop = stop_at.is_some_and(|stop_at| line.starts_with(stop_at));
                sender.send_modify(|text| text.push_str(&line));
                line.clear();
                if stop {
                    break;
                }
            }
            pipe
        });
        Output::Read { text, reader }
    }

    async fn line(&mut self, start: &str) -> Result<String, String> {
        self.lines(start, 1).await
    }

    /// The rest of the last of `times` lines that begin with `start`.
    async fn lines(&mut self, start: &str, times: usize) -> Result<String, String> {
        let Output::Read { text, .. } = self else {
            return Err("nobody reads it".to_owned());
        };
        let find = |text: &str| {
            let mut found = text.lines().filter_map(|line| line.strip_prefix(start));
            found.nth(times - 1).map(str::to_owned)
        };
        let found = match timeout(PATIENCE, text.wait_for(|text| find(text).is_some())).await {
            Ok(Ok(text)) => find(&text),
            _ => None,
        };
        found.ok_or_else(|| format!("it never said {start:?}, but {:?}", *text.borrow()))
    }

    async fn all(self) -> String {
        match self {
            Output::Read { text, reader } => {
                // Nobody has it open any more, or it is not read any more.
                let _ = reader.await;
                text.borrow().clone()
            }
            Output::Unread { .. } => String::new(),
        }
    }
}
