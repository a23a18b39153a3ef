//! Without systemd: a successor that the old process starts.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use lameduck::restart::{Restart, RestartError};
use lameduck::{Plan, ShutdownCoordinator};
use tokio::runtime::Runtime;

use crate::clients::{Load, Socket, Tally, one_shot};
use crate::process::{SCENARIO, Scratch};
use crate::service::{MOOD, begun};
use crate::{kill, restarts};

const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn restarts_by_a_successor_lose_nothing() {
    let (tally, log) = play(|host| {
        for _ in 0..restarts() {
            let old = host.process();
            kill(old, "HUP");
            host.wait_for_end_of(old);
            assert_ne!(host.process(), old);
        }
    });

    println!("{} handovers", restarts());
    assert_eq!(tally.servers.len(), restarts() + 1, "{log}");
    assert_eq!(handed_over(&log), restarts(), "{log}");
}

/// With a second descriptor the socket would outlive the server that closes it, and what comes in between be reset.
#[tokio::test]
async fn second_descriptor_is_closed_when_a_shutdown_begins_without_a_successor() {
    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    let listener = lameduck::bind("127.0.0.1:0").await.unwrap();
    let restart = Restart::new(&shutdown).unwrap();
    let restart = restart.pass("http", &listener).unwrap();
    let before = descriptors(&listener);

    shutdown.shutdown("the test says so");

    assert_eq!((before, descriptors(&listener)), (2, 1));
    let refused = restart.now().await;
    assert!(matches!(refused, Err(RestartError::ShuttingDown)));
}

#[tokio::test]
async fn successor_that_cannot_be_started_and_a_bad_name_are_errors() {
    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    let listener = lameduck::bind("127.0.0.1:0").await.unwrap();
    let restart = Restart::new(&shutdown).unwrap();

    let bad = restart.clone().pass("a:b", &listener).unwrap_err();
    let nowhere = restart.program("/nonexistent", ["x"]).now().await;
    let nowhere = nowhere.unwrap_err().to_string();

    assert_eq!(bad.kind(), std::io::ErrorKind::InvalidInput);
    assert!(
        nowhere.starts_with("the successor cannot be started: No such file"),
        "{nowhere}"
    );
    assert!(!shutdown.is_shutting_down());
}

/// How many descriptors of this process are this socket.
fn descriptors(socket: &impl AsRawFd) -> usize {
    let ours = Path::new("/proc/self/fd");
    let name = std::fs::read_link(ours.join(socket.as_raw_fd().to_string())).unwrap();
    let all = std::fs::read_dir(ours).unwrap();
    all.filter(|it| std::fs::read_link(it.as_ref().unwrap().path()).is_ok_and(|it| it == name))
        .count()
}

#[test]
fn successor_that_panics_at_start_changes_nothing() {
    changes_nothing(
        "panics",
        "the successor ended before it was ready: exit status: 101",
    );
}

#[test]
fn successor_that_is_never_ready_changes_nothing() {
    // It serves meanwhile, and is told to stop: what it has accepted is answered.
    changes_nothing(
        "is cold",
        "the successor was not ready within 3 s, its status: starting: the cache is cold",
    );
}

#[test]
fn successor_that_dies_when_it_is_just_ready_changes_nothing() {
    changes_nothing(
        "dies after 250",
        "the successor ended when it was just ready: signal: 6",
    );
}

fn changes_nothing(mood: &str, said: &str) {
    let (_, log) = play(|host| {
        let old = host.process();
        host.set_mood(mood);
        kill(old, "HUP");
        host.wait_for_log(said);
        host.wait_for_log("no restart: this process goes on");
        // The next one is a good one.
        host.set_mood("");
        thread::sleep(Duration::from_millis(300));
        assert!(is_running(old));
        kill(old, "HUP");
        host.wait_for_end_of(old);
    });

    assert_eq!(handed_over(&log), 1, "{log}");
}

/// How many have left cleanly because of a successor.
fn handed_over(log: &str) -> usize {
    let summaries = log.lines().filter(|line| line.contains(": clean in "));
    summaries
        .filter(|line| line.contains("requested: process"))
        .count()
}

#[test]
fn successor_that_dies_while_the_old_process_drains_is_replaced() {
    is_replaced("");
}

