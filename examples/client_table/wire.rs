//! A client's socket, which reads as fast as its client wants to, and no faster.

use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;
use tokio::time::{Instant, sleep_until};
use tokio_rustls::TlsConnector;

use crate::cue::Occasion;
use crate::story::End;
use crate::tls::{self, Stream};

/// Set before the connection is made: so much of a response fits in here, and the rest waits in the server's kernel.
/// Linux doubles it.
const RECEIVE_BUFFER: u32 = 16 << 10;
/// What may be on the client's side and not read yet: its kernel's buffer and a record of TLS.
pub(crate) const BUFFERED: usize = (2 * RECEIVE_BUFFER as usize) + (16 << 10);

/// Read at a time.
const PIECE: usize = 4 << 10;
/// A paced client that was late reads on as if it had been late by no more than this.
const CATCH_UP: Duration = Duration::from_millis(100);

pub(crate) struct Wire {
    pub(crate) peer: SocketAddr,
    /// What has come and was not taken yet.
    pub(crate) buffer: Vec<u8>,
    stream: Stream,
    /// Why nothing can be sent any more. The kernel says it once, and then that the connection is closed.
    broken: Option<End>,
    left: Occasion,
    pace: Option<Pace>,
    pub(crate) after_exit: usize,
}

struct Pace {
    a_byte: Duration,
    next: Instant,
}

impl Wire {
    /// With `resets` it ends in a reset when it is dropped.
    pub(crate) async fn connect(
        address: SocketAddr,
        connector: Option<&TlsConnector>,
        left: Occasion,
        resets: bool,
    ) -> Result<Self, End> {
        let socket = TcpSocket::new_v4()?;
        socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
        let tcp = socket.connect(address).await?;
        tcp.set_nodelay(true)?;
        if resets {
            tcp.set_zero_linger()?;
        }
        Ok(Wire {
            peer: tcp.local_addr()?,
            buffer: Vec::new(),
            broken: None,
            stream: tls::connected(tcp, connector).await?,
            left,
            pace: None,
            after_exit: 0,
        })
    }

    /// From now on it reads `rate` kB/s.
    pub(crate) fn pace(&mut self, rate: usize) {
        const KILO: u32 = 1000;
        self.pace = Some(Pace {
            a_byte: Duration::from_secs(1) / (rate as u32 * KILO),
            next: Instant::now(),
        });
    }

    /// An error is no end: there may be something to read.
    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        let sent = async {
            self.stream.write_all(bytes).await?;
            self.stream.flush().await
        };
        if let Err(error) = sent.await {
            self.broken.get_or_insert(End::from(error));
        }
    }

    /// Ends the client's direction.
    pub(crate) async fn half_close(&mut self) {
        let _ = self.stream.shutdown().await;
    }

    /// Reads a piece. Cancel safe.
    pub(crate) async fn more(&mut self) -> Result<(), End> {
        if let Some(pace) = &self.pace {
            sleep_until(pace.next).await;
        }
        let mut piece = [0; PIECE];
        let count = self.stream.read(&mut piece).await?;
        if count == 0 {
            return Err(self.broken.take().unwrap_or(End::Closed));
        }
        if self.left.has_come() {
            self.after_exit += count;
        }
        if let Some(pace) = &mut self.pace {
            let next = pace.next + pace.a_byte * count as u32;
            pace.next = next.max(Instant::now() - CATCH_UP);
        }
        self.buffer.extend_from_slice(&piece[..count]);
        Ok(())
    }

    /// Reads until so much is in the buffer.
    pub(crate) async fn fill(&mut self, length: usize) -> Result<(), End> {
        while self.buffer.len() < length {
            self.more().await?;
        }
        Ok(())
    }

    /// Reads until `event`.
    pub(crate) async fn read_until(&mut self, event: impl Future<Output = ()>) -> Result<(), End> {
        let mut event = pin!(event);
        loop {
            tokio::select! {
                biased;
                () = &mut event => return Ok(()),
                more = self.more() => more?,
            }
        }
    }
}
