//! Upgraded connections: counted for as long as their IO lives, cut at Close's deadline.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::Next;
use axum::routing::get;
use futures_util::{SinkExt, StreamExt};
use hyper_util::rt::TokioIo;
use lameduck::report::{Kind, PhaseOutcome};
use lameduck::server::Io;
use lameduck::{Moment, Phase, Plan, Server, ShutdownHandle, close_websocket_sink};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::Message as ClientMessage;
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::pipes::*;
use crate::support::*;

// Case 54.
#[tokio::test(start_paused = true)]
async fn a_websocket_stays_counted_after_the_upgrade_until_its_task_drops_it() {
    let (app, mut ends) = echo();
    let (_shutdown, handle) = coordinator(cluster());
    let (address, _) = start(app, &handle).await;

    let mut socket = open(address).await;
    assert_eq!(say(&mut socket, "hello").await, "hello");
    let open = (handle.connections(), handle.in_flight());
    socket.close(None).await.unwrap();
    soon(ends.recv()).await.unwrap();
    settle().await;

    assert_eq!(open, (1, 0));
    assert_eq!((handle.connections(), handle.in_flight()), (0, 0));
}

// Cases 73, 87.
#[tokio::test(start_paused = true)]
async fn a_websocket_whose_task_never_looks_is_cut_at_the_deadline_of_close() {
    let plan = Plan::immediate();
    // No hook asks for Release's time.
    let deadline = plan.deadline(Phase::Release);
    let (app, mut ends) = echo();
    let (shutdown, handle) = coordinator(plan);
    let (address, _) = start(app, &handle).await;
    let mut socket = open(address).await;
    say(&mut socket, "before").await;

    let run = begin(shutdown);
    reached(&handle, Phase::Close).await;
    let during = say(&mut socket, "during").await;
    let (end, took) = timed(ends.recv()).await;
    let client = soon(socket.next()).await;
    let report = soon(run).await.unwrap();

    assert_eq!(during, "during");
    assert!(about(took, deadline), "{took:?}");
    assert_ne!(end.unwrap(), "close");
    assert!(!matches!(client, Some(Ok(_))), "{client:?}");
    assert!(report.is_clean(), "{report}");
    assert_eq!((report.connections.closed, report.connections.cut), (0, 1));
    let close = report.phase(Phase::Close).unwrap();
    assert_eq!(close.outcome, PhaseOutcome::TimedOut);
    assert_eq!(close.left_behind_total, 1);
    assert_eq!(close.left_behind[0].kind, Kind::Connection);
    assert!(close.left_behind[0].name.ends_with("(HTTP/1: upgraded)"));
    // The drain before it waited for nobody.
    let drain = report.phase(Phase::Drain).unwrap();
    assert!(about(drain.took, Duration::ZERO));
}

#[tokio::test(start_paused = true)]
async fn a_websocket_whose_task_looks_ends_by_itself_with_1012() {
    let (shutdown, handle) = coordinator(Plan::immediate());
    let (address, _) = start(aware(&handle), &handle).await;
    let mut socket = open(address).await;

    let run = begin(shutdown);
    let last = soon(socket.next()).await.unwrap().unwrap();
    let report = soon(run).await.unwrap();

    let ClientMessage::Close(Some(frame)) = last else {
        panic!("{last:?}");
    };
    assert_eq!(u16::from(frame.code), 1012);
    assert!(report.is_clean());
    assert!(about(report.took, Duration::ZERO), "{report}");
    assert_eq!((report.connections.closed, report.connections.cut), (1, 0));
}

// A task of its own reads, as in most chat servers.
#[tokio::test(start_paused = true)]
async fn split_websocket_whose_client_goes_on_talking_ends_with_1012_and_loses_no_message() {
    let (heard, mut hears) = mpsc::unbounded_channel();
    let (shutdown, handle) = coordinator(Plan::immediate());
    let (address, _) = start(split(heard), &handle).await;
    let (mut say, mut listen) = open(address).await.split();
    let reading = tokio::spawn(async move {
        let mut all = Vec::new();
        while let Some(message) = listen.next().await {
            all.push(message.unwrap());
        }
        all
    });
    let talking = tokio::spawn(async move {
        let mut sent = 0_usize;
        // Until its library has answered the server's close frame.
        while say
            .send(ClientMessage::text(sent.to_string()))
            .await
            .is_ok()
        {
            sent += 1;
            tokio::time::sleep(millis(1)).await;
        }
        sent
    });
    settle().await;

    let report = soon(begin(shutdown)).await.unwrap();
    let (received, sent) = (soon(reading).await.unwrap(), soon(talking).await.unwrap());
    let mut heard = Vec::new();
    while let Some(text) = soon(hears.recv()).await {
        heard.push(text);
    }

    let [echoes @ .., ClientMessage::Close(Some(frame))] = &received[..] else {
        panic!("{:?}", received.last());
    };
    assert_eq!(u16::from(frame.code), 1012);
    assert!(echoes.len() > 10, "{} came back", echoes.len());
    let said: Vec<String> = (0..sent).map(|n| n.to_string()).collect();
    assert_eq!(heard, said);
    assert!(report.is_clean(), "{report}");
    assert_eq!((report.connections.closed, report.connections.cut), (1, 0));
    assert_eq!((report.long.told, report.long.cut), (1, 0));
}

