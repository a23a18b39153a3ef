//! A replica's process, as the parent sees it: started, probed, told to stop, killed when it is late.

use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use crate::args::Args;
use crate::attempt::{Ask, Client, Route, Way};
use crate::balancer::Endpoint;
use crate::replica::Settings;
use crate::tally::{Outcome, Tally};

/// How long a replica may take to become ready, on a machine that is busy.
const STARTING: Duration = Duration::from_secs(30);
const BETWEEN_READINESS_PROBES: Duration = Duration::from_millis(50);
const BETWEEN_LIVENESS_PROBES: Duration = Duration::from_millis(500);
/// A probe that failed so shortly before the end met a process that was ending.
const ENDING: Duration = Duration::from_millis(500);

/// A replica that runs. Its process is killed when this is dropped.
pub(crate) struct Process {
    pub(crate) endpoint: Arc<Endpoint>,
    pub(crate) settings: Settings,
    child: Child,
    /// Never written to: the replica leaves when it closes, and waiting for a child closes what it still holds.
    _input: Option<ChildStdin>,
    output: JoinHandle<Vec<String>>,
    probes: JoinHandle<()>,
    /// When liveness probes failed.
    failed: Arc<Mutex<Vec<Instant>>>,
}

/// How a replica ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// SIGKILL came before it had left.
    pub(crate) killed: bool,
    /// From SIGTERM.
    pub(crate) took: Duration,
    pub(crate) code: Option<i32>,
    pub(crate) probes_lost: u64,
    /// When its listener closed.
    pub(crate) closed: Option<SystemTime>,
    /// From SIGTERM to then.
    pub(crate) listened: Option<Duration>,
    pub(crate) told: Option<Told>,
}

/// What a replica told about its end.
#[derive(Debug)]
pub(crate) struct Told {
    /// The half-sent head was still there when Close was over.
    pub(crate) head: bool,
    pub(crate) long: bool,
    pub(crate) hook: bool,
    pub(crate) early: bool,
    pub(crate) report: String,
}

impl Process {
    /// Starts a replica and waits until it is ready.
    pub(crate) async fn start(
        number: usize,
        settings: Settings,
        args: &Args,
    ) -> Result<Self, String> {
        let say = |error: String| format!("replica {number} of {}: {error}", settings.column);
        let mut child = command(&settings, args)
            .and_then(|mut command| command.spawn())
            .map_err(|error| say(error.to_string()))?;
        let output = child.stdout.take().expect("it is piped");
        let mut lines = BufReader::new(output).lines();
        let line = timeout(STARTING, lines.next_line()).await;
        let line = line.ok().and_then(Result::ok).flatten().unwrap_or_default();
        let endpoint = parse(number, &line).ok_or_else(|| say(format!("it said {line:?}")))?;
        let ready = timeout(STARTING, ready(&endpoint)).await;
        ready.map_err(|_| say("it did not become ready".to_owned()))?;
        let failed = Arc::default();
        Ok(Process {
            probes: tokio::spawn(probe(Arc::clone(&endpoint), Arc::clone(&failed))),
            output: tokio::spawn(read(lines)),
            endpoint,
            settings,
            _input: child.stdin.take(),
            child,
            failed,
        })
    }

    /// What the kubelet does: SIGTERM, the grace period (what the preStop hook left of it), SIGKILL.
    pub(crate) async fn stop(mut self, last: bool, grace: Duration) -> Result<Ended, String> {
        let stop = self.endpoint.stopping(last);
        self.terminate().await?;
        let exited = timeout(grace, self.child.wait()).await;
        let killed = exited.is_err();
        let status = match exited {
            Ok(status) => status,
            Err(_) => {
                // It may have left this very moment.
                let _ = self.child.start_kill();
                self.child.wait().await
            }
        };
        let took = stop.at.elapsed();
        self.probes.abort();
        let output = self.output.await.unwrap_or_default();
        let failed = self.failed.lock().expect("nobody panics with it");
        let closed = closed(&output);
        let ending = stop.at + took.saturating_sub(ENDING);
        Ok(Ended {
            killed,
            took,
            code: status.map_err(|error| error.to_string())?.code(),
            probes_lost: failed.iter().filter(|at| **at < ending).count() as u64,
            closed,
            listened: closed.and_then(|closed| closed.duration_since(stop.at_time).ok()),
            told: told(&output),
        })
    }

    async fn terminate(&self) -> Result<(), String> {
        let id = self.child.id().ok_or("a replica left before it was told")?;
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
}

fn command(settings: &Settings, args: &Args) -> std::io::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command
        .args(settings.to_args())
        .env_remove("PRE_STOP_SECONDS")
        .env_remove("LAME_DUCK_SECONDS")
        .env(
            "TERMINATION_GRACE_PERIOD_SECONDS",
            args.grace.as_secs_f64().to_string(),
        )
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true);
    if let Some(lame_duck) = args.lame_duck {
        command.env("LAME_DUCK_SECONDS", lame_duck.as_secs_f64().to_string());
    }
    if !args.pre_stop.is_zero() {
        command.env("PRE_STOP_SECONDS", args.pre_stop.as_secs_f64().to_string());
    }
    Ok(command)
}

fn parse(number: usize, line: &str) -> Option<Arc<Endpoint>> {
    let (address, admin) = line.strip_prefix("serving ")?.split_once(' ')?;
    Some(Endpoint::new(
        number,
        address.parse().ok()?,
        admin.parse().ok()?,
    ))
}

/// What the kubelet asks before a replica gets traffic.
async fn ready(endpoint: &Endpoint) {
    while !ask(endpoint, "/readyz").await {
        sleep(BETWEEN_READINESS_PROBES).await;
    }
}

/// What the kubelet asks as long as the container runs.
async fn probe(endpoint: Arc<Endpoint>, failed: Arc<Mutex<Vec<Instant>>>) {
    loop {
        if !ask(&endpoint, "/livez").await {
            let mut failed = failed.lock().expect("nobody panics with it");
            failed.push(Instant::now());
        }
        sleep(BETWEEN_LIVENESS_PROBES).await;
    }
}

async fn ask(endpoint: &Endpoint, path: &str) -> bool {
    let admin = Endpoint::new(endpoint.number, endpoint.admin, endpoint.admin);
    let ask = Ask {
        path: path.to_owned(),
        note: None,
        patience: Duration::from_secs(10),
    };
    // Counted apart: the kubelet is not a client.
    let tally = Arc::new(Tally::default());
    let mut client = Client::new(Way::OneShot, Route::To(admin), tally);
    client.attempt(&ask).await == Outcome::Answered
}

async fn read(mut lines: Lines<BufReader<ChildStdout>>) -> Vec<String> {
    let mut output = Vec::new();
    while let Ok(Some(line)) = lines.next_line().await {
        output.push(line);
    }
    output
}

fn closed(output: &[String]) -> Option<SystemTime> {
    let line = output.iter().find_map(|line| line.strip_prefix("closed "));
    let since = line?.parse().ok().map(Duration::from_micros);
    since.map(|since| UNIX_EPOCH + since)
}

fn told(output: &[String]) -> Option<Told> {
    let named = output.iter().find_map(|line| line.strip_prefix("named "))?;
    let mut named = named.split(' ').map(|named| named == "true");
    let report = output.iter().skip_while(|line| *line != "report").skip(1);
    Some(Told {
        head: named.next()?,
        long: named.next()?,
        hook: named.next()?,
        early: named.next()?,
        report: report.cloned().collect::<Vec<_>>().join("\n"),
    })
}
