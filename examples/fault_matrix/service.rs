//! The service: a child process, which is this binary again with `serve` as its first argument.
//!
//! What it says on standard output is for the parent: `listening` when it hears signals, `serving ADDRESS`, `suffering` when a
//! fault has begun, and lameduck's report. Its log goes to standard error. A line on standard input begins the fault, if that has a
//! moment of its own.

use std::convert::Infallible;
use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::State;
use axum::extract::ws::{WebSocket, WebSocketUpgrade};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{any, get, post};
use futures_util::stream;
use lameduck::{Phase, Plan, PlanError, ShutdownCoordinator};
use sqlx::SqlitePool;
use sqlx::sqlite::SqlitePoolOptions;
use tokio::runtime::{Builder, Runtime};
use tokio::time::sleep;

use crate::abuse::{Abuse, Built, Deed};
use crate::child::{self, Orders};
use crate::quota;
use crate::random::Random;

const WORKERS: usize = 2;
const ANYWHERE: &str = "127.0.0.1:0";
const CONNECTIONS: u32 = 3;

/// What it is started with.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) abuse: &'static Abuse,
    pub(crate) grace: Duration,
    pub(crate) seed: u64,
    /// Its quota is one that it cannot see.
    pub(crate) is_cycled: bool,
}

impl Settings {
    pub(crate) const COMMAND: &str = "serve";

    pub(crate) fn to_args(&self) -> Vec<String> {
        vec![
            Settings::COMMAND.to_owned(),
            self.abuse.key.to_owned(),
            self.grace.as_secs().to_string(),
            self.seed.to_string(),
            self.is_cycled.to_string(),
        ]
    }

    fn from_args(args: &[String]) -> Option<Self> {
        let [abuse, grace, seed, is_cycled] = args else {
            return None;
        };
        Some(Settings {
            abuse: Abuse::find(abuse)?,
            grace: Duration::from_secs(grace.parse().ok()?),
            seed: seed.parse().ok()?,
            is_cycled: is_cycled.parse().ok()?,
        })
    }

    /// Without a quota, as the parent reckons.
    pub(crate) fn plan(&self) -> Result<Plan, PlanError> {
        Plan::builder().grace_period(self.grace).build()
    }

    /// With the quota that the service finds, or is told of.
    fn own_plan(&self) -> Result<Plan, PlanError> {
        let plan = Plan::builder().env()?.grace_period(self.grace);
        match self.is_cycled {
            true => plan.cpu_quota(quota::SHARE, quota::PERIOD).build(),
            false => plan.build(),
        }
    }

    fn is_built(&self, how: Built) -> bool {
        self.abuse.has(Deed::Built(how))
    }
}

/// `main` of a service; `args` are those after the command's name.
pub(crate) fn main(args: &[String]) -> Result<ExitCode, Box<dyn Error>> {
    let settings = Settings::from_args(args).ok_or("only the parent starts a service")?;
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .init();
    let runtime = runtime(&settings)?;
    let orders = Orders::take(settings.abuse, runtime.handle().clone());
    // As at the end of an async `main`: when this is over the runtime is dropped.
    let code = runtime.block_on(run(settings, orders));
    drop(runtime);
    code
}

fn runtime(settings: &Settings) -> std::io::Result<Runtime> {
    let mut builder = match settings.is_built(Built::OneThread) {
        true => Builder::new_current_thread(),
        false => Builder::new_multi_thread(),
    };
    builder.worker_threads(WORKERS).enable_all().build()
}

