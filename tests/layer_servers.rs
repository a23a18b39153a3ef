//! `DrainLayer` under other people's servers, on real sockets: axum, tonic, and a bare hyper loop.

#![cfg(feature = "hyper")]

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ws::{CloseFrame, Message, WebSocketUpgrade, close_code};
use axum::routing::{any, get};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::header::{CONNECTION, RETRY_AFTER, UPGRADE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self as client, SendRequest};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use lameduck::report::PhaseOutcome;
use lameduck::{DrainLayer, Phase, Plan, Reached, Report, ShutdownCoordinator};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tonic::Code;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tower::{Layer, Service, service_fn};

/// Long enough for any machine; what is waited for comes by itself.
const PATIENCE: Duration = Duration::from_secs(20);

// axum.

#[tokio::test]
async fn axum_finishes_what_is_in_flight_and_serves_on_until_drain() {
    let shutdown = ShutdownCoordinator::new(by_itself());
    let handle = shutdown.handle();
    let gate = Arc::new(Gate::default());
    let app = gate.app().layer(DrainLayer::new(&handle));
    let (listener, address) = listen().await;
    let stop = handle.reached(Phase::Drain);
    let server = tokio::spawn(
        axum::serve(listener, app)
            .with_graceful_shutdown(stop)
            .into_future(),
    );
    let mut old = Client::connect(address).await;
    let slow = tokio::spawn(async move {
        let response = old.get("/slow").await;
        (response, old)
    });
    gate.entered.notified().await;

    handle.shutdown("test");
    let mut new = Client::connect(address).await;
    let quick = new.get("/").await;
    let run = tokio::spawn(shutdown.run());
    handle.reached(Phase::Drain).await;
    let busy_in_drain = !run.is_finished();
    gate.open.notify_one();
    let (slow, old) = within(slow).await.unwrap();

    assert_eq!((quick.status, &*quick.body), (StatusCode::OK, "quick"));
    assert!(quick.says_close());
    new.closed().await;
    assert!(busy_in_drain);
    assert_eq!((slow.status, &*slow.body), (StatusCode::OK, "slow"));
    assert!(slow.says_close());
    old.closed().await;
    let report = within(run).await.unwrap();
    within(server).await.unwrap().unwrap();
    assert!(ended_by_itself(&report), "{report}");
    assert_eq!(report.traffic.served, 1);
}

#[tokio::test]
async fn axum_keeps_connections_alive_in_normal_service() {
    let shutdown = ShutdownCoordinator::new(by_itself());
    let handle = shutdown.handle();
    let app = Gate::default().into_app().layer(DrainLayer::new(&handle));
    let (listener, address) = listen().await;
    let server = tokio::spawn(axum::serve(listener, app).into_future());
    let mut client = Client::connect(address).await;

    for _ in 0..3 {
        let response = client.get("/").await;

        assert_eq!(response.body, "quick");
        assert_eq!(response.connection, None);
    }

    server.abort();
}

// Case 38.
#[tokio::test]
async fn axum_sends_a_streamed_body_to_its_end() {
    let shutdown = ShutdownCoordinator::new(by_itself());
    let handle = shutdown.handle();
    let (parts, app) = streaming_app();
    let (listener, address) = listen().await;
    let stop = handle.reached(Phase::Drain);
    let app = app.layer(DrainLayer::new(&handle));
    let server = tokio::spawn(
        axum::serve(listener, app)
            .with_graceful_shutdown(stop)
            .into_future(),
    );
    let mut client = Client::connect(address).await;
    let mut body = client.send(request("/")).await.into_body();
    parts.send(Ok("first ".into())).unwrap();
    let first = within(body.frame()).await.unwrap().unwrap();

    handle.shutdown("test");
    let run = tokio::spawn(shutdown.run());
    handle.reached(Phase::Drain).await;
    parts.send(Ok("second ".into())).unwrap();
    parts.send(Ok("last".into())).unwrap();
    drop(parts);
    let rest = within(body.collect()).await.unwrap().to_bytes();

    assert_eq!(first.into_data().unwrap(), "first ");
    assert_eq!(rest, "second last");
    let report = within(run).await.unwrap();
    within(server).await.unwrap().unwrap();
    assert!(ended_by_itself(&report), "{report}");
}

