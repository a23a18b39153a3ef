//! A clock over gRPC, and a page about it over HTTP/1, on one port.

use std::error::Error;
use std::time::Duration;

use super::proto::{Clock, ClockServer, Ticks};
use axum::Router;
use axum::routing::get;
use futures_util::{StreamExt, stream};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{interval, sleep};
use tonic::service::Routes;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let listener = TcpListener::bind("0.0.0.0:3000").await?;
    let stop = async move {
        terminate.recv().await;
    };
    Ok(serve(listener, stop).await?)
}

pub async fn serve(
    listener: TcpListener,
    stop: impl Future<Output = ()>,
) -> Result<(), tonic::transport::Error> {
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    Server::builder()
        .accept_http1(true)
        .add_routes(routes())
        .serve_with_incoming_shutdown(incoming, stop)
        .await
}

fn routes() -> Routes {
    let rest = Router::new().route("/", get(async || "a clock\n"));
    Routes::from(rest).add_service(ClockServer::new(WallClock))
}

struct WallClock;

#[tonic::async_trait]
impl Clock for WallClock {
    async fn greet(&self, request: Request<String>) -> Result<Response<String>, Status> {
        sleep(Duration::from_secs(1)).await;
        Ok(Response::new(format!("hello, {}", request.into_inner())))
    }

    async fn tick(&self, _: Request<String>) -> Result<Response<Ticks>, Status> {
        let ticks = stream::unfold(interval(Duration::from_millis(50)), async |mut clock| {
            clock.tick().await;
            Some((Ok("tick".to_owned()), clock))
        });
        Ok(Response::new(ticks.boxed()))
    }
}