// Case 55: policy is to accept until Release.
#[tokio::test(start_paused = true)]
async fn an_upgrade_in_lame_duck_is_accepted() {
    let (app, _ends) = echo();
    let (shutdown, handle) = coordinator(cluster());
    let (address, _) = start(app, &handle).await;

    let _run = begin(shutdown);
    let mut socket = open(address).await;

    assert_eq!(say(&mut socket, "late").await, "late");
    assert_eq!(handle.phase(), Some(Phase::LameDuck));
}

// Case 55: the other policy.
#[tokio::test(start_paused = true)]
async fn an_upgrade_is_refused_with_503_from_the_phase_that_was_set() {
    let (app, _ends) = echo();
    let (shutdown, handle) = coordinator(cluster());
    let listener = lameduck::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    Server::new(&handle)
        .refuse_upgrades_from(Phase::Drain)
        .serve(
            listener,
            app.merge(Router::new().route("/page", get(|| async { "page" }))),
        );
    ready(&handle).await;
    // It holds Drain.
    let guard = handle.guard();

    let run = begin(shutdown);
    let mut early = open(address).await;
    assert_eq!(say(&mut early, "in LameDuck").await, "in LameDuck");
    reached(&handle, Phase::Drain).await;
    let mut late = Client::connect(address).await;
    late.send(UPGRADE).await;
    let refused = late.response().await;
    let page = Client::connect(address).await.get("/page").await;
    drop(guard);

    assert_eq!(refused.status, 503);
    assert!(refused.says_close() && refused.head.contains("retry-after: "));
    assert_eq!(page.text(), "page");
    assert_eq!(soon(run).await.unwrap().traffic.refused, 1);
}

// A tunnel lasts as any other upgrade does (RFC 9110, section 9.3.6).
#[tokio::test(start_paused = true)]
async fn a_connect_tunnel_is_refused_with_503_from_the_phase_that_was_set() {
    const CONNECT: &str = "CONNECT test:443 HTTP/1.1\r\nHost: test:443\r\n\r\n";
    let (shutdown, handle) = exact(cluster());
    let (door, listener) = pipes();
    let app = tower::service_fn(async |_: http::Request<hyper::body::Incoming>| {
        Ok::<_, std::convert::Infallible>(http::Response::new(axum::body::Body::empty()))
    });
    Server::new(&handle)
        .refuse_upgrades_from(Phase::LameDuck)
        // So that a request may still come on a connection of HTTP/2.
        .goaway(false)
        .serve(listener, app);
    ready(&handle).await;
    let (mut http2, connection) = h2::client::handshake(door.stream()).await.unwrap();
    tokio::spawn(connection);
    let mut over_http2 = async |method: &str, uri: &str| {
        let request = http::Request::builder().method(method).uri(uri);
        let (response, _stream) = http2
            .send_request(request.body(()).unwrap(), false)
            .unwrap();
        soon(response).await.unwrap().status().as_u16()
    };
    let mut early = door.connect();
    early.send(CONNECT).await;
    let before = (
        early.response().await.status,
        over_http2("CONNECT", "test:443").await,
    );
    // It holds Drain.
    let guard = handle.guard();

    let run = begin(shutdown);
    reached(&handle, Phase::LameDuck).await;
    let mut late = door.connect();
    late.send(CONNECT).await;
    let refused = late.response().await;
    let http2_refused = over_http2("CONNECT", "test:443").await;
    let page = over_http2("GET", "http://test/").await;
    drop((guard, early));
    let report = soon(run).await.unwrap();

    assert_eq!(before, (200, 200));
    assert_eq!((refused.status, http2_refused, page), (503, 503, 200));
    assert!(refused.says_close() && refused.head.contains("retry-after: "));
    assert_eq!(report.traffic.refused, 2);
}