// Case 38.
#[tokio::test]
async fn axum_body_that_outlasts_close_is_reported_as_cut() {
    let shutdown = ShutdownCoordinator::new(two_seconds());
    let handle = shutdown.handle();
    let (parts, app) = streaming_app();
    let (listener, address) = listen().await;
    let stop = handle.reached(Phase::Drain);
    let app = app.layer(DrainLayer::new(&handle));
    let server = tokio::spawn(
        axum::serve(listener, app)
            .with_graceful_shutdown(stop)
            .into_future(),
    );
    let mut client = Client::connect(address).await;
    let body = client.send(request("/")).await.into_body();
    handle.shutdown("test");

    let report = within(shutdown.run()).await;

    assert_eq!(report.cut, 1);
    assert!(!report.is_clean());
    // It was counted, not ended: only the end of the process does that to somebody else's server.
    assert!(!server.is_finished());
    drop((parts, body));
    server.abort();
}

// Case 39.
#[tokio::test]
async fn axum_client_that_goes_away_in_mid_response_holds_up_nothing() {
    let shutdown = ShutdownCoordinator::new(by_itself());
    let handle = shutdown.handle();
    let (parts, app) = streaming_app();
    let (listener, address) = listen().await;
    let stop = handle.reached(Phase::Drain);
    let app = app.layer(DrainLayer::new(&handle));
    let server = tokio::spawn(
        axum::serve(listener, app)
            .with_graceful_shutdown(stop)
            .into_future(),
    );
    let mut client = Client::connect(address).await;
    let body = client.send(request("/")).await.into_body();
    handle.shutdown("test");
    let run = tokio::spawn(shutdown.run());
    handle.reached(Phase::Drain).await;
    assert_eq!(handle.in_flight(), 1);

    drop(body);
    client.go_away().await;

    let report = within(run).await.unwrap();
    within(server).await.unwrap().unwrap();
    assert!(ended_by_itself(&report), "{report}");
    assert!(parts.is_closed());
}

// Case 58.
#[tokio::test]
async fn axum_request_in_release_gets_503_on_a_connection_from_before() {
    let shutdown = ShutdownCoordinator::new(by_itself());
    let handle = shutdown.handle();
    let layer = DrainLayer::new(&handle).exempt(|head| head.uri.path() == "/");
    let app = Gate::default().into_app().layer(layer);
    let (listener, address) = listen().await;
    // A server that does not know of the shutdown.
    let server = tokio::spawn(axum::serve(listener, app).into_future());
    let (mut exempt, mut other) = (
        Client::connect(address).await,
        Client::connect(address).await,
    );
    assert_eq!(exempt.get("/").await.connection, None);
    assert_eq!(other.get("/").await.connection, None);
    let (answers, mut answered) = mpsc::unbounded_channel();
    shutdown
        .hook(Phase::Release, "late requests", async move || {
            answers.send(exempt.get("/").await).unwrap();
            // The gate is shut: if the handler ran, it would hang.
            answers.send(other.get("/slow").await).unwrap();
            other.closed().await;
        })
        .unwrap();
    handle.shutdown("test");

    let report = within(shutdown.run()).await;

    let exempt = answered.recv().await.unwrap();
    assert_eq!((exempt.status, &*exempt.body), (StatusCode::OK, "quick"));
    let refused = answered.recv().await.unwrap();
    assert_eq!(
        (refused.status, &*refused.body),
        (StatusCode::SERVICE_UNAVAILABLE, "")
    );
    assert!((1..=3).contains(&refused.retry_after.unwrap()));
    assert!(refused.says_close());
    assert_eq!((report.traffic.served, report.traffic.refused), (0, 1));
    assert!(report.is_clean(), "{report}");
    server.abort();
}

