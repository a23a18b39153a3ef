//! One attempt: one request, sent once, counted once, whatever becomes of it.
//!
//! No pool and no retries: those would hide a loss.

use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime};

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::{TrySendError, http1, http2};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::balancer::{Balancer, Endpoint};
use crate::tally::{Loss, Outcome, Tally};

/// How often a request that was handed back unsent is tried again before that counts as a loss.
const MOST_CONNECTIONS: usize = 10;

/// One way of connecting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    KeepAlive,
    OneShot,
    Http2,
}

impl Way {
    pub(crate) const ALL: [Way; 3] = [Way::KeepAlive, Way::OneShot, Way::Http2];
}

/// Where new connections go.
#[derive(Clone, Debug)]
pub(crate) enum Route {
    Service(Arc<Balancer>),
    To(Arc<Endpoint>),
}

/// What is asked.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    pub(crate) path: String,
    /// Posted, if there is one.
    pub(crate) note: Option<String>,
    /// A loss all the same when it is over without an answer.
    pub(crate) patience: Duration,
}

/// A client: at most one connection, at most one request at a time.
pub(crate) struct Client {
    way: Way,
    route: Route,
    tally: Arc<Tally>,
    open: Option<Open>,
}

struct Open {
    sender: Sender,
    endpoint: Arc<Endpoint>,
    since: SystemTime,
    /// Lives while the client means to use the connection again.
    _wanted: Arc<()>,
}

/// How far an attempt has come: what is known of it if it is lost.
#[derive(Default)]
struct Course {
    endpoint: Option<Arc<Endpoint>>,
    connected: Option<SystemTime>,
}

impl Client {
    pub(crate) const fn new(way: Way, route: Route, tally: Arc<Tally>) -> Self {
        Client {
            way,
            route,
            tally,
            open: None,
        }
    }

    /// Makes one attempt and counts it.
    pub(crate) async fn attempt(&mut self, ask: &Ask) -> Outcome {
        let mut course = Course::default();
        let done = timeout(ask.patience, self.ask(ask, &mut course)).await;
        let lost = match done {
            Ok(Ok(())) => None,
            Ok(Err(lost)) => Some(lost),
            Err(_) => Some((Outcome::Other, "no end in time".to_owned())),
        };
        if lost.is_some() || self.way == Way::OneShot {
            self.open = None;
        }
        let Some((outcome, why)) = lost else {
            self.tally.answered();
            if let (Some(note), Some(endpoint)) = (&ask.note, &course.endpoint) {
                self.tally.written(endpoint.number, note.clone());
            }
            return Outcome::Answered;
        };
        self.tally.lost(Loss {
            outcome,
            what: format!("{:?} {}: {why}", self.way, ask.path),
            endpoint: course.endpoint,
            connected: course.connected,
            ended: SystemTime::now(),
        });
        outcome
    }

    async fn ask(&mut self, ask: &Ask, course: &mut Course) -> Result<(), (Outcome, String)> {
        let response = self.send(ask, course).await?;
        if response.status() != StatusCode::OK {
            return Err((Outcome::Other, response.status().to_string()));
        }
        if response.headers().contains_key("connection") {
            self.tally.told();
        }
        let body = response.into_body().collect().await;
        body.map(drop)
            .map_err(|error| (Outcome::Cut, format!("{error:?}")))
    }

    async fn send(
        &mut self,
        ask: &Ask,
        course: &mut Course,
    ) -> Result<Response<Incoming>, (Outcome, String)> {
        for _ in 0..MOST_CONNECTIONS {
            let mut open = match self.open.take() {
                Some(open) => open,
                None => self.connect(course).await?,
            };
            course.endpoint = Some(Arc::clone(&open.endpoint));
            course.connected = Some(open.since);
            // A connection that the server has closed, or said it would, is not used again: that is no loss.
            if open.sender.ready().await.is_err() {
                continue;
            }
            let request = ask.request(open.endpoint.address);
            self.tally.sent_to(&open.endpoint);
            match open.sender.send(request).await {
                Ok(response) => {
                    self.open = Some(open);
                    return Ok(response);
                }
                Err(error) if is_unsent(&error) => {}
                Err(error) => return Err((Outcome::Reset, format!("{:?}", error.error()))),
            }
        }
        Err((Outcome::Other, "handed back too often".to_owned()))
    }

