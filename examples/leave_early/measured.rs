//! Two servers as processes, under load, with and without `leave_early`: how long they take from SIGTERM to their exit.

use std::fmt;
use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, header};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::server::{Early, GRACE, Settings};

/// When the clients go elsewhere, from SIGTERM.
const MOVES: Duration = Duration::from_secs(1);
const CLIENTS: u32 = 8;
/// Between two requests of a client: together some 600 a second.
const PAUSE: Duration = Duration::from_millis(12);
/// How long a server may take to start, and an answer to come, on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(20);
/// So many quiet times are under load before SIGTERM: the 20 that are looked at, and some.
const QUIET_TIMES: u32 = 23;
/// How often it is tried. A machine that stalls for most of a quiet time under load is a lull to the server, which then stays.
const TRIES: u32 = 3;
/// By how much the server that may leave early has to be faster: the part of LameDuck that `min` leaves to be saved, less this.
const SLACK: Duration = Duration::from_millis(400);

/// What was measured.
pub(crate) struct Measured {
    lame_duck: Duration,
    early: Early,
    /// How many servers it took until one left early.
    tries: u32,
    with: Exit,
    without: Exit,
}

/// How a server left.
struct Exit {
    /// From SIGTERM.
    took: Duration,
    code: Option<i32>,
    /// How long LameDuck took and how it ended, as the server said it.
    said: String,
    answered: u64,
    failed: u64,
}

pub(crate) async fn measure(quick: bool) -> Result<Measured, String> {
    let (lame_duck, min, quiet) = match quick {
        true => (2_500, 1_300, 200),
        false => (10_000, 2_000, 500),
    };
    let lame_duck = Duration::from_millis(lame_duck);
    let early = Early {
        min: Duration::from_millis(min),
        quiet: Duration::from_millis(quiet),
    };
    let load = early.quiet * QUIET_TIMES;
    let with = Settings {
        lame_duck,
        early: Some(early),
    };
    let without = Settings {
        lame_duck,
        early: None,
    };
    let (mut with_it, without) = tokio::try_join!(stop(with, load), stop(without, load))?;
    let mut tries = 1;
    while !with_it.is_early() && tries < TRIES {
        tries += 1;
        with_it = stop(with, load).await?;
    }
    Ok(Measured {
        lame_duck,
        early,
        tries,
        with: with_it,
        without,
    })
}

/// Starts a server, gives it load for so long, and stops it.
async fn stop(settings: Settings, load: Duration) -> Result<Exit, String> {
    let mut child = spawn(settings).map_err(|error| format!("a server: {error}"))?;
    // The server leaves when this closes, and waiting for a child closes what it still holds.
    let _input = child.stdin.take();
    let output = child.stdout.take().expect("it is piped");
    let mut lines = BufReader::new(output).lines();
    let line = timeout(PATIENCE, lines.next_line()).await;
    let line = line.ok().and_then(Result::ok).flatten().unwrap_or_default();
    let address = line.strip_prefix("serving ");
    let address: SocketAddr = address
        .and_then(|address| address.parse().ok())
        .ok_or_else(|| format!("a server said {line:?}"))?;

    let moved = CancellationToken::new();
    let (answered, failed) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        clients.spawn(ask(
            address,
            moved.clone(),
            Arc::clone(&answered),
            Arc::clone(&failed),
        ));
    }
    sleep(load).await;

    let id = child.id().and_then(|id| i32::try_from(id).ok());
    let id = id.and_then(Pid::from_raw).ok_or("a server left at once")?;
    let told = Instant::now();
    kill_process(id, Signal::TERM).map_err(|error| format!("SIGTERM: {error}"))?;
    sleep(MOVES).await;
    moved.cancel();
    let status = match timeout(GRACE, child.wait()).await {
        Ok(status) => status,
        Err(_) => {
            // It may have left this very moment.
            let _ = child.start_kill();
            child.wait().await
        }
    };
    let took = told.elapsed();
    while clients.join_next().await.is_some() {}
    let said = lines.next_line().await.ok().flatten().unwrap_or_default();
    Ok(Exit {
        took,
        code: status.map_err(|error| error.to_string())?.code(),
        said,
        answered: answered.load(Ordering::Relaxed),
        failed: failed.load(Ordering::Relaxed),
    })
}

