//! A server as a function: on a runtime of its own, which is dropped when the function returns, as a process's end drops all.

use std::future::Future;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::{Exit, Order, free_port};
use crate::error::DrillError;

const WORKERS: usize = 2;
/// What its tasks get to be dropped.
const END: Duration = Duration::from_millis(100);

type Served = Pin<Box<dyn Future<Output = ()>>>;

pub(crate) struct Function(Arc<dyn Fn(u16, Stop) -> Served + Send + Sync>);

/// Tells a server that is a function to stop: what the signal is for a process.
#[derive(Clone, Debug)]
pub struct Stop(watch::Receiver<bool>);

impl Stop {
    /// Waits for the signal. Cancel safe: resolves at once when the signal has come.
    pub async fn requested(mut self) {
        // An error says that the drill is over, which is a reason to stop as well.
        let _ = self.0.wait_for(|stop| *stop).await;
    }
}

impl Function {
    pub(crate) fn new<F, S>(serve: F) -> Self
    where
        F: Fn(u16, Stop) -> S + Send + Sync + 'static,
        S: Future<Output = ()> + 'static,
    {
        Function(Arc::new(move |port, stop| Box::pin(serve(port, stop))))
    }

    /// Returns the port.
    pub(super) fn start(
        &self,
        ordered: mpsc::UnboundedReceiver<Order>,
        leaving: watch::Sender<Option<Exit>>,
    ) -> Result<u16, DrillError> {
        let failed = |error: io::Error| DrillError::Start(error.to_string());
        let port = free_port().map_err(failed)?;
        let runtime = Builder::new_multi_thread()
            .worker_threads(WORKERS)
            .enable_all()
            .build()
            .map_err(failed)?;
        let serve = Arc::clone(&self.0);
        thread::Builder::new()
            .name("drilled".to_owned())
            .spawn(move || {
                let exit = run(&runtime, |stop| serve(port, stop), ordered);
                runtime.shutdown_timeout(END);
                let at = Instant::now();
                leaving.send_replace(Some(Exit { at, ..exit }));
            })
            .map_err(failed)?;
        Ok(port)
    }
}

fn run(
    runtime: &Runtime,
    serve: impl FnOnce(Stop) -> Served,
    mut ordered: mpsc::UnboundedReceiver<Order>,
) -> Exit {
    let (stop, stopping) = watch::channel(false);
    let ended = catch_unwind(AssertUnwindSafe(|| {
        runtime.block_on(async {
            let mut serving = serve(Stop(stopping));
            loop {
                let order = tokio::select! {
                    () = &mut serving => return false,
                    order = ordered.recv() => order,
                };
                match order {
                    Some(Order::Stop) => {
                        stop.send_replace(true);
                    }
                    Some(Order::Kill) | None => return true,
                }
            }
        })
    }));
    Exit {
        at: Instant::now(),
        // A panic ends it, as it ends a process whose main panics.
        code: ended.is_err().then_some(101),
        killed: ended.unwrap_or(false),
        children: Vec::new(),
    }
}
