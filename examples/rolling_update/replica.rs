//! A replica: a child process, which is this binary again with `replica` as its first argument.
//!
//! What it says on standard output is for the parent: `serving ADDRESS ADMIN`, `closed MICROSECONDS` (since the Unix epoch)
//! when its listener has closed, and, in the column that has one, its report.

use std::error::Error;
use std::future::pending;
use std::io::Read;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::routing::get;
use lameduck::report::{Kind, Outcome, PhaseOutcome};
use lameduck::{Phase, Plan, Report, ShutdownCoordinator};
use sqlx::SqlitePool;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use crate::app;
use crate::args;
use crate::column::Column;

const WORKERS: usize = 2;

/// For so long all workers of the runtime are blocked at T0, in the replica that has this trouble.
const BLOCKED: Duration = Duration::from_secs(1);

/// What a setting that there is not is called on the command line.
const NO: &str = "-";

const ANYWHERE: &str = "127.0.0.1:0";

/// What goes wrong in a replica when it is told to stop.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Trouble {
    /// A hook that never ends; in the other columns, a clean-up after `serve` that never ends.
    pub(crate) hung_hook: bool,
    /// The runtime's workers are blocked at T0.
    pub(crate) blocked: bool,
}

/// What a replica is started with.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) column: Column,
    pub(crate) file: PathBuf,
    /// Before the graceful shutdown, in the column that sleeps.
    pub(crate) sleep: Duration,
    /// How long LameDuck takes at least, where it may be over early.
    pub(crate) early: Option<Duration>,
    pub(crate) trouble: Trouble,
}

impl Settings {
    pub(crate) const COMMAND: &str = "replica";

    pub(crate) fn to_args(&self) -> Vec<String> {
        vec![
            Settings::COMMAND.to_owned(),
            self.column.key().to_owned(),
            self.file.display().to_string(),
            self.sleep.as_millis().to_string(),
            self.early
                .map_or_else(|| NO.to_owned(), |least| least.as_millis().to_string()),
            self.trouble.hung_hook.to_string(),
            self.trouble.blocked.to_string(),
        ]
    }

    fn from_args(args: &[String]) -> Option<Self> {
        let [column, file, sleep, early, hung_hook, blocked] = args else {
            return None;
        };
        Some(Settings {
            column: Column::parse(column)?,
            file: PathBuf::from(file),
            sleep: Duration::from_millis(sleep.parse().ok()?),
            early: match early.as_str() {
                NO => None,
                least => Some(Duration::from_millis(least.parse().ok()?)),
            },
            trouble: Trouble {
                hung_hook: hung_hook.parse().ok()?,
                blocked: blocked.parse().ok()?,
            },
        })
    }
}

/// `main` of a replica; `args` are those after the command's name.
pub(crate) fn main(args: &[String]) -> Result<ExitCode, Box<dyn Error>> {
    let settings = Settings::from_args(args).ok_or("only the parent starts a replica")?;
    leave_with_parent();
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .enable_all()
        .build()?
        .block_on(run(settings))
}

async fn run(settings: Settings) -> Result<ExitCode, Box<dyn Error>> {
    if settings.trouble.blocked {
        let mut sigterm = signal(SignalKind::terminate())?;
        tokio::spawn(async move {
            sigterm.recv().await;
            block_workers();
        });
    }
    let pool = app::open(&settings.file).await?;
    match settings.column {
        Column::Axum | Column::AxumSleep => with_axum(settings, pool).await,
        Column::Lameduck => with_lameduck(settings, pool).await,
    }
}

async fn with_axum(settings: Settings, pool: SqlitePool) -> Result<ExitCode, Box<dyn Error>> {
    let mut sigterm = signal(SignalKind::terminate())?;
    let listener = TcpListener::bind(ANYWHERE).await?;
    let admin = TcpListener::bind(ANYWHERE).await?;
    println!("serving {} {}", listener.local_addr()?, admin.local_addr()?);
    let probes = Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(|| async { "ok\n" }));
    tokio::spawn(async move { axum::serve(admin, probes).await });

    axum::serve(listener, app::app(pool.clone()))
        .with_graceful_shutdown(async move {
            sigterm.recv().await;
            tokio::time::sleep(settings.sleep).await;
            println!("closed {}", now());
        })
        .await?;
    pool.close().await;
    if settings.trouble.hung_hook {
        pending::<()>().await;
    }
    Ok(ExitCode::SUCCESS)
}

async fn with_lameduck(settings: Settings, pool: SqlitePool) -> Result<ExitCode, Box<dyn Error>> {
    let mut plan = Plan::builder().env()?;
    if let Some(least) = settings.early {
        plan = plan.leave_early(args::early(least));
    }
    let shutdown = ShutdownCoordinator::new(plan.build()?);
    let handle = shutdown.handle();
    lameduck::signal::listen(&handle)?;
    shutdown.hook(Phase::Release, "sqlite", {
        let pool = pool.clone();
        async move || pool.close().await
    })?;
    if settings.trouble.hung_hook {
        shutdown.hook(Phase::Release, "hung", pending::<()>)?;
    }

    let listener = lameduck::bind(ANYWHERE).await?;
    let admin = lameduck::bind(ANYWHERE).await?;
    println!("serving {} {}", listener.local_addr()?, admin.local_addr()?);
    lameduck::serve_admin(admin, lameduck::probes(&handle), &handle);
    let serving = lameduck::serve(listener, app::app(pool), &handle);
    tokio::spawn(async move {
        serving.listener_closed().await;
        println!("closed {}", now());
    });

    let report = shutdown.run().await;
    tell(&report);
    Ok(report.exit_code())
}

/// What the report named, for the parent to check, and the report as a person reads it.
fn tell(report: &Report) {
    let left_behind = |kind: Kind, phase: Phase, name: &str| {
        let left = report.phase(phase).map(|phase| phase.left_behind.iter());
        left.into_iter()
            .flatten()
            .any(|left| left.kind == kind && left.name.contains(name))
    };
    let head = left_behind(Kind::Connection, Phase::Close, "half-sent head");
    let long = left_behind(Kind::Request, Phase::Drain, "GET /long");
    let hook = report
        .hooks()
        .any(|hook| hook.name == "hung" && hook.outcome == Outcome::Overran);
    let early = report
        .phase(Phase::LameDuck)
        .is_some_and(|phase| phase.outcome == PhaseOutcome::LeftEarly);
    println!("named {head} {long} {hook} {early}");
    println!("report");
    println!("{report}");
}

/// Blocks every worker, as a lock or a computation that forgot about async does.
fn block_workers() {
    let until = Instant::now() + BLOCKED;
    for _ in 0..WORKERS {
        tokio::spawn(async move {
            std::thread::sleep(until.saturating_duration_since(Instant::now()));
        });
    }
}

/// The parent holds the other end of standard input: when that closes, the play is over, however it ended.
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
