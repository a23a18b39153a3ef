//! `Connection` on responses of a server that leaves, under `serve` and under the layer: what it says to whom.

use std::collections::BTreeSet;

use axum::Router;
use axum::extract::Request;
use axum::http::header::{CONNECTION, UPGRADE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use lameduck::{DrainLayer, ShutdownHandle};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use tokio::io::{DuplexStream, duplex};

use crate::pipes::*;
use crate::support::*;

/// Two ways to serve.
enum Server {
    Serve(Door),
    /// The layer, under hyper.
    Layer(Router),
}

/// Serves `app` in both ways.
async fn both(app: Router, handle: &ShutdownHandle) -> [Server; 2] {
    let (door, listener) = pipes();
    lameduck::serve(listener, app.clone(), handle);
    ready(handle).await;
    let layered = app.layer(DrainLayer::new(handle));
    [Server::Serve(door), Server::Layer(layered)]
}

impl Server {
    fn connect(&self) -> Client<DuplexStream> {
        match self {
            Server::Serve(door) => door.connect(),
            Server::Layer(app) => {
                let (client, server) = duplex(PIPE);
                let service = TowerToHyperService::new(app.clone());
                let connection = http1::Builder::new();
                tokio::spawn(connection.serve_connection(TokioIo::new(server), service));
                Client::new(client)
            }
        }
    }
}

/// What a response's `Connection` lists, in all its lines, in lower case and in order.
fn options(response: &Response) -> Vec<String> {
    let values = response.head.lines().filter_map(|line| {
        let (name, value) = line.split_once(':')?;
        (name == "connection").then_some(value)
    });
    let options = values.flat_map(|value| value.split(','));
    let options = options.map(|option| option.trim().to_owned());
    options.filter(|option| !option.is_empty()).collect()
}

/// One response of each, once the shutdown has begun.
async fn told(app: Router) -> [Response; 2] {
    let (shutdown, handle) = exact(cluster());
    let servers = both(app, &handle).await;

    let run = begin(shutdown);
    settle().await;
    let [mut served, mut layered] = servers.map(|server| server.connect());
    let responses = [served.get("/").await, layered.get("/").await];

    for mut client in [served, layered] {
        assert_eq!(client.end().await.unwrap(), b"");
    }
    assert!(soon(run).await.unwrap().is_clean());
    responses
}

// RFC 9110, section 7.8: whoever sends Upgrade lists it in Connection.
#[tokio::test(start_paused = true)]
async fn other_options_of_a_response_are_kept_beside_close() {
    let app = Router::new().fallback(|| async {
        let head = [(CONNECTION, "Upgrade, x-hop"), (UPGRADE, "websocket")];
        (StatusCode::UPGRADE_REQUIRED, head, "no")
    });

    for response in told(app).await {
        assert_eq!(response.status, 426);
        assert_eq!(options(&response), ["upgrade", "x-hop", "close"]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_response_that_says_close_itself_says_it_once() {
    let app = Router::new().fallback(|| async { ([(CONNECTION, "Close")], "bye") });

    for response in told(app).await {
        assert_eq!(options(&response), ["close"]);
    }
}

// What a response says of keeping the connection is void.
#[tokio::test(start_paused = true)]
async fn a_response_that_says_keep_alive_says_close_instead() {
    let app = Router::new().fallback(|| async {
        let head = [("connection", "keep-alive"), ("keep-alive", "timeout=60")];
        (head, "hello")
    });

    for response in told(app).await {
        assert_eq!(options(&response), ["close"]);
        assert!(!response.head.contains("timeout=60"), "{}", response.head);
    }
}

// hyper adds `keep-alive` for such a peer, which then believes that, and loses its next request.
#[tokio::test(start_paused = true)]
async fn a_keep_alive_client_of_http10_is_told_close_alone() {
    const REQUEST: &str = "GET / HTTP/1.0\r\nHost: test\r\nConnection: keep-alive\r\n\r\n";
    let (shutdown, handle) = exact(cluster());
    let mut clients = both(hello(), &handle).await.map(|server| server.connect());
    for client in &mut clients {
        client.send(REQUEST).await;
        assert_eq!(options(&client.response().await), ["keep-alive"]);
    }

    let run = begin(shutdown);
    settle().await;
    for client in &mut clients {
        client.send(REQUEST).await;
        let response = client.response().await;

        assert_eq!(options(&response), ["close"]);
        assert_eq!(client.end().await.unwrap(), b"");
    }
    assert!(soon(run).await.unwrap().is_clean());
}

/// A request, and what the application makes of it.
#[derive(Clone, Debug)]
struct Exchange {
    http10: bool,
    request: Option<&'static str>,
    /// Each in a line of its own.
    response: Vec<&'static str>,
}

fn exchanges() -> impl Strategy<Value = Exchange> {
    let request = prop::option::of(prop::sample::select(vec![
        "keep-alive",
        "Keep-Alive",
        "close",
        "keep-alive, x-hop",
    ]));
    let line = prop::sample::select(vec![
        "close",
        "CLOSE",
        "keep-alive",
        "x-hop",
        "upgrade",
        "x-hop,keep-alive",
        " keep-alive ,\tx-other",
        "x-hop , close, close",
        "",
        ", ,",
    ]);
    let response = prop::collection::vec(line, 0..3);
    (any::<bool>(), request, response).prop_map(|(http10, request, response)| Exchange {
        http10,
        request,
        response,
    })
}

impl Exchange {
    /// It tells the application what to answer with.
    fn send(&self) -> String {
        let version = if self.http10 { "1.0" } else { "1.1" };
        let mut request = format!("GET / HTTP/{version}\r\nHost: test\r\n");
        if let Some(connection) = self.request {
            request += &format!("Connection: {connection}\r\n");
        }
        for line in &self.response {
            request += &format!("Answer: {line}\r\n");
        }
        request + "\r\n"
    }

    /// What the application has listed, but for what it cannot know.
    fn kept(&self) -> BTreeSet<String> {
        let options = self.response.iter().flat_map(|line| line.split(','));
        let options = options.map(|option| option.trim().to_ascii_lowercase());
        options
            .filter(|it| !matches!(&**it, "" | "close" | "keep-alive"))
            .collect()
    }
}

async fn answer(request: Request) -> impl IntoResponse {
    let answers = request.headers().get_all("answer").iter();
    let head: HeaderMap = answers.map(|it| (CONNECTION, it.clone())).collect();
    (head, "hello")
}

// The oracle: a peer of HTTP/1.0 that is told `keep-alive` keeps the connection, whatever else it is told; one of 1.1 goes by
// `close` (RFC 9112, section 9.3). What else the application lists is no business of ours.
#[tokio::test(start_paused = true)]
async fn whatever_is_asked_and_answered_every_peer_is_told_close_once_and_nothing_else_of_it() {
    let (shutdown, handle) = exact(cluster());
    let servers = both(Router::new().fallback(answer), &handle).await;
    let run = begin(shutdown);
    settle().await;
    let mut runner = TestRunner::deterministic();
    for _ in 0..300 {
        let exchange = exchanges().new_tree(&mut runner).unwrap().current();
        for server in &servers {
            let mut client = server.connect();

            client.send(exchange.send()).await;
            let response = client.response().await;
            let end = client.end().await.unwrap();

            let what = format!("{exchange:?}: {}", response.head);
            assert_eq!((response.status, response.text()), (200, "hello"), "{what}");
            let options = options(&response);
            let closes = options.iter().filter(|option| *option == "close");
            assert_eq!(closes.count(), 1, "{what}");
            assert!(!options.contains(&"keep-alive".to_owned()), "{what}");
            let mut others: BTreeSet<_> = options.into_iter().collect();
            others.remove("close");
            assert_eq!(others, exchange.kept(), "{what}");
            let version = if exchange.http10 {
                "http/1.0"
            } else {
                "http/1.1"
            };
            assert!(response.head.starts_with(version), "{what}");
            assert_eq!(end, b"", "{what}");
        }
    }
    assert!(soon(run).await.unwrap().is_clean());
}
