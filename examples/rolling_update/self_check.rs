//! The clients, checked: before they judge anybody they show that they see a loss.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use crate::attempt::{Ask, Client, Route, Way};
use crate::balancer::Endpoint;
use crate::tally::{Outcome, Tally};

/// So long without another byte, and a request has come whole.
const SILENCE: Duration = Duration::from_millis(100);

/// Each way of connecting, against a server that reads and closes, against none, and against one that stops in mid-answer.
pub(crate) async fn run() -> Result<(), String> {
    for way in Way::ALL {
        for note in [None, Some("a note".to_owned())] {
            let closing = server("").await?;
            expect(way, note, closing, Outcome::Reset).await?;
        }
        expect(way, None, nobody().await?, Outcome::Refused).await?;
    }
    let stopping = server("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhel").await?;
    expect(Way::KeepAlive, None, stopping, Outcome::Cut).await
}

async fn expect(
    way: Way,
    note: Option<String>,
    address: SocketAddr,
    expected: Outcome,
) -> Result<(), String> {
    let tally = Arc::new(Tally::default());
    let route = Route::To(Endpoint::new(0, address, address));
    let ask = Ask {
        path: "/".to_owned(),
        note,
        patience: Duration::from_secs(10),
    };
    let outcome = Client::new(way, route, Arc::clone(&tally))
        .attempt(&ask)
        .await;
    let counted = tally.read().of(expected);
    if outcome != expected || counted != 1 {
        return Err(format!(
            "self-check: a {way:?} client that should have been {} says {}",
            expected.name(),
            outcome.name()
        ));
    }
    Ok(())
}

/// A server for one connection: reads what comes, answers `answer`, closes.
async fn server(answer: &'static str) -> Result<SocketAddr, String> {
    let (listener, address) = bind().await?;
    tokio::spawn(async move {
        if let Ok((mut stream, _)) = listener.accept().await {
            read_all(&mut stream).await;
            // The client may be gone already.
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    Ok(address)
}

async fn read_all(stream: &mut TcpStream) {
    let mut bytes = [0; 4096];
    while let Ok(Ok(1..)) = timeout(SILENCE, stream.read(&mut bytes)).await {}
}

/// An address where nobody listens: it was free a moment ago.
async fn nobody() -> Result<SocketAddr, String> {
    let (listener, address) = bind().await?;
    drop(listener);
    match TcpStream::connect(address).await {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => Ok(address),
        _ => Err("self-check: somebody listens where nobody should".to_owned()),
    }
}

async fn bind() -> Result<(TcpListener, SocketAddr), String> {
    let listener = TcpListener::bind("127.0.0.1:0").await;
    listener
        .and_then(|listener| listener.local_addr().map(|address| (listener, address)))
        .map_err(|error| format!("self-check: {error}"))
}
