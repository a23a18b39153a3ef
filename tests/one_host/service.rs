//! The service that the tests start, stop and restart.

use std::fs::OpenOptions;
use std::io::Write;
use std::process::{ExitCode, exit};
use std::time::Duration;

use axum::Router;
use axum::extract::RawQuery;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade};
use axum::response::Response;
use axum::routing::get;
use lameduck::restart::Restart;
use lameduck::systemd::{self, Listeners};
use lameduck::{Moment, Plan, ShutdownCoordinator, ShutdownHandle, close_websocket};
use tokio::signal::unix::SignalKind;
use tokio::sync::watch;
use tokio::time::sleep;

/// Where it reads how it behaves, when it starts.
pub(crate) const MOOD: &str = "LAMEDUCK_TEST_MOOD";

/// How long a slow request takes.
pub(crate) const SLOW: Duration = Duration::from_secs(3);

/// How long a successor is watched, and may take.
const SETTLE: Duration = Duration::from_millis(500);
const READY_WITHIN: Duration = Duration::from_secs(3);

/// The number of threads of its runtime.
const WORKERS: usize = 2;

pub(crate) fn run() {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .init();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .enable_all()
        .build()
        .unwrap();
    let code = runtime.block_on(serve()).unwrap_or_else(|error| {
        eprintln!("refused: {error}");
        ExitCode::from(2)
    });
    let code = (0..=u8::MAX)
        .find(|&number| format!("{:?}", ExitCode::from(number)) == format!("{code:?}"));
    exit(i32::from(code.expect("a code is a byte")));
}

async fn serve() -> std::io::Result<ExitCode> {
    let mood = std::env::var(MOOD).ok();
    let mood = mood.and_then(|file| std::fs::read_to_string(file).ok());
    let mood = mood.unwrap_or_default();
    assert_ne!(mood, "panics", "as it was asked to");
    if let Some(after) = mood.strip_prefix("begins after ") {
        sleep(Duration::from_millis(after.parse().unwrap())).await;
    }

    let mut passed = Listeners::from_env()?;
    let shutdown = ShutdownCoordinator::new(Plan::from_env().unwrap());
    let handle = shutdown.handle();
    lameduck::signal::listen(&handle)?;
    systemd::notify(&handle)?;
    let cold = matches!(&*mood, "is cold").then(|| handle.not_ready("the cache\nis cold"));
    let listener = passed.tcp_or_bind("http", "127.0.0.1:0").await?;
    let admin = passed.tcp_or_bind("admin", "127.0.0.1:0").await?;
    if let Some(after) = mood.strip_prefix("dies after ") {
        // It accepts nothing, so nothing is lost with it.
        let after = Duration::from_millis(after.parse().unwrap());
        tokio::spawn(async move {
            sleep(after).await;
            std::process::abort();
        });
        // Ready.
        return Ok(shutdown.run().await.exit_code());
    }
    Restart::new(&handle)?
        .pass("http", &listener)?
        .pass("admin", &admin)?
        .ready_within(READY_WITHIN)
        .settle(SETTLE)
        .at(SignalKind::hangup())?;
    let process = std::process::id();
    let (address, admin_at) = (listener.local_addr()?, admin.local_addr()?);
    println!("process {process} on {address} and {admin_at}");
    let admin = lameduck::serve_admin(admin, lameduck::probes(&handle), &handle);
    tokio::spawn(async move {
        admin.listener_closed().await;
        eprintln!("the admin listener is closed");
    });
    let (warm, mut warmed) = watch::channel(false);
    tokio::spawn(async move {
        let _ = warmed.wait_for(|warm| *warm).await;
        drop(cold);
    });
    lameduck::serve(listener, app(&handle, warm), &handle);
    Ok(shutdown.run().await.exit_code())
}

fn app(handle: &ShutdownHandle, warm: watch::Sender<bool>) -> Router {
    let process = std::process::id();
    let leaving = handle.clone();
    Router::new()
        .route(
            "/",
            get(async move |RawQuery(id): RawQuery| {
                note(id);
                sleep(Duration::from_millis(5)).await;
                process.to_string()
            }),
        )
        .route(
            "/slow",
            get(async move || {
                eprintln!("a slow request begins");
                sleep(SLOW).await;
                process.to_string()
            }),
        )
        .route(
            "/warm",
            get(async move || {
                warm.send_replace(true);
                "warm"
            }),
        )
        .route(
            "/leave",
            get(async move || {
                leaving.shutdown("asked to");
                "leaving"
            }),
        )
        .route("/wedge", get(wedge))
        .route("/socket", get(socket))
}

/// Notes that a handler has begun this request, before it does anything else. What is noted outlives the process.
fn note(id: Option<String>) {
    let Some((id, mood)) = id.zip(std::env::var(MOOD).ok()) else {
        return;
    };
    let file = OpenOptions::new()
        .create(true)
        .append(true)
        .open(begun(&mood));
    // One write, at the end of the file whoever else writes.
    file.unwrap()
        .write_all(format!("{id}\n").as_bytes())
        .unwrap();
}

/// Where that is noted.
pub(crate) fn begun(mood: &str) -> String {
    format!("{mood}.begun")
}

/// A WebSocket that says who serves it, until it is told to end.
async fn socket(upgrade: WebSocketUpgrade, moment: Moment) -> Response {
    upgrade.on_upgrade(async |socket| {
        let _ = talk(socket, moment).await;
    })
}

async fn talk(mut socket: WebSocket, mut moment: Moment) -> Result<(), axum::Error> {
    let process = std::process::id().to_string();
    loop {
        tokio::select! {
            message = socket.recv() => match message.transpose()? {
                Some(Message::Text(_)) => socket.send(process.clone().into()).await?,
                _ => return Ok(()),
            },
            told = &mut moment => {
                let frame = CloseFrame { code: 1012, reason: told.reason().to_string().into() };
                close_websocket(&mut socket, Message::Close(Some(frame)), &told).await;
                return Ok(());
            }
        }
    }
}

/// Blocks each worker of the runtime for ever.
async fn wedge() -> &'static str {
    for _ in 0..4 * WORKERS {
        tokio::spawn(async {
            loop {
                std::thread::sleep(Duration::from_secs(1));
            }
        });
    }
    "wedged"
}
