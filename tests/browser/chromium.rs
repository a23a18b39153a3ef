//! Chromium as processes of ours, in a directory of their own.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Instant;

use crate::PATIENCE;
use crate::process::Scratch;

const NAMES: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];

/// It runs as root, too; it talks to nobody but to this machine.
const FLAGS: &[&str] = &[
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-proxy-server",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
];

/// A browser without a window. All of its processes are killed when it is dropped.
pub(crate) struct Chromium {
    /// The leader of their group.
    leader: Child,
    directory: Scratch,
}

pub(crate) fn find() -> Option<&'static str> {
    NAMES.into_iter().find(|name| {
        let version = Command::new(name)
            .arg("--version")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        version.is_ok_and(|status| status.success())
    })
}

impl Chromium {
    /// `directory` is the name of its directory, which is removed with it.
    pub(crate) fn start(chromium: &str, directory: &str, url: &str) -> Self {
        let directory = Scratch::new(directory);
        let stderr = File::create(directory.path("stderr")).unwrap();
        let leader = Command::new(chromium)
            .args(FLAGS)
            .arg(format!("--user-data-dir={}", directory.path("profile")))
            .arg(url)
            // What it keeps beside its profile.
            .envs(["HOME", "TMPDIR"].map(|name| (name, directory.path(""))))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(stderr)
            .process_group(0)
            .spawn()
            .unwrap();
        Chromium { leader, directory }
    }

    /// What it complained of.
    pub(crate) fn complaints(&self) -> String {
        fs::read_to_string(self.directory.path("stderr")).unwrap_or_default()
    }
}

impl Drop for Chromium {
    fn drop(&mut self) {
        // Nothing here may panic: a test that fails comes this way, too. The group has its leader's number until that is
        // waited for, so nobody else can be hit.
        let group = format!("-{}", self.leader.id());
        let _ = Command::new("kill").args(["-KILL", "--", &group]).status();
        let _ = self.leader.wait();
        // Whoever is still dying may be writing.
        let begun = Instant::now();
        let directory = self.directory.path("");
        while fs::remove_dir_all(&directory).is_err() && begun.elapsed() < PATIENCE {
            thread::yield_now();
        }
    }
}
