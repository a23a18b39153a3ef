//! A forward proxy: CONNECT, and a page of its own.

use std::convert::Infallible;
use std::io;

use axum::Router;
use axum::body::Body;
use axum::http::{Method, Request, Response, StatusCode};
use axum::routing::get;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tower::{ServiceExt, service_fn};

#[tokio::main]
async fn main() -> io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let listener = TcpListener::bind("0.0.0.0:3000").await?;
    let stop = async move {
        terminate.recv().await;
    };
    serve(listener, stop).await
}

pub async fn serve(listener: TcpListener, stop: impl Future<Output = ()>) -> io::Result<()> {
    let pages = Router::new().route("/", get(async || "a proxy\n"));
    let service = service_fn(move |request| answer(request, pages.clone()));
    let mut stop = std::pin::pin!(stop);
    loop {
        let (client, _) = tokio::select! {
            accepted = listener.accept() => accepted?,
            () = &mut stop => return Ok(()),
        };
        let service = TowerToHyperService::new(service.clone());
        tokio::spawn(async move {
            http1::Builder::new()
                .preserve_header_case(true)
                .title_case_headers(true)
                .serve_connection(TokioIo::new(client), service)
                .with_upgrades()
                .await
        });
    }
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
    tokio::spawn(async move {
        let mut client = TokioIo::new(hyper::upgrade::on(request).await.ok()?);
        let mut upstream = TcpStream::connect(target).await.ok()?;
        copy_bidirectional(&mut client, &mut upstream).await.ok()
    });
    Response::new(Body::empty())
}
