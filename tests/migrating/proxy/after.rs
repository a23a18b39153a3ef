//! A forward proxy: CONNECT, and a page of its own.

use std::convert::Infallible;
use std::error::Error;
use std::process::ExitCode;

use axum::Router;
use axum::body::Body;
use axum::http::{Method, Request, Response, StatusCode};
use axum::routing::get;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use lameduck::server::tunnel;
use lameduck::{Moment, Plan, Server, ShutdownCoordinator, ShutdownHandle};
use tokio::net::{TcpListener, TcpStream};
use tower::{ServiceExt, service_fn};

#[tokio::main]
async fn main() -> Result<ExitCode, Box<dyn Error>> {
    let shutdown = ShutdownCoordinator::new(Plan::from_env()?);
    lameduck::signal::listen(&shutdown)?;
    let listener = lameduck::bind("0.0.0.0:3000").await?;
    serve(listener, &shutdown);
    Ok(shutdown.run().await.exit_code())
}

pub fn serve(listener: TcpListener, handle: &ShutdownHandle) {
    let pages = Router::new().route("/", get(async || "a proxy\n"));
    let service = service_fn(move |request| answer(request, pages.clone()));
    Server::new(handle)
        .http1_only()
        .http1(|http1| {
            http1.preserve_header_case(true).title_case_headers(true);
        })
        .serve(listener, service);
}

async fn answer(request: Request<Incoming>, pages: Router) -> Result<Response<Body>, Infallible> {
    match *request.method() == Method::CONNECT {
        true => Ok(connect(request)),
        false => pages.oneshot(request).await,
    }
}

fn connect(request: Request<Incoming>) -> Response<Body> {
    let Some(target) = request.uri().authority().map(ToString::to_string) else {
        let mut refused = Response::new(Body::from("CONNECT to what?\n"));
        *refused.status_mut() = StatusCode::BAD_REQUEST;
        return refused;
    };
    // Here, not in the task: only the handler knows which request it serves.
    let moment = Moment::of(request.extensions()).expect("served by lameduck");
    tokio::spawn(async move {
        let mut client = TokioIo::new(hyper::upgrade::on(request).await.ok()?);
        let mut upstream = TcpStream::connect(target).await.ok()?;
        tunnel(&mut client, &mut upstream, moment).await.ok()
    });
    Response::new(Body::empty())
}