    async fn connect(&self, course: &mut Course) -> Result<Open, (Outcome, String)> {
        let endpoint = match &self.route {
            Route::To(endpoint) => Some(Arc::clone(endpoint)),
            Route::Service(balancer) => balancer.pick(),
        };
        course.endpoint.clone_from(&endpoint);
        course.connected = None;
        let Some(endpoint) = endpoint else {
            return Err((Outcome::Refused, "no replica is in rotation".to_owned()));
        };
        let stream = TcpStream::connect(endpoint.address)
            .await
            .map_err(|error| {
                let outcome = match error.kind() {
                    io::ErrorKind::ConnectionRefused => Outcome::Refused,
                    io::ErrorKind::ConnectionReset => Outcome::Reset,
                    _ => Outcome::Other,
                };
                (outcome, error.to_string())
            })?;
        let since = SystemTime::now();
        course.connected = Some(since);
        let wanted = Arc::new(());
        let tally = Arc::clone(&self.tally);
        let sender = Sender::new(self.way, stream, Arc::downgrade(&wanted), tally)
            .await
            .map_err(|error| (Outcome::Reset, format!("{error:?}")))?;
        Ok(Open {
            sender,
            endpoint,
            since,
            _wanted: wanted,
        })
    }
}

impl Ask {
    fn request(&self, address: SocketAddr) -> Request<Full<Bytes>> {
        let (method, body) = match &self.note {
            Some(note) => (Method::POST, note.clone()),
            None => (Method::GET, String::new()),
        };
        Request::builder()
            .method(method)
            .uri(format!("http://{address}{}", self.path))
            .header("host", address.to_string())
            .body(Full::from(body))
            .expect("it is well formed")
    }
}

/// Not a byte of it was sent, because the close was heard just before. hyper then gives the request back; on HTTP/2 it may
/// also say that there was a GOAWAY (NO_ERROR), after which a client opens no stream (RFC 9113, section 6.8).
fn is_unsent(error: &TrySendError<Request<Full<Bytes>>>) -> bool {
    let goaway = error
        .error()
        .source()
        .and_then(|source| source.downcast_ref::<h2::Error>())
        .is_some_and(|error| error.is_go_away() && error.reason() == Some(h2::Reason::NO_ERROR));
    error.message().is_some() || goaway
}

enum Sender {
    Http1(http1::SendRequest<Full<Bytes>>),
    Http2(http2::SendRequest<Full<Bytes>>),
}

impl Sender {
    async fn new(
        way: Way,
        stream: TcpStream,
        wanted: Weak<()>,
        tally: Arc<Tally>,
    ) -> hyper::Result<Self> {
        // As browsers and Go's client do.
        let _ = stream.set_nodelay(true);
        let io = TokioIo::new(stream);
        if way != Way::Http2 {
            let (sender, connection) = http1::handshake(io).await?;
            tokio::spawn(connection);
            return Ok(Sender::Http1(sender));
        }
        let (sender, connection) = http2::handshake(TokioExecutor::new(), io).await?;
        tokio::spawn(async move {
            // It ends well when the server said GOAWAY, and when the client is through with it.
            if connection.await.is_ok() && wanted.strong_count() > 0 {
                tally.told();
            }
        });
        Ok(Sender::Http2(sender))
    }

    async fn ready(&mut self) -> hyper::Result<()> {
        match self {
            Sender::Http1(sender) => sender.ready().await,
            Sender::Http2(sender) => sender.ready().await,
        }
    }

    async fn send(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, TrySendError<Request<Full<Bytes>>>> {
        match self {
            Sender::Http1(sender) => sender.try_send_request(request).await,
            Sender::Http2(sender) => sender.try_send_request(request).await,
        }
    }
}