// Case 54, as far as the layer alone goes: the handler holds the guard itself.
#[tokio::test]
async fn axum_websocket_whose_handler_holds_a_guard_is_waited_for() {
    let shutdown = ShutdownCoordinator::new(by_itself());
    let handle = shutdown.handle();
    let chat = {
        let handle = handle.clone();
        async move |upgrade: WebSocketUpgrade| {
            let Some(guard) = handle.guard() else {
                return Response::new(Body::empty());
            };
            upgrade.on_upgrade(async move |mut socket| {
                handle.reached(Phase::Drain).await;
                let restart = CloseFrame {
                    code: close_code::RESTART,
                    reason: "bye".into(),
                };
                socket.send(Message::Close(Some(restart))).await.unwrap();
                // To the client's own close.
                while socket.recv().await.is_some() {}
                drop(guard);
            })
        }
    };
    let app = Router::new()
        .route("/chat", any(chat))
        .layer(DrainLayer::new(&handle));
    let (listener, address) = listen().await;
    let stop = handle.reached(Phase::Drain);
    let server = tokio::spawn(
        axum::serve(listener, app)
            .with_graceful_shutdown(stop)
            .into_future(),
    );
    handle.shutdown("test");
    // In LameDuck: an upgrade has a Connection header of its own, or the handshake fails.
    let url = format!("ws://{address}/chat");
    let (mut socket, upgraded) = within(tokio_tungstenite::connect_async(url)).await.unwrap();

    let run = tokio::spawn(shutdown.run());
    let last = within(socket.next()).await.unwrap().unwrap();
    let waited_for = !run.is_finished();
    let end = within(socket.next()).await;

    assert_eq!(upgraded.headers()[CONNECTION], "upgrade");
    let tokio_tungstenite::tungstenite::Message::Close(Some(frame)) = last else {
        panic!("{last:?}");
    };
    assert_eq!(u16::from(frame.code), close_code::RESTART);
    assert!(waited_for);
    assert!(end.is_none());
    let report = within(run).await.unwrap();
    within(server).await.unwrap().unwrap();
    assert!(ended_by_itself(&report), "{report}");
}

// tonic.

#[tokio::test]
async fn tonic_answers_before_and_after_t0() {
    let shutdown = ShutdownCoordinator::new(by_itself());
    let handle = shutdown.handle();
    let (incoming, address) = incoming();
    let (_health, service) = tonic_health::server::health_reporter();
    let server = tokio::spawn(
        tonic::transport::Server::builder()
            .layer(DrainLayer::new(&handle))
            .add_service(service)
            .serve_with_incoming_shutdown(incoming, handle.reached(Phase::Drain)),
    );
    let mut health = health_client(address).await;

    let before = within(health.check(whole_service())).await.unwrap();
    handle.shutdown("test");
    let after = within(health.check(whole_service())).await.unwrap();
    let mut another = health_client(address).await;
    let on_new_connection = within(another.check(whole_service())).await.unwrap();
    let report = within(shutdown.run()).await;

    within(server).await.unwrap().unwrap();
    for response in [before, after, on_new_connection] {
        assert_eq!(response.get_ref().status(), ServingStatus::Serving);
        assert!(!response.metadata().contains_key("connection"));
    }
    assert_eq!((report.traffic.served, report.traffic.refused), (2, 0));
    assert!(ended_by_itself(&report), "{report}");
    assert!(within(health.check(whole_service())).await.is_err());
}

// Case 58.
#[tokio::test]
async fn tonic_call_in_release_is_unavailable() {
    let shutdown = ShutdownCoordinator::new(by_itself());
    let handle = shutdown.handle();
    let address = free_address().await;
    let (_health, service) = tonic_health::server::health_reporter();
    let server = tokio::spawn(
        tonic::transport::Server::builder()
            .layer(DrainLayer::new(&handle))
            .add_service(service)
            .serve_with_shutdown(address, handle.reached(Phase::Exit)),
    );
    let mut health = health_client(address).await;
    within(health.check(whole_service())).await.unwrap();
    let (statuses, mut status) = mpsc::unbounded_channel();
    shutdown
        .hook(Phase::Release, "late call", async move || {
            statuses.send(health.check(whole_service()).await).unwrap();
        })
        .unwrap();
    handle.shutdown("test");

    let report = within(shutdown.run()).await;

    let refused = status.recv().await.unwrap().unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable, "{refused}");
    assert_eq!((report.traffic.served, report.traffic.refused), (0, 1));
    assert!(report.is_clean(), "{report}");
    within(server).await.unwrap().unwrap();
}

