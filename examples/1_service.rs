//! A whole service: axum in front of a SQLite file, probes on an admin listener, the pool closed in Release.
//!
//! ```console
//! $ cargo run --example service
//! listening on 127.0.0.1:3000, probes on 127.0.0.1:3001
//! $ curl -d milk http://127.0.0.1:3000/notes
//! 1
//! $ curl http://127.0.0.1:3000/notes/1
//! milk
//! ```
//!
//! Then press Ctrl-C, or send SIGTERM, and it leaves with a report:
//!
//! ```text
//! left in 0.006 s of 9.000 s, clean: SIGINT
//! ```
//!
//! The addresses and the file can be given as arguments: `service 127.0.0.1:0 127.0.0.1:0 notes.db`.

use std::error::Error;
use std::process::ExitCode;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use lameduck::{Phase, Plan, ShutdownCoordinator};
use sqlx::SqlitePool;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions};

#[tokio::main]
async fn main() -> Result<ExitCode, Box<dyn Error>> {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .init();
    let mut args = std::env::args().skip(1);
    let address = args.next().unwrap_or("127.0.0.1:3000".to_owned());
    let admin_address = args.next().unwrap_or("127.0.0.1:3001".to_owned());
    let file = args.next().unwrap_or_else(|| {
        let file = std::env::temp_dir().join("lameduck-service.db");
        file.display().to_string()
    });

    let shutdown = ShutdownCoordinator::new(Plan::from_env()?);
    let handle = shutdown.handle();
    // Before slow start-up: a pod can be deleted while it is still opening its database.
    lameduck::signal::listen(&handle)?;

    let admin = lameduck::bind(admin_address.as_str()).await?;
    let admin_at = admin.local_addr()?;
    lameduck::serve_admin(admin, lameduck::probes(&handle), &handle);

    let pool = open(&file).await?;
    shutdown.hook(Phase::Release, "sqlite", {
        let pool = pool.clone();
        async move || pool.close().await
    })?;

    let app = Router::new()
        .route("/", get(|| async { "hello\n" }))
        .route("/notes", post(write))
        .route("/notes/{id}", get(read))
        .with_state(pool);
    let listener = lameduck::bind(address.as_str()).await?;
    println!(
        "listening on {}, probes on {admin_at}",
        listener.local_addr()?
    );
    lameduck::serve(listener, app, &handle);

    let report = shutdown.run().await;
    println!("{report}");
    Ok(report.exit_code())
}

async fn open(file: &str) -> Result<SqlitePool, sqlx::Error> {
    let options = SqliteConnectOptions::new()
        .filename(file)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal);
    let pool = SqlitePoolOptions::new().connect_with(options).await?;
    sqlx::query("CREATE TABLE IF NOT EXISTS notes (id INTEGER PRIMARY KEY, text TEXT NOT NULL)")
        .execute(&pool)
        .await?;
    Ok(pool)
}

async fn write(State(pool): State<SqlitePool>, text: String) -> Result<String, StatusCode> {
    let written = sqlx::query("INSERT INTO notes (text) VALUES (?)")
        .bind(text)
        .execute(&pool)
        .await
        .map_err(internal)?;
    Ok(format!("{}\n", written.last_insert_rowid()))
}

async fn read(State(pool): State<SqlitePool>, Path(id): Path<i64>) -> Result<String, StatusCode> {
    let text: Option<String> = sqlx::query_scalar("SELECT text FROM notes WHERE id = ?")
        .bind(id)
        .fetch_optional(&pool)
        .await
        .map_err(internal)?;
    text.map(|text| text + "\n").ok_or(StatusCode::NOT_FOUND)
}

fn internal(error: sqlx::Error) -> StatusCode {
    tracing::error!(%error, "database");
    StatusCode::INTERNAL_SERVER_ERROR
}
