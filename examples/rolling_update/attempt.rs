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
use crate::proxy::{ATTEMPT, Front};
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
    /// It says with each answer which replica that is from.
    Proxy(Arc<Front>),
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
    address: SocketAddr,
    /// `None` behind a proxy.
    endpoint: Option<Arc<Endpoint>>,
    since: SystemTime,
    /// Lives while the client means to use the connection again.
    _wanted: Arc<()>,
}

/// How far an attempt has come: what is known of it if it is lost.
#[derive(Default)]
struct Course {
    endpoint: Option<Arc<Endpoint>>,
    /// Behind a proxy: when the request was sent.
    connected: Option<SystemTime>,
    /// What the proxy's log calls it.
    attempt: Option<u64>,
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
            attempt: course.attempt,
            by_proxy: false,
            ended: SystemTime::now(),
        });
        outcome
    }

    async fn ask(&mut self, ask: &Ask, course: &mut Course) -> Result<(), (Outcome, String)> {
        let response = self.send(ask, course).await?;
        if let Route::Proxy(front) = &self.route {
            course.endpoint = front.replica(response.headers());
        }
        if response.status() != StatusCode::OK {
            return Err((Outcome::Other, response.status().to_string()));
        }
        let connection = response.headers().get("connection");
        if connection.is_some_and(|value| value == "close") {
            self.tally.told();
        }
        let body = response.into_body().collect().await;
        body.map_err(|error| (Outcome::Cut, format!("{error:?}")))?;
        if let (Route::Proxy(_), Some(endpoint), Some(sent)) =
            (&self.route, &course.endpoint, course.connected)
        {
            self.tally.sent_to(endpoint, sent);
        }
        Ok(())
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
            course.endpoint.clone_from(&open.endpoint);
            course.connected = Some(open.since);
            // A connection that the server has closed, or said it would, is not used again: that is no loss.
            if open.sender.ready().await.is_err() {
                continue;
            }
            let mut request = ask.request(open.address);
            let now = SystemTime::now();
            if let Some(endpoint) = &open.endpoint {
                self.tally.sent_to(endpoint, now);
            }
            if let Route::Proxy(front) = &self.route {
                let attempt = front.attempt();
                request.headers_mut().insert(ATTEMPT, attempt.into());
                course.attempt = Some(attempt);
                course.connected = Some(now);
            }
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
        let (endpoint, address) = match &self.route {
            Route::To(endpoint) => (Some(Arc::clone(endpoint)), Some(endpoint.address)),
            Route::Service(balancer) => {
                let endpoint = balancer.pick();
                let address = endpoint.as_ref().map(|endpoint| endpoint.address);
                (endpoint, address)
            }
            Route::Proxy(front) => (None, Some(front.address)),
        };
        course.endpoint.clone_from(&endpoint);
        course.connected = None;
        let Some(address) = address else {
            return Err((Outcome::Refused, "no replica is in rotation".to_owned()));
        };
        let stream = TcpStream::connect(address).await.map_err(|error| {
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
            address,
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
