//! The servers that are called.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream;
use http::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use lameduck::{Plan, Report, ShutdownCoordinator};
use tokio::net::TcpListener;
use tokio::time::sleep;
use tonic::Status;
use tonic::body::Body;
use tonic::server::{Grpc, NamedService};
use tonic::service::Routes;
use tonic::transport::server::TcpIncoming;
use tower::{Service, service_fn};

use crate::AGE;
use crate::book::Book;
use crate::clients::{HELD, codec};

pub(crate) async fn lameduck(book: &Arc<Book>) -> (SocketAddr, ShutdownCoordinator) {
    let shutdown = ShutdownCoordinator::new(Plan::immediate()).termination_log("/nonexistent");
    let listener = lameduck::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    lameduck::Server::new(&shutdown.handle())
        .max_connection_age(AGE)
        .serve(listener, Routes::new(Echo(Arc::clone(book))));
    (address, shutdown)
}

pub(crate) async fn leave(shutdown: ShutdownCoordinator) -> Arc<Report> {
    shutdown.shutdown("test");
    shutdown.run().await
}

pub(crate) async fn tonic(book: &Arc<Book>) -> SocketAddr {
    let incoming = TcpIncoming::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = incoming.local_addr().unwrap();
    let mut server = tonic::transport::Server::builder().max_connection_age(AGE);
    let served = server.add_routes(Routes::new(Echo(Arc::clone(book))));
    tokio::spawn(served.serve_with_incoming(incoming.with_nodelay(Some(true))));
    address
}

/// hyper-util's connections, which a timer asks to shut down.
pub(crate) async fn hyper(book: &Arc<Book>) -> SocketAddr {
    let echo = Echo(Arc::clone(book));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            stream.set_nodelay(true).unwrap();
            let service = TowerToHyperService::new(Routes::new(echo.clone()));
            tokio::spawn(async move {
                let builder = auto::Builder::new(TokioExecutor::new());
                let connection = builder.serve_connection(TokioIo::new(stream), service);
                let mut connection = std::pin::pin!(connection);
                tokio::select! {
                    _ = connection.as_mut() => return,
                    () = sleep(AGE) => connection.as_mut().graceful_shutdown(),
                }
                let _ = connection.await;
            });
        }
    });
    address
}

/// Answers with what it was sent. One call in four takes some time, and that of [`HELD`] its connection's whole life.
#[derive(Clone)]
struct Echo(Arc<Book>);

impl NamedService for Echo {
    const NAME: &'static str = "test.Echo";
}

impl<B> Service<Request<B>> for Echo
where
    B: http_body::Body + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>> + Send,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let holds = request.uri().path().ends_with(HELD);
        let Echo(book) = self.clone();
        let echo = service_fn(move |request| echo(Arc::clone(&book), request));
        let Echo(book) = self.clone();
        let hold = service_fn(move |request| hold(Arc::clone(&book), request));
        Box::pin(async move {
            let mut grpc = Grpc::new(codec());
            Ok(match holds {
                false => grpc.unary(echo, request).await,
                true => grpc.server_streaming(hold, request).await,
            })
        })
    }
}

type Answer<T> = Result<tonic::Response<T>, Status>;

async fn echo(book: Arc<Book>, request: tonic::Request<String>) -> Answer<String> {
    let message = request.into_inner();
    let number: u64 = message.parse().expect("a number");
    book.handle(number);
    if number % 4 == 0 {
        sleep(Duration::from_millis(number % 3)).await;
    }
    Ok(tonic::Response::new(message))
}

type Messages = stream::BoxStream<'static, Result<String, Status>>;

/// A stream that ends some time behind the age of its connection.
async fn hold(book: Arc<Book>, request: tonic::Request<String>) -> Answer<Messages> {
    book.handle(request.into_inner().parse().expect("a number"));
    let messages = stream::once(async {
        sleep(AGE + AGE / 2).await;
        Ok(String::new())
    });
    Ok(tonic::Response::new(Box::pin(messages)))
}
