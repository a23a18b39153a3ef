//! A limit of a server's connections: who waits at it, what is logged, and how a server leaves that has reached it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::routing::get;
use lameduck::{Plan, Server, ShutdownCoordinator, ShutdownHandle};
use tokio::net::TcpStream;
use tokio::time::sleep;

use crate::logged;
use crate::support::*;

async fn limited(max: usize, app: Router, handle: &ShutdownHandle) -> SocketAddr {
    let listener = lameduck::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = Server::new(handle).max_connections(max);
    server.serve(listener, app);
    ready(handle).await;
    address
}

/// Clients that have connected and asked.
async fn asked(count: usize, address: SocketAddr) -> Vec<Client> {
    let mut clients = Vec::new();
    for _ in 0..count {
        let mut client = Client::connect(address).await;
        client.ask("/").await;
        clients.push(client);
    }
    clients
}

#[tokio::test(start_paused = true)]
async fn at_the_limit_a_client_waits_until_a_connection_is_gone() {
    let (_shutdown, handle) = coordinator(Plan::immediate());
    let address = limited(2, hello(), &handle).await;
    let mut open = asked(2, address).await;
    for client in &mut open {
        client.response().await;
    }

    let mut waiting = asked(1, address).await.remove(0);
    let waited = waiting.is_silent().await;
    let at_the_limit = handle.connections();
    open.pop();
    let response = waiting.response().await;

    assert!(waited);
    assert_eq!(at_the_limit, 2);
    assert_eq!(response.status, 200);
    // The one that was not closed is served on.
    assert_eq!(open[0].get("/").await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn without_a_limit_nobody_waits() {
    let (_shutdown, handle) = coordinator(Plan::immediate());
    let (address, _) = start(hello(), &handle).await;

    let mut clients = asked(50, address).await;
    for client in &mut clients {
        client.response().await;
    }

    assert_eq!(handle.connections(), 50);
}

#[tokio::test(start_paused = true)]
async fn limit_of_a_server_is_not_its_admin_servers() {
    let (_shutdown, handle) = coordinator(Plan::immediate());
    let address = limited(1, hello(), &handle).await;
    let listener = lameduck::bind("127.0.0.1:0").await.unwrap();
    let admin = listener.local_addr().unwrap();
    lameduck::serve_admin(listener, hello(), &handle);
    let mut open = asked(1, address).await;
    open[0].response().await;
    let mut waiting = asked(1, address).await;

    let mut probes = asked(3, admin).await;
    for probe in &mut probes {
        assert_eq!(probe.response().await.status, 200);
    }

    assert!(waiting[0].is_silent().await);
}

#[tokio::test(start_paused = true)]
async fn an_admin_server_may_have_a_limit() {
    let (_shutdown, handle) = coordinator(Plan::immediate());
    let listener = lameduck::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = Server::admin(&handle).max_connections(1);
    server.serve(listener, hello());

    let mut clients = asked(2, address).await;
    clients[0].response().await;
    let waited = clients[1].is_silent().await;
    let response = {
        drop(clients.remove(0));
        clients[0].response().await
    };

    assert!(waited);
    assert_eq!(response.status, 200);
}

#[tokio::test(start_paused = true)]
async fn limit_is_warned_of_once_and_its_end_is_told() {
    logged::capture();
    let warnings = || {
        let lines = logged::lines().into_iter();
        lines
            .filter(|line| line.contains("WARN"))
            .collect::<Vec<_>>()
    };
    let (_shutdown, handle) = coordinator(Plan::immediate());
    let address = limited(1, hello(), &handle).await;

    // At the limit, and just below it by turns.
    let mut first = Vec::new();
    for _ in 0..20 {
        let mut clients = asked(2, address).await;
        clients.remove(0).response().await;
        clients.remove(0).response().await;
        settle().await;
        first.extend(warnings());
    }
    sleep(seconds(2)).await;
    let later = warnings();

    let [first] = &first[..] else {
        panic!("{first:#?}")
    };
    assert!(first.contains("server=server limit=1"), "{first}");
    let [later] = &later[..] else {
        panic!("{later:#?}")
    };
    assert!(later.contains("took_ms="), "{later}");
}

#[tokio::test(start_paused = true)]
async fn queue_behind_the_limit_is_answered_when_the_listener_closes() {
    let gate = Gate::new();
    let (shutdown, handle) = coordinator(Plan::immediate());
    let address = limited(1, gated(&gate), &handle).await;
    let mut busy = asked(1, address).await.remove(0);
    gate.entered().await;
    let mut queued = asked(5, address).await;

    let run = begin(shutdown);
    settle().await;
    for _ in 0..6 {
        gate.open();
    }
    let first = busy.response().await;

    assert_eq!(first.status, 200);
    for client in &mut queued {
        let response = client.response().await;
        assert_eq!(response.status, 200);
        assert!(response.says_close());
        assert_eq!(client.end().await.unwrap(), b"");
    }
    let report = soon(run).await.unwrap();
    assert!(report.is_clean(), "{report}");
    assert_eq!((report.connections.closed, report.connections.cut), (6, 0));
}

#[tokio::test(start_paused = true)]
async fn queue_behind_a_connection_that_does_not_end_is_answered_before_closes_deadline() {
    let gate = Gate::new();
    let (shutdown, handle) = coordinator(cluster());
    let app = hello().route("/stuck", {
        let gate = Arc::clone(&gate);
        get(async move || gate.pass().await)
    });
    let address = limited(1, app, &handle).await;
    let mut stuck = Client::connect(address).await;
    stuck.ask("/stuck").await;
    gate.entered().await;
    let queued = asked(5, address).await;

    let run = begin(shutdown);
    for mut client in queued {
        let response = client.response().await;
        assert_eq!(response.status, 200);
        assert!(response.says_close());
    }

    let report = soon(run).await.unwrap();
    assert_eq!(report.traffic.served, 5, "{report}");
}

#[tokio::test(start_paused = true)]
async fn queue_behind_idle_connections_is_answered_while_these_leave() {
    let (shutdown, handle) = coordinator(cluster());
    let address = limited(1, hello(), &handle).await;
    let mut idle = asked(1, address).await.remove(0);
    idle.response().await;
    let mut queued = asked(5, address).await;

    let run = begin(shutdown);
    for client in &mut queued {
        let response = client.response().await;
        assert_eq!(response.status, 200);
        assert!(response.says_close());
    }

    let report = soon(run).await.unwrap();
    assert!(report.is_clean(), "{report}");
    assert_eq!((report.connections.closed, report.connections.cut), (6, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn limit_is_never_passed_and_nobody_is_forgotten_at_it() {
    const LIMIT: usize = 4;
    let shutdown = ShutdownCoordinator::new(Plan::immediate()).termination_log("/nonexistent");
    let handle = shutdown.handle();
    let most = Arc::<AtomicUsize>::default();
    let app = Router::new().route("/", {
        let (most, handle) = (Arc::clone(&most), handle.clone());
        get(async move || {
            most.fetch_max(handle.connections() as usize, Ordering::Relaxed);
            "hello"
        })
    });
    let address = limited(LIMIT, app, &handle).await;

    let clients: Vec<_> = (0..32)
        .map(|_| {
            tokio::spawn(async move {
                for _ in 0..20 {
                    let stream = TcpStream::connect(address).await.unwrap();
                    assert_eq!(Client::new(stream).get("/").await.status, 200);
                }
            })
        })
        .collect();
    for client in clients {
        soon(client).await.unwrap();
    }

    assert_eq!(most.load(Ordering::Relaxed), LIMIT);
    shutdown.shutdown("test");
    assert!(soon(shutdown.run()).await.is_clean());
}

#[test]
#[should_panic = "serves nobody"]
fn limit_of_zero_panics() {
    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    let _server = Server::new(&shutdown).max_connections(0);
}
