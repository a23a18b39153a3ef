//! The service in front of PostgreSQL, and how it leaves when it is a process of its own.

use std::net::SocketAddr;
use std::process::exit;
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::post;
use lameduck::{Phase, Plan, ShutdownCoordinator, ShutdownHandle, signal};
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;

use crate::database::options;
use crate::{SERVICE, millis, seconds};

/// Fewer than there are clients, so that requests also wait for a connection.
pub(crate) const CONNECTIONS: u32 = 8;
pub(crate) const HOOK: &str = "postgres";
/// In the environment of a scenario: PostgreSQL's port.
pub(crate) const PORT: &str = "LAMEDUCK_TEST_POSTGRES";
/// How long a hook with a time of its own gets.
pub(crate) const HOOKS_OWN: Duration = millis(100);

pub(crate) fn plan() -> Plan {
    let plan = Plan::builder().lame_duck(millis(400)).spread(millis(300));
    let plan = plan.linger(millis(200));
    plan.build().unwrap()
}

/// For what is to last until Release's deadline.
pub(crate) fn short_plan() -> Plan {
    let plan = Plan::builder().lame_duck(Duration::ZERO).drain(millis(500));
    let plan = plan.close(millis(500)).release(seconds(1));
    plan.build().unwrap()
}

pub(crate) async fn open(port: u16) -> PgPool {
    PgPoolOptions::new()
        .max_connections(CONNECTIONS)
        .connect_with(options(port, SERVICE))
        .await
        .unwrap()
}

pub(crate) async fn serve(pool: PgPool, handle: &ShutdownHandle) -> SocketAddr {
    let app = Router::new()
        .route("/notes/{pause}", post(write))
        .with_state(pool);
    let listener = lameduck::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    lameduck::serve(listener, app, handle);
    address
}

/// A transaction with a pause in its middle, of so many milliseconds.
async fn write(
    State(pool): State<PgPool>,
    Path(pause): Path<u32>,
    text: String,
) -> Result<(), StatusCode> {
    let written = async {
        let mut transaction = pool.begin().await?;
        sqlx::query("INSERT INTO notes (text) VALUES ($1)")
            .bind(text)
            .execute(&mut *transaction)
            .await?;
        sqlx::query("SELECT pg_sleep($1)")
            .bind(f64::from(pause) / 1_000.0)
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await
    };
    written.await.map_err(|error: sqlx::Error| {
        eprintln!("database: {error}");
        StatusCode::INTERNAL_SERVER_ERROR
    })
}

/// Serves until SIGTERM, and then leaves as the scenario says.
pub(crate) async fn play(scenario: &str) -> ! {
    let port = std::env::var(PORT).expect("the test says where it is");
    let pool = open(port.parse().unwrap()).await;
    let plan = match scenario {
        "closes the pool" | "leaves the pool open" | "exits at once" => plan(),
        _ => short_plan(),
    };
    let shutdown = ShutdownCoordinator::new(plan).termination_log("/nonexistent");
    let handle = shutdown.handle();
    signal::listen(&handle).unwrap();

    let close = {
        let pool = pool.clone();
        async move || pool.close().await
    };
    match scenario {
        "closes the pool" => shutdown.hook(Phase::Release, HOOK, close).unwrap(),
        "leaves the pool open" => {}
        "exits at once" => {
            let signalled = handle.reached(Phase::LameDuck);
            tokio::spawn(async move {
                signalled.await;
                exit(0);
            });
        }
        "forgets a connection" => {
            std::mem::forget(pool.acquire().await.unwrap());
            shutdown.hook(Phase::Release, HOOK, close).unwrap();
        }
        "forgets one, and the hook has a time of its own" => {
            std::mem::forget(pool.acquire().await.unwrap());
            let when = Phase::Release.timeout(HOOKS_OWN);
            shutdown.hook(when, HOOK, close).unwrap();
        }
        "a task holds a connection" => {
            let mut connection = pool.acquire().await.unwrap();
            tokio::spawn(async move {
                loop {
                    let query = sqlx::query("SELECT pg_sleep(0.1)");
                    query.execute(&mut *connection).await.unwrap();
                }
            });
            shutdown.hook(Phase::Release, HOOK, close).unwrap();
        }
        _ => panic!("no scenario {scenario:?}"),
    }
    println!("listening on {}", serve(pool, &handle).await);

    let report = shutdown.run().await;
    println!("{report}");
    report.exit_process()
}
