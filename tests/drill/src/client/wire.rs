//! One connection, as a client sees it.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use crate::attempt::{Fate, Lost};
use crate::connect::connect;
use crate::tls::Tls;

pub(crate) trait Io: AsyncRead + AsyncWrite + Unpin + Send + Sync {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send + Sync> Io for T {}

pub(crate) struct Wire {
    pub(crate) io: Box<dyn Io>,
    /// What came behind the last answer.
    pub(crate) buffer: Vec<u8>,
    pub(crate) used: bool,
    /// The same socket once more: tokio answers from what it remembers, this one asks the kernel.
    look: std::net::TcpStream,
}

impl Wire {
    /// `window` bounds what the kernel receives ahead of a client that reads slowly.
    pub(crate) async fn connect(
        address: SocketAddr,
        tls: Option<&Tls>,
        window: Option<u32>,
    ) -> Result<Self, Lost> {
        let stream = connect(address, window).await.map_err(unconnected)?;
        let (stream, look) = twice(stream).map_err(unconnected)?;
        let io: Box<dyn Io> = match tls {
            None => Box::new(stream),
            Some(tls) => Box::new(tls.connect(stream).await.map_err(no_answer)?),
        };
        Ok(Wire {
            io,
            buffer: Vec::new(),
            used: false,
            look,
        })
    }

    /// What a careful client looks at just before it sends: whether the server's end has come already.
    pub(crate) fn looks_open(&self) -> bool {
        match self.look.peek(&mut [0]) {
            Err(error) => error.kind() == io::ErrorKind::WouldBlock,
            // Its end, or bytes that nobody asked for.
            Ok(_) => false,
        }
    }
}

fn twice(stream: TcpStream) -> io::Result<(TcpStream, std::net::TcpStream)> {
    let stream = stream.into_std()?;
    // As browsers and Go's client do. A connection that has been reset already says so when it is read.
    let _ = stream.set_nodelay(true);
    let look = stream.try_clone()?;
    Ok((TcpStream::from_std(stream)?, look))
}

/// Why there is no connection. What is the client's own trouble hangs.
fn unconnected(error: io::Error) -> Lost {
    let fate = match error.kind() {
        io::ErrorKind::ConnectionRefused => Fate::Refused,
        io::ErrorKind::ConnectionReset => Fate::Reset,
        // It was reset between the handshake and the first look at it.
        io::ErrorKind::InvalidInput | io::ErrorKind::NotConnected => Fate::Reset,
        _ => Fate::Hung,
    };
    (fate, format!("connecting: {error}"))
}

/// Why there is no answer, when the connection stood.
pub(crate) fn no_answer(error: io::Error) -> Lost {
    let fate = match error.kind() {
        io::ErrorKind::UnexpectedEof => Fate::Closed,
        io::ErrorKind::ConnectionReset
        | io::ErrorKind::BrokenPipe
        | io::ErrorKind::ConnectionAborted => Fate::Reset,
        _ => Fate::Garbled,
    };
    (fate, error.to_string())
}