// Case 50, as far as the layer alone goes.
#[tokio::test]
async fn tonic_server_stream_is_in_flight_and_reported_as_cut() {
    let shutdown = ShutdownCoordinator::new(two_seconds());
    let handle = shutdown.handle();
    let (incoming, address) = incoming();
    let (_health, service) = tonic_health::server::health_reporter();
    let server = tokio::spawn(
        tonic::transport::Server::builder()
            .layer(DrainLayer::new(&handle))
            .add_service(service)
            .serve_with_incoming_shutdown(incoming, handle.reached(Phase::Drain)),
    );
    let mut health = health_client(address).await;
    let mut watch = within(health.watch(whole_service()))
        .await
        .unwrap()
        .into_inner();
    let first = within(watch.message()).await.unwrap().unwrap();
    handle.shutdown("test");

    let report = within(shutdown.run()).await;

    assert_eq!(first.status(), ServingStatus::Serving);
    assert_eq!(report.cut, 1);
    assert!(!report.is_clean());
    // The client's end ends the server.
    drop((watch, health));
    within(server).await.unwrap().unwrap();
}

// Case 59.
#[tokio::test]
async fn tonic_server_stream_that_is_exempt_holds_up_nothing() {
    let shutdown = ShutdownCoordinator::new(by_itself());
    let handle = shutdown.handle();
    let layer = DrainLayer::new(&handle)
        .exempt(|head| head.uri.path().starts_with("/grpc.health.v1.Health/"));
    let (incoming, address) = incoming();
    let (_health, service) = tonic_health::server::health_reporter();
    let server = tokio::spawn(
        tonic::transport::Server::builder()
            .layer(layer)
            .add_service(service)
            .serve_with_incoming_shutdown(incoming, handle.reached(Phase::Drain)),
    );
    let mut health = health_client(address).await;
    let mut watch = within(health.watch(whole_service()))
        .await
        .unwrap()
        .into_inner();
    within(watch.message()).await.unwrap().unwrap();
    handle.shutdown("test");

    let report = within(shutdown.run()).await;

    assert!(ended_by_itself(&report), "{report}");
    assert_eq!((report.traffic.served, report.traffic.refused), (0, 0));
    drop((watch, health));
    within(server).await.unwrap().unwrap();
}

// A bare hyper loop.

#[tokio::test]
async fn hyper_connection_closes_after_the_first_response_from_t0_on() {
    let shutdown = ShutdownCoordinator::new(by_itself());
    let handle = shutdown.handle();
    let hello = service_fn(async |_: Request<Incoming>| {
        Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(b"hello"))))
    });
    let (listener, address) = listen().await;
    let service = DrainLayer::new(&handle).layer(hello);
    let server = tokio::spawn(bare_hyper(
        listener,
        service,
        handle.reached(Phase::Release),
    ));
    let mut client = Client::connect(address).await;
    let before = client.get("/").await;

    handle.shutdown("test");
    let after = client.get("/").await;
    client.closed().await;
    let report = within(shutdown.run()).await;

    assert_eq!(
        (before.connection.as_deref(), &*before.body),
        (None, "hello")
    );
    assert!(after.says_close());
    assert_eq!(after.body, "hello");
    assert!(ended_by_itself(&report), "{report}");
    assert_eq!(report.traffic.served, 1);
    within(server).await.unwrap().unwrap();
}

#[tokio::test]
async fn hyper_request_in_drain_is_served_and_close_waits_for_it() {
    let shutdown = ShutdownCoordinator::new(by_itself());
    let handle = shutdown.handle();
    let gate = Arc::new(Gate::default());
    let (early, late) = (Arc::clone(&gate), Arc::new(Gate::default()));
    let service = DrainLayer::new(&handle).layer(service_fn({
        let late = Arc::clone(&late);
        move |request: Request<Incoming>| {
            let gate = match request.uri().path() {
                "/early" => Arc::clone(&early),
                _ => Arc::clone(&late),
            };
            async move {
                gate.pass().await;
                Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
            }
        }
    }));
    let (listener, address) = listen().await;
    let server = tokio::spawn(bare_hyper(
        listener,
        service,
        handle.reached(Phase::Release),
    ));
    let in_flight = |path| async move { Client::connect(address).await.get(path).await };
    let first = tokio::spawn(in_flight("/early"));
    within(gate.entered.notified()).await;
    handle.shutdown("test");
    let run = tokio::spawn(shutdown.run());
    handle.reached(Phase::Drain).await;

    let second = tokio::spawn(in_flight("/late"));
    within(late.entered.notified()).await;
    let phase_of_arrival = handle.phase();
    gate.open.notify_one();
    within(handle.reached(Phase::Close)).await;
    let phase_after_first = handle.phase();
    late.open.notify_one();

    let report = within(run).await.unwrap();
    assert_eq!(phase_of_arrival, Some(Phase::Drain));
    assert_eq!(phase_after_first, Some(Phase::Close));
    for response in [first, second] {
        let response = response.await.unwrap();
        assert_eq!(response.status, StatusCode::OK);
        assert!(response.says_close());
    }
    assert!(ended_by_itself(&report), "{report}");
    within(server).await.unwrap().unwrap();
}