// The old process would have drained long before.
#[test]
fn old_process_stays_until_the_successor_of_one_that_died_is_ready() {
    is_replaced("begins after 2500");
}

/// A successor dies behind the handover, and another one, of this mood, takes its place.
fn is_replaced(mood: &str) {
    play(|host| {
        let old = host.process();
        let slow = host.runtime.spawn(one_shot(host.address, "/slow"));
        host.wait_for_log("a slow request begins");
        host.set_mood("dies after 1500");
        kill(old, "HUP");
        host.wait_for_log("the successor has taken over");
        host.set_mood(mood);
        host.wait_for_log("the successor has failed: another one is started");
        let answer = host.runtime.block_on(slow).unwrap();
        assert_eq!(answer.unwrap(), old.to_string());
        host.wait_for_end_of(old);
        assert_ne!(host.process(), old);
    });
}

#[test]
fn websocket_is_told_to_end_and_comes_back_to_the_successor() {
    play(|host| {
        let old = host.process();
        let mut socket = host.runtime.block_on(Socket::open(host.address));
        assert_eq!(host.runtime.block_on(socket.ask()), old.to_string());

        kill(old, "HUP");
        let (code, reason) = host.runtime.block_on(socket.closed());
        let mut again = host.runtime.block_on(Socket::open(host.address));
        let new = host.runtime.block_on(again.ask());
        host.wait_for_end_of(old);

        assert_eq!(code, 1012);
        assert_eq!(reason, format!("requested: process {new} has taken over"));
        assert_eq!(new, host.process().to_string());
    });
}

#[test]
fn probes_are_the_successors_while_the_old_process_drains() {
    play(|host| {
        let old = host.process();
        let slow = host.runtime.spawn(one_shot(host.address, "/slow"));
        host.wait_for_log("a slow request begins");
        kill(old, "HUP");
        host.wait_for_log("the admin listener is closed");
        assert!(is_running(old));
        for _ in 0..20 {
            // Not ready would be an error.
            let ready = host.runtime.block_on(one_shot(host.admin, "/readyz"));
            assert!(ready.is_ok(), "{ready:?}");
        }
        host.runtime.block_on(slow).unwrap().unwrap();
    });
}

#[test]
fn second_signal_while_a_successor_starts_starts_no_other() {
    play(|host| {
        let old = host.process();
        host.set_mood("is cold");
        kill(old, "HUP");
        host.wait_for_log("a successor is started");
        kill(old, "HUP");
        host.wait_for_log("another successor is being started");
        host.wait_for_log("the successor was not ready");
        assert_eq!(host.log().matches("a successor is started").count(), 1);
        host.set_mood("");
    });
}

#[test]
fn shutdown_while_a_successor_starts_stops_both() {
    let host = Host::start();
    host.set_mood("is cold");
    let old = host.process();

    kill(old, "HUP");
    let successor = host.wait_for_log("a successor is started process=");
    let successor: u32 = successor.trim().parse().unwrap();
    kill(old, "TERM");
    host.wait_for_end_of(old);
    host.wait_for_end_of(successor);

    let log = host.log();
    assert!(log.contains("this process is shutting down"), "{log}");
    let refused = host.runtime.block_on(one_shot(host.address, "/"));
    assert!(refused.is_err(), "{refused:?}");
}