async fn run(settings: Settings, orders: Orders) -> Result<ExitCode, Box<dyn Error>> {
    let mut random = Random::new(settings.seed);
    let shutdown = ShutdownCoordinator::new(settings.own_plan()?);
    let handle = shutdown.handle();
    lameduck::signal::listen(&handle)?;
    println!("listening");

    let starting = handle.not_ready("starting");
    if settings.is_built(Built::EndlessStart) {
        std::future::pending().await
    }
    if settings.is_built(Built::SlowStart) {
        orders.begun().await;
    }
    let pool = SqlitePoolOptions::new()
        .max_connections(CONNECTIONS)
        .connect("sqlite::memory:")
        .await?;
    let closed = pool.clone();
    shutdown.hook(Phase::Release, "sqlite", async move || closed.close().await)?;
    suffer(&settings, &shutdown, &pool, &mut random).await?;

    let app = app(pool)
        .route_service("/livez", lameduck::liveness(&handle))
        .route_service("/readyz", lameduck::readiness(&handle));
    let listener = lameduck::bind(ANYWHERE).await?;
    let address = listener.local_addr()?;
    lameduck::serve(listener, app, &handle);
    drop(starting);
    println!("serving {address}");

    let report = shutdown.run().await;
    println!("{report}");
    if settings.is_built(Built::MainStays) {
        std::future::pending().await
    }
    if settings.is_built(Built::ExitProcess) {
        report.exit_process()
    }
    Ok(report.exit_code())
}

/// The faults that are there from the start.
async fn suffer(
    settings: &Settings,
    shutdown: &ShutdownCoordinator,
    pool: &SqlitePool,
    random: &mut Random,
) -> Result<(), Box<dyn Error>> {
    for deed in settings.abuse.deeds {
        match deed {
            Deed::Hook(ending) => {
                let phase = Phase::ALL[random.below(Phase::ALL.len() as u64) as usize];
                child::hook(shutdown, phase, "abuser", *ending)?;
            }
            Deed::Built(Built::Exporter) => {
                shutdown.hook(Phase::Exit, "exporter", async || child::block())?;
            }
            Deed::Built(Built::ManyHooks) => child::many_hooks(shutdown)?,
            Deed::Built(Built::IgnoresStop) => {
                shutdown.task("abuser", async |_| std::future::pending().await)?;
            }
            Deed::Built(Built::BlockingWork) => {
                tokio::task::spawn_blocking(child::block);
            }
            Deed::Built(Built::Leak) => {
                let leaked = pool.acquire().await?;
                tokio::spawn(async move {
                    let _leaked = leaked;
                    std::future::pending::<()>().await;
                });
            }
            _ => {}
        }
    }
    Ok(())
}

fn app(pool: SqlitePool) -> Router {
    Router::new()
        .route("/", get(number))
        .route("/never", get(never))
        .route("/block", get(block))
        .route("/drip", get(drip))
        .route("/upload", post(upload))
        .route("/large", get(large))
        .route("/socket", any(socket))
        .with_state(pool)
}

async fn number(State(pool): State<SqlitePool>) -> Result<String, StatusCode> {
    let number: Result<i64, _> = sqlx::query_scalar("SELECT 1").fetch_one(&pool).await;
    let number = number.map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
    Ok(format!("{number}\n"))
}

async fn never() {
    println!("suffering");
    std::future::pending().await
}

async fn block() {
    println!("suffering");
    child::block();
}

async fn drip() -> Body {
    const PAUSE: Duration = Duration::from_millis(20);
    println!("suffering");
    Body::from_stream(stream::unfold((), async |()| {
        sleep(PAUSE).await;
        Some((Ok::<_, Infallible>(Bytes::from_static(b"drip\n")), ()))
    }))
}

async fn upload(body: Body) -> String {
    println!("suffering");
    let body = to_bytes(body, usize::MAX).await;
    format!("{}\n", body.map_or(0, |body| body.len()))
}

/// Larger than what two sockets hold.
async fn large() -> Body {
    const PIECE: usize = 64 * 1024;
    const PIECES: usize = 1024;
    println!("suffering");
    let piece = Bytes::from(vec![b'x'; PIECE]);
    Body::from_stream(stream::iter(
        std::iter::repeat_n(piece, PIECES).map(Ok::<_, Infallible>),
    ))
}

async fn socket(upgrade: WebSocketUpgrade) -> Response {
    upgrade.on_upgrade(|mut socket: WebSocket| async move {
        println!("suffering");
        while let Some(Ok(message)) = socket.recv().await {
            if socket.send(message).await.is_err() {
                return;
            }
        }
    })
}
