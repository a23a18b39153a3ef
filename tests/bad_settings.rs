//! Settings that could only be mistakes panic where they are made.

#![cfg(feature = "hyper")]

use std::panic::catch_unwind;
use std::time::Duration;

use lameduck::server::{TcpKeepalive, Timeouts};
use lameduck::{Plan, ShutdownCoordinator};

const SECOND: Duration = Duration::from_secs(1);

/// What it panics with, if it does.
fn panics<T>(make: impl FnOnce() -> T + std::panic::UnwindSafe) -> Option<String> {
    let panic = catch_unwind(make).err()?;
    let said = panic.downcast_ref::<&str>().map(ToString::to_string);
    said.or_else(|| panic.downcast_ref::<String>().cloned())
}

#[test]
fn keepalive_that_the_kernel_would_refuse_panics() {
    let good = TcpKeepalive::after(SECOND);

    for idle in [
        Duration::ZERO,
        SECOND / 2,
        32_768 * SECOND,
        40_000 * SECOND,
        Duration::MAX,
    ] {
        let said = panics(|| TcpKeepalive::after(idle));
        assert!(said.is_some_and(|it| it.contains("32767 s")), "{idle:?}");
        assert!(panics(|| TcpKeepalive::from(idle)).is_some(), "{idle:?}");
        assert!(panics(|| good.interval(idle)).is_some(), "{idle:?}");
    }
    for retries in [0, 128, 1_000, u32::MAX] {
        let said = panics(|| good.retries(retries));
        assert!(said.is_some_and(|it| it.contains("127")), "{retries}");
    }
    let _largest = TcpKeepalive::after(32_767 * SECOND)
        .interval(SECOND * 3 / 2)
        .retries(127);
}

// The largest and the smallest are the kernel's own.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn keepalive_that_does_not_panic_is_taken_by_the_kernel() {
    use socket2::SockRef;
    use tokio::net::{TcpListener, TcpStream};

    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    for (time, retries) in [(SECOND, 1), (32_767 * SECOND, 127)] {
        let keepalive = TcpKeepalive::after(time).interval(time).retries(retries);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let group = lameduck::server::ConnectionGroup::new(&shutdown.handle());
        let mut accepting = group.tcp_keepalive(keepalive).accept(listener);
        let _client = TcpStream::connect(address).await.unwrap();

        let (stream, _) = accepting.next().await.unwrap();

        let socket = SockRef::from(&stream);
        let set = (
            socket.tcp_keepalive_time().unwrap(),
            socket.tcp_keepalive_interval().unwrap(),
            socket.tcp_keepalive_retries().unwrap(),
        );
        assert_eq!(set, (time, time, retries));
    }
}

#[test]
fn empty_user_agent_panics() {
    let make = |agents: &'static [&'static str]| {
        panics(move || {
            let _ = ShutdownCoordinator::new(Plan::immediate()).probe_user_agents(agents);
        })
    };

    assert!(make(&[""]).is_some());
    assert!(make(&["blackbox/", ""]).is_some());
    assert!(make(&["blackbox/"]).is_none());
}

#[test]
fn bound_that_serves_nobody_panics() {
    let new = Timeouts::new;
    let none = Duration::ZERO;

    assert!(panics(|| new().head(none, none)).is_some());
    assert!(panics(|| new().silent(none, SECOND)).is_some());
    assert!(panics(|| new().handshake(none, SECOND)).is_some());
    // Once the process is leaving nobody has to be waited for.
    assert!(panics(|| new().head(SECOND, none).silent(SECOND, none)).is_none());
    assert!(panics(|| new().handshake(SECOND, none).pong(none)).is_none());
}
