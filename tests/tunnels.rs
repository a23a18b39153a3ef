//! `server::tunnel`: when it ends, over pipes and to the millisecond. `tests/connect_proxy.rs` has real sockets.

#![cfg(feature = "net")]

use std::io;
use std::time::Duration;

use lameduck::server::tunnel;
use lameduck::{Plan, ShutdownCoordinator, ShutdownHandle};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// The moment comes at once; then there are 28 s, and the linger is 1 s.
const LINGER: Duration = secs(1);
const LEFT: Duration = secs(28);

#[tokio::test(start_paused = true)]
async fn before_the_moment_the_two_sides_alone_end_it() {
    let mut it = Tunnel::open();
    it.says("hello").await;
    it.answers("hi").await;
    sleep(secs(3_600)).await;

    it.client.shutdown().await.unwrap();
    assert_eq!(rest(&mut it.upstream).await, "");
    it.upstream.write_all(b" and bye").await.unwrap();
    it.upstream.shutdown().await.unwrap();

    assert_eq!(rest(&mut it.client).await, " and bye");
    assert_eq!(soon(it.passes).await.unwrap().unwrap(), (5, 10));
}

#[tokio::test(start_paused = true)]
async fn answered_tunnel_ends_a_linger_after_its_moment_and_passes_on_what_comes_behind_that() {
    let mut it = Tunnel::open();
    it.says("hello").await;
    it.answers("hi").await;

    let begun = it.leave();
    assert_eq!(rest(&mut it.upstream).await, "");
    assert_took(begun, LINGER);
    it.upstream.write_all(b" and bye").await.unwrap();
    it.upstream.shutdown().await.unwrap();

    assert_eq!(rest(&mut it.client).await, " and bye");
    drop(it.client);
    assert_eq!(soon(it.passes).await.unwrap().unwrap(), (5, 10));
    assert_took(begun, LINGER);
}

#[tokio::test(start_paused = true)]
async fn tunnel_in_which_bytes_move_goes_on() {
    let mut it = Tunnel::open();

    let begun = it.leave();
    for _ in 0..10 {
        sleep(LINGER * 9 / 10).await;
        it.says("more").await;
        it.answers("of it").await;
    }
    assert_eq!(rest(&mut it.upstream).await, "");

    assert_took(begun, LINGER * 10);
}

#[tokio::test(start_paused = true)]
async fn answer_is_waited_for_half_of_the_time_that_is_left() {
    let mut it = Tunnel::open();
    it.says("a question").await;

    let begun = it.leave();
    sleep(LEFT / 2 - secs(1)).await;
    it.answers("at last").await;
    assert_eq!(rest(&mut it.upstream).await, "");
    assert_took(begun, LEFT / 2 - secs(1) + LINGER);

    // The control: an answer that does not come.
    let mut it = Tunnel::open();
    it.says("a question").await;
    let begun = it.leave();
    assert_eq!(rest(&mut it.upstream).await, "");
    assert_took(begun, LEFT / 2);
}

#[tokio::test(start_paused = true)]
async fn upstream_that_keeps_its_side_open_is_waited_for_a_linger_and_the_client_for_1_s() {
    let mut it = Tunnel::open();

    let begun = it.leave();
    assert_eq!(rest(&mut it.client).await, "");
    assert_took(begun, LINGER * 2);
    // Read and discarded: nobody takes it for a broken connection.
    it.client.write_all(b"late").await.unwrap();

    soon(it.passes).await.unwrap().unwrap();
    assert_took(begun, LINGER * 2 + secs(1));
}

#[tokio::test(start_paused = true)]
async fn bytes_that_move_at_the_deadline_are_an_error() {
    let mut it = Tunnel::open();

    let begun = it.leave();
    let (mut client, mut upstream) = (it.client, it.upstream);
    tokio::spawn(async move {
        loop {
            sleep(LINGER / 2).await;
            if client.write_all(b"more").await.is_err() {
                return;
            }
        }
    });
    let reads = tokio::spawn(async move { rest(&mut upstream).await });

    let error = soon(it.passes).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    assert_took(begun, LEFT);
    assert!(!reads.await.unwrap().is_empty());
}

struct Tunnel {
    client: DuplexStream,
    upstream: DuplexStream,
    passes: JoinHandle<io::Result<(u64, u64)>>,
    shutdown: Option<ShutdownCoordinator>,
    handle: ShutdownHandle,
}

impl Tunnel {
    fn open() -> Self {
        let plan = Plan::builder()
            .lame_duck(Duration::ZERO)
            .spread(Duration::ZERO)
            .drain(Duration::ZERO)
            .long_spread(Duration::ZERO);
        let shutdown = ShutdownCoordinator::new(plan.build().unwrap());
        let shutdown = shutdown.termination_log("/nonexistent");
        let handle = shutdown.handle();
        let moment = handle.moment();
        // So that Close lasts.
        let guard = handle.long_guard("tunnel");
        let (client, mut near) = duplex(1 << 10);
        let (upstream, mut far) = duplex(1 << 10);
        let passes = tokio::spawn(async move {
            let passed = tunnel(&mut near, &mut far, moment).await;
            drop(guard);
            passed
        });
        Tunnel {
            client,
            upstream,
            passes,
            shutdown: Some(shutdown),
            handle,
        }
    }

    fn leave(&mut self) -> Instant {
        self.handle.shutdown("test");
        tokio::spawn(self.shutdown.take().unwrap().run());
        Instant::now()
    }

    async fn says(&mut self, text: &str) {
        pass(&mut self.client, &mut self.upstream, text).await;
    }

    async fn answers(&mut self, text: &str) {
        pass(&mut self.upstream, &mut self.client, text).await;
    }
}

async fn pass(from: &mut DuplexStream, to: &mut DuplexStream, text: &str) {
    from.write_all(text.as_bytes()).await.unwrap();
    let mut passed = vec![0; text.len()];
    soon(to.read_exact(&mut passed)).await.unwrap();
    assert_eq!(passed, text.as_bytes());
}

/// All until the end.
async fn rest(stream: &mut DuplexStream) -> String {
    let mut rest = String::new();
    soon(stream.read_to_string(&mut rest)).await.unwrap();
    rest
}

/// Whether it took as long as it should, to the milliseconds that timers have.
#[track_caller]
fn assert_took(begun: Instant, expected: Duration) {
    let took = begun.elapsed();
    let off = took.abs_diff(expected);
    assert!(
        off <= Duration::from_millis(5),
        "{took:?}, not {expected:?}"
    );
}

/// A test that waits for what never comes fails.
async fn soon<F: Future>(future: F) -> F::Output {
    timeout(secs(100), future).await.expect("it never came")
}
