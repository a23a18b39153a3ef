//! Connections that are bad on purpose: they hold a server up, and nothing is lost when they are cut.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// What each of them sends, and nothing else.
const BEGINNINGS: [&[u8]; 5] = [
    b"",
    b"",
    b"GET /quick HTTP/1.1\r\nhost: local",
    b"POST /upload HTTP/1.1\r\ncontent-le",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
];

/// Opens them. They stay until the server ends them, or this is dropped.
pub(crate) async fn open(address: SocketAddr) -> io::Result<JoinSet<()>> {
    let mut connections = JoinSet::new();
    for beginning in BEGINNINGS {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(beginning).await?;
        connections.spawn(async move {
            // The server's own SETTINGS, a 408: whatever it says, the client says nothing.
            while let Ok(1..) = stream.read(&mut [0; 256]).await {}
        });
    }
    Ok(connections)
}
