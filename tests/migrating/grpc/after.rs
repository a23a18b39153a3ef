//! A clock over gRPC, and a page about it over HTTP/1, on one port.

use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;

use super::proto::{Clock, ClockServer, Ticks};
use axum::Router;
use axum::routing::get;
use futures_util::{StreamExt, stream};
use lameduck::layer::LongLivedLayer;
use lameduck::{LongLived, Plan, ShutdownCoordinator, ShutdownHandle};
use tokio::net::TcpListener;
use tokio::time::{interval, sleep};
use tonic::service::{LayerExt, Routes};
use tonic::{Request, Response, Status};

#[tokio::main]
async fn main() -> Result<ExitCode, Box<dyn Error>> {
    let shutdown = ShutdownCoordinator::new(Plan::from_env()?);
    lameduck::signal::listen(&shutdown)?;
    let listener = lameduck::bind("0.0.0.0:3000").await?;
    serve(listener, &shutdown);
    Ok(shutdown.run().await.exit_code())
}

pub fn serve(listener: TcpListener, handle: &ShutdownHandle) {
    lameduck::serve(listener, routes(), handle);
}

fn routes() -> Routes {
    let rest = Router::new().route("/", get(async || "a clock\n"));
    let streams = LongLivedLayer::new(LongLived::new().end_at_moment())
        .when(|head| head.uri.path().ends_with("/Tick"));
    Routes::from(rest).add_service(streams.named_layer(ClockServer::new(WallClock)))
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
