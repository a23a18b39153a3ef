//! A server's process, as the parent sees it: started, weighed, told to stop, killed when it is late.

use std::net::SocketAddr;
use std::process::Stdio;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::server::{GRACE, Settings};

/// How long a server may take to start, on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(30);

/// A server that runs. Its process is killed when this is dropped.
pub(crate) struct Process {
    pub(crate) address: SocketAddr,
    id: u32,
    child: Child,
    /// Never written to: the server leaves when it closes, and waiting for a child closes what it still holds.
    _input: Option<ChildStdin>,
    output: JoinHandle<Vec<String>>,
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
    /// All that it said.
    pub(crate) output: Vec<String>,
}

impl Process {
    /// Starts a server and waits until it listens.
    pub(crate) async fn start(settings: Settings) -> Result<Self, String> {
        let mut child = spawn(settings).map_err(|error| format!("a server: {error}"))?;
        let id = child.id().ok_or("a server left at once")?;
        let output = child.stdout.take().expect("it is piped");
        let mut lines = BufReader::new(output).lines();
        let line = timeout(PATIENCE, lines.next_line()).await;
        let line = line.ok().and_then(Result::ok).flatten().unwrap_or_default();
        let address = line.strip_prefix("serving ");
        let address = address.and_then(|address| address.parse().ok());
        Ok(Process {
            address: address.ok_or_else(|| format!("a server said {line:?}"))?,
            id,
            _input: child.stdin.take(),
            child,
            output: tokio::spawn(async move {
                let mut output = Vec::new();
                while let Ok(Some(line)) = lines.next_line().await {
                    output.push(line);
                }
                output
            }),
        })
    }

    /// Its resident memory, in bytes.
    pub(crate) fn resident(&self) -> Result<u64, String> {
        let file = format!("/proc/{}/status", self.id);
        let status = std::fs::read_to_string(&file).map_err(|error| format!("{file}: {error}"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        Ok(kib.ok_or(format!("{file} has no VmRSS"))? * 1024)
    }

    /// Sends SIGTERM and waits until it has left; SIGKILL comes when the grace period is over.
    pub(crate) async fn terminate(mut self) -> Result<Ended, String> {
        let id = i32::try_from(self.id).ok().and_then(Pid::from_raw);
        let told = Instant::now();
        kill_process(id.expect("a child has a number"), Signal::TERM)
            .map_err(|error| format!("SIGTERM: {error}"))?;
        let exited = timeout(GRACE, self.child.wait()).await;
        let killed = exited.is_err();
        let status = match exited {
            Ok(status) => status,
            Err(_) => {
                // It may have left this very moment.
                let _ = self.child.start_kill();
                self.child.wait().await
            }
        };
        Ok(Ended {
            killed,
            took: told.elapsed(),
            code: status.map_err(|error| error.to_string())?.code(),
            output: self.output.await.unwrap_or_default(),
        })
    }
}

impl Ended {
    /// The words behind `name`, of each line that begins with it.
    pub(crate) fn said<'a>(&'a self, name: &'a str) -> impl Iterator<Item = Vec<&'a str>> {
        self.output.iter().filter_map(move |line| {
            let mut words = line.split(' ');
            (words.next() == Some(name)).then(|| words.collect())
        })
    }
}

/// A time that a server has said.
pub(crate) fn time(microseconds: &str) -> Option<SystemTime> {
    let since = Duration::from_micros(microseconds.parse().ok()?);
    Some(UNIX_EPOCH + since)
}

fn spawn(settings: Settings) -> std::io::Result<Child> {
    Command::new(std::env::current_exe()?)
        .args(settings.to_args())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
}
