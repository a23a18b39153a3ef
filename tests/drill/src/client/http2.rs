//! An HTTP/2 client: several requests at once on one connection.

use std::sync::Arc;

use bytes::Bytes;
use h2::Reason;
use h2::client::{ResponseFuture, SendRequest};
use http::Request;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::answer::Answer;
use super::http1::expect;
use super::{Field, Route, hung};
use crate::attempt::{Begun, Fate, Lost, Way};

/// How often requests that were not sent are tried on another connection before that counts as a loss.
const MOST_CONNECTIONS: usize = 10;

pub(crate) struct Client {
    field: Arc<Field>,
    open: Option<Open>,
    /// Each request gets a connection of its own.
    fresh: bool,
    way: Way,
}

struct Open {
    sender: SendRequest<Bytes>,
    used: bool,
}

impl Client {
    pub(crate) const fn new(way: Way, field: Arc<Field>, fresh: bool) -> Self {
        Client {
            field,
            open: None,
            fresh,
            way,
        }
    }

    /// Sends one request to each route, all at once. `None` if that needs a new connection, and the cluster routes none here
    /// any more.
    pub(crate) async fn attempt(&mut self, mut routes: Vec<Route>) -> Option<Fate> {
        let mut worst = Fate::Answered;
        for _ in 0..MOST_CONNECTIONS {
            if !self.stands().await && !self.field.cluster.routes() {
                return None;
            }
            worst = worst.max(self.ask(&mut routes).await);
            if routes.is_empty() {
                return Some(worst);
            }
        }
        let asks = self.begin(routes.drain(..));
        let why = "closed before it was sent, on each new connection".to_owned();
        Some(self.lose(asks, (Fate::Closed, why)))
    }

    /// Sends the requests on one connection. Leaves the routes of those that were not sent.
    async fn ask(&mut self, routes: &mut Vec<Route>) -> Fate {
        let asks = self.begin(routes.drain(..));
        let (sender, reused) = match self.sender().await {
            Ok(sender) => sender,
            Err(lost) => return self.lose(asks, lost),
        };
        let mut asking = JoinSet::new();
        for (route, mut begun) in asks {
            begun.reused = reused;
            asking.spawn(one(Arc::clone(&self.field), sender.clone(), route, begun));
        }
        let mut worst = Fate::Answered;
        for end in asking.join_all().await {
            match end {
                Ok(fate) => worst = worst.max(fate),
                Err(route) => routes.push(route),
            }
        }
        if self.fresh || !routes.is_empty() {
            self.open = None;
        }
        worst
    }

    fn begin(&self, routes: impl Iterator<Item = Route>) -> Vec<(Route, Begun)> {
        let log = &self.field.log;
        routes.map(|route| (route, log.begin(self.way))).collect()
    }

    /// All of them have the same fate.
    fn lose(&self, asks: Vec<(Route, Begun)>, lost: Lost) -> Fate {
        for (_, begun) in asks {
            self.field.log.end(begun, Err(lost.clone()));
        }
        lost.0
    }

    /// Whether there is a connection that can be used.
    async fn stands(&mut self) -> bool {
        let Some(open) = self.open.take() else {
            return false;
        };
        match open.sender.ready().await {
            Ok(sender) => self.open = Some(Open { sender, ..open }),
            Err(error) if error.is_go_away() => self.field.log.told(),
            Err(_) => {}
        }
        self.open.is_some()
    }

    async fn sender(&mut self) -> Result<(SendRequest<Bytes>, bool), Lost> {
        if let Some(open) = &mut self.open {
            open.used = true;
            return Ok((open.sender.clone(), true));
        }
        let patience = self.field.patience;
        let sender = match timeout(patience, connect(&self.field)).await {
            Ok(sender) => sender?,
            Err(_) => return Err(hung()),
        };
        self.open = Some(Open {
            sender: sender.clone(),
            used: false,
        });
        Ok((sender, false))
    }
}

pub(crate) async fn connect(field: &Field) -> Result<SendRequest<Bytes>, Lost> {
    let wire = field.connect_for(true).await?;
    let handshake = h2::client::handshake(wire.io).await;
    let (sender, connection) = handshake.map_err(|error| lost(&error, false))?;
    // It ends with an error that each of its streams has as well.
    tokio::spawn(connection);
    Ok(sender)
}

/// One request. Gives its route back if it was not sent.
async fn one(
    field: Arc<Field>,
    sender: SendRequest<Bytes>,
    route: Route,
    begun: Begun,
) -> Result<Fate, Route> {
    let Ok(mut sender) = sender.ready().await else {
        return Err(route);
    };
    let Ok(request) = request(&field, &route.target, begun.number) else {
        return Err(route);
    };
    let Ok((response, _)) = sender.send_request(request, true) else {
        return Err(route);
    };
    let end = match timeout(field.patience, answer(response)).await {
        Ok(end) => end.and_then(|answer| expect(&route, answer)),
        Err(_) => Err(hung()),
    };
    Ok(field.log.end(begun, end))
}

pub(crate) fn request(field: &Field, target: &str, number: u64) -> http::Result<Request<()>> {
    let scheme = match field.speaks.tls {
        true => "https",
        false => "http",
    };
    Request::get(format!("{scheme}://{}{target}", field.address))
        .header("user-agent", "lameduck-drill")
        .header("drill-request", number)
        .body(())
}

pub(crate) async fn answer(response: ResponseFuture) -> Result<Answer, Lost> {
    let response = response.await.map_err(|error| lost(&error, false))?;
    let status = response.status().as_u16();
    let mut body = response.into_body();
    let mut length = 0;
    while let Some(data) = body.data().await {
        let data = data.map_err(|error| lost(&error, true))?;
        length += data.len();
        // It fails when the stream is over.
        let _ = body.flow_control().release_capacity(data.len());
    }
    Ok(Answer {
        status,
        close: false,
        length,
    })
}

/// A stream above the last one of a GOAWAY (NO_ERROR) was not processed, and no other stream ends with this error.
fn lost(error: &h2::Error, begun: bool) -> Lost {
    let reason = error.reason();
    let unprocessed = error.is_go_away() && reason == Some(Reason::NO_ERROR);
    let fate = match error.get_io().map(std::io::Error::kind) {
        _ if unprocessed || reason == Some(Reason::REFUSED_STREAM) => Fate::Repeatable,
        _ if begun => Fate::Cut,
        Some(std::io::ErrorKind::BrokenPipe | std::io::ErrorKind::UnexpectedEof) => Fate::Closed,
        _ => Fate::Reset,
    };
    (fate, error.to_string())
}
