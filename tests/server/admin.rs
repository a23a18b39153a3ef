//! The admin listener: it answers to the very end, and nobody waits for it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use lameduck::{Phase, Plan};

use crate::support::*;

// Cases 23, 24, 64.
#[tokio::test(start_paused = true)]
async fn an_admin_listener_answers_in_every_phase() {
    let (shutdown, handle) = coordinator(cluster());
    let (address, _) = start(hello(), &handle).await;
    // It lingers, so the listener is still open when Close asks.
    let mut idle = Client::connect(address).await;
    idle.get("/").await;
    let listener = lameduck::bind("127.0.0.1:0").await.unwrap();
    let admin = listener.local_addr().unwrap();
    let serving = lameduck::serve_admin(listener, lameduck::probes(&handle), &handle);
    let seen = Arc::new(Mutex::new(Vec::new()));
    for &phase in Phase::ALL {
        let seen = Arc::clone(&seen);
        let ask = async move || {
            let mut client = Client::connect(admin).await;
            let mut statuses = Vec::new();
            for path in ["/livez", "/readyz", "/balancerz"] {
                let response = client.get(path).await;
                assert!(!response.says_close());
                statuses.push(response.status);
            }
            seen.lock().unwrap().push((phase, statuses));
        };
        shutdown.hook(phase, phase.to_string(), ask).unwrap();
    }

    let report = soon(begin(shutdown)).await.unwrap();
    soon(serving).await;

    assert!(report.is_clean(), "{report}");
    assert_eq!(
        *seen.lock().unwrap(),
        [
            (Phase::LameDuck, vec![200, 200, 503]),
            (Phase::Drain, vec![200, 200, 503]),
            (Phase::Close, vec![200, 200, 503]),
            (Phase::Release, vec![200, 503, 503]),
            (Phase::Exit, vec![200, 503, 503]),
        ]
    );
    let refused = tokio::net::TcpStream::connect(admin).await.unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
}

// Case 64.
#[tokio::test(start_paused = true)]
async fn open_admin_connections_and_requests_do_not_hold_the_shutdown_and_are_not_counted() {
    let gate = Gate::new();
    let (shutdown, handle) = coordinator(Plan::immediate());
    let (address, _) = start(hello(), &handle).await;
    let listener = lameduck::bind("127.0.0.1:0").await.unwrap();
    let admin = listener.local_addr().unwrap();
    lameduck::serve_admin(listener, gated(&gate), &handle);
    let mut busy = Client::connect(admin).await;
    busy.ask("/").await;
    gate.entered().await;
    let mut idle = Client::connect(admin).await;
    idle.ask("/").await;
    gate.entered().await;
    gate.open();
    let mut counted = Client::connect(address).await;
    counted.get("/").await;
    settle().await;
    let open = (handle.connections(), handle.in_flight());

    let report = soon(begin(shutdown)).await.unwrap();
    counted.end().await.unwrap();

    assert_eq!(open, (1, 0));
    assert!(about(report.took, Duration::ZERO), "{report}");
    assert!(report.is_clean());
    assert_eq!(report.traffic.served, 0);
    assert_eq!((report.connections.closed, report.connections.cut), (1, 0));
    // At the end of Exit they are cut.
    busy.end().await.unwrap();
    idle.end().await.unwrap();
}

// Case 64.
#[tokio::test(start_paused = true)]
async fn the_reports_totals_are_what_was_observed() {
    let (shutdown, handle) = coordinator(cluster());
    let (address, _) = start(hello(), &handle).await;
    let listener = lameduck::bind("127.0.0.1:0").await.unwrap();
    let admin = listener.local_addr().unwrap();
    lameduck::serve_admin(listener, lameduck::probes(&handle), &handle);
    let mut before = Client::connect(address).await;
    for _ in 0..3 {
        before.get("/").await;
    }
    drop(before);
    settle().await;
    let mut clients = Vec::new();
    for _ in 0..5 {
        let mut client = Client::connect(address).await;
        client.get("/").await;
        clients.push(client);
    }

    let run = begin(shutdown);
    for client in &mut clients {
        assert!(client.get("/").await.says_close());
    }
    Client::connect(admin).await.get("/readyz").await;
    Client::connect(address).await.get("/").await;
    let report = soon(run).await.unwrap();

    assert_eq!(report.traffic.served, 6);
    assert_eq!(report.traffic.refused, 0);
    assert_eq!((report.connections.closed, report.connections.cut), (6, 0));
    assert!(about(report.traffic.last_arrival.unwrap(), Duration::ZERO));
    assert_eq!(report.reason, "test".into());
}
