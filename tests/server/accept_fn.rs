//! Listeners that accept in a future: axum's, and functions.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::serve::{Listener, ListenerExt};
use lameduck::Plan;
use lameduck::server::{Accept, ConnectionGroup, accept_fn};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use crate::listener::{assert_server_failed, refused};
use crate::support::*;

/// A listener of axum's.
fn of_axum<L>(listener: L) -> impl Accept<Io = L::Io, Peer = L::Addr>
where
    L: Listener<Addr = SocketAddr>,
{
    accept_fn(listener, async |mut listener| {
        (Ok(listener.accept().await), listener)
    })
}

async fn bound() -> (TcpListener, SocketAddr) {
    let listener = lameduck::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

#[tokio::test(start_paused = true)]
async fn a_listener_of_axums_is_served_and_leaves_as_ours_does() {
    let (shutdown, handle) = coordinator(cluster());
    let (listener, address) = bound().await;
    let tapped = Arc::<AtomicUsize>::default();
    let listener = listener.tap_io({
        let tapped = Arc::clone(&tapped);
        move |_| {
            tapped.fetch_add(1, Ordering::Relaxed);
        }
    });

    let serving = lameduck::serve(of_axum(listener), hello(), &handle);
    let mut client = Client::connect(address).await;
    let before = client.get("/").await;
    let run = begin(shutdown);
    let late = Client::connect(address).await.get("/").await;
    let last = client.get("/").await;
    soon(serving).await;

    assert_eq!((before.status, before.says_close()), (200, false));
    assert!(late.says_close() && last.says_close());
    assert_eq!(tapped.load(Ordering::Relaxed), 2);
    assert_eq!(refused(address).await, io::ErrorKind::ConnectionRefused);
    let report = soon(run).await.unwrap();
    assert!(report.is_clean(), "{report}");
    assert_eq!((report.connections.closed, report.connections.cut), (2, 0));
}

/// Accepts as axum's would, for whoever has written one.
struct Own(TcpListener);

impl Listener for Own {
    type Io = TcpStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (TcpStream, SocketAddr) {
        Listener::accept(&mut self.0).await
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

// Nothing has told tokio of them when it is time to close.
#[tokio::test(start_paused = true)]
async fn connections_that_tokio_has_not_seen_are_answered_when_the_listener_closes() {
    let (shutdown, handle) = coordinator(Plan::immediate());
    let (listener, address) = bound().await;
    lameduck::serve(of_axum(Own(listener)), hello(), &handle);
    ready(&handle).await;
    settle().await;
    let clients: Vec<_> = (0..10)
        .map(|_| {
            let mut client = std::net::TcpStream::connect(address).unwrap();
            client.write_all(request("/").as_bytes()).unwrap();
            client.set_nonblocking(true).unwrap();
            client
        })
        .collect();

    let report = soon(begin(shutdown)).await.unwrap();

    for client in clients {
        let mut client = Client::new(TcpStream::from_std(client).unwrap());
        assert!(client.response().await.says_close());
    }
    assert_eq!(report.traffic.served, 10, "{report}");
}

#[tokio::test(start_paused = true)]
async fn function_that_was_interrupted_goes_on_where_it_was() {
    let (_shutdown, handle) = coordinator(Plan::immediate());
    let (listener, address) = bound().await;
    let (halfway, go_on) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let listener = accept_fn(listener, {
        let (halfway, go_on) = (Arc::clone(&halfway), Arc::clone(&go_on));
        move |listener: TcpListener| {
            let (halfway, go_on) = (Arc::clone(&halfway), Arc::clone(&go_on));
            async move {
                let accepted = listener.accept().await;
                halfway.add_permits(1);
                go_on.acquire().await.unwrap().forget();
                (accepted, listener)
            }
        }
    });
    let mut accepting = ConnectionGroup::new(&handle).accept(listener);
    let client = Client::connect(address).await;

    // Dropped when it has accepted, and before it is over.
    soon(async {
        tokio::select! {
            _ = accepting.next() => panic!("it waits"),
            passed = halfway.acquire() => passed.unwrap().forget(),
        }
    })
    .await;
    go_on.add_permits(1);
    let (_, peer) = soon(accepting.next()).await.unwrap();

    assert_eq!(peer, client.address());
}

#[tokio::test(start_paused = true)]
async fn error_of_the_function_ends_the_server_or_is_waited_out() {
    const EMFILE: i32 = 24;
    let (shutdown, handle) = coordinator(Plan::immediate());
    let (listener, address) = bound().await;
    let listener = accept_fn(
        (listener, 0),
        async |(listener, calls): (TcpListener, u32)| {
            let accepted = match calls {
                0 => Err(io::Error::from_raw_os_error(EMFILE)),
                1 => Err(io::ErrorKind::ConnectionAborted.into()),
                2 => listener.accept().await,
                _ => Err(io::Error::other("broken")),
            };
            (accepted, (listener, calls + 1))
        },
    );

    lameduck::serve(listener, hello(), &handle);
    let response = Client::connect(address).await.get("/").await;
    let report = soon(shutdown.run()).await;

    assert_eq!(response.status, 200);
    assert_server_failed(&report.reason, "server", "broken");
}
