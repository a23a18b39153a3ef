//! What is drilled: a command, or a function.

mod child;
mod function;
mod output;

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep};

pub(crate) use self::child::Program;
pub(crate) use self::function::Function;
pub use self::function::Stop;
pub(crate) use self::output::Output;
use crate::connect::connect;
use crate::error::DrillError;
use crate::settings::{START, Settings};

const BETWEEN_LOOKS: Duration = Duration::from_millis(5);
/// How often a server is started whose port turns out to be taken.
const STARTS: usize = 3;

/// A server that can be started again and again.
pub(crate) enum Target {
    Program(Box<Program>),
    Function(Function),
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Program(program) => program.fmt(f),
            Target::Function(_) => f.write_str("Function"),
        }
    }
}

/// How a server ended.
#[derive(Clone, Debug)]
pub(crate) struct Exit {
    pub(crate) at: Instant,
    /// `None` when a signal ended it, and for a function.
    pub(crate) code: Option<i32>,
    /// SIGKILL came before it had left.
    pub(crate) killed: bool,
    /// Processes that it had started and that are still there.
    pub(crate) children: Vec<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Stop,
    Kill,
}

/// A server that runs. It is killed when this is dropped.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    pub(crate) output: Arc<Output>,
    started: Instant,
    orders: mpsc::UnboundedSender<Order>,
    gone: watch::Receiver<Option<Exit>>,
}

impl Target {
    /// Starts it, and waits until it accepts. Returns how long that took as well.
    pub(crate) async fn accepting(
        &self,
        settings: &Settings,
    ) -> Result<(Running, Duration), DrillError> {
        let mut starts = 0;
        loop {
            starts += 1;
            let running = self.start(settings)?;
            match running.accepts().await {
                Ok(startup) => return Ok((running, startup)),
                // The port was free a moment ago. A client has taken it since.
                Err(DrillError::Died(said)) if starts < STARTS && is_in_use(&said) => {}
                Err(error) => return Err(error),
            }
        }
    }

    pub(crate) fn start(&self, settings: &Settings) -> Result<Running, DrillError> {
        let output = Arc::new(Output::new(settings.contract.as_ref()));
        let (orders, ordered) = mpsc::unbounded_channel();
        let (leaving, gone) = watch::channel(None);
        let port = match self {
            Target::Program(program) => {
                program.start(settings.signal, &output, ordered, leaving)?
            }
            Target::Function(function) => function.start(ordered, leaving)?,
        };
        Ok(Running {
            address: (Ipv4Addr::LOCALHOST, port).into(),
            output,
            started: Instant::now(),
            orders,
            gone,
        })
    }
}

impl Running {
    /// Waits until it accepts. Returns how long that took from its start.
    async fn accepts(&self) -> Result<Duration, DrillError> {
        while self.started.elapsed() < START {
            self.lives()?;
            if connect(self.address, None).await.is_ok() {
                // If the server has died, another process accepts on its port.
                self.lives()?;
                return Ok(self.started.elapsed());
            }
            sleep(BETWEEN_LOOKS).await;
        }
        Err(DrillError::Silent(self.output.tail()))
    }

    pub(crate) fn lives(&self) -> Result<(), DrillError> {
        match self.exit() {
            None => Ok(()),
            Some(_) => Err(DrillError::Died(self.output.tail())),
        }
    }

    pub(crate) fn exit(&self) -> Option<Exit> {
        self.gone.borrow().clone()
    }

    pub(crate) fn gone(&self) -> watch::Receiver<Option<Exit>> {
        self.gone.clone()
    }

    pub(crate) fn stop(&self) {
        // It may have left this very moment.
        let _ = self.orders.send(Order::Stop);
    }

    pub(crate) fn kill(&self) {
        let _ = self.orders.send(Order::Kill);
    }

    /// Waits until it has left.
    pub(crate) async fn left(&self) -> Exit {
        let mut gone = self.gone.clone();
        let left = gone.wait_for(Option::is_some).await;
        let exit = left.ok().and_then(|exit| exit.clone());
        exit.expect("its owner says how it ended")
    }
}

/// What a server says whose port somebody else has.
fn is_in_use(said: &str) -> bool {
    let said = said.to_lowercase();
    said.contains("in use") || said.contains("eaddrinuse")
}

/// A port that nobody listens on.
fn free_port() -> std::io::Result<u16> {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    Ok(listener.local_addr()?.port())
}
