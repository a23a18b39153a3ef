//! When idle HTTP/1 connections end: spread over the linger of Close, not in one instant.

use std::time::Duration;

use futures_util::future::join_all;
use lameduck::{Plan, ShutdownCoordinator};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use crate::pace::pace;
use crate::pipes::*;
use crate::support::*;

const LINGER: Duration = seconds(1);

/// With a seed, the lots are the same in each run.
fn seeded(plan: Plan) -> ShutdownCoordinator {
    ShutdownCoordinator::new(plan)
        .termination_log("/nonexistent")
        .seed(7)
}

/// When each ends, counted from `close`.
async fn ends<S>(clients: Vec<Client<S>>, close: Instant) -> Vec<Duration>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let ends = clients.into_iter().map(async |mut client: Client<S>| {
        assert_eq!(client.end().await.unwrap(), b"");
        close.elapsed()
    });
    join_all(ends).await
}

/// How many ended in each tenth of the linger.
fn tenths(ends: &[Duration]) -> [usize; 10] {
    let mut tenths = [0; 10];
    for end in ends {
        let tenth = end.as_millis() * 10 / LINGER.as_millis();
        tenths[(tenth as usize).min(9)] += 1;
    }
    tenths
}

// A tenth has 200 of them in the mean, with a standard deviation of 13.
#[tokio::test(start_paused = true)]
async fn idle_connections_end_evenly_over_the_linger() {
    const CONNECTIONS: usize = 2_000;
    for lame_duck in [Duration::ZERO, seconds(10)] {
        let plan = Plan::builder().lame_duck(lame_duck).spread(Duration::ZERO);
        let shutdown = seeded(plan.build().unwrap());
        let (door, listener) = pipes();
        lameduck::serve(listener, hello(), &shutdown.handle());
        let mut clients = Vec::new();
        for _ in 0..CONNECTIONS {
            let mut client = door.connect();
            client.get("/").await;
            clients.push(client);
        }

        let close = Instant::now() + lame_duck;
        let run = begin(shutdown);
        let ends = ends(clients, close).await;

        let tenths = tenths(&ends);
        let most = CONNECTIONS / 10 * 3 / 2;
        assert!(tenths.iter().all(|tenth| *tenth <= most), "{tenths:?}");
        let latest = ends.iter().max().unwrap();
        assert!(*latest <= LINGER + millis(2), "{latest:?}");
        let report = soon(run).await.unwrap();
        assert!(report.is_clean());
        assert_eq!(report.connections.closed, CONNECTIONS as u64);
        assert_eq!(report.connections.cut, 0);
    }
}

// A tenth has 30 of them in the mean, with a standard deviation of 5.
#[tokio::test(start_paused = true)]
async fn idle_connections_end_over_the_linger_over_tcp() {
    const CONNECTIONS: usize = 300;
    let plan = Plan::builder()
        .lame_duck(Duration::ZERO)
        .spread(Duration::ZERO);
    let shutdown = seeded(plan.build().unwrap());
    tokio::spawn(pace());
    let (address, _) = start(hello(), &shutdown.handle()).await;
    let mut clients = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut client = Client::connect(address).await;
        client.get("/").await;
        clients.push(client);
    }

    let close = Instant::now();
    let run = begin(shutdown);
    let ends = ends(clients, close).await;

    let tenths = tenths(&ends);
    let most = CONNECTIONS / 10 * 2;
    assert!(tenths.iter().all(|tenth| *tenth <= most), "{tenths:?}");
    assert!(soon(run).await.unwrap().is_clean());
}

// Who asks once more before its own end is answered, wherever that end lies.
#[tokio::test(start_paused = true)]
async fn an_idle_connection_that_asks_within_its_linger_is_answered_or_has_ended() {
    const CONNECTIONS: usize = 200;
    let plan = Plan::builder()
        .lame_duck(Duration::ZERO)
        .spread(Duration::ZERO);
    let shutdown = seeded(plan.build().unwrap());
    let (door, listener) = pipes();
    lameduck::serve(listener, hello(), &shutdown.handle());
    let mut clients = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut client = door.connect();
        client.get("/").await;
        clients.push(client);
    }

    let run = begin(shutdown);
    tokio::time::sleep(millis(500)).await;
    let answers = clients.into_iter().map(async |mut client| {
        let asked = client.try_ask("/").await.is_ok();
        let response = client.try_response().await;
        match (asked, response) {
            (true, Ok(response)) => {
                assert_eq!((response.status, response.text()), (200, "hello"));
                assert!(response.says_close());
                true
            }
            _ => false,
        }
    });
    let answers = join_all(answers).await;

    let answered = answers.iter().filter(|answered| **answered).count();
    let half = CONNECTIONS / 4..=CONNECTIONS * 3 / 4;
    assert!(half.contains(&answered), "{answered} answered");
    let report = soon(run).await.unwrap();
    assert!(report.is_clean());
    assert_eq!(report.traffic.served, answered as u64);
}
