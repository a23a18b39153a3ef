//! A successor: how it is started, what it says, and how it is told to stop.

use std::ffi::OsString;
use std::fs::DirBuilder;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use command_fds::{CommandFdExt, FdMapping};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::net::UnixDatagram;
use tokio::process::Child;
use tokio::time::timeout;

use crate::plain::{self, LONGEST_TEXT};
use crate::random;

/// The first descriptor that is passed (sd_listen_fds(3)).
const FIRST: i32 = 3;

/// Longer than what anybody says at once.
const LONGEST_MESSAGE: usize = 8 * 1024;

/// What is run.
pub(super) struct Program {
    pub(super) path: OsString,
    pub(super) args: Vec<OsString>,
}

/// A successor, as its parent sees it: a child that was given listeners.
pub(super) struct Successor {
    child: Child,
    id: u32,
}

impl Successor {
    /// Starts it. It gets the listeners as a service manager would pass them, and a place to say when it is ready.
    pub(super) fn start(
        program: &Program,
        listeners: Vec<(String, OwnedFd)>,
    ) -> io::Result<(Successor, Inbox)> {
        let inbox = Inbox::new()?;
        let (names, descriptors): (Vec<_>, Vec<_>) = listeners.into_iter().unzip();
        let mut command = Command::new(&program.path);
        command
            .args(&program.args)
            .env("LISTEN_FDS", descriptors.len().to_string())
            .env("LISTEN_FDNAMES", names.join(":"))
            .env("NOTIFY_SOCKET", inbox.path())
            // They are about this process, if they are there.
            .env_remove("LISTEN_PID")
            .env_remove("LISTEN_FDS_FIRST_FD")
            .env_remove("WATCHDOG_PID")
            .env_remove("WATCHDOG_USEC");
        let mappings = (FIRST..).zip(descriptors);
        let mappings = mappings.map(|(child_fd, parent_fd)| FdMapping {
            parent_fd,
            child_fd,
        });
        command
            .fd_mappings(mappings.collect())
            .map_err(io::Error::other)?;
        let child = tokio::process::Command::from(command).spawn()?;
        let id = child.id().expect("it has not been waited for");
        Ok((Successor { child, id }, inbox))
    }

    pub(super) const fn id(&self) -> u32 {
        self.id
    }

    /// Ready when it has ended.
    pub(super) async fn ended(&mut self) -> ExitStatus {
        // An error would be one of the system's: it is not our child any more.
        self.child.wait().await.unwrap_or_default()
    }

    /// Tells it to stop.
    pub(super) fn terminate(&self) {
        // There is none when it has been waited for, so the number is still its own.
        if let Some(id) = self.child.id().and_then(|id| i32::try_from(id).ok()) {
            // It may have ended meanwhile.
            let _ = kill(Pid::from_raw(id), Signal::SIGTERM);
        }
    }

    /// Gives what it has accepted the time to end, and then kills it.
    pub(super) async fn end(mut self, patience: Duration) {
        if timeout(patience, self.child.wait()).await.is_err() {
            let _ = self.child.kill().await;
        }
    }
}

/// Where a successor says how it is doing, as it would to a service manager (sd_notify(3)).
pub(super) struct Inbox {
    socket: UnixDatagram,
    directory: Directory,
    /// What it said last of its status.
    status: Option<String>,
}

impl Inbox {
    fn new() -> io::Result<Self> {
        let directory = Directory::new()?;
        let socket = UnixDatagram::bind(directory.socket())?;
        Ok(Inbox {
            socket,
            directory,
            status: None,
        })
    }

    fn path(&self) -> PathBuf {
        self.directory.socket()
    }

    /// Ready when the successor says that it is.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: a message is taken and looked at in one step.
    pub(super) async fn ready(&mut self) -> io::Result<()> {
        let mut message = vec![0; LONGEST_MESSAGE];
        loop {
            let length = self.socket.recv(&mut message).await?;
            let message = String::from_utf8_lossy(&message[..length]);
            for line in message.lines() {
                if line == "READY=1" {
                    return Ok(());
                }
                if let Some(status) = line.strip_prefix("STATUS=") {
                    self.status = Some(plain::line(format_args!("{status}"), LONGEST_TEXT));
                }
            }
        }
    }

    pub(super) fn status(self) -> Option<String> {
        self.status
    }
}

/// A directory that only this user may look into. Removed at the end.
struct Directory(PathBuf);

impl Directory {
    fn new() -> io::Result<Self> {
        let name = format!("lameduck-{}-{:x}", std::process::id(), random::seed());
        let path = std::env::temp_dir().join(name);
        DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .map_err(|error| about(&path, &error))?;
        Ok(Directory(path))
    }

    fn socket(&self) -> PathBuf {
        self.0.join("notify")
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // What is left of it harms nobody.
        let _ = std::fs::remove_file(self.socket());
        let _ = std::fs::remove_dir(&self.0);
    }
}

fn about(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}
