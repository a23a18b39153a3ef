//! What the programs' tests share: how either kind of program is run and stopped.

use std::fmt::Debug;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use lameduck::{Phase, Plan, Report, ShutdownCoordinator, ShutdownHandle};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

pub(crate) const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Long enough for requests of a test in each phase; no spread, so that everybody is told at once.
fn plan() -> Plan {
    Plan::builder()
        .grace_period(millis(20_000))
        .lame_duck(millis(500))
        .spread(Duration::ZERO)
        .drain(millis(5_000))
        .close(millis(8_000))
        .long_spread(Duration::ZERO)
        .linger(millis(200))
        .build()
        .unwrap()
}

/// A program as it was. Its runtime is its own, and is gone when the program returns, as its process would be.
pub(crate) struct Before {
    pub(crate) address: SocketAddr,
    pub(crate) stop: oneshot::Sender<()>,
    pub(crate) gone: oneshot::Receiver<()>,
}

impl Before {
    pub(crate) async fn start<S, F, E>(serve: S) -> Self
    where
        S: FnOnce(TcpListener, BoxFuture<'static, ()>) -> F + Send + 'static,
        F: Future<Output = Result<(), E>>,
        E: Debug,
    {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let (leave, gone) = oneshot::channel();
        std::thread::spawn(move || {
            let runtime = Runtime::new().unwrap();
            runtime.block_on(async {
                let listener = TcpListener::from_std(listener).unwrap();
                let stopped = stopped.map(drop).boxed();
                serve(listener, stopped).await.unwrap();
            });
            drop(runtime);
            let _ = leave.send(());
        });
        Before {
            address,
            stop,
            gone,
        }
    }

    /// Asks it to stop, and waits until it is gone.
    pub(crate) async fn leave(self) {
        self.stop.send(()).unwrap();
        soon(self.gone).await.unwrap();
    }
}

/// A program as it is.
pub(crate) struct After {
    pub(crate) address: SocketAddr,
    shutdown: ShutdownCoordinator,
}

impl After {
    pub(crate) async fn start(serve: impl FnOnce(TcpListener, &ShutdownHandle)) -> Self {
        let shutdown = ShutdownCoordinator::new(plan()).termination_log("/nonexistent");
        let listener = lameduck::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        serve(listener, &shutdown);
        After { address, shutdown }
    }

    /// Triggers the shutdown and waits until its first phase has begun.
    pub(crate) async fn begin(self) -> JoinHandle<Arc<Report>> {
        let handle = self.shutdown.handle();
        handle.shutdown("test");
        let run = tokio::spawn(self.shutdown.run());
        soon(handle.reached(Phase::LameDuck)).await;
        run
    }
}

/// A test that waits for what never comes fails.
pub(crate) async fn soon<F: Future>(future: F) -> F::Output {
    let waited = timeout(millis(60_000), future).await;
    waited.expect("it never came")
}
