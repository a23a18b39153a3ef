//! Load by nghttp2's h2load, which is pinned to a core of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Whether it is installed.
pub fn is_there() -> bool {
    let version = Command::new("h2load").arg("--version").output();
    version.is_ok_and(|output| output.status.success())
}

/// What is asked for, and how.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    pub http1: bool,
    pub connections: u32,
    /// Requests in flight on each: streams, or pipelined.
    pub at_once: u32,
    pub path: &'static str,
    pub requests: u32,
}

/// What came back.
#[derive(Clone, Copy, Debug)]
pub struct Answered {
    pub per_second: f64,
    pub p50: Duration,
    pub p99: Duration,
}

/// Sends the load from this thread's core, and waits for the answers: each must be a 200.
pub fn send(load: &Load, port: u16) -> Answered {
    let log = log_file();
    let mut command = Command::new("h2load");
    if load.http1 {
        command.arg("--h1");
    }
    let output = command
        .args(["-n", &load.requests.to_string()])
        .args(["-c", &load.connections.to_string()])
        .args(["-m", &load.at_once.to_string()])
        .arg(format!("--log-file={}", log.display()))
        .arg(format!("http://127.0.0.1:{port}{}", load.path))
        .output()
        .expect("h2load is there");
    assert!(
        output.status.success(),
        "h2load: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let answered = read(&log, load.requests);
    let _ = fs::remove_file(log);
    answered
}

fn log_file() -> PathBuf {
    std::env::temp_dir().join(format!("lameduck-h2load-{}", std::process::id()))
}

/// A line is a request: its start, in microseconds; its status; how long it took, in microseconds.
fn read(log: &Path, requests: u32) -> Answered {
    let text = fs::read_to_string(log).expect("h2load has written it");
    let mut took = Vec::new();
    let (mut first, mut last) = (u64::MAX, 0);
    for line in text.lines() {
        let numbers: Vec<u64> = line.split('\t').filter_map(|it| it.parse().ok()).collect();
        let [start, 200, micros] = numbers[..] else {
            panic!("not a request that was answered with 200: {line}");
        };
        took.push(micros);
        first = first.min(start);
        last = last.max(start + micros);
    }
    assert_eq!(took.len(), requests as usize, "answers are missing");
    took.sort_unstable();
    let at = |share: f64| {
        let index = (took.len() as f64 * share) as usize;
        Duration::from_micros(took[index.min(took.len() - 1)])
    };
    Answered {
        per_second: f64::from(requests) * 1e6 / (last - first) as f64,
        p50: at(0.5),
        p99: at(0.99),
    }
}
