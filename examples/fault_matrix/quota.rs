//! A tenth of a core.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::task::JoinHandle;
use tokio::time::sleep;

pub(crate) const PERIOD: Duration = Duration::from_millis(100);
pub(crate) const SHARE: Duration = Duration::from_millis(10);

const V1: &str = "/sys/fs/cgroup/cpu";
const V2: &str = "/sys/fs/cgroup";

/// How it can be had here.
#[derive(Clone, Debug)]
pub(crate) enum Kind {
    V1(PathBuf),
    V2(PathBuf),
    /// Stopped and continued.
    DutyCycle,
}

impl Kind {
    /// What can be had is found out by having it.
    pub(crate) fn find() -> Self {
        let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let own = |controller: &str, root: &str| {
            let path = groups.lines().find_map(|line| {
                let mut parts = line.splitn(3, ':').skip(1);
                let mut controllers = parts.next()?.split(',');
                controllers.find(|name| *name == controller)?;
                parts.next()
            });
            path.map(|path| Path::new(root).join(path.trim_start_matches('/')))
        };
        let v1 = own("cpu", V1).map(Kind::V1);
        let v2 = own("", V2).map(Kind::V2);
        let works = |kind: &Kind| Group::make(kind, "probe").is_ok();
        v1.filter(works)
            .or(v2.filter(works))
            .unwrap_or(Kind::DutyCycle)
    }

    /// A cycle is seen by nobody, so a process has to be told of it.
    pub(crate) const fn is_cycle(&self) -> bool {
        matches!(self, Kind::DutyCycle)
    }

    /// A group for a process to start in. `None` where none can be made.
    pub(crate) fn group(&self) -> Result<Option<Group>, String> {
        static MADE: AtomicU64 = AtomicU64::new(0);
        if self.is_cycle() {
            return Ok(None);
        }
        let number = MADE.fetch_add(1, Ordering::Relaxed).to_string();
        let group = Group::make(self, &number).map_err(|error| format!("a cgroup: {error}"))?;
        Ok(Some(group))
    }

    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Kind::V1(_) => "a cgroup (v1)",
            Kind::V2(_) => "a cgroup (v2)",
            Kind::DutyCycle => "SIGSTOP and SIGCONT, for no cgroup can be made here",
        }
    }
}

/// A process that is stopped and continued, until this is dropped. It has to be gone by then.
pub(crate) struct Cycle(JoinHandle<()>);

impl Cycle {
    pub(crate) fn begin(id: Pid) -> Self {
        Cycle(tokio::spawn(cycle(id)))
    }
}

impl Drop for Cycle {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Runs until the process is gone, or nobody wants it any more.
async fn cycle(id: Pid) {
    loop {
        for (signal, pause) in [(Signal::STOP, PERIOD - SHARE), (Signal::CONT, SHARE)] {
            if kill_process(id, signal).is_err() {
                return;
            }
            sleep(pause).await;
        }
    }
}

/// A directory of its own, removed at the end. Its process has to be gone by then.
pub(crate) struct Group(PathBuf);

impl Group {
    /// What a process writes its number to that moves into it.
    pub(crate) fn members(&self) -> PathBuf {
        self.0.join("cgroup.procs")
    }

    fn make(kind: &Kind, name: &str) -> io::Result<Self> {
        let (parent, settings) = match kind {
            Kind::V1(parent) => (
                parent,
                vec![
                    ("cpu.cfs_period_us", PERIOD.as_micros().to_string()),
                    ("cpu.cfs_quota_us", SHARE.as_micros().to_string()),
                ],
            ),
            Kind::V2(parent) => {
                let most = format!("{} {}", SHARE.as_micros(), PERIOD.as_micros());
                (parent, vec![("cpu.max", most)])
            }
            Kind::DutyCycle => return Err(io::ErrorKind::Unsupported.into()),
        };
        let own = std::process::id();
        let group = Group(parent.join(format!("lameduck-fault-matrix-{own}-{name}")));
        fs::create_dir(&group.0)?;
        for (file, value) in settings {
            // Not created: without the controller there is no such file.
            fs::OpenOptions::new()
                .write(true)
                .open(group.0.join(file))
                .and_then(|mut file| io::Write::write_all(&mut file, value.as_bytes()))?;
        }
        Ok(group)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        const TRIES: u32 = 100;
        const PAUSE: Duration = Duration::from_millis(5);
        // It is busy until its last process is reaped, which a killed child is a moment after its handle is dropped.
        for _ in 0..TRIES {
            match fs::remove_dir(&self.0) {
                Err(error) if error.kind() == io::ErrorKind::ResourceBusy => thread::sleep(PAUSE),
                _ => return,
            }
        }
    }
}
