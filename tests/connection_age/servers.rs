//! The servers that are asked.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::Path;
use axum::routing::any;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use lameduck::{Plan, Report, Server, ShutdownCoordinator};
use tokio::net::TcpListener;
use tokio::time::sleep;

use crate::AGE;
use crate::book::{Book, text};

/// Notes each request. One in ten takes some time.
fn app(book: &Arc<Book>) -> Router {
    let book = Arc::clone(book);
    let handler = async move |Path(number): Path<u64>, _: Bytes| {
        book.handle(number);
        if number % 10 == 3 {
            sleep(Duration::from_millis(number % 7)).await;
        }
        text(number)
    };
    Router::new().route("/{number}", any(handler))
}

pub(crate) async fn lameduck(book: &Arc<Book>) -> (SocketAddr, ShutdownCoordinator) {
    let shutdown = ShutdownCoordinator::new(Plan::immediate()).termination_log("/nonexistent");
    let listener = lameduck::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    Server::new(&shutdown.handle())
        .max_connection_age(AGE)
        .serve(listener, app(book));
    (address, shutdown)
}

pub(crate) async fn leave(shutdown: ShutdownCoordinator) -> Arc<Report> {
    shutdown.shutdown("test");
    shutdown.run().await
}

/// hyper-util's connections, which a timer asks to shut down.
pub(crate) async fn hyper(book: &Arc<Book>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let app = app(book);
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            stream.set_nodelay(true).unwrap();
            let service = TowerToHyperService::new(app.clone());
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
