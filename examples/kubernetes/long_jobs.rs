//! Work of hours, in steps. When it is told, it finishes its step, notes how far it is, and puts the job back.
//!
//! `rainbow.yaml` runs it, one Deployment for each release. The queue is a table in a SQLite file.
//!
//! ```console
//! $ cargo run --example long_jobs
//! listening on 127.0.0.1:3000, probes on 127.0.0.1:3001
//! $ curl -d 20 http://127.0.0.1:3000/jobs # a job of twenty steps
//! 1
//! $ curl http://127.0.0.1:3000/jobs/1
//! 7 of 20
//! $ curl http://127.0.0.1:3001/metrics
//! # TYPE jobs_running gauge
//! jobs_running 1
//! ```
//!
//! Then press Ctrl-C, or send SIGTERM, and start it again: it goes on where it was.
//!
//! ```text
//! put back: job 1 at 8 of 20
//! ```
//!
//! The addresses, the file and the seconds that a step takes can be given as arguments.

use std::error::Error;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use lameduck::{Phase, Plan, ShutdownCoordinator, TaskContext};
use sqlx::SqlitePool;
use sqlx::sqlite::SqliteConnectOptions;

/// How long a job stays taken without a sign of life, beside the time of a step. Then another replica may take it: whoever
/// was killed in the middle has lost one step.
const LEASE_SECONDS: f64 = 60.0;

#[tokio::main]
async fn main() -> Result<ExitCode, Box<dyn Error>> {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .init();
    let mut args = std::env::args().skip(1);
    let address = args.next().unwrap_or("127.0.0.1:3000".to_owned());
    let admin_address = args.next().unwrap_or("127.0.0.1:3001".to_owned());
    let file = args.next().unwrap_or_else(|| {
        let file = std::env::temp_dir().join("lameduck-long-jobs.db");
        file.display().to_string()
    });
    let step = args.next().unwrap_or("1".to_owned()).parse()?;

    let shutdown = ShutdownCoordinator::new(Plan::from_env()?);
    let handle = shutdown.handle();
    lameduck::signal::listen(&handle)?;

    let queue = Queue::open(&file, step).await?;
    shutdown.hook(Phase::Release, "sqlite", {
        let pool = queue.pool.clone();
        async move || pool.close().await
    })?;

    let admin = Router::new()
        .route("/metrics", get(metrics))
        .with_state(queue.clone())
        .fallback_service(lameduck::probes(&handle));
    let admin_listener = lameduck::bind(admin_address.as_str()).await?;
    let admin_at = admin_listener.local_addr()?;
    lameduck::serve_admin(admin_listener, admin, &handle);

    let app = Router::new()
        .route("/jobs", post(submit))
        .route("/jobs/{id}", get(progress))
        .with_state(queue.clone());
    let listener = lameduck::bind(address.as_str()).await?;
    println!(
        "listening on {}, probes on {admin_at}",
        listener.local_addr()?
    );
    lameduck::serve(listener, app, &handle);
    shutdown.try_task("jobs", |cx| work(cx, queue))?;

    let report = shutdown.run().await;
    println!("{report}");
    Ok(report.exit_code())
}

async fn work(cx: TaskContext, queue: Queue) -> Result<(), sqlx::Error> {
    while !cx.is_stop_requested() {
        let Some(mut job) = queue.take().await? else {
            tokio::select! {
                () = tokio::time::sleep(Duration::from_millis(100)) => continue,
                () = cx.stop_requested() => break,
            }
        };
        queue.running.store(true, Ordering::Relaxed);
        println!("taken: {job}");
        while job.done < job.steps && !cx.is_stop_requested() {
            tokio::time::sleep(queue.step).await;
            job.done += 1;
            queue.checkpoint(&job).await?;
        }
        if job.done < job.steps {
            queue.put_back(&job).await?;
            println!("put back: {job}");
        } else {
            println!("done: {job}");
        }
        queue.running.store(false, Ordering::Relaxed);
    }
    Ok(())
}

struct Job {
    id: i64,
    steps: i64,
    done: i64,
}

impl std::fmt::Display for Job {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "job {} at {} of {}", self.id, self.done, self.steps)
    }
}

#[derive(Clone)]
struct Queue {
    pool: SqlitePool,
    step: Duration,
    running: Arc<AtomicBool>,
}

impl Queue {
    async fn open(file: &str, step: f64) -> Result<Queue, Box<dyn Error>> {
        let step = Duration::try_from_secs_f64(step)?;
        let options = SqliteConnectOptions::new()
            .filename(file)
            .create_if_missing(true);
        let pool = SqlitePool::connect_with(options).await?;
        sqlx::query(
            "CREATE TABLE IF NOT EXISTS jobs
             (id INTEGER PRIMARY KEY, steps INTEGER NOT NULL, done INTEGER NOT NULL, taken_until REAL NOT NULL)",
        )
        .execute(&pool)
        .await?;
        Ok(Queue {
            pool,
            step,
            running: Arc::default(),
        })
    }

    /// One statement, so no two replicas take the same job.
    async fn take(&self) -> Result<Option<Job>, sqlx::Error> {
        let taken: Option<(i64, i64, i64)> = sqlx::query_as(
            "UPDATE jobs SET taken_until = unixepoch() + ? WHERE id =
             (SELECT id FROM jobs WHERE done < steps AND taken_until <= unixepoch() ORDER BY id LIMIT 1)
             RETURNING id, steps, done",
        )
        .bind(self.lease())
        .fetch_optional(&self.pool)
        .await?;
        Ok(taken.map(|(id, steps, done)| Job { id, steps, done }))
    }

    async fn checkpoint(&self, job: &Job) -> Result<(), sqlx::Error> {
        sqlx::query("UPDATE jobs SET done = ?, taken_until = unixepoch() + ? WHERE id = ?")
            .bind(job.done)
            .bind(self.lease())
            .bind(job.id)
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    async fn put_back(&self, job: &Job) -> Result<(), sqlx::Error> {
        sqlx::query("UPDATE jobs SET taken_until = 0 WHERE id = ?")
            .bind(job.id)
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    fn lease(&self) -> f64 {
        self.step.as_secs_f64() + LEASE_SECONDS
    }
}

async fn submit(State(queue): State<Queue>, steps: String) -> Result<String, StatusCode> {
    let steps: i64 = steps.trim().parse().map_err(|_| StatusCode::BAD_REQUEST)?;
    let submitted = sqlx::query("INSERT INTO jobs (steps, done, taken_until) VALUES (?, 0, 0)")
        .bind(steps)
        .execute(&queue.pool)
        .await
        .map_err(internal)?;
    Ok(format!("{}\n", submitted.last_insert_rowid()))
}

async fn progress(State(queue): State<Queue>, Path(id): Path<i64>) -> Result<String, StatusCode> {
    let job: Option<(i64, i64)> = sqlx::query_as("SELECT done, steps FROM jobs WHERE id = ?")
        .bind(id)
        .fetch_optional(&queue.pool)
        .await
        .map_err(internal)?;
    let (done, steps) = job.ok_or(StatusCode::NOT_FOUND)?;
    Ok(format!("{done} of {steps}\n"))
}

/// In Prometheus' text format.
async fn metrics(State(queue): State<Queue>) -> String {
    let running = u8::from(queue.running.load(Ordering::Relaxed));
    format!("# TYPE jobs_running gauge\njobs_running {running}\n")
}

fn internal(error: sqlx::Error) -> StatusCode {
    tracing::error!(%error, "database");
    StatusCode::INTERNAL_SERVER_ERROR
}
