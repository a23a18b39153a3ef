//! The servers, each wired as its own README or example does it.

use std::convert::Infallible;
use std::pin::pin;

use axum::Router;
use axum::routing::get;
use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use lameduck::server::RequestNames;
use lameduck::{Server, ShutdownHandle};
use tower::Service;

use crate::wire::{Listener, client};

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A tower service that is a server's whole application.
pub trait App<B>:
    Service<Request<Incoming>, Response = Response<B>, Error: Into<BoxError>, Future: Send>
    + Clone
    + Send
    + 'static
{
}

impl<S, B> App<B> for S where
    S: Service<Request<Incoming>, Response = Response<B>, Error: Into<BoxError>, Future: Send>
        + Clone
        + Send
        + 'static
{
}

/// axum with one route.
pub fn router() -> Router {
    Router::new().route("/orders/{id}", get(async || client::ANSWER))
}

/// The least that a service can do.
pub fn plain() -> impl App<Full<Bytes>> {
    tower::service_fn(async |_: Request<Incoming>| {
        let body = Full::new(Bytes::from_static(client::ANSWER.as_bytes()));
        Ok::<_, Infallible>(Response::new(body))
    })
}

/// hyper-util's `auto` and nothing else: no graceful shutdown.
pub async fn bare<S, B>(mut listener: Listener, app: S)
where
    S: App<B>,
    B: Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
{
    while let Some(io) = listener.next().await {
        let app = TowerToHyperService::new(app.clone());
        tokio::spawn(async move {
            let builder = auto::Builder::new(TokioExecutor::new());
            let served = builder.serve_connection_with_upgrades(TokioIo::new(io), app);
            let _ = served.await;
        });
    }
}

/// hyper-util's example of a graceful shutdown.
pub async fn hyper_util<S, B>(mut listener: Listener, app: S)
where
    S: App<B>,
    B: Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
{
    let builder = auto::Builder::new(TokioExecutor::new());
    let graceful = GracefulShutdown::new();
    // Stands for the signal, which the accept loop waits for as well.
    let mut signal = pin!(std::future::pending::<()>());
    loop {
        tokio::select! {
            accepted = listener.next() => {
                let Some(io) = accepted else { break };
                let app = TowerToHyperService::new(app.clone());
                let served = builder.serve_connection_with_upgrades(TokioIo::new(io), app);
                let served = graceful.watch(served.into_owned());
                tokio::spawn(async move { drop(served.await) });
            }
            () = &mut signal => break,
        }
    }
}

/// This crate's.
pub fn lameduck<S, B>(listener: Listener, app: S, handle: &ShutdownHandle, names: RequestNames)
where
    S: App<B>,
    B: Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
{
    let server = Server::new(handle).request_names(names);
    drop(server.serve(listener, app));
}