/// One client with keep-alive, until traffic has moved.
async fn ask(
    address: SocketAddr,
    moved: CancellationToken,
    answered: Arc<AtomicU64>,
    failed: Arc<AtomicU64>,
) {
    let mut open = None;
    while !moved.is_cancelled() {
        let end = timeout(PATIENCE, one(address, &mut open)).await;
        let counter = match end {
            Ok(Ok(())) => &answered,
            Ok(Err(_)) | Err(_) => {
                open = None;
                &failed
            }
        };
        counter.fetch_add(1, Ordering::Relaxed);
        sleep(PAUSE).await;
    }
}

type Error = Box<dyn std::error::Error + Send + Sync>;

/// One request, on the connection that is open, if the server has not closed it.
async fn one(
    address: SocketAddr,
    open: &mut Option<SendRequest<Empty<Bytes>>>,
) -> Result<(), Error> {
    let mut sender = match open.take() {
        Some(sender) => sender,
        None => connect(address).await?,
    };
    // A close that could be seen is no loss.
    if sender.ready().await.is_err() {
        sender = connect(address).await?;
    }
    let request = Request::get("/").header(header::HOST, "localhost");
    let response = sender.send_request(request.body(Empty::new())?).await?;
    response.into_body().collect().await?;
    *open = Some(sender);
    Ok(())
}

async fn connect(address: SocketAddr) -> Result<SendRequest<Empty<Bytes>>, Error> {
    let stream = TcpStream::connect(address).await?;
    let (sender, connection) = handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    Ok(sender)
}

fn spawn(settings: Settings) -> std::io::Result<Child> {
    Command::new(std::env::current_exe()?)
        .args(settings.to_args())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
}

impl Exit {
    fn is_early(&self) -> bool {
        self.said.ends_with("left early")
    }
}

impl Measured {
    /// What it says beyond the last line.
    pub(crate) fn table(&self) -> String {
        let Early { min, quiet } = self.early;
        let exit = |name: &str, exit: &Exit| {
            format!(
                "   {name:<22} SIGTERM to exit {:.2} s, {}, exit code {}; {} requests, {} not answered\n",
                exit.took.as_secs_f64(),
                exit.said,
                exit.code.map_or("none".to_owned(), |code| code.to_string()),
                exit.answered + exit.failed,
                exit.failed
            )
        };
        format!(
            "5. Measured: two processes, some 600 requests a second each, SIGTERM, the clients go elsewhere after {:.0} s\n\n   \
             LameDuck {:.1} s, min {:.1} s, quiet {:.2} s; try {} of {TRIES}\n{}{}",
            MOVES.as_secs_f64(),
            self.lame_duck.as_secs_f64(),
            min.as_secs_f64(),
            quiet.as_secs_f64(),
            self.tries,
            exit("without `leave_early`", &self.without),
            exit("with it", &self.with)
        )
    }

    pub(crate) fn failures(&self) -> Vec<String> {
        let mut failures = Vec::new();
        for exit in [&self.with, &self.without] {
            if exit.code != Some(0) || exit.failed > 0 || exit.answered == 0 {
                failures.push(format!(
                    "a server left with {:?}, {} answered and {} not",
                    exit.code, exit.answered, exit.failed
                ));
            }
        }
        let to_save = self.lame_duck - self.early.min;
        let saved = self.without.took.saturating_sub(self.with.took);
        if saved + SLACK < to_save {
            failures.push(format!(
                "{:.2} s were saved, of {:.2} s",
                saved.as_secs_f64(),
                to_save.as_secs_f64()
            ));
        }
        failures
    }
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (with, without) = (self.with.took, self.without.took);
        write!(
            f,
            "SIGTERM to exit {:.2} s with it, {:.2} s without",
            with.as_secs_f64(),
            without.as_secs_f64()
        )
    }
}
