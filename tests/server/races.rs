//! Requests that come in the moment at which a connection is to end; and how those moments lie.

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::RawQuery;
use futures_util::future::join_all;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use lameduck::{Plan, ShutdownCoordinator};
use tokio::io::DuplexStream;
use tokio::time::{Instant, sleep, sleep_until};

use crate::pipes::*;
use crate::support::*;

/// Notes which requests came to the handler: `/?17`.
#[derive(Clone, Debug, Default)]
struct Handled(Arc<Mutex<BTreeSet<u32>>>);

impl Handled {
    fn app(&self) -> Router {
        let handled = self.clone();
        Router::new().fallback(async move |RawQuery(query): RawQuery| {
            let number = query.and_then(|query| query.parse().ok());
            if let Some(number) = number {
                handled.0.lock().unwrap().insert(number);
                // In flight for a while, or the moment would never fall into it.
                sleep(millis(2)).await;
            }
            "hello"
        })
    }

    fn take(&self) -> BTreeSet<u32> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

/// How a request ended that was sent just as its connection may have ended.
#[derive(Debug, PartialEq, Eq)]
enum End {
    Answered,
    Closed,
    Reset,
    /// In mid-answer: never.
    Broken,
}

/// Sends one request at `at`, on a connection that has completed one, or on a fresh one.
async fn race(address: SocketAddr, number: u32, at: Instant) -> io::Result<End> {
    let mut client = Client::connect(address).await;
    if number % 2 == 0 {
        client.get("/").await;
    }
    sleep_until(at).await;
    if client.try_ask(&format!("/?{number}")).await.is_err() {
        return Ok(End::Reset);
    }
    let mut all = Vec::new();
    let end = client.end_into(&mut all).await;
    Ok(match (all.ends_with(b"hello"), all.is_empty(), end) {
        (true, ..) => End::Answered,
        (false, true, Ok(())) => End::Closed,
        (false, true, Err(_)) => End::Reset,
        (false, false, _) => End::Broken,
    })
}

// Cases 36, 70: 10,000 connections. Close begins with the shutdown here, and idle connections linger for 10 ms in it; the
// requests come within 30 ms, so some are too late.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_10_000_requests_about_the_end_of_their_connections_none_is_handled_and_not_answered() {
    const ROUNDS: u32 = 40;
    const CONNECTIONS: u32 = 250;
    let mut seen = [0_usize; 3];
    for round in 0..ROUNDS {
        let plan = Plan::builder()
            .lame_duck(Duration::ZERO)
            .linger(millis(10))
            .build()
            .unwrap();
        let (shutdown, handle) = exact(plan);
        let handled = Handled::default();
        let (address, _) = start(handled.app(), &handle).await;
        // Until all are connected, and have been answered once.
        let begin_at = Instant::now() + millis(100);
        let clients: Vec<_> = (0..CONNECTIONS)
            .map(|number| {
                let jitter = Duration::from_micros(u64::from(number * 7919 % 30_000));
                tokio::spawn(race(address, number, begin_at + jitter))
            })
            .collect();

        sleep_until(begin_at).await;
        let run = begin(shutdown);
        let ends = join_all(clients).await;
        let handled = handled.take();

        assert!(soon(run).await.unwrap().is_clean(), "round {round}");
        for (number, end) in ends.into_iter().enumerate() {
            let end = end.unwrap().unwrap();
            let was_handled = handled.contains(&(number as u32));
            assert_eq!(
                was_handled,
                end == End::Answered,
                "{round}, {number}: {end:?}"
            );
            match end {
                End::Answered => seen[0] += 1,
                End::Closed => seen[1] += 1,
                End::Reset => seen[2] += 1,
                End::Broken => panic!("{round}, {number}: in mid-answer"),
            }
        }
    }
    // It was about that moment: some came in time, and some too late.
    let [answered, closed, reset] = seen;
    assert!(answered > 1_000, "{seen:?}");
    assert!(closed + reset > 100, "{seen:?}");
}

// The control of case 70: what has arrived and has not been read is thrown away, and nobody is told.
#[tokio::test]
async fn plain_hyper_util_throws_requests_away_that_it_has_not_read() {
    const CONNECTIONS: usize = 20;
    let listener = lameduck::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let graceful = GracefulShutdown::new();
    let mut clients = Vec::new();
    for number in 0..CONNECTIONS {
        let mut client = Client::connect(address).await;
        let (stream, _) = listener.accept().await.unwrap();
        let service = TowerToHyperService::new(hello());
        let connection = auto::Builder::new(TokioExecutor::new())
            .serve_connection_with_upgrades(TokioIo::new(stream), service)
            .into_owned();
        tokio::spawn(graceful.watch(connection));
        // Idle, or not even sniffed.
        if number % 2 == 0 {
            client.get("/").await;
        }
        clients.push(client);
    }

    for client in &mut clients {
        client.send_now(request("/"));
    }
    // Until they have arrived. No task runs meanwhile.
    std::thread::sleep(millis(20));
    graceful.shutdown().await;
    let mut answered = 0;
    for client in &mut clients {
        answered += usize::from(client.try_response().await.is_ok());
    }

    assert_eq!(answered, 0);
}

// Case 40. The clock is exact, and the moments follow from the seed.
#[tokio::test(start_paused = true)]
async fn busy_connections_are_told_evenly_over_the_spread() {
    const CONNECTIONS: usize = 1_000;
    const GAP: Duration = millis(50);
    const SPREAD: Duration = seconds(4);
    let plan = Plan::builder().spread(SPREAD).build().unwrap();
    let shutdown = ShutdownCoordinator::new(plan)
        .termination_log("/nonexistent")
        .seed(7);
    let handle = shutdown.handle();
    let (door, listener) = pipes();
    lameduck::serve(listener, hello(), &handle);
    let clients: Vec<_> = (0..CONNECTIONS)
        .map(|_| tokio::spawn(until_told(door.connect(), GAP)))
        .collect();
    settle().await;

    let t0 = Instant::now();
    let run = begin(shutdown);
    let mut moments: Vec<f64> = join_all(clients)
        .await
        .into_iter()
        .map(|told| (told.unwrap() - t0).as_secs_f64() / SPREAD.as_secs_f64())
        .collect();
    moments.sort_by(f64::total_cmp);

    // A client hears of its moment with its next request.
    let late = GAP.as_secs_f64() / SPREAD.as_secs_f64();
    assert!(moments[CONNECTIONS - 1] <= 1.0 + late);
    // Kolmogorov-Smirnov: 1.95 over the root of n is the critical value for one in a thousand.
    let count = CONNECTIONS as f64;
    let distance = moments
        .iter()
        .enumerate()
        .map(|(rank, moment)| (moment - rank as f64 / count).abs())
        .fold(0.0, f64::max);
    assert!(distance <= 1.95 / count.sqrt() + late, "{distance}");
    let mut tenths = [0_usize; 10];
    for moment in moments {
        tenths[((moment * 10.0) as usize).min(9)] += 1;
    }
    let peak = *tenths.iter().max().unwrap();
    assert!(peak <= CONNECTIONS / 10 * 3 / 2, "{tenths:?}");
    assert!(soon(run).await.unwrap().is_clean());
}

/// Asks and asks. Returns when it was told to close.
async fn until_told(mut client: Client<DuplexStream>, gap: Duration) -> Instant {
    while !client.get("/").await.says_close() {
        sleep(gap).await;
    }
    Instant::now()
}
