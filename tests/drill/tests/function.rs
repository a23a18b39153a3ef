//! Services that are functions.

use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use http_body_util::Full;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use lameduck_drill::{Drill, Fault, Scenario, Stop};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};

const ACCEPTING: Duration = Duration::from_millis(600);
const BEFORE_GOAWAY: Duration = Duration::from_millis(50);
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nhello\n";
const LAST: &[u8] = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 6\r\n\r\nhello\n";

#[test]
fn function_that_serves_what_it_accepted_is_acquitted() {
    let outcome = drill(|port, stop| serve(port, stop, ACCEPTING)).run();

    assert!(outcome.is_clean(), "{outcome}");
    assert!(outcome.requests() > 0, "{outcome}");
    assert_eq!(outcome.stops(), 2);
}

#[test]
fn function_that_returns_at_once_is_convicted() {
    let serve = |port, stop: Stop| async move {
        let serving = tokio::spawn(serve(port, stop.clone(), ACCEPTING));
        stop.requested().await;
        serving.abort();
    };
    let outcome = drill(serve).run();

    assert!(outcome.has(Fault::LeftInRotation), "{outcome}");
}

#[test]
fn function_that_does_not_return_is_dropped_when_the_grace_period_is_over() {
    let serve = |port, stop| async move {
        serve(port, stop, ACCEPTING).await;
        std::future::pending().await
    };
    let outcome = drill(serve).grace(Duration::from_secs(2)).run();

    assert!(outcome.has(Fault::Late), "{outcome}");
    assert_eq!(outcome.killed(), 2, "{outcome}");
}

#[test]
fn server_that_speaks_http2_alone_is_drilled_by_prior_knowledge() {
    let outcome = drill(serve_http2).run();

    assert!(outcome.is_clean(), "{outcome}");
    assert!(outcome.speaks.http2 && !outcome.speaks.http1, "{outcome}");
    assert!(outcome.requests() > 0, "{outcome}");
}

#[tokio::test]
async fn drill_can_be_held_inside_a_runtime() {
    let outcome = drill(|port, stop| serve(port, stop, ACCEPTING)).run();

    assert!(outcome.is_clean(), "{outcome}");
}

fn drill<F, S>(serve: F) -> Drill
where
    F: Fn(u16, Stop) -> S + Send + Sync + 'static,
    S: Future<Output = ()> + 'static,
{
    Drill::function(serve)
        .scenarios([Scenario::InFlight, Scenario::KeepAlive])
        .runs(1)
        .grace(Duration::from_secs(5))
        .propagation(Duration::from_millis(300))
}

/// A server of HTTP/1 that says close.
async fn serve(port: u16, stop: Stop, accepting: Duration) {
    accept(port, stop, accepting, connection).await;
}

/// A server of HTTP/2 that says GOAWAY.
async fn serve_http2(port: u16, stop: Stop) {
    accept(port, stop, ACCEPTING, http2_connection).await;
}

/// Serves on for a while, and waits for its connections.
async fn accept<C, S>(port: u16, stop: Stop, accepting: Duration, connection: C)
where
    C: Fn(TcpStream, watch::Receiver<bool>, mpsc::Sender<()>) -> S,
    S: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await;
    let listener = listener.expect("the port is free");
    let (stopping, stopped) = watch::channel(false);
    let (alive, mut all) = mpsc::channel::<()>(1);
    let end = async {
        stop.requested().await;
        stopping.send_replace(true);
        sleep(accepting).await;
    };
    tokio::select! {
        () = end => {}
        () = async {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(connection(stream, stopped.clone(), alive.clone()));
            }
        } => {}
    }
    drop((listener, alive));
    let _ = timeout(Duration::from_secs(1), all.recv()).await;
}

async fn connection(
    mut stream: TcpStream,
    stopped: watch::Receiver<bool>,
    _alive: mpsc::Sender<()>,
) {
    let mut buffer = Vec::new();
    while stream
        .read_buf(&mut buffer)
        .await
        .is_ok_and(|read| read > 0)
    {
        while let Some(end) = buffer.windows(4).position(|four| four == b"\r\n\r\n") {
            buffer.drain(..end + 4);
            let last = *stopped.borrow();
            let answer = if last { LAST } else { ANSWER };
            if stream.write_all(answer).await.is_err() || last {
                return;
            }
        }
    }
}

async fn http2_connection(
    stream: TcpStream,
    mut stopped: watch::Receiver<bool>,
    _alive: mpsc::Sender<()>,
) {
    let service = service_fn(|_| async {
        let body = Full::new(Bytes::from_static(b"hello\n"));
        Ok::<_, Infallible>(Response::new(body))
    });
    let builder = http2::Builder::new(TokioExecutor::new());
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    let goaway = async {
        let _ = stopped.wait_for(|stopped| *stopped).await;
        sleep(BEFORE_GOAWAY).await;
    };
    tokio::select! {
        _ = &mut connection => return,
        () = goaway => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}
