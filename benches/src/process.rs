//! Servers and other programs as processes of their own: this program, started again.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use rustix::time::{ClockId, clock_gettime};

/// Time since the machine was started: the same clock in every process.
pub fn now() -> Duration {
    let time = clock_gettime(ClockId::Monotonic);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// This program as another process.
pub struct Process {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Process {
    pub fn start(arguments: &[&str]) -> Self {
        let program = std::env::current_exe().expect("this program has a path");
        let mut child = Command::new(program)
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .expect("this program can be started");
        let stdout = child.stdout.take().expect("it is piped");
        Process {
            child,
            lines: BufReader::new(stdout),
        }
    }

    /// The number behind `word`, on its next line.
    pub fn number(&mut self, word: &str) -> u64 {
        let mut line = String::new();
        self.lines.read_line(&mut line).expect("it can be read");
        let number = line.strip_prefix(word).map(str::trim).map(str::parse);
        match number {
            Some(Ok(number)) => number,
            _ => panic!("{word} was expected, not {line:?}"),
        }
    }

    /// Sends SIGTERM, and says when.
    pub fn terminate(&self) -> Duration {
        let at = now();
        let id = Pid::from_child(&self.child);
        kill_process(id, Signal::TERM).expect("it is running");
        at
    }

    /// Waits for its end, and says when that was. What it has printed can still be read.
    pub fn wait(&mut self) -> Duration {
        let _ = self.child.wait();
        now()
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Processor time of all its threads so far.
    pub fn processor_time(&self) -> Duration {
        let tasks = format!("/proc/{}/task", self.id());
        let tasks = std::fs::read_dir(tasks).expect("it is running");
        // On the processor, waiting for it, and how often: schedstat of the kernel's documentation on the scheduler.
        let each = tasks.filter_map(|task| {
            let schedstat = std::fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
            let nanos: u64 = schedstat.split_whitespace().next()?.parse().ok()?;
            Some(nanos)
        });
        Duration::from_nanos(each.sum())
    }

    /// Waits until another process traces all its threads. `false` if that takes too long.
    pub fn is_traced_in_time(&self) -> bool {
        let since = now();
        while now() - since < Duration::from_secs(5) {
            if self.is_traced() {
                return true;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        false
    }

    fn is_traced(&self) -> bool {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.id()));
        let traced = |task: std::io::Result<std::fs::DirEntry>| {
            let status = task.and_then(|it| std::fs::read_to_string(it.path().join("status")));
            let status = status.unwrap_or_default();
            let tracer = status
                .lines()
                .find_map(|line| line.strip_prefix("TracerPid:"));
            tracer.is_some_and(|tracer| tracer.trim() != "0")
        };
        tasks.is_ok_and(|mut tasks| tasks.all(traced))
    }

    /// What it has of the machine's memory, in bytes.
    pub fn memory(&self) -> f64 {
        let status = format!("/proc/{}/status", self.child.id());
        let status = std::fs::read_to_string(status).expect("it is running");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
        kilobytes.map_or(f64::NAN, |kilobytes: f64| kilobytes * 1024.0)
    }
}

/// Sends SIGINT.
pub fn interrupt(child: &Child) {
    kill_process(Pid::from_child(child), Signal::INT).expect("it is running");
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
