//! A server as a child process: started, told to stop, killed.

use std::ffi::OsString;
use std::fs;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Pid, Signal as Number, kill_process};
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep};

use super::{Exit, Order, Output, free_port};
use crate::error::DrillError;
use crate::settings::Signal;

/// Stands for the port in a command's arguments.
const PORT: &str = "{port}";

/// A process that a server has started may end so much later.
const AFTER_ITS_PARENT: Duration = Duration::from_millis(300);

/// A command, and how it learns its port.
#[derive(Debug)]
pub(crate) struct Program {
    command: std::process::Command,
    pub(crate) port_arg: Option<String>,
    pub(crate) port_env: Option<String>,
    pub(crate) port: Option<u16>,
}

impl Program {
    pub(crate) const fn new(command: std::process::Command) -> Self {
        Program {
            command,
            port_arg: None,
            port_env: None,
            port: None,
        }
    }

    /// Whether it is told its port, or has one.
    pub(crate) fn knows_its_port(&self) -> bool {
        let mut args = self.command.get_args();
        self.port_arg.is_some()
            || self.port_env.is_some()
            || self.port.is_some()
            || args.any(|arg| arg.to_string_lossy().contains(PORT))
    }

    /// Returns the port.
    pub(super) fn start(
        &self,
        signal: Signal,
        output: &Arc<Output>,
        ordered: mpsc::UnboundedReceiver<Order>,
        leaving: watch::Sender<Option<Exit>>,
    ) -> Result<u16, DrillError> {
        let failed = |error: std::io::Error| {
            let program = self.command.get_program().to_string_lossy();
            DrillError::Start(format!("{program}: {error}"))
        };
        let port = match self.port {
            Some(port) => port,
            None => free_port().map_err(failed)?,
        };
        let mut child = self.command(port).spawn().map_err(failed)?;
        if let Some(stream) = child.stdout.take() {
            output.read(stream);
        }
        if let Some(stream) = child.stderr.take() {
            output.read(stream);
        }
        tokio::spawn(own(child, signal, ordered, leaving));
        Ok(port)
    }

    fn command(&self, port: u16) -> Command {
        let given = &self.command;
        let mut command = Command::new(given.get_program());
        command.args(given.get_args().map(|arg| with_port(arg, port)));
        if let Some(name) = &self.port_arg {
            command.arg(name).arg(port.to_string());
        }
        for (name, value) in given.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        if let Some(name) = &self.port_env {
            command.env(name, port.to_string());
        }
        if let Some(directory) = given.get_current_dir() {
            command.current_dir(directory);
        }
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }
}

fn with_port(arg: &std::ffi::OsStr, port: u16) -> OsString {
    match arg.to_str() {
        Some(text) => text.replace(PORT, &port.to_string()).into(),
        None => arg.to_owned(),
    }
}

/// Does as it is ordered until the process has left, and says how it left.
async fn own(
    mut child: Child,
    signal: Signal,
    mut ordered: mpsc::UnboundedReceiver<Order>,
    leaving: watch::Sender<Option<Exit>>,
) {
    let mut killed = false;
    let mut children = Vec::new();
    let status = loop {
        let order = tokio::select! {
            status = child.wait() => break status,
            order = ordered.recv() => order,
        };
        if let Some(id) = child.id() {
            children = descendants(id);
        }
        match order {
            Some(Order::Stop) => send(&child, signal),
            Some(Order::Kill) => {
                killed = true;
                // It may have left this very moment.
                let _ = child.start_kill();
            }
            // Nobody wants it any more.
            None => {
                let _ = child.start_kill();
                break child.wait().await;
            }
        }
    };
    let at = Instant::now();
    if !children.is_empty() {
        sleep(AFTER_ITS_PARENT).await;
        children.retain(|id| kill(*id));
    }
    leaving.send_replace(Some(Exit {
        at,
        code: status.ok().and_then(|status| status.code()),
        killed,
        children,
    }));
}

fn send(child: &Child, signal: Signal) {
    let number = match signal {
        Signal::Term => Number::TERM,
        Signal::Int => Number::INT,
        Signal::Quit => Number::QUIT,
        Signal::Hup => Number::HUP,
        Signal::Usr1 => Number::USR1,
        Signal::Usr2 => Number::USR2,
    };
    if let Some(pid) = pid(child.id().unwrap_or_default()) {
        // The child is not waited for yet, so the number is its own.
        let _ = kill_process(pid, number);
    }
}

/// Ends a process that has outlived its parent. Returns whether there was one.
fn kill(id: u32) -> bool {
    // Behind the name in parentheses stands the state (proc_pid_stat(5)); a zombie has ended.
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
    let state = stat.rsplit_once(") ").map(|(_, state)| state);
    let runs = state.is_some_and(|state| !state.starts_with(['Z', 'X']));
    runs && pid(id).is_some_and(|pid| kill_process(pid, Number::KILL).is_ok())
}

fn pid(id: u32) -> Option<Pid> {
    Pid::from_raw(i32::try_from(id).ok()?)
}

/// The processes that a process has started, and those that they have (Linux; elsewhere none are known).
fn descendants(id: u32) -> Vec<u32> {
    let path = format!("/proc/{id}/task/{id}/children");
    let text = fs::read_to_string(path).unwrap_or_default();
    let children = text.split_whitespace().filter_map(|id| id.parse().ok());
    children
        .flat_map(|child| std::iter::once(child).chain(descendants(child)))
        .collect()
}
