//! Traffic that a sleep cannot carry: what holds a server up, or outlives any pause before the shutdown.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use http_body_util::{BodyExt, Empty};
use hyper::Request;
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use lameduck::{Phase, Plan};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;

use crate::attempt::{Ask, Client, Route, Way};
use crate::balancer::Endpoint;
use crate::tally::{Outcome, Tally};

/// For what ends with the replica, when the replica has ended.
const PATIENCE: Duration = Duration::from_secs(5);

/// How a long connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// As the protocol has it: the stream's last chunk, a close frame.
    Told,
    Cut,
}

/// The long connections to one replica, opened when it is ready.
pub(crate) struct LongConnections {
    events: JoinHandle<Ending>,
    socket: JoinHandle<Ending>,
}

impl LongConnections {
    pub(crate) async fn open(endpoint: &Endpoint) -> Result<Self, String> {
        Ok(LongConnections {
            events: opened("an event stream", events(endpoint)).await?,
            socket: opened("a WebSocket", socket(endpoint)).await?,
        })
    }

    pub(crate) async fn endings(self) -> [Ending; 2] {
        [ending(self.events).await, ending(self.socket).await]
    }
}

/// What begins just before a replica is told to stop.
pub(crate) struct LastMoment {
    head: JoinHandle<()>,
    long: JoinHandle<Outcome>,
}

impl LastMoment {
    pub(crate) async fn begin(
        endpoint: &Arc<Endpoint>,
        tally: &Arc<Tally>,
        ask: Ask,
    ) -> Result<Self, String> {
        let head = opened("half a head", half_head(endpoint)).await?;
        let route = Route::To(Arc::clone(endpoint));
        let mut client = Client::new(Way::OneShot, route, Arc::clone(tally));
        let long = tokio::spawn(async move { client.attempt(&ask).await });
        Ok(LastMoment { head, long })
    }

    /// What became of the long request.
    pub(crate) async fn outcome(self) -> Outcome {
        self.head.abort();
        let long = timeout(PATIENCE, self.long).await;
        long.ok().and_then(Result::ok).unwrap_or(Outcome::Other)
    }
}

/// A request that lasts longer than Drain does, and ends while Close still waits, when SIGTERM comes in `lead`.
pub(crate) fn longer_than_drain(plan: &Plan, lead: Duration) -> Ask {
    let after_drain = plan.duration(Phase::Close) * 2 / 5;
    let lasts = lead + plan.deadline(Phase::Drain) + after_drain;
    Ask {
        path: format!("/long?{}", lasts.as_millis()),
        note: None,
        patience: lasts * 2 + Duration::from_secs(10),
    }
}

async fn opened<T>(
    what: &str,
    opening: impl Future<Output = Result<T, Box<dyn std::error::Error + Send + Sync>>>,
) -> Result<T, String> {
    match timeout(PATIENCE * 2, opening).await {
        Ok(Ok(opened)) => Ok(opened),
        Ok(Err(error)) => Err(format!("{what} could not be opened: {error}")),
        Err(_) => Err(format!("{what} could not be opened in time")),
    }
}

type Opened<T> = Result<JoinHandle<T>, Box<dyn std::error::Error + Send + Sync>>;

async fn events(endpoint: &Endpoint) -> Opened<Ending> {
    let stream = TcpStream::connect(endpoint.address).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let request = Request::get("/events")
        .header("host", endpoint.address.to_string())
        .body(Empty::<Bytes>::new())?;
    let mut body = sender.send_request(request).await?.into_body();
    Ok(tokio::spawn(async move {
        // Held: a client that is still there.
        let _sender = sender;
        loop {
            match body.frame().await {
                Some(Ok(_)) => {}
                Some(Err(_)) => return Ending::Cut,
                None => return Ending::Told,
            }
        }
    }))
}

async fn socket(endpoint: &Endpoint) -> Opened<Ending> {
    let stream = TcpStream::connect(endpoint.address).await?;
    let uri = format!("ws://{}/ws", endpoint.address);
    let (mut socket, _) = tokio_tungstenite::client_async(uri, stream).await?;
    Ok(tokio::spawn(async move {
        while let Some(Ok(message)) = socket.next().await {
            if let Message::Close(_) = message {
                return Ending::Told;
            }
        }
        Ending::Cut
    }))
}

async fn half_head(endpoint: &Endpoint) -> Opened<()> {
    let mut stream = TcpStream::connect(endpoint.address).await?;
    stream.write_all(b"GET / HTTP/1.1\r\nhost: some").await?;
    Ok(tokio::spawn(async move {
        // Held until the server ends it, or the play does.
        let _ = stream.read(&mut [0; 1]).await;
    }))
}

async fn ending(connection: JoinHandle<Ending>) -> Ending {
    let ending = timeout(PATIENCE, connection).await;
    ending.ok().and_then(Result::ok).unwrap_or(Ending::Cut)
}
