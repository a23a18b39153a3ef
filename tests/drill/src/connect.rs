//! Makes a connection.

use std::io;
use std::net::SocketAddr;

use tokio::net::{TcpSocket, TcpStream};

/// Connects. `window` bounds what the kernel receives ahead of a client that reads slowly.
pub(crate) async fn connect(address: SocketAddr, window: Option<u32>) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    if let Some(window) = window {
        socket.set_recv_buffer_size(window)?;
    }
    let stream = socket.connect(address).await?;
    unless_itself(stream, address)
}

/// The kernel may give a client the very port that nobody listens on, and connects it with itself (RFC 9293, section 3.5:
/// simultaneous open).
fn unless_itself(stream: TcpStream, address: SocketAddr) -> io::Result<TcpStream> {
    match stream.local_addr()? == address {
        true => Err(io::ErrorKind::ConnectionRefused.into()),
        false => Ok(stream),
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[tokio::test]
    async fn client_that_is_connected_with_itself_was_refused() {
        let socket = TcpSocket::new_v4().expect("there are sockets");
        let any = (Ipv4Addr::LOCALHOST, 0).into();
        socket.bind(any).expect("a port is free");
        let own = socket.local_addr().expect("it is bound");
        let itself = socket.connect(own).await.expect("the kernel does it");

        let refused = unless_itself(itself, own);

        let refused = refused.map_err(|error| error.kind());
        assert!(matches!(refused, Err(io::ErrorKind::ConnectionRefused)));
    }
}