#[test]
fn shutdown_that_is_over_at_once_has_told_the_successor_to_stop() {
    let scratch = Scratch::new("told-to-stop");
    let file = scratch.path("process");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let process: u32 = runtime.block_on(async {
        let shutdown = ShutdownCoordinator::new(Plan::immediate());
        let script = format!("echo $$ > {file}.new; mv {file}.new {file}; exec sleep 60");
        let restart = Restart::new(&shutdown).unwrap();
        let restart = restart.program("sh", ["-c", &script]);
        tokio::spawn(async move { restart.now().await });
        let process = loop {
            match std::fs::read_to_string(&file) {
                Ok(process) => break process,
                Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        };
        // Nothing else is in flight, and the runtime is gone behind this.
        shutdown.shutdown("the test says so");
        shutdown.run().await;
        process.trim().parse().unwrap()
    });
    drop(runtime);

    wait_for_end_of(process, String::new);
}

/// Plays `act` under load, in which nothing is lost. Gives what became of the requests, and the log of all processes.
fn play(act: impl FnOnce(&Host)) -> (Tally, String) {
    let host = Host::start();
    let _inside = host.runtime.enter();
    let load = Load::start(host.address);
    thread::sleep(Duration::from_millis(300));
    act(&host);
    thread::sleep(Duration::from_millis(300));
    let tally = host.runtime.block_on(load.stop());
    let log = host.log();
    tally.assert_lossless(&begun(&host.scratch.path("mood")), &log);
    (tally, log)
}

/// A service that no service manager has started.
struct Host {
    first: Child,
    address: SocketAddr,
    admin: SocketAddr,
    runtime: Runtime,
    scratch: Scratch,
}

impl Host {
    fn start() -> Host {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let scratch = Scratch::new(&format!("handover-{number}"));
        let log = std::fs::File::create(scratch.path("log")).unwrap();
        std::fs::write(scratch.path("mood"), "").unwrap();
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["--exact", "scenario", "--nocapture", "--test-threads=1"])
            .env(SCENARIO, "service")
            .env(MOOD, scratch.path("mood"))
            .env("TERMINATION_GRACE_PERIOD_SECONDS", "10")
            .env("LAME_DUCK_SECONDS", "3")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log);
        for variable in ["NOTIFY_SOCKET", "LISTEN_FDS", "LISTEN_PID", "WATCHDOG_USEC"] {
            command.env_remove(variable);
        }
        let mut first = command.spawn().unwrap();
        let mut lines = BufReader::new(first.stdout.take().unwrap()).lines();
        let (address, admin) = loop {
            let line = lines.next().expect("it serves").unwrap();
            if let Some((_, addresses)) = line.split_once(" on ") {
                let (address, admin) = addresses.split_once(" and ").unwrap();
                break (address.parse().unwrap(), admin.parse().unwrap());
            }
        };
        // Its successors print there, too.
        thread::spawn(move || lines.for_each(drop));
        Host {
            first,
            address,
            admin,
            runtime: Runtime::new().unwrap(),
            scratch,
        }
    }

    /// A process that accepts.
    fn process(&self) -> u32 {
        let answer = self.runtime.block_on(one_shot(self.address, "/"));
        answer.unwrap().parse().unwrap()
    }

    fn set_mood(&self, mood: &str) {
        std::fs::write(self.scratch.path("mood"), mood).unwrap();
    }

    /// What all of them have logged.
    fn log(&self) -> String {
        std::fs::read_to_string(self.scratch.path("log")).unwrap()
    }

    /// Waits until one of them has logged `text`. Gives the rest of its line.
    fn wait_for_log(&self, text: &str) -> String {
        let began = Instant::now();
        loop {
            let log = self.log();
            if let Some((_, rest)) = log.split_once(text) {
                if let Some((line, _)) = rest.split_once('\n') {
                    return line.to_owned();
                }
            }
            assert!(began.elapsed() < PATIENCE, "no {text:?} in {log}");
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn wait_for_end_of(&self, process: u32) {
        wait_for_end_of(process, || self.log());
    }
}

fn is_running(process: u32) -> bool {
    // The last parenthesis ends its name; the state follows. What nobody waits for is a zombie.
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat"));
    let state = stat.ok().and_then(|it| {
        let (_, rest) = it.rsplit_once(") ")?;
        rest.chars().next()
    });
    !matches!(state, None | Some('Z' | 'X'))
}

fn wait_for_end_of(process: u32, log: impl Fn() -> String) {
    let began = Instant::now();
    while is_running(process) {
        assert!(began.elapsed() < PATIENCE, "{process}: {}", log());
        thread::sleep(Duration::from_millis(5));
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // Whoever accepts now, until nobody does.
        while let Ok(Ok(process)) = self
            .runtime
            .block_on(one_shot(self.address, "/"))
            .map(|it| it.parse())
        {
            kill(process, "KILL");
            let _ = self.first.try_wait();
            self.wait_for_end_of(process);
        }
        let _ = self.first.kill();
        let _ = self.first.wait();
    }
}
