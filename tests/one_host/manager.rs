//! A parent that plays systemd: it holds the socket, hears what the service says, and kills what does not stop in time.

use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::ExitStatusExt;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;

use crate::process::{Ended, Process, Scratch};
use crate::service::{MOOD, begun};

/// Longer than anything should take.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often it looks whether the stop timeout is over.
const BETWEEN_LOOKS: Duration = Duration::from_millis(5);

pub(crate) struct Manager {
    listener: TcpListener,
    said: Arc<Said>,
    socket: String,
    scratch: Scratch,
}

/// What the service has said.
#[derive(Default)]
struct Said {
    messages: Mutex<Vec<Message>>,
}

#[derive(Clone, Debug)]
pub(crate) struct Message {
    pub(crate) at: Instant,
    pub(crate) lines: Vec<String>,
}

impl Message {
    pub(crate) fn has(&self, line: &str) -> bool {
        self.lines.iter().any(|it| it == line)
    }

    pub(crate) fn value(&self, name: &str) -> Option<&str> {
        let value = |line: &'_ String| {
            let (of, value) = line.split_once('=')?;
            (of == name).then_some(value.len())
        };
        self.lines
            .iter()
            .find_map(|line| Some(&line[line.len() - value(line)?..]))
    }

    pub(crate) fn extension(&self) -> Option<Duration> {
        let micros = self.value("EXTEND_TIMEOUT_USEC")?.parse().unwrap();
        Some(Duration::from_micros(micros))
    }
}

impl Manager {
    pub(crate) fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let scratch = Scratch::new(&format!("manager-{number}"));
        let socket = scratch.path("notify");
        let heard = UnixDatagram::bind(&socket).unwrap();
        let said = Arc::<Said>::default();
        thread::spawn({
            let said = Arc::clone(&said);
            move || {
                let mut message = [0; 4096];
                while let Ok(length) = heard.recv(&mut message) {
                    let lines = String::from_utf8_lossy(&message[..length]);
                    let lines = lines.lines().map(str::to_owned).collect();
                    let at = Instant::now();
                    said.messages.lock().unwrap().push(Message { at, lines });
                }
            }
        });
        let manager = Manager {
            listener: listen(),
            said,
            socket,
            scratch,
        };
        manager.set_mood("");
        manager
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.listener.local_addr().unwrap()
    }

    /// How the next service behaves.
    pub(crate) fn set_mood(&self, mood: &str) {
        std::fs::write(self.scratch.path("mood"), mood).unwrap();
    }

    /// Where the services note the requests that they begin.
    pub(crate) fn begun(&self) -> String {
        begun(&self.scratch.path("mood"))
    }

    /// Starts the service. It prints a line when it accepts.
    pub(crate) fn start(&self, env: &[(&str, &str)]) -> Process {
        let mood = self.scratch.path("mood");
        let mut all = vec![
            ("NOTIFY_SOCKET", self.socket.as_str()),
            ("LISTEN_FDNAMES", "http"),
            (MOOD, &mood),
        ];
        all.extend_from_slice(env);
        let listener = self.listener.try_clone().unwrap();
        let mut process =
            Process::scenario_with_passed_listener("scenario", "service", &all, listener.into());
        process.line_with("process");
        process
    }

    pub(crate) fn messages(&self) -> Vec<Message> {
        self.said.messages.lock().unwrap().clone()
    }

    /// What has been said before is forgotten.
    pub(crate) fn forget(&self) {
        self.said.messages.lock().unwrap().clear();
    }

    /// Waits for a message.
    pub(crate) fn wait_for(&self, is_it: impl Fn(&Message) -> bool) -> Message {
        let began = Instant::now();
        loop {
            if let Some(message) = self.messages().into_iter().find(&is_it) {
                return message;
            }
            assert!(began.elapsed() < PATIENCE, "{:?}", self.messages());
            thread::sleep(BETWEEN_LOOKS);
        }
    }

    /// Stops the service as systemd does: SIGTERM, and SIGKILL when the stop timeout is over.
    pub(crate) fn stop(&self, process: Process, timeout: Duration) -> Stopped {
        process.signal("TERM");
        self.stopped(process, timeout)
    }

    /// Waits for the end of a service that stops, and kills it when the stop timeout is over, which its `EXTEND_TIMEOUT_USEC`
    /// extends.
    pub(crate) fn stopped(&self, process: Process, timeout: Duration) -> Stopped {
        let began = Instant::now();
        let id = process.id();
        let over = Arc::new(AtomicBool::new(false));
        let killer = thread::spawn({
            let (said, over) = (Arc::clone(&self.said), Arc::clone(&over));
            move || {
                while !over.load(Ordering::Acquire) {
                    let messages = said.messages.lock().unwrap().clone();
                    let extended = messages
                        .iter()
                        .filter_map(|it| Some(it.at + it.extension()?));
                    let deadline = extended.max().unwrap_or(began).max(began + timeout);
                    if Instant::now() >= deadline {
                        crate::kill(id, "KILL");
                        return;
                    }
                    thread::sleep(BETWEEN_LOOKS);
                }
            }
        });
        let ended = process.wait();
        over.store(true, Ordering::Release);
        killer.join().unwrap();
        Stopped {
            was_killed: ended.status.signal() == Some(9),
            ended,
        }
    }
}

/// With as deep a queue as the unit file's: what does not fit is dropped, and its client tries again seconds later.
fn listen() -> TcpListener {
    let runtime = Runtime::new().unwrap();
    runtime.block_on(async {
        let listener = lameduck::bind("127.0.0.1:0").await.unwrap();
        listener.into_std().unwrap()
    })
}

pub(crate) struct Stopped {
    pub(crate) ended: Ended,
    pub(crate) was_killed: bool,
}
