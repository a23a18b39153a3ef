//! Many connections in a few milliseconds, each with one request.
//!
//! A thread of its own keeps the pace: what lies between the connects is the clock, not a scheduler. It waits for none of
//! them, or the first whose SYN is dropped would hold up the rest.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::attempt::{Ask, Log, Lost, Outcome, PATIENCE, Way};
use crate::http1::{Wire, pieces, unconnected};
use crate::random::Random;

/// A burst that is to come.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Burst {
    pub(crate) middle: Instant,
    pub(crate) width: Duration,
    pub(crate) connections: u32,
    /// It goes on until so many have been refused, or [`LONGEST`] times as many connections have been made.
    pub(crate) until_refused: usize,
}

const LONGEST: u32 = 20;

impl Burst {
    /// Sends it when its time has come, and waits for all answers.
    pub(crate) async fn send(self, address: SocketAddr, log: Arc<Log>, random: Random) {
        let (due, mut asks) = mpsc::unbounded_channel();
        let refused = Arc::<AtomicUsize>::default();
        let seen = Arc::clone(&refused);
        thread::spawn(move || self.pace(random, &due, &seen));

        let mut asking = JoinSet::new();
        while let Some(ask) = asks.recv().await {
            asking.spawn(attempt(
                address,
                ask,
                Arc::clone(&log),
                Arc::clone(&refused),
            ));
        }
        asking.join_all().await;
    }

    fn pace(self, mut random: Random, asks: &mpsc::UnboundedSender<Ask>, refused: &AtomicUsize) {
        let between = self.width / self.connections;
        let first = self.middle.checked_sub(self.width / 2);
        let first = first.unwrap_or(self.middle);
        for connection in 0..self.connections * LONGEST {
            if connection >= self.connections
                && refused.load(Ordering::Relaxed) >= self.until_refused
            {
                return;
            }
            let due = first + between * connection;
            thread::sleep(due.saturating_duration_since(Instant::now()));
            // Whoever asks is there until the last one has come.
            let _ = asks.send(Ask::quick(&mut random));
        }
    }
}

async fn attempt(address: SocketAddr, ask: Ask, log: Arc<Log>, refused: Arc<AtomicUsize>) {
    let began = SystemTime::now();
    let end = match timeout(PATIENCE, answered(address, &ask)).await {
        Ok(end) => end,
        Err(_) => Err((Outcome::TimedOut, "no end in time".to_owned())),
    };
    if let Err((Outcome::Refused, _)) = end {
        refused.fetch_add(1, Ordering::Relaxed);
    }
    log.add(ask, Way::Burst, began, end);
}

async fn answered(address: SocketAddr, ask: &Ask) -> Result<(), Lost> {
    let mut stream = TcpStream::connect(address).await.map_err(unconnected)?;
    // If this fails, reading says what happened.
    let _ = stream.write_all(&pieces(ask).concat()).await;
    let stream = stream.into_std().map_err(unconnected)?;
    let mut wire = Wire::new(stream).map_err(unconnected)?;
    wire.answer(ask).await.map(drop)
}
