//! Behind a real nginx that keeps its connections to the service alive: in normal service it never answers 502.
//!
//! A proxy with pooled connections gets into a race with whoever closes an idle one: its next request may already be on the
//! way. nginx can then only answer 502 (here, where it may not try again). So a server must not close an idle connection
//! that it has not asked to leave, and `serve` does not. hyper's header timer does; that is the control.
//!
//! `cargo test --all-features --test nginx -- --nocapture` shows the counts. Without nginx on the machine it is skipped.

#![cfg(feature = "hyper")]

#[path = "../process/mod.rs"]
mod process;
mod proxy;
mod service;
mod traffic;

use std::io::Write;
use std::net::SocketAddr;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use lameduck::{Phase, Plan, ShutdownCoordinator};
use tokio::net::TcpListener;
use tokio::time::{Instant, sleep};

use proxy::Nginx;
use service::Seen;
use traffic::{Client, Tally, Traffic};

const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// How many connections nginx keeps in each of its pools, and how many clients use each.
const POOL: usize = 16;

/// How long the clients of a pool pause. All of them together come back after it.
const GAPS: &[Duration] = &[
    Duration::ZERO,
    millis(100),
    millis(500),
    seconds(1),
    seconds(2),
    seconds(3),
    seconds(5),
    seconds(10),
    LONGEST_GAP,
];
const LONGEST_GAP: Duration = seconds(20);

const NORMAL_SERVICE: Duration = seconds(60);
/// From the next request to T0, so that the traffic flows when the shutdown comes.
const STILL_NORMAL: Duration = millis(500);
/// From T0 to the last request. Less than LameDuck by what the last requests take, and more than the spread.
const STILL_ROUTED: Duration = seconds(3);
const LAME_DUCK: Duration = seconds(5);
const SPREAD: Duration = seconds(2);
/// While it leaves, the clients do not pause for long: all of its connections are to be used after their moment.
const LEAVING_GAP: Duration = millis(200);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nginx_with_pooled_connections_never_answers_502() {
    let Some(nginx) = installed() else { return };
    let plan = Plan::builder().lame_duck(LAME_DUCK).spread(SPREAD).build();
    let shutdown = ShutdownCoordinator::new(plan.unwrap()).termination_log("/nonexistent");
    let handle = shutdown.handle();
    let listener = lameduck::bind("127.0.0.1:0").await.unwrap();
    let upstream = listener.local_addr().unwrap();
    let seen = Seen::default();
    // What `serve` does, and the peer's address for the service to count.
    lameduck::Server::new(&handle)
        .request_extension(service::peer)
        .serve(listener, service::app(&seen));
    let nginx = Nginx::start(nginx, upstream, GAPS.len(), POOL).await;

    let mut traffic = Traffic::new(nginx.address, GAPS, POOL);
    let end = Instant::now() + NORMAL_SERVICE;
    let normal = traffic.drive(end, LONGEST_GAP).await;
    let pooled = seen.counts();
    let run = tokio::spawn(async move {
        sleep(STILL_NORMAL).await;
        shutdown.handle().shutdown("the test");
        shutdown.run().await
    });
    let end = Instant::now() + STILL_NORMAL + STILL_ROUTED;
    let leaving = traffic.drive(end, LEAVING_GAP).await;
    let phase = handle.phase();
    let report = run.await.unwrap();

    let in_all = seen.counts();
    let lost = nginx.complaints();
    println!("{NORMAL_SERVICE:?} of normal service: {normal}");
    println!("nginx's connections to it: {pooled}");
    println!("the first {STILL_ROUTED:?} of LameDuck: {leaving}");
    println!("nginx's connections to it, in all: {}", in_all.connections);
    println!("{}", report.summary());
    assert!(normal.is_all_answered(), "{normal}\n{lost:#?}");
    assert!(leaving.is_all_answered(), "{leaving}\n{lost:#?}");
    assert_eq!(lost, [""; 0], "nginx's error log");
    assert_eq!(phase, Some(Phase::LameDuck), "the traffic ended in time");
    assert!(report.is_clean(), "{}", report.summary());
    // No idle connection was closed, so there was no race that was won by luck.
    let at_most = GAPS.len() * POOL;
    assert!(pooled.connections <= at_most, "{pooled}");
    let left = in_all.connections >= 2 * at_most;
    assert!(left, "nginx leaves connections that say close: {in_all}");
    // That it was the traffic that it should be.
    assert!(pooled.longest_idle + seconds(1) > LONGEST_GAP, "{pooled}");
    assert!(pooled.used_again > 10 * pooled.connections, "{pooled}");
}

/// hyper's header timer closes idle connections after this long.
const TIMER: Duration = millis(500);
/// Requests come this long before that moment, or after it, or between, in steps.
const AIM: Duration = millis(5);
const STEPS: u32 = 20;
const CONTROL_POOLS: u32 = 4;
/// More than a hundred bursts of each pool. A sweep of twenty rarely misses.
const CONTROL_AT_MOST: Duration = seconds(60);

/// The control: nginx and these clients can tell a server that closes idle connections.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nginx_answers_502_when_idle_connections_are_closed() {
    let Some(nginx) = installed() else { return };
    let upstream = hyper_with_a_header_timer().await;
    let nginx = Nginx::start(nginx, upstream, CONTROL_POOLS as usize, POOL).await;

    let tally = traffic::sum((0..CONTROL_POOLS).map(|pool| {
        let clients = traffic::clients_of(nginx.address, pool as usize, POOL);
        // Each pool begins elsewhere in the sweep.
        come_back_at_the_close(clients, pool * STEPS / CONTROL_POOLS)
    }))
    .await;

    let lost = nginx.complaints();
    println!("with hyper's header timer: {tally}");
    assert!(tally.count("502") > 0, "{tally}");
    assert!(!lost.is_empty(), "nginx's error log tells, too");
}

/// Bursts of requests, aimed at the moment at which the idle connections are closed, until one is answered 502.
async fn come_back_at_the_close(mut clients: Vec<Client>, first: u32) -> Tally {
    let end = Instant::now() + CONTROL_AT_MOST;
    let mut tally = Tally::default();
    for step in first.. {
        tally.add(traffic::burst(&mut clients).await);
        if tally.count("502") > 0 || Instant::now() >= end {
            break;
        }
        sleep(TIMER - AIM + 2 * AIM * (step % STEPS) / STEPS).await;
    }
    tally
}

async fn hyper_with_a_header_timer() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let app = service::app(&Seen::default());
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(TIMER)
                .serve_connection(TokioIo::new(stream), TowerToHyperService::new(app.clone()));
            tokio::spawn(connection);
        }
    });
    address
}

/// Where nginx is, or a line that says that the test is skipped.
fn installed() -> Option<&'static str> {
    let nginx = proxy::find();
    if nginx.is_none() {
        // Past the harness, which would show what is printed only if the test failed.
        let _ = writeln!(std::io::stderr(), "skipped: nginx is not installed");
    }
    nginx
}
