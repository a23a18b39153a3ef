//! A queue consumer without HTTP: it stops taking jobs at T0, finishes what it holds, and commits.
//!
//! The queue is a table in a SQLite file. Stop the example in the middle and start it again: no job is done twice, and none
//! is lost.
//!
//! ```console
//! $ cargo run --example queue_consumer
//! 20 jobs are waiting
//! done: job 1
//! ```
//!
//! A consumer serves nobody, so LameDuck has nothing to wait for, and the process leaves as soon as the job is done.

use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;

use lameduck::{Phase, Plan, ShutdownCoordinator, TaskContext};
use sqlx::SqlitePool;
use sqlx::sqlite::SqliteConnectOptions;

#[tokio::main]
async fn main() -> Result<ExitCode, Box<dyn Error>> {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .init();
    let shutdown = ShutdownCoordinator::new(Plan::from_env()?);
    lameduck::signal::listen(&shutdown.handle())?;

    let pool = open().await?;
    shutdown.hook(Phase::Release, "sqlite", {
        let pool = pool.clone();
        async move || pool.close().await
    })?;
    shutdown.try_task("consumer", |cx| consume(cx, pool))?;

    let report = shutdown.run().await;
    println!("{report}");
    Ok(report.exit_code())
}

/// An error here ends the process, too: a consumer that cannot consume should be restarted.
async fn consume(cx: TaskContext, pool: SqlitePool) -> Result<(), sqlx::Error> {
    while !cx.is_stop_requested() {
        // The job stays in the table until it is done: whoever is killed in the middle has lost nothing.
        let job: Option<i64> = sqlx::query_scalar("SELECT id FROM jobs ORDER BY id LIMIT 1")
            .fetch_optional(&pool)
            .await?;
        let Some(job) = job else {
            tokio::select! {
                () = tokio::time::sleep(Duration::from_millis(100)) => continue,
                () = cx.stop_requested() => break,
            }
        };
        work(job).await;
        sqlx::query("DELETE FROM jobs WHERE id = ?")
            .bind(job)
            .execute(&pool)
            .await?;
        println!("done: job {job}");
    }
    Ok(())
}

async fn work(_job: i64) {
    tokio::time::sleep(Duration::from_millis(300)).await;
}

async fn open() -> Result<SqlitePool, sqlx::Error> {
    let file = std::env::args()
        .nth(1)
        .map_or_else(|| std::env::temp_dir().join("lameduck-jobs.db"), Into::into);
    let options = SqliteConnectOptions::new()
        .filename(file)
        .create_if_missing(true);
    let pool = SqlitePool::connect_with(options).await?;
    sqlx::query("CREATE TABLE IF NOT EXISTS jobs (id INTEGER PRIMARY KEY)")
        .execute(&pool)
        .await?;
    let waiting: i64 = sqlx::query_scalar("SELECT count(*) FROM jobs")
        .fetch_one(&pool)
        .await?;
    for _ in waiting..20 {
        sqlx::query("INSERT INTO jobs DEFAULT VALUES")
            .execute(&pool)
            .await?;
    }
    println!("20 jobs are waiting");
    Ok(pool)
}
