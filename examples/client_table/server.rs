//! The server: a child process, which is this binary again with `server` as its first argument.
//!
//! It tells its parent on standard output what the clients wait for and the judge needs, one fact a line:
//!
//! | line | when |
//! |---|---|
//! | `serving ADDRESS` | it listens |
//! | `phase PHASE` | the phase has begun; a peer's LameDuck is its sleep, its Drain begins with its graceful shutdown |
//! | `entered PATH` | a handler was called |
//! | `body PATH LENGTH whole`, `body PATH failed: …` | a body that is read behind its response has ended |
//! | `outcome PHASE OUTCOME`, `left PHASE KIND NAME`, `cut N` | lameduck's report, every name in full length |
//!
//! A line on standard input ends Drain, where it is held open. The end of standard input ends the server.

use std::error::Error;
use std::io::BufRead;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::pin;
use std::process::ExitCode;
use std::time::Duration;

use axum::serve::Listener;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use lameduck::{Phase, Plan, PlanError, Report, Server, ShutdownCoordinator};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

use crate::app;
use crate::column::Column;
use crate::moment::Moment;
use crate::protocol::Protocol;
use crate::tls::{self, Stream};

const WORKERS: usize = 2;
const ANYWHERE: &str = "127.0.0.1:0";

const DRAIN: Duration = Duration::from_secs(4);
const CLOSE: Duration = Duration::from_secs(7);
const RELEASE: Duration = Duration::from_millis(300);
const EXIT: Duration = Duration::from_millis(300);
const RESERVE: Duration = Duration::from_millis(900);
/// Short: every connection has been told to close when a client sends its next request.
const SPREAD: Duration = Duration::from_millis(200);

/// What a server is started with.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) column: Column,
    pub(crate) protocol: Protocol,
    /// How long LameDuck lasts, and how long the peers sleep before they begin.
    pub(crate) lame_duck: Duration,
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

impl Settings {
    pub(crate) const COMMAND: &str = "server";

    pub(crate) fn to_args(&self) -> Vec<String> {
        vec![
            Settings::COMMAND.to_owned(),
            self.column.key().to_owned(),
            self.protocol.key().to_owned(),
            self.lame_duck.as_millis().to_string(),
            self.certificate.display().to_string(),
            self.key.display().to_string(),
        ]
    }

    fn from_args(args: &[String]) -> Option<Self> {
        let [column, protocol, lame_duck, certificate, key] = args else {
            return None;
        };
        Some(Settings {
            column: Column::parse(column)?,
            protocol: Protocol::parse(protocol)?,
            lame_duck: lame_duck.parse().ok().map(Duration::from_millis)?,
            certificate: PathBuf::from(certificate),
            key: PathBuf::from(key),
        })
    }

    pub(crate) fn plan(&self) -> Result<Plan, PlanError> {
        Plan::builder()
            .grace_period(self.grace())
            .lame_duck(self.lame_duck)
            .drain(DRAIN)
            .close(CLOSE)
            .release(RELEASE)
            .exit(EXIT)
            .reserve(RESERVE)
            .spread(SPREAD)
            .build()
    }

    /// From SIGTERM to SIGKILL.
    pub(crate) fn grace(&self) -> Duration {
        self.lame_duck + DRAIN + CLOSE + RELEASE + EXIT + RESERVE
    }

    fn acceptor(&self) -> Result<Option<TlsAcceptor>, Box<dyn Error>> {
        let acceptor = || tls::acceptor(&self.certificate, &self.key, self.protocol);
        self.protocol.is_tls().then(acceptor).transpose()
    }
}

/// `main` of a server; `args` are those after the command's name.
pub(crate) fn main(args: &[String]) -> Result<ExitCode, Box<dyn Error>> {
    let settings = Settings::from_args(args).ok_or("only the parent starts a server")?;
    let (drained, drain) = watch::channel(false);
    take_orders(drained);
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .enable_all()
        .build()?
        .block_on(run(settings, drain))
}

async fn run(settings: Settings, drain: watch::Receiver<bool>) -> Result<ExitCode, Box<dyn Error>> {
    // For all of them: tokio's own has room for 128 connections, and the listener shall not differ.
    let listener = lameduck::bind(ANYWHERE).await?;
    match settings.column {
        Column::Lameduck => with_lameduck(listener, settings, drain).await,
        Column::Axum => with_axum(listener, settings).await,
        Column::HyperUtil => with_hyper_util(listener, settings).await,
    }
}

