//! tonic's own client: channels of one connection each, and who calls on them.

use std::error::Error;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use h2::Reason;
use http::uri::{PathAndQuery, Uri};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tonic::client::Grpc;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};
use tonic_prost::ProstCodec;
use tower::service_fn;

use crate::book::Book;
use crate::wire::{Seen, Wire};

const CHANNELS: u64 = 100;

/// The method whose calls last.
pub(crate) const HELD: &str = "Hold";
const UNARY: &str = "Echo";

/// Who calls on one channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// One call after the other, without a pause.
    Busy,
    /// One call after the other, some milliseconds between them.
    Pausing,
    /// Four of those.
    FourPausing,
    /// One of those, beside a call that streams beyond its connection's age.
    BesideStream,
}

impl Shape {
    pub(crate) const ALL: [Shape; 4] = [
        Shape::Busy,
        Shape::Pausing,
        Shape::FourPausing,
        Shape::BesideStream,
    ];

    const fn callers(self) -> u64 {
        match self {
            Shape::FourPausing => 4,
            _ => 1,
        }
    }
}

/// What is done with a call that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tries {
    Once,
    WhileLeaving,
}

pub(crate) fn codec() -> ProstCodec<String, String> {
    ProstCodec::default()
}

fn path(method: &str) -> PathAndQuery {
    PathAndQuery::try_from(format!("/test.Echo/{method}")).unwrap()
}

/// Calls until as many connections have got their GOAWAY as the book wants.
pub(crate) async fn call(address: SocketAddr, shape: Shape, tries: Tries, book: &Arc<Book>) {
    let mut callers = JoinSet::new();
    for _ in 0..CHANNELS {
        let client = Client::new(address, book);
        for _ in 0..shape.callers() {
            callers.spawn(client.clone().call_again_and_again(shape, tries));
        }
        if shape == Shape::BesideStream {
            callers.spawn(client.hold_again_and_again());
        }
    }
    while let Some(over) = callers.join_next().await {
        over.unwrap();
    }
}

#[derive(Clone)]
struct Client {
    channel: Channel,
    /// Its channel's connections.
    connections: Arc<Mutex<Vec<Arc<Mutex<Seen>>>>>,
    book: Arc<Book>,
}

impl Client {
    fn new(address: SocketAddr, book: &Arc<Book>) -> Self {
        let connections = Arc::<Mutex<Vec<_>>>::default();
        let connector = {
            let (book, connections) = (Arc::clone(book), Arc::clone(&connections));
            service_fn(move |_: Uri| {
                let seen = book.open();
                connections.lock().unwrap().push(Arc::clone(&seen));
                let book = Arc::clone(&book);
                async move {
                    let stream = TcpStream::connect(address).await?;
                    stream.set_nodelay(true)?;
                    std::io::Result::Ok(TokioIo::new(Wire::new(stream, seen, book)))
                }
            })
        };
        let endpoint = Endpoint::from_static("http://test");
        Client {
            channel: endpoint.connect_with_connector_lazy(connector),
            connections,
            book: Arc::clone(book),
        }
    }

    async fn call_again_and_again(self, shape: Shape, tries: Tries) {
        while let Some(number) = self.book.next() {
            let began = Instant::now();
            let result = match tries {
                Tries::Once => self.clone().echo(number).await,
                Tries::WhileLeaving => while_leaving(|| self.clone().echo(number)).await,
            };
            self.note(number, result, began);
            if shape != Shape::Busy {
                sleep(Duration::from_millis(number % 20)).await;
            }
        }
    }

    async fn hold_again_and_again(self) {
        while let Some(number) = self.book.next() {
            let began = Instant::now();
            let result = while_leaving(|| self.clone().hold(number)).await;
            self.note(number, result, began);
        }
    }

    async fn echo(self, number: u64) -> Result<(), Status> {
        let mut grpc = self.ready().await;
        let request = Request::new(number.to_string());
        let answer = grpc.unary(request, path(UNARY), codec()).await?;
        assert_eq!(answer.into_inner(), number.to_string());
        Ok(())
    }

    async fn hold(self, number: u64) -> Result<(), Status> {
        let mut grpc = self.ready().await;
        let request = Request::new(number.to_string());
        let answer = grpc.server_streaming(request, path(HELD), codec()).await?;
        let mut messages = answer.into_inner();
        while messages.message().await?.is_some() {}
        Ok(())
    }

    async fn ready(&self) -> Grpc<Channel> {
        let mut grpc = Grpc::new(self.channel.clone());
        grpc.ready().await.expect("the channel's task runs");
        grpc
    }

    fn note(&self, number: u64, result: Result<(), Status>, began: Instant) {
        match result {
            Ok(()) => self.book.answer(),
            Err(status) => self.book.fail(number, status, began, self.last_goaway()),
        }
    }

    /// When the last first GOAWAY came.
    fn last_goaway(&self) -> Option<Instant> {
        let connections = self.connections.lock().unwrap();
        let first = |seen: &Arc<Mutex<Seen>>| seen.lock().unwrap().goaways.first().map(|it| it.0);
        connections.iter().rev().find_map(first)
    }
}

/// Makes the call again as long as it fails because its connection leaves.
async fn while_leaving<T, F>(mut call: impl FnMut() -> F) -> Result<T, Status>
where
    F: Future<Output = Result<T, Status>>,
{
    const TRIES: usize = 5;
    for _ in 1..TRIES {
        match call().await {
            Err(status) if never_sent(&status) || gone_away(&status) => {}
            over => return over,
        }
    }
    call().await
}

/// Whether nothing of the call has left the client.
pub(crate) fn never_sent(status: &Status) -> bool {
    source(status).is_some_and(hyper::Error::is_canceled)
}

/// Whether the call failed because of a GOAWAY that is no error (RFC 9113, section 6.8).
pub(crate) fn gone_away(status: &Status) -> bool {
    let error = source(status).and_then(|it| it.source()?.downcast_ref::<h2::Error>());
    error.is_some_and(|it| {
        it.is_go_away() && it.is_remote() && it.reason() == Some(Reason::NO_ERROR)
    })
}

fn source(status: &Status) -> Option<&hyper::Error> {
    let mut source = status.source();
    while let Some(error) = source {
        if let Some(error) = error.downcast_ref() {
            return Some(error);
        }
        source = error.source();
    }
    None
}
