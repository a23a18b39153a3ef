//! The servers on TCP, each wired as its own README or example does it, until SIGTERM.
//!
//! Each says `port` when it listens, and `closed`, with the time, when the last connection is.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use lameduck::{Plan, Report, ShutdownCoordinator};
use swansong::Swansong;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_graceful_shutdown::{SubsystemBuilder, SubsystemHandle, Toplevel};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::process::now;
use crate::wire::client::ANSWER;

/// How long the slow handler takes.
pub const SLOW: Duration = Duration::from_millis(240);

pub const SERVERS: [&str; 8] = [
    "bare",
    "hyper-util",
    "axum",
    "axum-server",
    "tokio-graceful-shutdown",
    "swansong",
    "tracker",
    "lameduck",
];

/// `lameduck`, and `main` does not return, but ends the process.
pub const AT_ONCE: &str = "lameduck, exit_process()";

/// Runs the server of that name. `spread` is for `lameduck`.
#[tokio::main]
pub async fn run(name: &str, spread: Duration) {
    let listener = lameduck::bind("127.0.0.1:0").await.expect("a port is free");
    let port = listener.local_addr().expect("it is bound").port();
    println!("port {port}");
    let app = Router::new()
        .route("/orders/{id}", get(async || ANSWER))
        .route(
            "/slow",
            get(async || {
                tokio::time::sleep(SLOW).await;
                ANSWER
            }),
        );
    match name {
        "bare" => bare(listener, app).await,
        "hyper-util" => hyper_util(listener, app).await,
        "axum" => {
            let served = axum::serve(listener, app).with_graceful_shutdown(terminated());
            served.await.expect("it can accept");
        }
        "axum-server" => axum_server(listener, app).await,
        "tokio-graceful-shutdown" => toplevel(listener, app).await,
        "swansong" => swansong(listener, app).await,
        "tracker" => tracker(listener, app).await,
        "lameduck" => drop(lameduck(listener, app, spread).await),
        AT_ONCE => lameduck(listener, app, spread).await.exit_process(),
        _ => panic!("no such server: {name}"),
    }
    closed();
}

pub fn closed() {
    println!("closed {}", now().as_micros());
}

async fn terminated() {
    let mut terminated = signal(SignalKind::terminate()).expect("it can be listened to");
    terminated.recv().await;
}

/// Knows nothing of a shutdown: SIGTERM kills it.
async fn bare(listener: TcpListener, app: Router) {
    while let Ok((io, _)) = listener.accept().await {
        let app = TowerToHyperService::new(app.clone());
        tokio::spawn(async move {
            let builder = auto::Builder::new(TokioExecutor::new());
            let served = builder.serve_connection_with_upgrades(TokioIo::new(io), app);
            let _ = served.await;
        });
    }
}

async fn hyper_util(listener: TcpListener, app: Router) {
    let builder = auto::Builder::new(TokioExecutor::new());
    let graceful = GracefulShutdown::new();
    let mut terminated = pin!(terminated());
    loop {
        tokio::select! {
            Ok((io, _)) = listener.accept() => {
                let app = TowerToHyperService::new(app.clone());
                let served = builder.serve_connection_with_upgrades(TokioIo::new(io), app);
                let served = graceful.watch(served.into_owned());
                tokio::spawn(async move { drop(served.await) });
            }
            () = &mut terminated => break,
        }
    }
    drop(listener);
    graceful.shutdown().await;
}

async fn axum_server(listener: TcpListener, app: Router) {
    let listener = listener.into_std().expect("nobody else has it");
    let handle = axum_server::Handle::<SocketAddr>::new();
    tokio::spawn({
        let handle = handle.clone();
        async move {
            terminated().await;
            handle.graceful_shutdown(Some(Duration::from_secs(30)));
        }
    });
    let server = axum_server::from_tcp(listener).expect("it can be registered");
    let served = server.handle(handle).serve(app.into_make_service());
    served.await.expect("it can accept");
}

async fn toplevel(listener: TcpListener, app: Router) {
    let server = async move |subsystem: &mut SubsystemHandle| {
        let token = subsystem.create_cancellation_token();
        let served = axum::serve(listener, app).with_graceful_shutdown(token.cancelled_owned());
        served.await
    };
    let toplevel = Toplevel::new(async move |subsystem: &mut SubsystemHandle| {
        subsystem.start(SubsystemBuilder::new("server", server));
    });
    let ended = toplevel
        .catch_signals()
        .handle_shutdown_requests(Duration::from_secs(30))
        .await;
    ended.expect("it ends in time");
}

async fn swansong(listener: TcpListener, app: Router) {
    let swansong = Swansong::new();
    let mut terminated = pin!(terminated());
    loop {
        tokio::select! {
            Ok((io, _)) = listener.accept() => {
                let app = TowerToHyperService::new(app.clone());
                let guard = swansong.guard();
                let shutting_down = swansong.shutting_down();
                tokio::spawn(async move {
                    let _guard = guard;
                    ask(io, app, shutting_down).await;
                });
            }
            () = &mut terminated => break,
        }
    }
    drop(listener);
    swansong.shut_down().await;
}

async fn tracker(listener: TcpListener, app: Router) {
    let tracker = TaskTracker::new();
    let token = CancellationToken::new();
    let mut terminated = pin!(terminated());
    loop {
        tokio::select! {
            Ok((io, _)) = listener.accept() => {
                let app = TowerToHyperService::new(app.clone());
                tracker.spawn(ask(io, app, token.clone().cancelled_owned()));
            }
            () = &mut terminated => break,
        }
    }
    drop(listener);
    token.cancel();
    tracker.close();
    tracker.wait().await;
}

/// Serves a connection, and asks it to leave when `leave` is ready.
async fn ask(
    io: tokio::net::TcpStream,
    app: TowerToHyperService<Router>,
    leave: impl Future<Output = ()>,
) {
    let builder = auto::Builder::new(TokioExecutor::new());
    let mut served = pin!(builder.serve_connection_with_upgrades(TokioIo::new(io), app));
    tokio::select! {
        _ = served.as_mut() => {}
        () = leave => {
            served.as_mut().graceful_shutdown();
            let _ = served.await;
        }
    }
}

async fn lameduck(listener: TcpListener, app: Router, spread: Duration) -> Arc<Report> {
    let plan = Plan::builder()
        .grace_period(Duration::from_secs(30))
        .lame_duck(spread)
        .spread(spread)
        .linger(Duration::ZERO)
        .build()
        .expect("it fits");
    let shutdown = ShutdownCoordinator::new(plan);
    let handle = shutdown.handle();
    lameduck::signal::listen(&handle).expect("they can be listened to");
    drop(lameduck::serve(listener, app, &handle));
    shutdown.run().await
}