#[tokio::test]
async fn hyper_upgrade_and_tunnel_after_t0_carry_bytes() {
    let shutdown = ShutdownCoordinator::new(by_itself());
    let handle = shutdown.handle();
    let (listener, address) = listen().await;
    let service = DrainLayer::new(&handle).layer(service_fn(async |request| {
        Ok::<_, Infallible>(echo_upgraded(request))
    }));
    let server = tokio::spawn(bare_hyper(
        listener,
        service,
        handle.reached(Phase::Release),
    ));
    let upgrade = Request::get("/")
        .header(CONNECTION, "upgrade")
        .header(UPGRADE, "echo")
        .body(Empty::new())
        .unwrap();
    let tunnel = Request::connect("example.org:443")
        .body(Empty::new())
        .unwrap();
    handle.shutdown("test");

    for (request, status, connection) in [
        (upgrade, StatusCode::SWITCHING_PROTOCOLS, Some("upgrade")),
        (tunnel, StatusCode::OK, None),
    ] {
        let mut client = Client::connect(address).await;
        let response = client.send(request).await;
        let said = response.headers().get(CONNECTION).cloned();
        let (arrived, answer_status) = ping(response).await;

        assert_eq!(answer_status, status);
        assert_eq!(said, connection.map(HeaderValue::from_static));
        assert_eq!(&arrived, b"ping", "{status}");
    }

    let report = within(shutdown.run()).await;
    assert!(ended_by_itself(&report), "{report}");
    within(server).await.unwrap().unwrap();
}

/// No test comes near one of these deadlines: what ends, ends by itself.
fn by_itself() -> Plan {
    Plan::builder()
        .grace_period(Duration::from_secs(60))
        .lame_duck(Duration::ZERO)
        .build()
        .unwrap()
}

/// For tests that wait for Close's deadline, 1.53 s after T0.
fn two_seconds() -> Plan {
    Plan::builder()
        .grace_period(Duration::from_secs(2))
        .build()
        .unwrap()
}

fn ended_by_itself(report: &Report) -> bool {
    let mut phases = report.phases.iter();
    report.is_clean() && phases.all(|phase| phase.outcome == PhaseOutcome::Completed)
}

async fn within<F: IntoFuture>(work: F) -> F::Output {
    let in_time = timeout(PATIENCE, work).await;
    in_time.expect("it should have ended long ago")
}

async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// An address that nobody listened on a moment ago, for servers that insist on binding it themselves.
async fn free_address() -> SocketAddr {
    listen().await.1
}

fn incoming() -> (TcpIncoming, SocketAddr) {
    let incoming = TcpIncoming::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = incoming.local_addr().unwrap();
    (incoming, address)
}

async fn health_client(address: SocketAddr) -> HealthClient<Channel> {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
    let connecting = async {
        // The server may not have got as far as listening.
        loop {
            match endpoint.connect().await {
                Ok(channel) => return channel,
                Err(_) => tokio::task::yield_now().await,
            }
        }
    };
    HealthClient::new(within(connecting).await)
}

fn whole_service() -> HealthCheckRequest {
    HealthCheckRequest {
        service: String::new(),
    }
}

fn request(path: &str) -> Request<Empty<Bytes>> {
    Request::get(path).body(Empty::new()).unwrap()
}

/// One HTTP/1 connection, without a pool.
struct Client {
    sender: SendRequest<Empty<Bytes>>,
    connection: JoinHandle<hyper::Result<()>>,
}

impl Client {
    async fn connect(address: SocketAddr) -> Self {
        let stream = within(TcpStream::connect(address)).await.unwrap();
        let (sender, connection) = client::handshake(TokioIo::new(stream)).await.unwrap();
        let connection = tokio::spawn(connection.with_upgrades());
        Client { sender, connection }
    }

