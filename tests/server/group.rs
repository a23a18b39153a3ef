//! An accept loop of one's own: hyper's connections under a `ConnectionGroup`.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use hyper::Request;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use lameduck::report::PhaseOutcome;
use lameduck::server::{Accept, ConnectionGroup, GracefulConnection};
use lameduck::{DrainLayer, Phase, Plan, ShutdownHandle};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::listener::{Scripted, Step, assert_server_failed, emfile};
use crate::support::*;

#[tokio::test(start_paused = true)]
async fn a_connection_of_each_kind_is_counted_told_and_ends() {
    for kind in Kind::ALL {
        let (shutdown, handle) = coordinator(Plan::immediate());
        let (address, accepting) = accept(kind, hello(), &handle).await;
        let client = Peer::connect(address, kind).await;
        let open = handle.connections();

        let report = soon(begin(shutdown)).await.unwrap();

        assert_eq!(open, 1, "{kind:?}");
        assert!(about(report.took, Duration::ZERO), "{kind:?} {report}");
        assert_eq!(
            (report.connections.closed, report.connections.cut),
            (1, 0),
            "{kind:?}"
        );
        assert!(client.ended().await, "{kind:?}");
        soon(accepting).await.unwrap();
        let refused = TcpStream::connect(address).await;
        assert!(refused.is_err(), "{kind:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_of_each_kind_finishes_its_request() {
    for kind in Kind::ALL {
        let gate = Gate::new();
        let (shutdown, handle) = coordinator(cluster());
        let (address, _accepting) = accept(kind, gated(&gate), &handle).await;
        let client = Peer::connect_unasked(address, kind).await;
        let status = client.ask().await;
        gate.entered().await;

        let run = begin(shutdown);
        reached(&handle, Phase::Drain).await;
        gate.open();

        assert_eq!(soon(status).await.unwrap(), 200, "{kind:?}");
        let report = soon(run).await.unwrap();
        assert!(report.is_clean(), "{kind:?} {report}");
        assert_eq!(
            (report.connections.closed, report.connections.cut),
            (1, 0),
            "{kind:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_of_each_kind_is_cut_at_the_deadline() {
    for kind in Kind::ALL {
        let gate = Gate::new();
        let (shutdown, handle) = coordinator(Plan::immediate());
        let (address, _accepting) = accept(kind, gated(&gate), &handle).await;
        let client = Peer::connect_unasked(address, kind).await;
        let status = client.ask().await;
        gate.entered().await;

        let report = soon(begin(shutdown)).await.unwrap();

        assert!(soon(status).await.is_err(), "{kind:?}");
        assert!(!report.is_clean(), "{kind:?} {report}");
        assert_eq!(
            (report.connections.closed, report.connections.cut),
            (0, 1),
            "{kind:?}"
        );
        let close = report.phase(Phase::Close).unwrap();
        assert_eq!(close.outcome, PhaseOutcome::TimedOut, "{kind:?}");
    }
}

// Case 32, for hyper's own connection.
#[tokio::test(start_paused = true)]
async fn an_idle_http1_connection_lingers_in_close() {
    let (shutdown, handle) = late_end(cluster());
    let (address, _accepting) = accept(Kind::Http1, hello(), &handle).await;
    let mut client = Client::connect(address).await;
    client.get("/").await;

    let run = begin(shutdown);
    reached(&handle, Phase::Close).await;
    sleep(millis(500)).await;
    let response = client.get("/").await;

    assert!(response.says_close());
    assert_eq!(client.end().await.unwrap(), b"");
    assert!(soon(run).await.unwrap().is_clean());
}

#[tokio::test(start_paused = true)]
async fn close_waits_until_the_group_is_dropped() {
    let (shutdown, handle) = coordinator(Plan::immediate());
    let group = ConnectionGroup::new(&handle);

    let run = begin(shutdown);
    soon(group.closing()).await;
    sleep(seconds(1)).await;
    let waiting = handle.phase();
    drop(group);
    let report = soon(run).await.unwrap();

    assert_eq!(waiting, Some(Phase::Close));
    assert!(about(report.took, seconds(1)), "{report}");
}

#[tokio::test(start_paused = true)]
async fn from_release_on_a_connection_is_not_watched_any_more() {
    let (shutdown, handle) = coordinator(Plan::immediate());
    let group = ConnectionGroup::new(&handle);

    soon(begin(shutdown)).await.unwrap();
    let (server, _client) = tokio::io::duplex(64);
    let service = TowerToHyperService::new(hello());
    let connection =
        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(server), service);

    assert!(group.watch(connection, "late").is_none());
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Http1,
    Http1WithUpgrades,
    Http2,
    AutoHttp1,
    AutoHttp2,
    AutoWithUpgrades,
}

impl Kind {
    const ALL: [Kind; 6] = [
        Kind::Http1,
        Kind::Http1WithUpgrades,
        Kind::Http2,
        Kind::AutoHttp1,
        Kind::AutoHttp2,
        Kind::AutoWithUpgrades,
    ];

    fn is_http2(self) -> bool {
        matches!(self, Kind::Http2 | Kind::AutoHttp2)
    }
}

/// The accept loop of somebody who does not use `serve`.
async fn accept(kind: Kind, app: Router, handle: &ShutdownHandle) -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let group = ConnectionGroup::new(handle);
    let app = app.layer(DrainLayer::new(handle));
    let accepting = tokio::spawn(async move {
        let mut accepting = group.accept(listener);
        while let Some((stream, peer)) = accepting.next().await {
            serve(kind, stream, peer, &app, &group);
        }
    });
    (address, accepting)
}

#[tokio::test(start_paused = true)]
async fn an_accept_loop_by_hand_ends_when_it_is_time_to_close() {
    let (shutdown, handle) = coordinator(Plan::immediate());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let group = ConnectionGroup::new(&handle);
    let app = hello().layer(DrainLayer::new(&handle));
    let accepting = tokio::spawn(async move {
        let mut closing = pin!(group.closing());
        loop {
            tokio::select! {
                () = &mut closing => break,
                accepted = listener.accept() => {
                    let (stream, peer) = accepted.unwrap();
                    serve(Kind::Http1, stream, peer, &app, &group);
                }
            }
        }
        for (stream, peer) in listener.close() {
            serve(Kind::Http1, stream, peer, &app, &group);
        }
    });
    assert_eq!(Client::connect(address).await.get("/").await.status, 200);

    let report = soon(begin(shutdown)).await.unwrap();

    assert!(report.is_clean());
    soon(accepting).await.unwrap();
    assert!(TcpStream::connect(address).await.is_err());
}

/// Serves what a group accepts with hyper's HTTP/1.
fn accept_from(listener: Scripted, app: Router, group: ConnectionGroup) -> JoinHandle<()> {
    tokio::spawn(async move {
        let mut accepting = group.accept(listener);
        while let Some((stream, peer)) = accepting.next().await {
            serve(Kind::Http1, stream, peer, &app, &group);
        }
    })
}

#[tokio::test(start_paused = true)]
async fn a_group_that_is_out_of_file_descriptors_accepts_again() {
    let (_shutdown, handle) = coordinator(Plan::immediate());
    let listener = lameduck::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let gone = io::Error::from(io::ErrorKind::ConnectionAborted);
    let steps = std::iter::once(Step::Fail(gone)).chain(std::iter::repeat_with(emfile).take(5));
    let (listener, counts) = Scripted::around(listener, steps);
    accept_from(listener, hello(), ConnectionGroup::new(&handle));

    let (response, took) = timed(async { Client::connect(address).await.get("/").await }).await;

    assert_eq!(response.status, 200);
    assert!(about(took, millis(500)), "{took:?}");
    assert!(counts.polled.load(Ordering::Relaxed) < 15, "it spins");
    assert!(!handle.is_shutting_down());
}

#[tokio::test(start_paused = true)]
async fn a_group_empties_its_listener_before_it_closes_it() {
    let (shutdown, handle) = coordinator(cluster());
    let listener = lameduck::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    // The loop never comes to accept: the queue is only seen when the listener closes.
    let (listener, counts) = Scripted::around(listener, [Step::Busy]);
    let app = hello().layer(DrainLayer::new(&handle));
    let accepting = accept_from(listener, app, ConnectionGroup::new(&handle));
    let mut clients = Vec::new();
    for _ in 0..10 {
        let mut client = Client::connect(address).await;
        client.ask("/").await;
        clients.push(client);
    }

    let report = soon(begin(shutdown)).await.unwrap();

    for mut client in clients {
        assert_eq!(client.response().await.status, 200);
    }
    assert!(report.is_clean());
    assert_eq!((report.connections.closed, report.connections.cut), (10, 0));
    assert_eq!(counts.closed.load(Ordering::Relaxed), 1);
    soon(accepting).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_group_whose_listener_fails_triggers_the_shutdown() {
    let (shutdown, handle) = coordinator(Plan::immediate());
    let listener = lameduck::bind("127.0.0.1:0").await.unwrap();
    let failure = io::Error::other("the network is gone");
    let (listener, counts) = Scripted::around(listener, [Step::Fail(failure)]);
    let group = ConnectionGroup::new(&handle).name("echo");
    let accepting = accept_from(listener, hello(), group);

    let report = soon(shutdown.run()).await;

    assert_server_failed(&report.reason, "echo", "the network is gone");
    assert_eq!(counts.closed.load(Ordering::Relaxed), 1);
    soon(accepting).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn close_does_not_wait_for_a_group_whose_listener_has_closed() {
    let (shutdown, handle) = coordinator(Plan::immediate());
    let group = ConnectionGroup::new(&handle);
    let mut accepting = group.accept(lameduck::bind("127.0.0.1:0").await.unwrap());

    let run = begin(shutdown);
    assert!(soon(accepting.next()).await.is_none());
    let report = soon(run).await.unwrap();

    assert!(about(report.took, Duration::ZERO), "{report}");
    drop((accepting, group));
}

fn serve(kind: Kind, stream: TcpStream, peer: SocketAddr, app: &Router, group: &ConnectionGroup) {
    use hyper::server::conn::{http1, http2};
    let io = TokioIo::new(stream);
    let service = TowerToHyperService::new(app.clone());
    let auto = auto::Builder::new(TokioExecutor::new());
    match kind {
        Kind::Http1 => spawn(
            http1::Builder::new().serve_connection(io, service),
            peer,
            group,
        ),
        Kind::Http1WithUpgrades => {
            let connection = http1::Builder::new().serve_connection(io, service);
            spawn(connection.with_upgrades(), peer, group);
        }
        Kind::Http2 => {
            let connection =
                http2::Builder::new(TokioExecutor::new()).serve_connection(io, service);
            spawn(connection, peer, group);
        }
        Kind::AutoHttp1 | Kind::AutoHttp2 => {
            spawn(auto.serve_connection(io, service).into_owned(), peer, group);
        }
        Kind::AutoWithUpgrades => {
            let connection = auto.serve_connection_with_upgrades(io, service);
            spawn(connection.into_owned(), peer, group);
        }
    }
}

fn spawn<C>(connection: C, peer: SocketAddr, group: &ConnectionGroup)
where
    C: GracefulConnection + Send + 'static,
    C::Output: Send,
{
    if let Some(watched) = group.watch(connection, peer) {
        tokio::spawn(watched);
    }
}

/// A client of either version.
enum Peer {
    Http1(Client),
    Http2 {
        sender: hyper::client::conn::http2::SendRequest<Body>,
        connection: JoinHandle<hyper::Result<()>>,
    },
}

impl Peer {
    /// Connects, and has one request answered.
    async fn connect(address: SocketAddr, kind: Kind) -> Self {
        let mut peer = Peer::connect_unasked(address, kind).await;
        match &mut peer {
            Peer::Http1(client) => assert_eq!(client.get("/").await.status, 200),
            Peer::Http2 { sender, .. } => {
                assert_eq!(sender.send_request(get()).await.unwrap().status(), 200);
            }
        }
        peer
    }

    async fn connect_unasked(address: SocketAddr, kind: Kind) -> Self {
        if !kind.is_http2() {
            return Peer::Http1(Client::connect(address).await);
        }
        let io = TokioIo::new(TcpStream::connect(address).await.unwrap());
        let (sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io)
            .await
            .unwrap();
        let connection = tokio::spawn(connection);
        Peer::Http2 { sender, connection }
    }

    /// Sends a request; the task ends with its status, or panics when there is none.
    async fn ask(self) -> JoinHandle<u16> {
        match self {
            Peer::Http1(mut client) => {
                client.ask("/").await;
                tokio::spawn(async move { client.response().await.status })
            }
            Peer::Http2 { mut sender, .. } => tokio::spawn(async move {
                let response = sender.send_request(get()).await;
                response.unwrap().status().as_u16()
            }),
        }
    }

    async fn ended(self) -> bool {
        match self {
            Peer::Http1(mut client) => client.end().await.is_ok_and(|rest| rest.is_empty()),
            Peer::Http2 { connection, .. } => soon(connection).await.unwrap().is_ok(),
        }
    }
}

fn get() -> Request<Body> {
    Request::get("http://test/").body(Body::empty()).unwrap()
}

// Case 57.
#[tokio::test(start_paused = true)]
async fn a_connection_that_is_not_http_is_counted_told_and_cut() {
    for heeds in [true, false] {
        let (shutdown, handle) = coordinator(Plan::immediate());
        let group = ConnectionGroup::new(&handle);
        let connection = group.watch_raw("10.0.0.7:1", async move |moment| {
            moment.await;
            if !heeds {
                std::future::pending::<()>().await;
            }
        });
        let connection = tokio::spawn(connection.unwrap());
        drop(group);
        assert_eq!(handle.connections(), 1);

        let report = soon(begin(shutdown)).await.unwrap();

        assert_eq!(soon(connection).await.unwrap().is_some(), heeds);
        assert_eq!(report.long.told, 1);
        assert_eq!(report.connections.cut, u64::from(!heeds));
        assert!(report.is_clean(), "{report}");
        let left = &report.phase(Phase::Close).unwrap().left_behind;
        let names: Vec<_> = left.iter().map(|left| left.name.as_str()).collect();
        let expected = "\"10.0.0.7:1\" (not HTTP: open, told to end)";
        assert_eq!(names, if heeds { vec![] } else { vec![expected] });
    }
}