async fn with_lameduck(
    listener: TcpListener,
    settings: Settings,
    mut drain: watch::Receiver<bool>,
) -> Result<ExitCode, Box<dyn Error>> {
    let shutdown = ShutdownCoordinator::new(settings.plan()?);
    let handle = shutdown.handle();
    lameduck::signal::listen(&handle)?;
    shutdown.hook(Phase::Drain, "held open", async move || {
        // Its sender lives as long as the process.
        let _ = drain.wait_for(|drained| *drained).await;
    })?;
    for &phase in Phase::ALL {
        // A hook, because its phase waits for it: a process with nothing left to do is gone before a task has its turn.
        let name = format!("{phase} has begun");
        shutdown.hook(phase, name, async move || println!("phase {phase}"))?;
    }

    let address = listener.local_addr()?;
    let app = app::app(Some(handle.clone()));
    // hyper takes a client that half-closes for one that has gone, unless it is told not to.
    let server = Server::new(&handle).http1(|http1| {
        http1.half_close(true);
    });
    match settings.acceptor()? {
        Some(acceptor) => server
            .handshake(move |tcp| acceptor.accept(tcp))
            .serve(listener, app),
        None => server.serve(listener, app),
    };
    println!("serving {address}");

    let report = shutdown.run().await;
    tell(&report);
    Ok(report.exit_code())
}

/// `Display` cuts names off at the width of a terminal.
fn tell(report: &Report) {
    for phase in &report.phases {
        println!("outcome {} {}", phase.phase, phase.outcome);
        for left in &phase.left_behind {
            println!("left {} {} {}", phase.phase, left.kind, left.name);
        }
    }
    println!("cut {}", report.cut);
    println!("{report}");
}

async fn with_axum(listener: TcpListener, settings: Settings) -> Result<ExitCode, Box<dyn Error>> {
    let sigterm = signal(SignalKind::terminate())?;
    println!("serving {}", listener.local_addr()?);
    let listener = Listening {
        listener,
        acceptor: settings.acceptor()?,
    };
    axum::serve(listener, app::app(None))
        .with_graceful_shutdown(stopping(sigterm, settings.lame_duck))
        .await?;
    Ok(ExitCode::SUCCESS)
}

/// A listener for axum. Handshakes are done one after the other, which no client here delays.
struct Listening {
    listener: TcpListener,
    acceptor: Option<TlsAcceptor>,
}

impl Listener for Listening {
    type Io = Stream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Stream, SocketAddr) {
        loop {
            let (tcp, peer) = Listener::accept(&mut self.listener).await;
            if let Ok(stream) = tls::accepted(tcp, self.acceptor.as_ref()).await {
                return (stream, peer);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// hyper-util's own example of a graceful server, with SIGTERM.
async fn with_hyper_util(
    listener: TcpListener,
    settings: Settings,
) -> Result<ExitCode, Box<dyn Error>> {
    let sigterm = signal(SignalKind::terminate())?;
    let mut stopping = pin!(stopping(sigterm, settings.lame_duck));
    let (app, acceptor) = (app::app(None), settings.acceptor()?);
    println!("serving {}", listener.local_addr()?);

    let mut server = auto::Builder::new(TokioExecutor::new());
    server.http1().half_close(true);
    let graceful = GracefulShutdown::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (tcp, _) = accepted?;
                let (server, watcher) = (server.clone(), graceful.watcher());
                let (service, acceptor) = (TowerToHyperService::new(app.clone()), acceptor.clone());
                tokio::spawn(async move {
                    if let Ok(stream) = tls::accepted(tcp, acceptor.as_ref()).await {
                        let connection =
                            server.serve_connection_with_upgrades(TokioIo::new(stream), service);
                        // What becomes of it is what its client says.
                        let _ = watcher.watch(connection.into_owned()).await;
                    }
                });
            }
            () = &mut stopping => break,
        }
    }
    drop(listener);
    // Its example has a limit here, too. This one ends when lameduck's Close does.
    let _ = timeout(DRAIN + CLOSE, graceful.shutdown()).await;
    Ok(ExitCode::SUCCESS)
}

/// Waits for SIGTERM, and then for as long as LameDuck lasts: what comes meanwhile is served in every column.
async fn stopping(mut sigterm: Signal, lame_duck: Duration) {
    sigterm.recv().await;
    println!("phase {}", Moment::LameDuck);
    sleep(lame_duck).await;
    println!("phase {}", Moment::Drain);
}

/// The parent holds the other end of standard input: when that closes, the run is over, however it ended.
fn take_orders(drained: watch::Sender<bool>) {
    std::thread::spawn(move || {
        for _ in std::io::stdin().lock().lines().map_while(Result::ok) {
            drained.send_replace(true);
        }
        std::process::exit(1);
    });
}
