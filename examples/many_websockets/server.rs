//! A server: a child process, which is this binary again with `server` as its first argument.
//!
//! What it says on standard output is for the parent. Times are microseconds since the Unix epoch.
//!
//! ```text
//! serving ADDRESS
//! counted TIME NUMBER      every 20 ms from SIGTERM on: how many connections the handle counts
//! window TIME              the window has begun in which they are told
//! long TOLD CUT            what the report says of them
//! ```

use std::error::Error;
use std::io::Read;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Router;
use lameduck::{Phase, Plan, PlanError, ShutdownCoordinator, ShutdownHandle};
use tokio::net::TcpListener;
use tokio::time::interval;

use crate::app;

/// From SIGTERM to SIGKILL.
pub(crate) const GRACE: Duration = Duration::from_secs(30);
/// Nothing is routed here.
const LAME_DUCK: Duration = Duration::from_millis(500);
const BETWEEN_COUNTS: Duration = Duration::from_millis(20);
const WORKERS: usize = 2;
const ANYWHERE: &str = "127.0.0.1:0";

/// Who serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Column {
    /// `lameduck::serve`.
    Lameduck,
    /// `axum::serve`.
    Axum,
}

/// How much a WebSocket of the server buffers, to read and to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Buffers {
    Small,
    /// tungstenite's own, 128 KiB.
    Default,
}

impl Buffers {
    pub(crate) const SMALL: usize = 4 * 1024;
}

/// What a server is started with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    pub(crate) column: Column,
    pub(crate) buffers: Buffers,
    pub(crate) spread: Duration,
}

impl Settings {
    pub(crate) const COMMAND: &str = "server";

    pub(crate) fn to_args(self) -> [String; 4] {
        let column = match self.column {
            Column::Lameduck => "lameduck",
            Column::Axum => "axum",
        };
        let buffers = match self.buffers {
            Buffers::Small => "small",
            Buffers::Default => "default",
        };
        [
            Settings::COMMAND.to_owned(),
            column.to_owned(),
            buffers.to_owned(),
            self.spread.as_millis().to_string(),
        ]
    }

    fn from_args(args: &[String]) -> Option<Self> {
        let [column, buffers, spread] = args else {
            return None;
        };
        Some(Settings {
            column: match column.as_str() {
                "lameduck" => Column::Lameduck,
                "axum" => Column::Axum,
                _ => return None,
            },
            buffers: match buffers.as_str() {
                "small" => Buffers::Small,
                "default" => Buffers::Default,
                _ => return None,
            },
            spread: Duration::from_millis(spread.parse().ok()?),
        })
    }
}

/// Everything that is not set is derived.
pub(crate) fn plan(spread: Duration) -> Result<Plan, PlanError> {
    Plan::builder()
        .grace_period(GRACE)
        .lame_duck(LAME_DUCK)
        .long_spread(spread)
        .build()
}

/// `main` of a server; `args` are those after the command's name.
pub(crate) fn main(args: &[String]) -> Result<ExitCode, Box<dyn Error>> {
    let settings = Settings::from_args(args).ok_or("only the parent starts a server")?;
    leave_with_parent();
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .enable_all()
        .build()?
        .block_on(run(settings))
}

async fn run(settings: Settings) -> Result<ExitCode, Box<dyn Error>> {
    let app = app::app(settings.buffers);
    // For both: tokio's own has room for 128 connections.
    let listener = lameduck::bind(ANYWHERE).await?;
    match settings.column {
        Column::Lameduck => with_lameduck(listener, app, plan(settings.spread)?).await,
        Column::Axum => {
            println!("serving {}", listener.local_addr()?);
            axum::serve(listener, app).await?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

async fn with_lameduck(
    listener: TcpListener,
    app: Router,
    plan: Plan,
) -> Result<ExitCode, Box<dyn Error>> {
    let shutdown = ShutdownCoordinator::new(plan);
    let handle = shutdown.handle();
    lameduck::signal::listen(&handle)?;
    let address = listener.local_addr()?;
    lameduck::serve(listener, app, &handle);
    tokio::spawn(count(handle.clone()));
    let long_phase = handle.reached(handle.plan().long_phase());
    tokio::spawn(async move {
        long_phase.await;
        println!("window {}", now());
    });
    println!("serving {address}");

    let report = shutdown.run().await;
    println!("long {} {}", report.long.told, report.long.cut);
    Ok(report.exit_code())
}

async fn count(handle: ShutdownHandle) {
    handle.reached(Phase::LameDuck).await;
    let mut pulse = interval(BETWEEN_COUNTS);
    loop {
        pulse.tick().await;
        let connections = handle.connections();
        // Taken after the count: whom a client holds at this time was open when it was counted.
        println!("counted {} {connections}", now());
    }
}

/// The parent holds the other end of standard input: when that closes, the run is over, however it ended.
fn leave_with_parent() {
    std::thread::spawn(|| {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(1);
    });
}

/// Microseconds since the Unix epoch: a clock that the parent has, too.
fn now() -> u128 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap_or_default().as_micros()
}
