//! Many requests on connections that live for 50 ms: none is lost, and none is turned away that its client could send.
//!
//! ```console
//! $ cargo test --all-features --test connection_age -- --nocapture
//! $ LAMEDUCK_AGED_REQUESTS=1000000 cargo test --release --all-features --test connection_age -- --nocapture --include-ignored
//! ```
//!
//! The first asks 20,000 of each version, the second a million, and of hyper's own servers as well, whose `graceful_shutdown` a
//! timer calls. Real sockets, a runtime of several threads, and clients that never try again: each request has a number, the
//! handler notes it, and what became of it is judged by both.
#![cfg(feature = "hyper")]

mod book;
mod http1;
mod http2;
mod servers;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use book::{Book, Counts};

const AGE: Duration = Duration::from_millis(50);
/// How many clients ask at the same time.
const CLIENTS: u64 = 32;

fn requests() -> u64 {
    let asked = std::env::var("LAMEDUCK_AGED_REQUESTS").ok();
    asked.map_or(20_000, |it| it.parse().expect("a number of requests"))
}

/// Who asks.
#[derive(Clone, Copy, Debug)]
enum Version {
    Http1,
    Http2,
}

async fn ask(version: Version, address: SocketAddr, book: Arc<Book>) -> Counts {
    let begun = Instant::now();
    let mut clients = JoinSet::new();
    for number in 0..CLIENTS {
        let book = Arc::clone(&book);
        clients.spawn(async move {
            match version {
                Version::Http1 => http1::ask(address, number, &book).await,
                Version::Http2 => http2::ask(address, number, book).await,
            }
        });
    }
    while let Some(over) = clients.join_next().await {
        over.unwrap();
    }
    let counts = book.judge();
    let took = begun.elapsed();
    println!("{version:?}: {counts:?} in {took:.1?}");
    counts
}

async fn none_is_lost(version: Version) {
    let book = Book::new(requests());
    let (address, shutdown) = servers::lameduck(&book).await;

    let counts = ask(version, address, book).await;

    assert_eq!((counts.lost, counts.broken), (0, 0), "{counts:?}");
    assert_eq!(counts.answered, requests());
    // One of HTTP/2 that its client had not sent when GOAWAY came is turned away by that client.
    let may_be_sent_again = match version {
        Version::Http1 => counts.answered / 1_000,
        Version::Http2 => counts.answered / 50,
    };
    assert!(counts.turned_away <= may_be_sent_again, "{counts:?}");
    assert!(counts.connections > CLIENTS, "no age was over: {counts:?}");
    let report = servers::leave(shutdown).await;
    assert!(report.is_clean(), "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_request_of_http1_is_lost() {
    none_is_lost(Version::Http1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_request_of_http2_is_lost() {
    none_is_lost(Version::Http2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "a control, to be read"]
async fn control_graceful_shutdown_by_a_timer_on_http1() {
    let book = Book::new(requests());
    let address = servers::hyper(&book).await;
    ask(Version::Http1, address, book).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "a control, to be read"]
async fn control_graceful_shutdown_by_a_timer_on_http2() {
    let book = Book::new(requests());
    let address = servers::hyper(&book).await;
    ask(Version::Http2, address, book).await;
}
