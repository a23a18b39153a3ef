//! What a GOAWAY costs calls of tonic's own client: connections whose age is over one after the other, under calls that are
//! never tried again, and under calls that are tried again as docs/kubernetes.md says.
//!
//! ```console
//! $ cargo test --all-features --test grpc_goaway -- --nocapture
//! $ LAMEDUCK_GOAWAYS=5000 cargo test --all-features --test grpc_goaway -- --nocapture --include-ignored --test-threads 1
//! ```
//!
//! The first plays some hundred connections of each shape, the second 5,000, and tonic's own server and hyper's connections as
//! well. Real sockets, and a runtime of several threads. The client's socket notes the frames in both directions, so that each
//! call that failed is judged by its status, by its handler, and by what the wire said.
#![cfg(all(feature = "hyper", feature = "tonic"))]

mod book;
mod clients;
mod servers;
mod wire;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use book::{Book, Counts};
use clients::{Shape, Tries};

/// No connection is fresh when its age is over.
const AGE: Duration = Duration::from_millis(1200);

fn goaways() -> u64 {
    asked().unwrap_or(200)
}

fn asked() -> Option<u64> {
    let asked = std::env::var("LAMEDUCK_GOAWAYS").ok()?;
    Some(asked.parse().expect("a number of connections"))
}

/// Calls until as many GOAWAYs have come.
async fn call(
    server: &str,
    address: SocketAddr,
    shape: Shape,
    tries: Tries,
    book: &Arc<Book>,
) -> Counts {
    let begun = Instant::now();
    clients::call(address, shape, tries, book).await;
    let counts = book.judge();
    println!(
        "{server}, {shape:?}, {tries:?}, in {:.1?}: {counts}",
        begun.elapsed()
    );
    counts
}

async fn play(shape: Shape, tries: Tries) -> Counts {
    let book = Book::new(goaways());
    let (address, shutdown) = servers::lameduck(&book).await;
    let counts = call("lameduck", address, shape, tries, &book).await;
    let report = servers::leave(shutdown).await;
    assert!(report.is_clean(), "{report}");
    counts
}

/// What holds whatever the client makes of a GOAWAY: whoever sent a call has its answer. In a race of hyper's client a call may have
/// been sent all the same; its status names the GOAWAY then. That is the lot of one GOAWAY in some hundred when it is measured, and
/// of more where a client is late that shares its processors with others.
fn assert_server_lost_none(counts: &Counts) {
    let races = match asked() {
        Some(goaways) => 1 + goaways / 100,
        None => goaways() / 5,
    };
    assert!(counts.gone_away <= races, "{counts}");
    let unhandled = counts.sent - counts.handled;
    let lost = counts.broken.max(counts.above_last).max(unhandled);
    assert!(lost <= counts.gone_away, "{counts}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn call_that_fails_behind_a_goaway_was_not_handled() {
    for shape in Shape::ALL {
        let counts = play(shape, Tries::Once).await;

        assert_server_lost_none(&counts);
        assert_eq!(
            counts.failed,
            counts.never_sent + counts.gone_away,
            "{counts}"
        );
    }
}

// As docs/kubernetes.md says.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn call_that_is_made_again_when_its_connection_leaves_does_not_fail() {
    for shape in Shape::ALL {
        let counts = play(shape, Tries::WhileLeaving).await;

        assert_server_lost_none(&counts);
        assert_eq!(counts.failed, 0, "{counts}");
    }
}

// 0.14.5 panics in a connection's task when the connection does not end at its age at once, and with it go its calls; 0.14.9 does not.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "a control, to be read"]
async fn control_max_connection_age_of_tonic() {
    for shape in Shape::ALL {
        let book = Book::new(goaways());
        let address = servers::tonic(&book).await;
        call("tonic", address, shape, Tries::Once, &book).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "a control, to be read"]
async fn control_graceful_shutdown_of_hyper() {
    for shape in Shape::ALL {
        let book = Book::new(goaways());
        let address = servers::hyper(&book).await;
        call("hyper", address, shape, Tries::Once, &book).await;
    }
}
