//! An HTTP/2 client: several requests at once on one connection.

use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::SystemTime;

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::{TrySendError, http2};
use hyper::{Request, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::app::ID;
use crate::attempt::{Ask, Log, Lost, Outcome, PATIENCE, Way};
use crate::http1::unconnected;

/// How often a request that was handed back unsent is tried again before that counts as a loss.
const MOST_CONNECTIONS: usize = 10;

type Sender = http2::SendRequest<Full<Bytes>>;

pub(crate) struct Client {
    pub(crate) address: SocketAddr,
    pub(crate) log: Arc<Log>,
    pub(crate) open: Option<Sender>,
}

enum End {
    Over(Result<(), Lost>),
    /// Not a byte of it was sent: the client has it still.
    Unsent,
    /// The client gave it up.
    GivenUp,
}

impl Client {
    /// Sends all of `asks` at once. Returns whether somebody still listened.
    pub(crate) async fn attempt(&mut self, mut asks: Vec<Ask>) -> bool {
        let began = SystemTime::now();
        for _ in 0..MOST_CONNECTIONS {
            let sender = match self.sender().await {
                Ok(sender) => sender,
                Err(lost) => {
                    let listening = lost.0 != Outcome::Refused;
                    for ask in asks {
                        self.log.add(ask, Way::Http2, began, Err(lost.clone()));
                    }
                    return listening;
                }
            };
            let mut requests = JoinSet::new();
            for ask in asks.drain(..) {
                let sender = sender.clone();
                requests.spawn(async move { (ask, request(sender, ask).await) });
            }
            for (ask, end) in requests.join_all().await {
                match end {
                    End::Over(end) => self.log.add(ask, Way::Http2, began, end),
                    End::Unsent => asks.push(ask),
                    End::GivenUp => {
                        let given_up = (Outcome::GivenUp, "a GOAWAY came".to_owned());
                        self.log.add(ask, Way::Http2, began, Err(given_up));
                        // Under another number: the server may have begun this one.
                        asks.push(Ask::new(ask.kind, ask.post));
                    }
                }
            }
            if asks.is_empty() {
                return true;
            }
            self.open = None;
        }
        for ask in asks {
            let lost = (Outcome::Other, "handed back too often".to_owned());
            self.log.add(ask, Way::Http2, began, Err(lost));
        }
        true
    }

    /// The connection that there is, if its close has not been heard, or a new one.
    async fn sender(&mut self) -> Result<Sender, Lost> {
        if let Some(mut sender) = self.open.take() {
            if sender.ready().await.is_ok() {
                self.open = Some(sender.clone());
                return Ok(sender);
            }
        }
        let stream = TcpStream::connect(self.address).await;
        let stream = stream.map_err(unconnected)?;
        // As browsers and Go's client do.
        let _ = stream.set_nodelay(true);
        let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .map_err(|error| (Outcome::Reset, format!("{error:?}")))?;
        tokio::spawn(connection);
        self.open = Some(sender.clone());
        Ok(sender)
    }
}

async fn request(sender: Sender, ask: Ask) -> End {
    timeout(PATIENCE, exchange(sender, ask))
        .await
        .unwrap_or_else(|_| End::Over(Err((Outcome::TimedOut, "no end in time".to_owned()))))
}

async fn exchange(mut sender: Sender, ask: Ask) -> End {
    let request = Request::builder()
        .method(ask.method())
        .uri(format!("http://localhost{}", ask.target()))
        .body(Full::from(ask.body().concat()))
        .expect("it is well formed");
    let response = match sender.try_send_request(request).await {
        Ok(response) => response,
        Err(error) if error.message().is_some() => return End::Unsent,
        Err(error) if is_goaway(&error) => return End::GivenUp,
        Err(error) => return End::Over(Err((Outcome::Reset, format!("{:?}", error.error())))),
    };
    let status = response.status();
    let id = response.headers().get(ID).cloned();
    let end = match response.into_body().collect().await {
        Err(error) => Err((Outcome::Truncated, format!("{error:?}"))),
        Ok(_) if status != StatusCode::OK => Err((Outcome::Other, status.to_string())),
        Ok(_) if id.is_none_or(|id| id != ask.id.to_string()) => {
            Err((Outcome::Other, "somebody else's answer".to_owned()))
        }
        Ok(_) => Ok(()),
    };
    End::Over(end)
}

/// A GOAWAY (NO_ERROR) came while it was being sent. It is no answer to what has been sent (RFC 9113, section 6.8), but hyper's
/// client resets the stream. A server that abandons a stream shows as another error.
fn is_goaway(error: &TrySendError<Request<Full<Bytes>>>) -> bool {
    let source = error.error().source();
    source
        .and_then(|source| source.downcast_ref::<h2::Error>())
        .is_some_and(|error| error.is_go_away() && error.reason() == Some(h2::Reason::NO_ERROR))
}
