//! An HTTP/1 client on a bare socket: it sees what a client library would hide.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

use super::answer::{self, Answer};
use super::wire::Wire;
use super::{Field, Route, hung};
use crate::attempt::{Begun, Fate, Lost, Way};

/// At most one connection, which is used as long as the server lets it.
pub(crate) struct Client {
    way: Way,
    field: Arc<Field>,
    open: Option<Wire>,
}

impl Client {
    pub(crate) const fn new(way: Way, field: Arc<Field>) -> Self {
        Client {
            way,
            field,
            open: None,
        }
    }

    /// Makes one attempt. `None` if that needs a new connection, and the cluster routes none here any more.
    pub(crate) async fn attempt(&mut self, route: &Route) -> Option<Fate> {
        let field = Arc::clone(&self.field);
        let open = self.look()?;
        let mut begun = field.log.begin(self.way);
        let end = match timeout(field.patience, self.ask(open, route, &mut begun)).await {
            Ok(end) => end,
            Err(_) => Err(hung()),
        };
        Some(field.log.end(begun, end))
    }

    async fn ask(&mut self, open: Open, route: &Route, begun: &mut Begun) -> Result<(), Lost> {
        let mut wire = self.wire(open).await?;
        begun.reused = wire.used;
        let request = get(&self.field, &route.target, begun.number);
        send(&mut wire, request.as_bytes()).await;
        let answer = answer::read(&mut wire, Duration::ZERO).await?;
        self.keep(wire, answer);
        expect(route, answer)
    }

    /// Two requests in one write.
    pub(crate) async fn pair(&mut self, routes: [&Route; 2]) -> Option<Fate> {
        let field = Arc::clone(&self.field);
        let open = self.look()?;
        let mut begun = [(); 2].map(|()| field.log.begin(self.way));
        let ends = timeout(field.patience, self.ask_both(open, routes, &mut begun)).await;
        let ends = ends.unwrap_or_else(|_| [Err(hung()), Err(hung())]);
        let fates = begun.into_iter().zip(ends);
        let mut fates = fates.map(|(begun, end)| field.log.end(begun, end));
        // The second one is logged as well.
        let first = fates.next();
        fates.for_each(drop);
        first
    }

    async fn ask_both(
        &mut self,
        open: Open,
        routes: [&Route; 2],
        begun: &mut [Begun; 2],
    ) -> [Result<(), Lost>; 2] {
        let mut wire = match self.wire(open).await {
            Ok(wire) => wire,
            Err(lost) => return [Err(lost.clone()), Err(lost)],
        };
        begun.iter_mut().for_each(|begun| begun.reused = wire.used);
        let requests: Vec<_> = routes
            .iter()
            .zip(begun)
            .map(|(route, begun)| get(&self.field, &route.target, begun.number))
            .collect();
        send(&mut wire, requests.concat().as_bytes()).await;
        let first = answer::read(&mut wire, Duration::ZERO).await;
        let second = answer::read(&mut wire, Duration::ZERO).await;
        let second = match second {
            Ok(answer) => {
                self.keep(wire, answer);
                Ok(answer)
            }
            Err(lost) => Err(self.behind(&first, lost)),
        };
        [
            first.and_then(|answer| expect(routes[0], answer)),
            second.and_then(|answer| expect(routes[1], answer)),
        ]
    }

    /// What became of a request that was sent behind another one, and has no answer.
    fn behind(&self, first: &Result<Answer, Lost>, lost: Lost) -> Lost {
        match first {
            // One fault, which is that of the first.
            Err(first) if matches!(lost.0, Fate::Closed | Fate::Reset) => first.clone(),
            Ok(answer) if answer.close && matches!(lost.0, Fate::Closed | Fate::Reset) => {
                self.field.log.told();
                let why = "pipelined behind an answer that said close".to_owned();
                (Fate::Repeatable, why)
            }
            _ => lost,
        }
    }

    /// The connection that there is, if it looks open. A close that is seen in time is no loss.
    fn look(&mut self) -> Option<Open> {
        match self.open.take().filter(Wire::looks_open) {
            Some(wire) => Some(Open::Stands(wire)),
            None => self.field.cluster.routes().then_some(Open::ToBeMade),
        }
    }

    async fn wire(&self, open: Open) -> Result<Wire, Lost> {
        match open {
            Open::Stands(wire) => Ok(wire),
            Open::ToBeMade => self.field.connect().await,
        }
    }

    fn keep(&mut self, mut wire: Wire, answer: Answer) {
        if answer.close {
            self.field.log.told();
        } else if self.way != Way::OneShot && self.way != Way::Burst {
            wire.used = true;
            self.open = Some(wire);
        }
    }
}

enum Open {
    Stands(Wire),
    ToBeMade,
}

/// If this fails, reading says what happened.
pub(crate) async fn send(wire: &mut Wire, bytes: &[u8]) {
    if wire.io.write_all(bytes).await.is_ok() {
        let _ = wire.io.flush().await;
    }
}

pub(crate) fn get(field: &Field, target: &str, number: u64) -> String {
    format!("GET {target} HTTP/1.1\r\n{}\r\n", headers(field, number))
}

/// Those of each request.
pub(crate) fn headers(field: &Field, number: u64) -> String {
    let address = field.address;
    format!("host: {address}\r\nuser-agent: lameduck-drill\r\ndrill-request: {number}\r\n")
}

/// The answer is the usual one.
pub(crate) fn expect(route: &Route, answer: Answer) -> Result<(), Lost> {
    match answer.status {
        status if status == route.status => Ok(()),
        status => Err((
            Fate::Rejected,
            format!("status {status}, not {}", route.status),
        )),
    }
}