    async fn send(&mut self, request: Request<Empty<Bytes>>) -> Response<Incoming> {
        within(self.sender.ready()).await.unwrap();
        within(self.sender.send_request(request)).await.unwrap()
    }

    async fn get(&mut self, path: &str) -> Answer {
        let (head, body) = self.send(request(path)).await.into_parts();
        let body = within(body.collect()).await.unwrap().to_bytes();
        let text = |name| Some(head.headers.get(name)?.to_str().unwrap().to_owned());
        Answer {
            status: head.status,
            connection: text(CONNECTION),
            retry_after: text(RETRY_AFTER).map(|seconds| seconds.parse().unwrap()),
            body: String::from_utf8(body.to_vec()).unwrap(),
        }
    }

    /// Waits until the server has closed the connection.
    async fn closed(self) {
        within(self.connection).await.unwrap().unwrap();
        drop(self.sender);
    }

    /// Closes the connection from this side, whatever it is doing.
    async fn go_away(self) {
        self.connection.abort();
        let _ = self.connection.await;
    }
}

struct Answer {
    status: StatusCode,
    connection: Option<String>,
    retry_after: Option<u32>,
    body: String,
}

impl Answer {
    fn says_close(&self) -> bool {
        self.connection.as_deref() == Some("close")
    }
}

/// Where a slow handler waits.
#[derive(Default)]
struct Gate {
    entered: Notify,
    open: Notify,
}

impl Gate {
    async fn pass(&self) {
        self.entered.notify_one();
        self.open.notified().await;
    }

    /// `/` answers at once, `/slow` when the gate is opened.
    fn app(self: &Arc<Self>) -> Router {
        let gate = Arc::clone(self);
        let slow = async move || {
            gate.pass().await;
            "slow"
        };
        Router::new()
            .route("/", get(async || "quick"))
            .route("/slow", get(slow))
    }

    fn into_app(self) -> Router {
        Arc::new(self).app()
    }
}

type Parts = mpsc::UnboundedSender<io::Result<String>>;

/// An application whose only response is written by hand.
fn streaming_app() -> (Parts, Router) {
    let (parts, mut written) = mpsc::unbounded_channel::<io::Result<String>>();
    let body = Body::from_stream(stream::poll_fn(move |cx| written.poll_recv(cx)));
    let body = Arc::new(std::sync::Mutex::new(Some(body)));
    let handler = async move || body.lock().unwrap().take().expect("asked once");
    (parts, Router::new().route("/", get(handler)))
}

/// The shortest accept loop: no graceful shutdown of a connection, only the layer's `Connection: close`.
async fn bare_hyper<S, B>(listener: TcpListener, service: S, stop: Reached) -> io::Result<()>
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>
        + Clone
        + Send
        + 'static,
    S::Future: Send,
    B: http_body::Body<Data = Bytes, Error = Infallible> + Send + 'static,
{
    let mut stop = std::pin::pin!(stop);
    loop {
        let (stream, _) = tokio::select! {
            () = &mut stop => return Ok(()),
            accepted = listener.accept() => accepted?,
        };
        let service = TowerToHyperService::new(service.clone());
        let connection = hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades();
        tokio::spawn(connection);
    }
}

/// Answers with an upgrade, or a tunnel to nowhere, and gives back what comes over it.
fn echo_upgraded(mut request: Request<Incoming>) -> Response<Empty<Bytes>> {
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let mut io = TokioIo::new(upgrade.await.unwrap());
        let mut bytes = [0; 4];
        io.read_exact(&mut bytes).await.unwrap();
        io.write_all(&bytes).await.unwrap();
        io.shutdown().await.unwrap();
    });
    let mut response = Response::new(Empty::new());
    if *request.method() != Method::CONNECT {
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static("echo"));
    }
    response
}

/// What comes back over an upgraded connection.
async fn ping(response: Response<Incoming>) -> (Vec<u8>, StatusCode) {
    let status = response.status();
    let mut io = TokioIo::new(within(hyper::upgrade::on(response)).await.unwrap());
    let mut arrived = Vec::new();
    within(io.write_all(b"ping")).await.unwrap();
    within(io.read_to_end(&mut arrived)).await.unwrap();
    (arrived, status)
}
