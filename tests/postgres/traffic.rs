//! Clients that write notes until nobody listens any more.

use std::io::ErrorKind;
use std::net::SocketAddr;

use futures_util::future::join_all;
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::PATIENCE;

const CLIENTS: u32 = 24;
/// How long a transaction takes, in milliseconds. Those of the last clients last longer than LameDuck.
const SHORT: u32 = 25;
const LONG: u32 = 700;
const LONG_ONES: u32 = 2;

/// Under way.
pub(crate) struct Traffic {
    seen: watch::Receiver<Seen>,
    clients: JoinHandle<()>,
}

/// What the clients saw.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    /// The notes whose writing was confirmed.
    pub(crate) confirmed: Vec<String>,
    /// What became of each other request that was sent.
    pub(crate) lost: Vec<String>,
    /// How many clients had to end because they were refused.
    pub(crate) refused: u32,
}

impl Traffic {
    pub(crate) fn start(service: SocketAddr) -> Self {
        let (seen, receiver) = watch::channel(Seen::default());
        let clients = tokio::spawn(async move {
            join_all((0..CLIENTS).map(|number| drive(number, service, &seen))).await;
        });
        Traffic {
            seen: receiver,
            clients,
        }
    }

    /// Waits until so many notes are confirmed.
    pub(crate) async fn confirms(&mut self, count: usize) {
        let enough = self.seen.wait_for(|seen| seen.confirmed.len() >= count);
        timeout(PATIENCE, enough).await.unwrap().unwrap();
    }

    /// Waits until every client was refused.
    pub(crate) async fn ends(self) -> Seen {
        timeout(PATIENCE, self.clients).await.unwrap().unwrap();
        let mut seen = self.seen.borrow().clone();
        assert_eq!(seen.refused, CLIENTS);
        seen.confirmed.sort();
        seen
    }
}

/// A note by itself.
pub(crate) async fn write_one(service: SocketAddr, note: &str) {
    let written = write(&mut None, service, SHORT, note).await;
    assert!(written.is_ok());
}

/// Every second client keeps its connection for as long as it may.
async fn drive(number: u32, service: SocketAddr, seen: &watch::Sender<Seen>) {
    let keeps = number % 2 == 0;
    let pause = if number < CLIENTS - LONG_ONES {
        SHORT
    } else {
        LONG
    };
    let mut open = None;
    for round in 0.. {
        let note = format!("client {number}, note {round}");
        match write(&mut open, service, pause, &note).await {
            Ok(()) => seen.send_modify(|seen| seen.confirmed.push(note)),
            Err(Failure::Refused) => break,
            Err(Failure::Lost(why)) => {
                seen.send_modify(|seen| seen.lost.push(format!("{note}: {why}")));
            }
        }
        open = open.filter(|_| keeps);
    }
    seen.send_modify(|seen| seen.refused += 1);
}

enum Failure {
    /// Nobody listens, so nothing was sent.
    Refused,
    Lost(String),
}

fn lost(error: impl std::fmt::Debug) -> Failure {
    Failure::Lost(format!("{error:?}"))
}

/// One request, which is sent once.
async fn write(
    open: &mut Option<http1::SendRequest<Full<Bytes>>>,
    service: SocketAddr,
    pause: u32,
    note: &str,
) -> Result<(), Failure> {
    let request = Request::post(format!("/notes/{pause}"))
        .header("host", "test")
        .body(Full::from(note.to_owned()))
        .unwrap();
    let response = loop {
        let mut connection = match open.take() {
            Some(connection) => connection,
            None => connect(service).await?,
        };
        // One that the service has closed, or said it would, is not used again: that is no loss.
        if connection.ready().await.is_err() {
            continue;
        }
        match connection.try_send_request(request.clone()).await {
            Ok(response) => {
                *open = Some(connection);
                break response;
            }
            // The same, heard of just before: not a byte was sent.
            Err(error) if error.message().is_some() => {}
            Err(error) => return Err(lost(error.error())),
        }
    };
    match response.status() {
        StatusCode::OK => {
            let body = response.into_body().collect().await;
            body.map(drop).map_err(lost)
        }
        status => Err(lost(status)),
    }
}

async fn connect(service: SocketAddr) -> Result<http1::SendRequest<Full<Bytes>>, Failure> {
    let stream = TcpStream::connect(service)
        .await
        .map_err(|error| match error.kind() {
            ErrorKind::ConnectionRefused => Failure::Refused,
            _ => lost(error),
        })?;
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(lost)?;
    tokio::spawn(connection);
    Ok(sender)
}
