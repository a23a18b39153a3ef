//! What is logged of a listener that cannot accept for a while.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use lameduck::Plan;
use lameduck::server::Accept;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep};

use crate::logged;
use crate::support::*;

/// Has no file descriptors until a certain moment, and accepts from then on.
struct Exhausted {
    inner: TcpListener,
    until: Instant,
    failed: Arc<AtomicUsize>,
}

impl Accept for Exhausted {
    type Io = TcpStream;
    type Peer = SocketAddr;

    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<(TcpStream, SocketAddr)>> {
        const EMFILE: i32 = 24;
        if Instant::now() < self.until {
            self.failed.fetch_add(1, Ordering::Relaxed);
            return Poll::Ready(Err(io::Error::from_raw_os_error(EMFILE)));
        }
        Accept::poll_accept(&mut self.inner, cx)
    }

    fn close(self) -> Vec<(TcpStream, SocketAddr)> {
        Accept::close(self.inner)
    }
}

/// The lines that say that nothing can be accepted.
fn warnings() -> Vec<String> {
    let lines = logged::lines().into_iter();
    lines.filter(|line| line.contains("WARN")).collect()
}

/// The numbers in a line, but not those that are part of a word.
fn numbers(line: &str) -> Vec<usize> {
    let words = line.split(|it: char| !it.is_ascii_alphanumeric() && it != '.');
    words.filter_map(|word| word.parse().ok()).collect()
}

#[tokio::test(start_paused = true)]
async fn being_out_of_file_descriptors_is_warned_of_once_and_then_counted() {
    logged::capture();
    let (_shutdown, handle) = coordinator(Plan::immediate());
    let inner = lameduck::bind("127.0.0.1:0").await.unwrap();
    let address = inner.local_addr().unwrap();
    let failed = Arc::<AtomicUsize>::default();
    let listener = Exhausted {
        inner,
        until: Instant::now() + seconds(60),
        failed: Arc::clone(&failed),
    };

    lameduck::serve(listener, hello(), &handle);
    sleep(millis(50)).await;
    let first = warnings();
    sleep(seconds(61)).await;
    let response = Client::connect(address).await.get("/").await;
    settle().await;
    let later = warnings();

    assert_eq!(response.status, 200);
    assert_eq!(first.len(), 1, "{first:?}");
    // Not one for each of the 600, and at least one of them says how many there were.
    let failed = failed.load(Ordering::Relaxed);
    assert!((1..=6).contains(&later.len()), "{}", later.len());
    let counts: Vec<_> = later.iter().flat_map(|line| numbers(line)).collect();
    let all = failed - 1..=failed;
    assert!(counts.iter().any(|it| all.contains(it)), "{later:#?}");
}
