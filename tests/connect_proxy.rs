//! A CONNECT proxy that leaves: axum's `http-proxy` example on a server of ours, and clients that speak TLS through it.
//!
//! Real sockets and a real clock: neither the proxy nor its clients know when the bytes that they pass on are a whole answer.

#![cfg(feature = "hyper")]

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Path, Request};
use axum::response::Response;
use axum::routing::get;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Method, StatusCode};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use lameduck::report::Report;
use lameduck::server::tunnel;
use lameduck::{Moment, Phase, Plan, Server, ShutdownCoordinator};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tower::{ServiceExt, service_fn};

const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

const LINGER: Duration = millis(300);
/// More than any answer here takes.
const CLOSE: Duration = millis(6_000);

fn plan() -> Plan {
    Plan::builder()
        .grace_period(millis(10_000))
        .lame_duck(millis(200))
        .spread(Duration::ZERO)
        .drain(millis(200))
        .close(CLOSE)
        .long_spread(Duration::ZERO)
        .linger(LINGER)
        .release(Duration::ZERO)
        .build()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_tunnel_ends_after_its_moment() {
    let mut scene = Scene::start(Tunnels::Told).await;
    let mut client = scene.client().await;
    client.ask(0).await.unwrap();

    let report = scene.leave().await;

    soon(client.connection).await.unwrap();
    // LameDuck, and the linger behind the moment.
    assert!(report.took < millis(1_500), "{report}");
    assert!(report.is_clean(), "{report}");
    assert_eq!((report.long.told, report.long.cut), (1, 0), "{report}");
    assert_eq!((report.connections.closed, report.connections.cut), (1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn tunnel_in_use_goes_on_until_its_client_pauses() {
    let mut scene = Scene::start(Tunnels::Told).await;
    let mut client = scene.client().await;
    client.ask(0).await.unwrap();
    let handle = scene.shutdown.as_ref().unwrap().handle();

    let leaving = tokio::spawn(async move { scene.leave().await });
    handle.reached(Phase::Close).await;
    let told = Instant::now();
    while told.elapsed() < millis(1_500) {
        client.ask(20).await.unwrap();
        sleep(LINGER / 3).await;
    }
    // An answer for which one waits longer than the linger.
    client.ask(1_000).await.unwrap();
    let report = leaving.await.unwrap();

    soon(client.connection).await.unwrap();
    assert!(told.elapsed() < millis(4_000), "{report}");
    assert!(report.is_clean(), "{report}");
    assert_eq!((report.long.told, report.long.cut), (1, 0), "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn client_that_reads_slowly_gets_all_that_the_upstream_has_sent() {
    const SIZE: usize = 16 << 20;
    let mut scene = Scene::start(Tunnels::Told).await;
    let mut client = scene.client().await;

    let response = client.get(&format!("/large/{SIZE}")).await.unwrap();
    let handle = scene.shutdown.as_ref().unwrap().handle();
    let leaving = tokio::spawn(async move { scene.leave().await });
    handle.reached(Phase::Close).await;
    // The tunnel is full: nothing moves for longer than the linger.
    sleep(LINGER * 4).await;
    let body = soon(to_bytes(Body::new(response.into_body()), SIZE)).await;

    assert_eq!(body.unwrap().len(), SIZE);
    assert!(leaving.await.unwrap().is_clean());
    soon(client.connection).await.unwrap();
}

// The control: the example as it is. Its tunnel gets what an upgrade gets whose task does not ask for its moment.
#[tokio::test(flavor = "multi_thread")]
async fn tunnel_whose_task_does_not_ask_is_cut_at_the_deadline_of_close() {
    let mut scene = Scene::start(Tunnels::Unaware).await;
    let mut client = scene.client().await;
    client.ask(0).await.unwrap();

    let report = scene.leave().await;

    let _ = soon(client.connection).await;
    assert!(report.took >= CLOSE, "{report}");
    assert!(report.is_clean(), "{report}");
    assert_eq!((report.long.told, report.long.cut), (0, 1), "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn shutdown_is_told_to_a_tunnel_that_waits_for_an_answer_behind_its_age() {
    let mut scene = Scene::start_with(Tunnels::Told, |server| {
        server.max_connection_age(millis(200))
    })
    .await;
    let mut client = scene.client().await;
    let handle = scene.shutdown.as_ref().unwrap().handle();

    // The client has sent last. Its age is over before the answer comes, and the shutdown begins after that.
    let asks = tokio::spawn(async move { (client.ask(2_500).await, client) });
    sleep(millis(1_000)).await;
    assert_eq!(handle.connections(), 1);
    let report = scene.leave().await;

    let (answered, client) = asks.await.unwrap();
    answered.unwrap();
    soon(client.connection).await.unwrap();
    assert!(report.took < millis(4_000), "{report}");
    assert!(report.is_clean(), "{report}");
    assert_eq!((report.long.told, report.long.cut), (1, 0), "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tunnel_whose_client_sent_last_ends_behind_its_age() {
    let scene = Scene::start_with(Tunnels::Told, |server| {
        server.max_connection_age(millis(200))
    })
    .await;
    let mut client = scene.client().await;
    let handle = scene.shutdown.as_ref().unwrap().handle();

    let begun = Instant::now();
    let answer = soon(client.ask(100_000)).await;
    while handle.connections() > 0 {
        sleep(millis(10)).await;
        assert!(begun.elapsed() < millis(10_000), "it is still open");
    }

    assert!(answer.is_err());
    assert!(begun.elapsed() > plan().deadline(Phase::Release) / 2);
}

/// What the proxy's handler does.
#[derive(Clone, Copy)]
enum Tunnels {
    Told,
    Unaware,
}

/// A proxy, and a server behind it that knows nothing of any shutdown.
struct Scene {
    shutdown: Option<ShutdownCoordinator>,
    proxy: SocketAddr,
    upstream: SocketAddr,
    tls: TlsConnector,
}

impl Scene {
    async fn start(tunnels: Tunnels) -> Self {
        Scene::start_with(tunnels, |server| server).await
    }

    async fn start_with(tunnels: Tunnels, set: impl FnOnce(Server) -> Server) -> Self {
        let (upstream, tls) = upstream().await;
        let shutdown = ShutdownCoordinator::new(plan()).termination_log("/nonexistent");
        let listener = lameduck::bind("127.0.0.1:0").await.unwrap();
        let proxy = listener.local_addr().unwrap();
        let others = Router::new().route("/", get(async || "Hello, World!"));
        let service = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
            let others = others.clone();
            let request = request.map(Body::new);
            async move {
                match *request.method() == Method::CONNECT {
                    true => Ok::<_, Infallible>(connect(request, tunnels)),
                    false => others.oneshot(request).await,
                }
            }
        });
        set(Server::new(&shutdown.handle())).serve(listener, service);
        Scene {
            shutdown: Some(shutdown),
            proxy,
            upstream,
            tls,
        }
    }

    async fn leave(&mut self) -> Arc<Report> {
        let shutdown = self.shutdown.take().unwrap();
        shutdown.handle().shutdown("test");
        soon(shutdown.run()).await
    }

    /// A client that speaks TLS with the upstream, through the proxy.
    async fn client(&self) -> Client {
        let mut tunnel = TcpStream::connect(self.proxy).await.unwrap();
        let target = self.upstream;
        let connect = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n");
        tunnel.write_all(connect.as_bytes()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(soon(tunnel.read_u8()).await.unwrap());
        }
        assert!(head.starts_with(b"HTTP/1.1 200"), "{head:?}");
        let name = ServerName::try_from("localhost").unwrap();
        let tls = soon(self.tls.connect(name, tunnel)).await.unwrap();
        let (requests, connection) = http1::handshake(TokioIo::new(tls)).await.unwrap();
        Client {
            requests,
            connection: tokio::spawn(async move {
                // rustls takes an end without close_notify for a truncation.
                let _ = connection.await;
            }),
        }
    }
}

/// The handler of axum's example.
fn connect(request: Request, tunnels: Tunnels) -> Response {
    let target = request.uri().authority().unwrap().to_string();
    let moment = match tunnels {
        Tunnels::Told => Moment::of(request.extensions()),
        Tunnels::Unaware => None,
    };
    tokio::spawn(async move {
        let upgraded = hyper::upgrade::on(request).await.unwrap();
        let mut client = TokioIo::new(upgraded);
        let mut upstream = TcpStream::connect(target).await.unwrap();
        match moment {
            Some(moment) => tunnel(&mut client, &mut upstream, moment).await,
            None => copy_bidirectional(&mut client, &mut upstream).await,
        }
    });
    Response::new(Body::empty())
}

struct Client {
    requests: SendRequest<Body>,
    connection: JoinHandle<()>,
}

impl Client {
    /// Asks for an answer that takes so many milliseconds.
    async fn ask(&mut self, takes: u64) -> hyper::Result<()> {
        let response = self.get(&format!("/after/{takes}")).await?;
        assert_eq!(response.status(), StatusCode::OK);
        let body = to_bytes(Body::new(response.into_body()), 100).await;
        assert_eq!(body.unwrap(), "done");
        Ok(())
    }

    async fn get(&mut self, path: &str) -> hyper::Result<hyper::Response<hyper::body::Incoming>> {
        let request = Request::get(path).header("host", "localhost");
        soon(self.requests.ready()).await?;
        let request = request.body(Body::empty()).unwrap();
        soon(self.requests.send_request(request)).await
    }
}

/// An HTTPS server, as hyper makes one.
async fn upstream() -> (SocketAddr, TlsConnector) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let certificate = made.cert.der().clone();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).unwrap();
    let client = ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let server = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(server));
    let app = Router::new()
        .route(
            "/after/{ms}",
            get(async |Path(ms): Path<u64>| {
                sleep(millis(ms)).await;
                "done"
            }),
        )
        .route(
            "/large/{size}",
            get(async |Path(size): Path<usize>| vec![7; size]),
        );
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, app) = (acceptor.clone(), app.clone());
            tokio::spawn(async move {
                let stream = TokioIo::new(acceptor.accept(stream).await.unwrap());
                let service = TowerToHyperService::new(app);
                hyper::server::conn::http1::Builder::new()
                    .serve_connection(stream, service)
                    .await
            });
        }
    });
    (address, TlsConnector::from(Arc::new(client)))
}

/// A test that waits for what never comes fails.
async fn soon<F: Future>(future: F) -> F::Output {
    let waited = timeout(Duration::from_secs(60), future).await;
    waited.expect("it never came")
}