#[tokio::test(start_paused = true)]
async fn a_task_that_only_writes_to_a_client_that_does_not_read_is_cut_too() {
    let (ended, mut ends) = mpsc::unbounded_channel();
    let (shutdown, handle) = coordinator(Plan::immediate());
    let app = raw_upgrade(async move |mut io: TokioIo<Io<TcpStream>>| {
        let peer = io.inner().get_ref().peer_addr();
        assert!(peer.is_ok());
        let error = loop {
            if let Err(error) = io.inner_mut().write_all(&[7; 4096]).await {
                break error;
            }
        };
        ended.send(error.kind()).unwrap();
    });
    let (address, _) = start(app, &handle).await;
    let mut client = Client::connect(address).await;
    client.send(UPGRADE).await;
    let response = client.response().await;
    settle().await;

    let run = begin(shutdown);
    let end = soon(ends.recv()).await;

    assert_eq!(response.status, 101);
    assert_eq!(end, Some(std::io::ErrorKind::ConnectionAborted));
    assert_eq!(soon(run).await.unwrap().connections.cut, 1);
}

// Case 73. Nothing is sent on it either: it must not be taken for an idle connection.
#[tokio::test(start_paused = true)]
async fn a_task_that_only_reads_is_left_alone_until_the_deadline_and_cut_then() {
    let plan = Plan::immediate();
    // No hook asks for Release's time.
    let deadline = plan.deadline(Phase::Release);
    let (ended, mut ends) = mpsc::unbounded_channel();
    let (shutdown, handle) = coordinator(plan);
    let asking = handle.clone();
    let app = raw_upgrade(async move |mut io: TokioIo<Io<TcpStream>>| {
        // It reads when idle connections have been ended already.
        asking.reached(Phase::Close).await;
        settle().await;
        let read = io.inner_mut().read(&mut [0]).await;
        ended.send(read.unwrap()).unwrap();
    });
    let (address, _) = start(app, &handle).await;
    let mut client = Client::connect(address).await;
    client.send(UPGRADE).await;
    client.response().await;
    settle().await;

    let run = begin(shutdown);
    let (end, took) = timed(ends.recv()).await;

    assert_eq!(end, Some(0));
    assert!(about(took, deadline), "{took:?}");
    assert_eq!(client.end().await.unwrap(), b"");
    assert_eq!(soon(run).await.unwrap().connections.cut, 1);
}

// It was to end as soon as it was idle when it was upgraded.
#[tokio::test(start_paused = true)]
async fn a_request_that_is_upgraded_in_close_is_left_alone_until_the_deadline() {
    let plan = Plan::immediate();
    let (drain, close) = (plan.deadline(Phase::Drain), plan.deadline(Phase::Release));
    let gate = Gate::new();
    let (ended, mut ends) = mpsc::unbounded_channel();
    let (shutdown, handle) = coordinator(plan);
    let upgraded = raw_upgrade(async move |mut io: TokioIo<Io<TcpStream>>| {
        let read = io.inner_mut().read(&mut [0]).await;
        ended.send(read.unwrap()).unwrap();
    });
    let app = upgraded.layer(axum::middleware::from_fn({
        let gate = Arc::clone(&gate);
        move |request: Request, next: Next| {
            let gate = Arc::clone(&gate);
            async move {
                gate.pass().await;
                next.run(request).await
            }
        }
    }));
    let (address, _) = start(app, &handle).await;
    let mut client = Client::connect(address).await;
    client.send(UPGRADE).await;
    gate.entered().await;

    let run = begin(shutdown);
    reached(&handle, Phase::Close).await;
    settle().await;
    gate.open();
    let response = client.response().await;
    let (end, took) = timed(ends.recv()).await;

    assert_eq!(response.status, 101);
    assert_eq!(end, Some(0));
    assert!(about(took, close - drain), "{took:?}");
    assert_eq!(soon(run).await.unwrap().connections.cut, 1);
}

// The client sends both in one segment, so hyper has read the second when it hands the IO over.
#[tokio::test(start_paused = true)]
async fn bytes_behind_the_upgrade_request_reach_the_upgraded_task() {
    let (ended, mut ends) = mpsc::unbounded_channel();
    let app = Router::new().route(
        "/",
        get(async move |mut request: Request| {
            let upgrade = hyper::upgrade::on(&mut request);
            tokio::spawn(async move {
                let mut bytes = [0; 5];
                let mut io = TokioIo::new(upgrade.await.unwrap());
                io.read_exact(&mut bytes).await.unwrap();
                ended.send(bytes).unwrap();
            });
            switching()
        }),
    );
    let (_shutdown, handle) = coordinator(Plan::immediate());
    let (address, _) = start(app, &handle).await;

    let mut client = Client::connect(address).await;
    client.send(UPGRADE.to_owned() + "first").await;

    assert_eq!(&soon(ends.recv()).await.unwrap(), b"first");
}

