//! A server's process, as the parent sees it: started, told to stop, killed when it is late.

use std::os::fd::OwnedFd;
use std::process::Stdio;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::entered::Began;
use crate::server::Settings;

/// How long a server may take to start, and to hear of SIGTERM, on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(30);

/// Puts the listener where a service manager does (sd_listen_fds(3)).
const PASS: &str = r#"exec 3<&0 0</dev/null; LISTEN_FDS=1 LISTEN_PID=$$ exec "$0" "$@""#;

/// A server that runs. Its process is killed when this is dropped.
pub(crate) struct Process {
    pub(crate) address: std::net::SocketAddr,
    settings: Settings,
    child: Child,
    /// Never written to: the server leaves when it closes, and waiting for a child closes what it still holds.
    _input: Option<ChildStdin>,
    stopping: Option<oneshot::Receiver<SystemTime>>,
    output: JoinHandle<Vec<String>>,
    /// Just before SIGTERM was sent.
    told: Option<Instant>,
}

/// How a server ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// SIGKILL came before it had left.
    pub(crate) killed: bool,
    /// From SIGTERM.
    pub(crate) took: Duration,
    /// `None` when a signal ended it.
    pub(crate) code: Option<i32>,
    /// When it heard of SIGTERM.
    pub(crate) stopping: Option<SystemTime>,
    /// When its listener closed.
    pub(crate) closed: Option<SystemTime>,
    pub(crate) began: Began,
    /// All that it said, lameduck's report among it.
    pub(crate) output: Vec<String>,
}

impl Ended {
    /// What two servers of one round come to: the first one's end, and what was wrong with either.
    pub(crate) fn and(mut self, mut other: Ended) -> Self {
        self.killed |= other.killed;
        if self.code == Some(0) {
            self.code = other.code;
        }
        self.began.add(other.began);
        self.output.append(&mut other.output);
        self
    }
}

impl Process {
    /// Starts a server and waits until it listens.
    pub(crate) async fn start(settings: Settings) -> Result<Self, String> {
        Process::start_with(settings, None).await
    }

    /// The same, for a server that accepts from a listener that it is given.
    pub(crate) async fn start_with(
        settings: Settings,
        listener: Option<OwnedFd>,
    ) -> Result<Self, String> {
        let say = |error: String| format!("a server of {}: {error}", settings.column);
        let mut child = command(&settings, listener)
            .and_then(|mut command| command.spawn())
            .map_err(|error| say(error.to_string()))?;
        let output = child.stdout.take().expect("it is piped");
        let mut lines = BufReader::new(output).lines();
        let line = timeout(PATIENCE, lines.next_line()).await;
        let line = line.ok().and_then(Result::ok).flatten().unwrap_or_default();
        let address = line.strip_prefix("serving ");
        let address = address.and_then(|address| address.parse().ok());
        let (heard, stopping) = oneshot::channel();
        Ok(Process {
            address: address.ok_or_else(|| say(format!("it said {line:?}")))?,
            settings,
            _input: child.stdin.take(),
            child,
            stopping: Some(stopping),
            output: tokio::spawn(read(lines, heard)),
            told: None,
        })
    }

    /// Sends SIGTERM. Returns when the server has heard of it, as it says itself.
    pub(crate) async fn terminate(&mut self) -> Result<Instant, String> {
        let id = self.child.id().ok_or("a server left before it was told")?;
        self.told = Some(Instant::now());
        let status = Command::new("kill")
            .args(["-TERM", &id.to_string()])
            .status()
            .await;
        match status {
            Ok(status) if status.success() => {}
            Ok(status) => return Err(format!("kill: {status}")),
            Err(error) => return Err(format!("kill: {error}")),
        }
        let stopping = self.stopping.take().ok_or("it was told already")?;
        match timeout(PATIENCE, stopping).await {
            Ok(Ok(at)) => Ok(instant(at)),
            _ => Err("a server did not hear of SIGTERM".to_owned()),
        }
    }

    /// Waits until it has left; SIGKILL comes when the grace period is over.
    pub(crate) async fn wait(mut self) -> Result<Ended, String> {
        let told = self.told.ok_or("it was not told to stop")?;
        let left = self.settings.grace.saturating_sub(told.elapsed());
        let exited = timeout(left, self.child.wait()).await;
        let killed = exited.is_err();
        let status = match exited {
            Ok(status) => status,
            Err(_) => {
                // It may have left this very moment.
                let _ = self.child.start_kill();
                self.child.wait().await
            }
        };
        let took = told.elapsed();
        let output = self.output.await.unwrap_or_default();
        let began = Began::read(&self.settings.entered)?;
        let _ = std::fs::remove_file(&self.settings.entered);
        Ok(Ended {
            killed,
            took,
            code: status.map_err(|error| error.to_string())?.code(),
            stopping: stamp(&output, "stopping "),
            closed: stamp(&output, "closed "),
            began,
            output,
        })
    }
}

fn command(settings: &Settings, listener: Option<OwnedFd>) -> std::io::Result<Command> {
    let server = std::env::current_exe()?;
    let mut command = match &listener {
        None => Command::new(server),
        Some(_) => {
            let mut command = Command::new("sh");
            command.args(["-c", PASS]).arg(server);
            command
        }
    };
    command
        .args(settings.to_args())
        .stdin(listener.map_or_else(Stdio::piped, Stdio::from))
        .stdout(Stdio::piped())
        .kill_on_drop(true);
    Ok(command)
}

async fn read(
    mut lines: Lines<BufReader<ChildStdout>>,
    heard: oneshot::Sender<SystemTime>,
) -> Vec<String> {
    let mut output = Vec::new();
    let mut heard = Some(heard);
    while let Ok(Some(line)) = lines.next_line().await {
        output.push(line);
        if let Some(at) = stamp(&output, "stopping ") {
            // Nobody may be waiting for it.
            let _ = heard.take().map(|heard| heard.send(at));
        }
    }
    output
}

fn stamp(output: &[String], name: &str) -> Option<SystemTime> {
    let line = output.iter().find_map(|line| line.strip_prefix(name));
    let since = line?.parse().ok().map(Duration::from_micros);
    since.map(|since| UNIX_EPOCH + since)
}

/// A moment a short while ago, on the clock that does not jump.
fn instant(at: SystemTime) -> Instant {
    let ago = SystemTime::now().duration_since(at).unwrap_or_default();
    let now = Instant::now();
    now.checked_sub(ago).unwrap_or(now)
}
