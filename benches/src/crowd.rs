//! Many clients, who ask once and then keep their connections.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::process::now;
use crate::wire::Version;
use crate::wire::client::Client;

/// So many connect at the same time.
const AT_ONCE: usize = 64;

/// Clients with idle connections.
pub struct Crowd {
    runtime: Runtime,
    version: Version,
    port: u16,
    tasks: JoinSet<()>,
    ended: Arc<Mutex<Vec<Duration>>>,
}

impl Crowd {
    pub fn new(port: u64, version: Version) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        Crowd {
            runtime: runtime.expect("a runtime can be had"),
            version,
            port: port as u16,
            tasks: JoinSet::new(),
            ended: Arc::default(),
        }
    }

    /// So many more: each connects, asks once, and waits for the server to close.
    pub fn grow(&mut self, by: usize) {
        let Crowd {
            runtime,
            version,
            port,
            tasks,
            ended,
        } = self;
        let (version, port) = (*version, *port);
        runtime.block_on(async {
            let turns = Arc::new(Semaphore::new(AT_ONCE));
            let asked = Arc::new(Semaphore::new(0));
            for _ in 0..by {
                let (turns, asked, ended) = (turns.clone(), asked.clone(), Arc::clone(ended));
                tasks.spawn(async move {
                    let turn = turns.acquire().await;
                    let io = TcpStream::connect(("127.0.0.1", port)).await;
                    let io = io.expect("the server accepts");
                    let mut client = Client::open(io, version).await;
                    client.request().await;
                    drop(turn);
                    asked.add_permits(1);
                    client.ended().await;
                    ended.lock().expect("nobody panics with it").push(now());
                });
            }
            let all = asked.acquire_many(by as u32).await;
            all.expect("it is not closed").forget();
        });
    }

    /// Lets what is going on come to rest.
    pub fn rest(&self) {
        self.runtime.block_on(async {
            tokio::time::sleep(Duration::from_millis(300)).await;
        });
    }

    /// When each connection ended, in order. Waits for all of them.
    pub fn ended(mut self) -> Vec<Duration> {
        self.runtime.block_on(async {
            while let Some(ended) = self.tasks.join_next().await {
                ended.expect("no client panics");
            }
        });
        std::mem::take(&mut *self.ended.lock().expect("nobody panics with it"))
    }
}
