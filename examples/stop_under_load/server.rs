//! The server: a child process, which is this binary again with `server` as its first argument.
//!
//! What it says on standard output is for the parent: `serving ADDRESS`, `stopping MICROSECONDS` (since the Unix epoch) when
//! SIGTERM has come, `closed MICROSECONDS` when its listener has closed, and lameduck's report.

use std::error::Error;
use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::process::parent_id;
use std::path::PathBuf;
use std::pin::pin;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use lameduck::server::Accept;
use lameduck::{Phase, Plan, ShutdownCoordinator};
use listenfd::ListenFd;
use tokio::net::{TcpListener, UnixListener};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{sleep, timeout};

use crate::app;
use crate::column::Column;
use crate::entered::Entered;

const WORKERS: usize = 2;
const ANYWHERE: &str = "127.0.0.1:0";
/// What a server says that was given its listener: the parent knows where that is.
const NOWHERE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);
/// How often a server looks whether its parent is still there, if that cannot be heard.
const BETWEEN_LOOKS: Duration = Duration::from_millis(100);

/// What a server is started with.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) column: Column,
    /// Where it notes the requests.
    pub(crate) entered: PathBuf,
    pub(crate) grace: Duration,
    pub(crate) lame_duck: Duration,
    /// The peers' pause between SIGTERM and their graceful shutdown.
    pub(crate) sleep: Duration,
}

impl Settings {
    pub(crate) const COMMAND: &str = "server";

    pub(crate) fn to_args(&self) -> Vec<String> {
        vec![
            Settings::COMMAND.to_owned(),
            self.column.key().to_owned(),
            self.entered.display().to_string(),
            self.grace.as_millis().to_string(),
            self.lame_duck.as_millis().to_string(),
            self.sleep.as_millis().to_string(),
        ]
    }

    fn from_args(args: &[String]) -> Option<Self> {
        let [column, entered, grace, lame_duck, sleep] = args else {
            return None;
        };
        let milliseconds = |text: &String| text.parse().ok().map(Duration::from_millis);
        Some(Settings {
            column: Column::parse(column)?,
            entered: PathBuf::from(entered),
            grace: milliseconds(grace)?,
            lame_duck: milliseconds(lame_duck)?,
            sleep: milliseconds(sleep)?,
        })
    }

    /// Everything but LameDuck is derived.
    pub(crate) fn plan(grace: Duration, lame_duck: Duration) -> Result<Plan, lameduck::PlanError> {
        Plan::builder()
            .grace_period(grace)
            .lame_duck(lame_duck)
            .build()
    }
}

/// `main` of a server; `args` are those after the command's name.
pub(crate) fn main(args: &[String]) -> Result<ExitCode, Box<dyn Error>> {
    let settings = Settings::from_args(args).ok_or("only the parent starts a server")?;
    let passed = ListenFd::from_env();
    match passed.len() {
        0 => leave_with_parent(),
        _ => leave_without_parent(),
    }
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .enable_all()
        .build()?
        .block_on(run(settings, passed))
}

async fn run(settings: Settings, mut passed: ListenFd) -> Result<ExitCode, Box<dyn Error>> {
    let plan = Settings::plan(settings.grace, settings.lame_duck)?;
    let app = app::app(Entered::open(&settings.entered)?);
    if passed.len() > 0 {
        if let Ok(Some(listener)) = passed.take_tcp_listener(0) {
            listener.set_nonblocking(true)?;
            return with_lameduck(TcpListener::from_std(listener)?, NOWHERE, app, plan).await;
        }
        let listener = passed.take_unix_listener(0)?.ok_or("no listener came")?;
        listener.set_nonblocking(true)?;
        return with_lameduck(UnixListener::from_std(listener)?, NOWHERE, app, plan).await;
    }
    // For all of them: tokio's own has room for 128 connections, and the listener shall not differ.
    let listener = lameduck::bind(ANYWHERE).await?;
    match settings.column {
        Column::Lameduck => {
            let address = listener.local_addr()?;
            with_lameduck(listener, address, app, plan).await
        }
        Column::Axum => with_axum(listener, app, settings.sleep).await,
        Column::HyperUtil => with_hyper_util(listener, app, settings.sleep, &plan).await,
    }
}

async fn with_lameduck(
    listener: impl Accept,
    address: SocketAddr,
    app: Router,
    plan: Plan,
) -> Result<ExitCode, Box<dyn Error>> {
    let shutdown = ShutdownCoordinator::new(plan);
    let handle = shutdown.handle();
    lameduck::signal::listen(&handle)?;
    // As in most services. Without a hook Release's time would be Close's, and the deadlines later than the plan says.
    shutdown.hook(Phase::Release, "pool", async || {})?;
    let serving = lameduck::serve(listener, app, &handle);
    tokio::spawn(async move {
        handle.reached(Phase::LameDuck).await;
        println!("stopping {}", now());
        serving.listener_closed().await;
        println!("closed {}", now());
    });
    println!("serving {address}");

    let report = shutdown.run().await;
    println!("{report}");
    Ok(report.exit_code())
}

async fn with_axum(
    listener: TcpListener,
    app: Router,
    pause: Duration,
) -> Result<ExitCode, Box<dyn Error>> {
    let mut sigterm = signal(SignalKind::terminate())?;
    println!("serving {}", listener.local_addr()?);
    axum::serve(listener, app)
        .with_graceful_shutdown(async move {
            sigterm.recv().await;
            println!("stopping {}", now());
            sleep(pause).await;
            // It stops accepting when this future is ready.
            println!("closed {}", now());
        })
        .await?;
    Ok(ExitCode::SUCCESS)
}

/// hyper-util's own example of a graceful server, with SIGTERM.
async fn with_hyper_util(
    listener: TcpListener,
    app: Router,
    pause: Duration,
    plan: &Plan,
) -> Result<ExitCode, Box<dyn Error>> {
    let mut sigterm = signal(SignalKind::terminate())?;
    let mut stopping = pin!(async {
        sigterm.recv().await;
        println!("stopping {}", now());
        sleep(pause).await;
    });
    println!("serving {}", listener.local_addr()?);

    let server = auto::Builder::new(TokioExecutor::new());
    let graceful = GracefulShutdown::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (stream, _) = accepted?;
                let service = TowerToHyperService::new(app.clone());
                let connection =
                    server.serve_connection_with_upgrades(TokioIo::new(stream), service);
                let connection = graceful.watch(connection.into_owned());
                // What becomes of it is what its client says.
                tokio::spawn(connection);
            }
            () = &mut stopping => break,
        }
    }
    drop(listener);
    println!("closed {}", now());
    // Its example has a limit here, too. This one ends when lameduck's Close does.
    let left = plan.deadline(Phase::Close).saturating_sub(pause);
    let _ = timeout(left, graceful.shutdown()).await;
    Ok(ExitCode::SUCCESS)
}

/// The parent holds the other end of standard input: when that closes, the run is over, however it ended.
fn leave_with_parent() {
    std::thread::spawn(|| {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(1);
    });
}

/// The same, for a server whose standard input was its listener.
fn leave_without_parent() {
    let parent = parent_id();
    std::thread::spawn(move || {
        while parent_id() == parent {
            std::thread::sleep(BETWEEN_LOOKS);
        }
        std::process::exit(1);
    });
}

/// Microseconds since the Unix epoch: a clock that the parent has, too.
fn now() -> u128 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap_or_default().as_micros()
}
