//! A server's process, as the parent sees it: started, told to stop, killed when it is late, and heard all the time.

use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use crate::moment::Moment;
use crate::server::Settings;

/// How long a server may take to start, and to begin a phase that is due, on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(20);

/// What a server has said so far, line by line.
pub(crate) type Said = watch::Receiver<Vec<String>>;

/// A server that runs. Its process is killed when this is dropped.
pub(crate) struct Process {
    pub(crate) address: SocketAddr,
    pub(crate) said: Said,
    settings: Settings,
    child: Child,
    /// The server leaves when it closes, and waiting for a child closes what it still holds.
    input: ChildStdin,
    reading: JoinHandle<()>,
    /// Just before SIGTERM was sent.
    told: Option<Instant>,
}

/// How a server ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// When SIGKILL came, if it came before the server had left.
    pub(crate) killed: Option<Instant>,
    /// From SIGTERM.
    pub(crate) took: Duration,
    /// `None` when a signal ended it.
    pub(crate) code: Option<i32>,
    /// All that it said.
    pub(crate) said: Vec<String>,
}

impl Process {
    /// Starts a server and waits until it listens.
    pub(crate) async fn start(settings: Settings) -> Result<Self, String> {
        let say = |error: String| format!("a server of {}: {error}", settings.column);
        let mut child = command(&settings)
            .and_then(|mut command| command.spawn())
            .map_err(|error| say(error.to_string()))?;
        let output = child.stdout.take().expect("it is piped");
        let mut lines = BufReader::new(output).lines();
        let line = timeout(PATIENCE, lines.next_line()).await;
        let line = line.ok().and_then(Result::ok).flatten().unwrap_or_default();
        let address = line.strip_prefix("serving ");
        let address = address.and_then(|address| address.parse().ok());
        let (say_on, said) = watch::channel(Vec::new());
        Ok(Process {
            address: address.ok_or_else(|| say(format!("it said {line:?}")))?,
            said,
            settings,
            input: child.stdin.take().expect("it is piped"),
            child,
            reading: tokio::spawn(read(lines, say_on)),
            told: None,
        })
    }

    /// Sends SIGTERM.
    pub(crate) async fn terminate(&mut self) -> Result<(), String> {
        let id = self.child.id().ok_or("a server left before it was told")?;
        self.told = Some(Instant::now());
        let status = Command::new("kill")
            .args(["-TERM", &id.to_string()])
            .status()
            .await;
        match status {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(format!("kill: {status}")),
            Err(error) => Err(format!("kill: {error}")),
        }
    }

    /// Lets Drain end.
    pub(crate) async fn end_drain(&mut self) -> Result<(), String> {
        let written = self.input.write_all(b"end Drain\n").await;
        written.map_err(|error| format!("telling a server: {error}"))
    }

    /// Whether it has said that the phase has begun.
    pub(crate) fn has_begun(&self, phase: Moment) -> bool {
        self.said.borrow().contains(&format!("phase {phase}"))
    }

    /// Waits until it says that the phase has begun.
    pub(crate) async fn begun(&mut self, phase: Moment) -> Result<(), String> {
        let line = format!("phase {phase}");
        let begun = self.said.wait_for(|said| said.contains(&line));
        match timeout(PATIENCE, begun).await {
            Ok(Ok(_)) => Ok(()),
            _ => Err(format!(
                "a server of {} did not come to {phase}",
                self.settings.column
            )),
        }
    }

    /// Waits until it has left; SIGKILL comes when the grace period is over.
    pub(crate) async fn wait(mut self) -> Result<Ended, String> {
        let told = self.told.ok_or("it was not told to stop")?;
        let left = self.settings.grace().saturating_sub(told.elapsed());
        let exited = timeout(left, self.child.wait()).await;
        let killed = exited.is_err().then(Instant::now);
        let status = match exited {
            Ok(status) => status,
            Err(_) => {
                // It may have left this very moment.
                let _ = self.child.start_kill();
                self.child.wait().await
            }
        };
        let took = told.elapsed();
        let _ = (&mut self.reading).await;
        let said = self.said.borrow().clone();
        Ok(Ended {
            killed,
            took,
            code: status.map_err(|error| error.to_string())?.code(),
            said,
        })
    }
}

impl Ended {
    pub(crate) fn has_said(&self, line: &str) -> bool {
        self.said.iter().any(|said| said == line)
    }

    /// What was in flight at Close's deadline, as lameduck's report counts it.
    pub(crate) fn cut(&self) -> Option<u64> {
        let mut counts = self
            .said
            .iter()
            .filter_map(|line| line.strip_prefix("cut "));
        counts.next()?.parse().ok()
    }

    /// Whether the report has `name` among what was left behind at Close's deadline.
    pub(crate) fn left_behind(&self, name: &str) -> bool {
        let mut left = self
            .said
            .iter()
            .filter(|line| line.starts_with("left Close "));
        left.any(|line| {
            line.split([' ', '(', ')', ',', '"'])
                .any(|word| word == name)
        })
    }
}

fn command(settings: &Settings) -> std::io::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command
        .args(settings.to_args())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true);
    Ok(command)
}

async fn read(mut lines: Lines<BufReader<ChildStdout>>, say_on: watch::Sender<Vec<String>>) {
    while let Ok(Some(line)) = lines.next_line().await {
        say_on.send_modify(|said| said.push(line));
    }
}