// A tunnel may be closed in one direction: what still comes in the other is the application's, not ours to discard.
#[tokio::test(start_paused = true)]
async fn a_half_closed_upgraded_connection_still_gets_what_the_client_sends() {
    let (ended, mut ends) = mpsc::unbounded_channel();
    let app = raw_upgrade(async move |io| {
        let mut io = io.into_inner();
        io.shutdown().await.unwrap();
        let mut rest = String::new();
        io.read_to_string(&mut rest).await.unwrap();
        ended.send(rest).unwrap();
    });
    let (_shutdown, handle) = coordinator(Plan::immediate());
    let (address, _) = start(app, &handle).await;
    let mut client = Client::connect(address).await;
    client.send(UPGRADE).await;
    client.until(b"\r\n\r\n").await;

    let end = client.end().await.unwrap();
    client.send("the rest").await;
    client.half_close().await;

    assert_eq!(end, b"");
    assert_eq!(soon(ends.recv()).await.unwrap(), "the rest");
}

const UPGRADE: &str = "GET / HTTP/1.1\r\nHost: test\r\nConnection: upgrade\r\nUpgrade: raw\r\n\r\n";

type Socket = WebSocketStream<TcpStream>;

async fn open(address: std::net::SocketAddr) -> Socket {
    let stream = TcpStream::connect(address).await.unwrap();
    let (socket, _) = soon(client_async("ws://test/", stream)).await.unwrap();
    settle().await;
    socket
}

async fn say(socket: &mut Socket, text: &'static str) -> String {
    socket.send(ClientMessage::text(text)).await.unwrap();
    let answer = soon(socket.next()).await.unwrap().unwrap();
    answer.into_text().unwrap().to_string()
}

/// Echoes, and never asks about the shutdown. Says how each socket ended.
fn echo() -> (Router, mpsc::UnboundedReceiver<&'static str>) {
    let (ended, ends) = mpsc::unbounded_channel();
    let talk = async move |mut socket: WebSocket| {
        let end = loop {
            match socket.recv().await {
                None => break "nothing",
                Some(Err(_)) => break "error",
                Some(Ok(Message::Close(_))) => break "close",
                Some(Ok(message)) => socket.send(message).await.unwrap(),
            }
        };
        // A test that does not care has dropped it.
        let _ = ended.send(end);
    };
    (websocket(talk), ends)
}

/// Echoes what another task reads, to the moment. Says what that has read.
fn split(heard: mpsc::UnboundedSender<String>) -> Router {
    let handler = async move |upgrade: WebSocketUpgrade| {
        let mut moment = Moment::current().expect("served by lameduck");
        upgrade.on_upgrade(async move |socket| {
            let (mut sink, mut stream) = socket.split();
            let (pass, mut passed) = mpsc::unbounded_channel();
            let mut reading = tokio::spawn(async move {
                while let Some(Ok(Message::Text(text))) = stream.next().await {
                    heard.send(text.to_string()).unwrap();
                    // Nobody sends it back any more once close has been said.
                    let _ = pass.send(text);
                }
            });
            let told = loop {
                tokio::select! {
                    Some(text) = passed.recv() => sink.send(Message::Text(text)).await.unwrap(),
                    told = &mut moment => break told,
                }
            };
            let restart = Message::Close(Some(CloseFrame {
                code: 1012,
                reason: "service restart".into(),
            }));
            assert!(close_websocket_sink(&mut sink, restart, &told, &mut reading).await);
        })
    };
    Router::new().route("/", get(handler))
}

/// Sends close 1012 when Close begins.
fn aware(handle: &ShutdownHandle) -> Router {
    let handle = handle.clone();
    websocket(async move |mut socket: WebSocket| {
        handle.reached(Phase::Close).await;
        let close = CloseFrame {
            code: 1012,
            reason: "service restart".into(),
        };
        socket.send(Message::Close(Some(close))).await.unwrap();
    })
}

fn websocket<F, Fut>(talk: F) -> Router
where
    F: FnOnce(WebSocket) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    let handler = async move |upgrade: WebSocketUpgrade| upgrade.on_upgrade(talk);
    Router::new().route("/", get(handler))
}

/// Gives the server's own IO to `talk`.
fn raw_upgrade<F, Fut>(talk: F) -> Router
where
    F: FnOnce(TokioIo<Io<TcpStream>>) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    let handler = async move |mut request: Request| {
        let upgrade = hyper::upgrade::on(&mut request);
        tokio::spawn(async move {
            let upgraded = upgrade.await.unwrap();
            let parts = upgraded.downcast::<TokioIo<Io<TcpStream>>>().unwrap();
            talk(parts.io).await;
        });
        switching()
    };
    Router::new().route("/", get(handler))
}

fn switching() -> (StatusCode, HeaderMap) {
    let headers = [("connection", "upgrade"), ("upgrade", "raw")];
    let headers = headers.map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
    (
        StatusCode::SWITCHING_PROTOCOLS,
        HeaderMap::from_iter(headers),
    )
}
