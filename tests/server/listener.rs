//! Listeners: what is accepted, until when, and what becomes of a listener that fails.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use lameduck::server::Accept;
use lameduck::{Phase, Plan, Reason, Server, ShutdownCoordinator};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::time::{Instant, sleep};

use crate::support::*;

// Case 42.
#[tokio::test(start_paused = true)]
async fn a_server_that_starts_after_the_shutdown_began_closes_at_once_and_answers_its_queue() {
    let (shutdown, handle) = coordinator(cluster());
    let listener = lameduck::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut client = Client::connect(address).await;
    client.ask("/").await;
    let (listener, counts) = Scripted::around(listener, []);

    handle.shutdown("test");
    let serving = lameduck::serve(listener, hello(), &handle);
    let ((), took) = timed(serving.listener_closed()).await;
    let response = client.response().await;

    assert!(about(took, seconds(0)), "{took:?}");
    assert_eq!(response.status, 200);
    assert!(response.says_close());
    assert_eq!(refused(address).await, io::ErrorKind::ConnectionRefused);
    assert_eq!(counts.closed.load(Ordering::Relaxed), 1);
    let report = soon(shutdown.run()).await;
    assert!(report.is_clean());
    assert_eq!(report.traffic.served, 1);
}

// Case 43.
#[tokio::test(start_paused = true)]
async fn connections_in_the_accept_queue_are_answered_when_the_listener_closes() {
    let (shutdown, handle) = coordinator(Plan::immediate());
    let listener = lameduck::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    // The loop never comes to accept: the queue is only seen when the listener closes.
    let (listener, counts) = Scripted::around(listener, [Step::Busy]);
    lameduck::serve(listener, hello(), &handle);
    ready(&handle).await;
    let mut clients = Vec::new();
    for _ in 0..10 {
        let mut client = Client::connect(address).await;
        client.ask("/").await;
        clients.push(client);
    }
    settle().await;
    let before = handle.connections();

    let report = soon(begin(shutdown)).await.unwrap();

    assert_eq!(before, 0);
    for mut client in clients {
        let response = client.response().await;
        assert_eq!(response.status, 200);
        assert!(response.says_close());
        assert_eq!(client.end().await.unwrap(), b"");
    }
    assert!(report.is_clean());
    assert_eq!(report.traffic.served, 10);
    assert_eq!((report.connections.closed, report.connections.cut), (10, 0));
    assert_eq!(counts.closed.load(Ordering::Relaxed), 1);
}

// Case 43: what the test above would see if nobody emptied the queue.
#[tokio::test(start_paused = true)]
async fn a_plain_close_resets_the_accept_queue() {
    let listener = lameduck::bind("127.0.0.1:0").await.unwrap();
    let mut client = Client::connect(listener.local_addr().unwrap()).await;
    client.ask("/").await;

    drop(listener);
    let ended = client.end().await;

    assert_eq!(ended.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
}

// Case 44.
#[tokio::test(start_paused = true)]
async fn after_the_listener_closed_connecting_is_refused_and_the_port_is_free() {
    let (shutdown, handle) = coordinator(Plan::immediate());
    let (address, serving) = start(hello(), &handle).await;
    let mut client = Client::connect(address).await;
    client.get("/").await;

    let run = begin(shutdown);
    soon(serving).await;

    assert_eq!(refused(address).await, io::ErrorKind::ConnectionRefused);
    let again = lameduck::bind(address).await.unwrap();
    assert_eq!(again.local_addr().unwrap(), address);
    assert!(soon(run).await.unwrap().is_clean());
}

// Design 2: the listener closes last, and Close first waits for what stood before it.
#[tokio::test(start_paused = true)]
async fn in_drain_and_close_new_connections_are_served_and_the_listener_closes_last() {
    let gate = Gate::new();
    let (shutdown, handle) = coordinator(Plan::immediate());
    let app = hello().route("/slow", {
        let gate = Arc::clone(&gate);
        axum::routing::get(async move || gate.pass().await)
    });
    let (address, serving) = start(app, &handle).await;
    let in_release = Arc::new(Mutex::new(None));
    let ask = {
        let in_release = Arc::clone(&in_release);
        async move || {
            let answer = refused(address).await;
            *in_release.lock().unwrap() = Some(answer);
        }
    };
    shutdown.hook(Phase::Release, "connect", ask).unwrap();
    let mut slow = Client::connect(address).await;
    slow.ask("/slow").await;
    gate.entered().await;

    let run = begin(shutdown);
    let mut served = Vec::new();
    for phase in [Phase::Drain, Phase::Close] {
        reached(&handle, phase).await;
        let mut client = Client::connect(address).await;
        served.push((client.get("/").await, client.end().await.unwrap()));
    }
    gate.open();
    slow.response().await;
    soon(serving).await;

    for (response, rest) in served {
        assert_eq!(response.status, 200);
        assert!(response.says_close());
        assert_eq!(rest, b"");
    }
    let report = soon(run).await.unwrap();
    assert!(report.is_clean());
    assert_eq!(
        *in_release.lock().unwrap(),
        Some(io::ErrorKind::ConnectionRefused)
    );
    assert_eq!((report.connections.closed, report.connections.cut), (3, 0));
}

// Case 82: a busy client does not keep Close from ending, because it waits for what stood before.
#[tokio::test(start_paused = true)]
async fn connections_that_keep_coming_do_not_hold_the_shutdown() {
    let (shutdown, handle) = coordinator(cluster());
    let (address, _) = start(hello(), &handle).await;
    let traffic = tokio::spawn(async move {
        let mut answered = 0_u64;
        while let Ok(stream) = TcpStream::connect(address).await {
            let mut client = Client::new(stream);
            assert_eq!(client.get("/").await.status, 200);
            answered += 1;
            sleep(millis(100)).await;
        }
        answered
    });

    let report = soon(begin(shutdown)).await.unwrap();
    let answered = soon(traffic).await.unwrap();

    assert!(about(report.took, seconds(10)), "{report}");
    assert!(report.is_clean());
    assert_eq!(report.connections.cut, 0);
    assert!(report.traffic.served.abs_diff(answered) <= 1);
}

#[tokio::test(start_paused = true)]
async fn several_servers_drain_under_one_coordinator() {
    let gate = Gate::new();
    let (shutdown, handle) = coordinator(Plan::immediate());
    let (first, first_serving) = start(gated(&gate), &handle).await;
    let (second, second_serving) = start(gated(&gate), &handle).await;
    let mut clients = Vec::new();
    for address in [first, second] {
        let mut client = Client::connect(address).await;
        client.ask("/").await;
        gate.entered().await;
        clients.push(client);
    }

    let run = begin(shutdown);
    reached(&handle, Phase::Drain).await;
    gate.open();
    gate.open();

    for client in &mut clients {
        assert_eq!(client.response().await.status, 200);
    }
    soon(first_serving).await;
    soon(second_serving).await;
    for address in [first, second] {
        assert_eq!(refused(address).await, io::ErrorKind::ConnectionRefused);
    }
    let report = soon(run).await.unwrap();
    assert!(report.is_clean());
    assert_eq!(report.connections.closed, 2);
}

// Case 88.
#[tokio::test(start_paused = true)]
async fn a_listener_that_fails_triggers_the_shutdown() {
    let gate = Gate::new();
    let (shutdown, handle) = coordinator(Plan::immediate());
    let listener = lameduck::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let failure = io::Error::other("the network is gone");
    let (listener, _) = Scripted::around(listener, [Step::Accept, Step::Fail(failure)]);
    let serving = Server::new(&handle)
        .name("api")
        .serve(listener, gated(&gate));
    let run = tokio::spawn(shutdown.run());

    let mut client = Client::connect(address).await;
    client.ask("/").await;
    gate.entered().await;
    soon(serving.listener_closed()).await;
    gate.open();
    let response = client.response().await;
    let report = soon(run).await.unwrap();
    soon(serving).await;

    assert_eq!(response.status, 200);
    assert!(response.says_close());
    assert_server_failed(&report.reason, "api", "the network is gone");
    assert!(!report.is_clean());
}

// Cases 78, 88.
#[tokio::test(start_paused = true)]
async fn a_listener_that_panics_triggers_the_shutdown() {
    let (shutdown, handle) = coordinator(Plan::immediate());
    let listener = lameduck::bind("127.0.0.1:0").await.unwrap();
    let (listener, _) = Scripted::around(listener, [Step::Panic("the test's own panic")]);
    let serving = lameduck::serve(listener, hello(), &handle);

    let report = soon(shutdown.run()).await;
    soon(serving).await;

    assert_server_failed(&report.reason, "server", "the test's own panic");
    assert!(!report.is_clean());
}

#[tokio::test(start_paused = true)]
async fn an_error_about_one_connection_is_passed_over() {
    let (_shutdown, handle) = coordinator(Plan::immediate());
    let listener = lameduck::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let gone = io::Error::from(io::ErrorKind::ConnectionAborted);
    let (listener, _) = Scripted::around(listener, [Step::Fail(gone)]);

    let begun = Instant::now();
    lameduck::serve(listener, hello(), &handle);
    let response = Client::connect(address).await.get("/").await;

    assert_eq!(response.status, 200);
    assert!(about(begun.elapsed(), seconds(0)));
    assert!(!handle.is_shutting_down());
}

// Case 79.
#[tokio::test(start_paused = true)]
async fn without_file_descriptors_the_server_waits_and_does_not_spin() {
    let (_shutdown, handle) = coordinator(Plan::immediate());
    let listener = lameduck::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (listener, counts) = Scripted::around(listener, std::iter::repeat_with(emfile).take(100));
    lameduck::serve(listener, hello(), &handle);
    let mut client = Client::connect(address).await;
    client.ask("/").await;

    sleep(seconds(5)).await;
    let polls = counts.polled.load(Ordering::Relaxed);
    let response = client.response().await;

    assert!((10..=60).contains(&polls), "{polls}");
    assert_eq!(response.status, 200);
    assert!(!handle.is_shutting_down());
}

#[cfg(unix)]
#[tokio::test(start_paused = true)]
async fn a_shortage_is_logged_when_it_begins_and_counted_when_it_is_over() {
    crate::logged::capture();
    let (_shutdown, handle) = coordinator(Plan::immediate());
    let listener = lameduck::bind("127.0.0.1:0").await.unwrap();
    // Something is accepted in between: near the limit that comes and goes.
    let steps = std::iter::repeat_with(emfile).take(3);
    let steps = steps
        .chain([Step::Nothing])
        .chain(std::iter::repeat_with(emfile).take(2));
    let (listener, _) = Scripted::around(listener, steps);
    Server::new(&handle).name("api").serve(listener, hello());

    sleep(seconds(3)).await;
    let lines = crate::logged::lines();

    let warnings: Vec<_> = lines.iter().filter(|it| it.starts_with("WARN")).collect();
    let [begins, ends] = &warnings[..] else {
        panic!("{lines:?}");
    };
    assert!(begins.contains("cannot accept for the moment"), "{begins}");
    assert!(begins.contains("server=api"), "{begins}");
    assert!(ends.contains("accepting failed for a while"), "{ends}");
    assert!(ends.contains("failures=5 took_ms="), "{ends}");
}

// Case 79.
#[tokio::test(start_paused = true)]
async fn without_file_descriptors_the_shutdown_ends() {
    let (shutdown, handle) = coordinator(Plan::immediate());
    let listener = lameduck::bind("127.0.0.1:0").await.unwrap();
    let (listener, _) = Scripted::around(listener, std::iter::repeat_with(emfile));
    lameduck::serve(listener, hello(), &handle);
    ready(&handle).await;

    let report = soon(begin(shutdown)).await.unwrap();

    assert!(report.is_clean());
    assert!(about(report.took, seconds(0)), "{report}");
}

#[tokio::test]
async fn binding_a_port_in_use_is_an_error_that_names_the_address() {
    let listener = lameduck::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();

    let error = lameduck::bind(address).await.unwrap_err();

    assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    assert!(error.to_string().contains(&address.to_string()), "{error}");
}

#[tokio::test]
async fn binding_what_does_not_resolve_is_an_error_that_names_it() {
    for name in ["no port", "nowhere.invalid:80"] {
        let error = lameduck::bind(name).await.unwrap_err();

        assert!(error.to_string().contains(name), "{error}");
    }
}

#[tokio::test]
async fn binding_nothing_is_an_error() {
    let nothing: &[SocketAddr] = &[];

    let error = lameduck::bind(nothing).await.unwrap_err();

    assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
}

#[tokio::test]
async fn binding_takes_the_first_address_that_works() {
    let used = lameduck::bind("127.0.0.1:0").await.unwrap();
    let addresses = [used.local_addr().unwrap(), ([127, 0, 0, 1], 0).into()];

    let listener = lameduck::bind(&addresses[..]).await.unwrap();

    assert_ne!(listener.local_addr().unwrap(), addresses[0]);
}

#[tokio::test(start_paused = true)]
async fn a_unix_socket_is_served_and_emptied() {
    let path = std::env::temp_dir().join(format!("lameduck-{}.sock", std::process::id()));
    let _ = std::fs::remove_file(&path);
    let gate = Gate::new();
    let (shutdown, handle) = coordinator(Plan::immediate());
    let listener = UnixListener::bind(&path).unwrap();
    let serving = lameduck::serve(listener, gated(&gate), &handle);
    ready(&handle).await;
    let mut first = Client::new(UnixStream::connect(&path).await.unwrap());
    first.ask("/").await;
    gate.entered().await;

    let run = begin(shutdown);
    reached(&handle, Phase::Drain).await;
    gate.open();
    let response = first.response().await;
    soon(serving).await;

    assert_eq!((response.status, response.text()), (200, "hello"));
    assert!(response.says_close());
    assert_eq!(first.end().await.unwrap(), b"");
    let refused = UnixStream::connect(&path).await.unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    assert!(soon(run).await.unwrap().is_clean());
    std::fs::remove_file(path).unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_unix_sockets_accept_queue_is_answered_when_it_closes() {
    let path = std::env::temp_dir().join(format!("lameduck-queue-{}.sock", std::process::id()));
    let _ = std::fs::remove_file(&path);
    let (shutdown, handle) = coordinator(Plan::immediate());
    let listener = UnixListener::bind(&path).unwrap();
    let mut client = Client::new(UnixStream::connect(&path).await.unwrap());
    client.ask("/").await;

    handle.shutdown("test");
    soon(lameduck::serve(listener, hello(), &handle)).await;
    let response = client.response().await;

    assert_eq!(response.status, 200);
    assert!(soon(shutdown.run()).await.is_clean());
    std::fs::remove_file(path).unwrap();
}

#[cfg(unix)]
#[tokio::test(start_paused = true)]
async fn a_shared_listener_is_left_as_it_is_with_its_queue() {
    use lameduck::server::ConnectionGroup;

    for by_hand in [false, true] {
        let (shutdown, handle) = coordinator(Plan::immediate());
        let listener = lameduck::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let held = std::net::TcpListener::from(again(&listener));
        // The loop never comes to accept.
        let (listener, counts) = Scripted::around(listener, [Step::Busy]);
        if by_hand {
            let group = ConnectionGroup::new(&handle).shared();
            tokio::spawn(async move { group.accept(listener).next().await.is_none() });
        } else {
            Server::new(&handle).shared().serve(listener, hello());
        }
        settle().await;
        let _client = Client::connect(address).await;

        let report = soon(begin(shutdown)).await.unwrap();

        assert!(report.is_clean());
        assert_eq!(report.connections.closed, 0);
        assert_eq!(counts.closed.load(Ordering::Relaxed), 0);
        assert!(held.accept().is_ok(), "its client waits for the next one");
        let _client = Client::connect(address).await;
        assert!(held.accept().is_ok(), "and so do those that come later");
    }
}

#[cfg(unix)]
#[tokio::test(start_paused = true)]
async fn a_shared_unix_listener_is_left_as_it_is_with_its_queue() {
    let path = std::env::temp_dir().join(format!("lameduck-shared-{}.sock", std::process::id()));
    let _ = std::fs::remove_file(&path);
    let (shutdown, handle) = coordinator(Plan::immediate());
    let listener = UnixListener::bind(&path).unwrap();
    let held = std::os::unix::net::UnixListener::from(again(&listener));
    let _client = UnixStream::connect(&path).await.unwrap();

    handle.shutdown("test");
    soon(Server::new(&handle).shared().serve(listener, hello())).await;

    assert!(soon(shutdown.run()).await.is_clean());
    assert!(held.accept().is_ok(), "its client waits for the next one");
    let _client = UnixStream::connect(&path).await.unwrap();
    assert!(held.accept().is_ok(), "and so do those that come later");
    std::fs::remove_file(path).unwrap();
}

// Nobody said that it is shared, and nobody can see it: this process has it twice.
#[cfg(unix)]
#[tokio::test(start_paused = true)]
async fn what_keeps_connections_out_does_not_stay_on_a_socket_that_outlives_the_server() {
    let path = std::env::temp_dir().join(format!("lameduck-twice-{}.sock", std::process::id()));
    let _ = std::fs::remove_file(&path);
    let (shutdown, handle) = coordinator(Plan::immediate());
    let tcp = lameduck::bind("127.0.0.1:0").await.unwrap();
    let address = tcp.local_addr().unwrap();
    let unix = UnixListener::bind(&path).unwrap();
    let held_tcp = std::net::TcpListener::from(again(&tcp));
    let held_unix = std::os::unix::net::UnixListener::from(again(&unix));
    lameduck::serve(tcp, hello(), &handle);
    lameduck::serve(unix, hello(), &handle);
    ready(&handle).await;

    assert!(soon(begin(shutdown)).await.unwrap().is_clean());

    let _tcp = soon(TcpStream::connect(address)).await.unwrap();
    assert!(held_tcp.accept().is_ok());
    let _unix = UnixStream::connect(&path).await.unwrap();
    assert!(held_unix.accept().is_ok());
    std::fs::remove_file(path).unwrap();
}

// A child that has just been forked holds every descriptor until it runs its own program.
#[tokio::test(start_paused = true)]
async fn a_listener_is_left_to_others_when_they_hold_it_at_both_looks() {
    for (looks, closed) in [(1, 1), (2, 0)] {
        let (shutdown, handle) = coordinator(Plan::immediate());
        let listener = lameduck::bind("127.0.0.1:0").await.unwrap();
        let (listener, counts) = Scripted::around(listener, []);
        counts.shared.store(looks, Ordering::Relaxed);
        lameduck::serve(listener, hello(), &handle);
        ready(&handle).await;

        assert!(soon(begin(shutdown)).await.unwrap().is_clean());

        assert_eq!(counts.closed.load(Ordering::Relaxed), closed);
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_is_not_ready_until_it_accepts() {
    let (_shutdown, handle) = coordinator(Plan::immediate());
    let listener = lameduck::bind("127.0.0.1:0").await.unwrap();

    let _serving = Server::new(&handle).name("api").serve(listener, hello());
    let before = handle.not_ready_because();
    settle().await;

    assert_eq!(before, ["api does not accept yet"]);
    assert!(handle.not_ready_because().is_empty());
}

// A runtime that serves and nothing else: `thread::spawn(|| runtime.block_on(serve(..)))`.
#[test]
fn a_runtime_that_waits_for_its_server_finishes_the_last_request() {
    let gate = Gate::new();
    let plan = Plan::builder()
        .grace_period(seconds(20))
        .lame_duck(millis(100))
        .linger(Duration::ZERO)
        .build();
    let shutdown = ShutdownCoordinator::new(plan.unwrap()).termination_log("/nonexistent");
    let handle = shutdown.handle();
    let (tell, told) = std::sync::mpsc::channel();
    let server = std::thread::spawn({
        let (app, handle) = (gated(&gate), handle.clone());
        move || {
            let runtime = tokio::runtime::Runtime::new().unwrap();
            runtime.block_on(async {
                let listener = lameduck::bind("127.0.0.1:0").await.unwrap();
                let address = listener.local_addr().unwrap();
                let serving = lameduck::serve(listener, app, &handle);
                tell.send((address, serving.listener_closed())).unwrap();
                serving.await;
            });
        }
    });
    let (address, closed) = told.recv_timeout(seconds(10)).unwrap();

    let (response, report) = tokio::runtime::Runtime::new().unwrap().block_on(async {
        let mut early = Client::connect(address).await;
        early.ask("/").await;
        gate.entered().await;
        let run = begin(shutdown);
        reached(&handle, Phase::Drain).await;
        // Close does not wait for this one before it closes the listener.
        let mut late = Client::connect(address).await;
        late.ask("/").await;
        gate.entered().await;
        gate.open();
        assert_eq!(early.response().await.status, 200);
        soon(closed).await;
        // Longer than a runtime needs to go away.
        std::thread::sleep(millis(100));
        gate.open();
        (late.try_response().await, soon(run).await.unwrap())
    });

    assert_eq!(response.unwrap().status, 200);
    assert!(report.is_clean(), "{report}");
    server.join().unwrap();
}

#[test]
fn a_server_whose_runtime_goes_away_triggers_the_shutdown() {
    let shutdown = ShutdownCoordinator::new(Plan::immediate()).termination_log("/nonexistent");
    let handle = shutdown.handle();
    let theirs = tokio::runtime::Runtime::new().unwrap();
    let listener = theirs.block_on(lameduck::bind("127.0.0.1:0")).unwrap();
    let serving = {
        let _inside = theirs.enter();
        Server::new(&handle).name("api").serve(listener, hello())
    };
    theirs.block_on(ready(&handle));
    drop(theirs);

    let report = tokio::runtime::Runtime::new().unwrap().block_on(async {
        let report = soon(shutdown.run()).await;
        soon(serving).await;
        report
    });

    assert_server_failed(&report.reason, "api", "its runtime went away");
    // Nobody waits for its listener.
    let close = report.phase(Phase::Close).unwrap();
    assert_eq!(
        close.outcome,
        lameduck::report::PhaseOutcome::Completed,
        "{report}"
    );
}

// `main` that returns an error before `run`, a test that is over: its runtime goes away as well, and nobody asked for more.
#[test]
fn a_server_whose_coordinator_is_gone_triggers_nothing() {
    let theirs = tokio::runtime::Runtime::new().unwrap();
    let handle = theirs.block_on(async {
        let shutdown = ShutdownCoordinator::new(Plan::immediate());
        let handle = shutdown.handle();
        start(hello(), &handle).await;
        handle
    });
    drop(theirs);

    assert!(!handle.is_shutting_down());
}

// Dropping what `serve` returns changes nothing.
#[tokio::test(start_paused = true)]
async fn a_server_runs_on_when_its_future_is_dropped() {
    let (_shutdown, handle) = coordinator(Plan::immediate());
    let (address, serving) = start(hello(), &handle).await;

    drop(serving);

    assert_eq!(Client::connect(address).await.get("/").await.status, 200);
}

// tokio's `from_std` leaves it to its caller to make a listener non-blocking.
#[cfg(unix)]
#[test]
fn a_blocking_listener_holds_nobody_up() {
    for late in [false, true] {
        let (tell, told) = std::sync::mpsc::channel();
        // A thread of its own: what blocks there does not block the test.
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            let report = runtime.unwrap().block_on(async {
                let (shutdown, handle) = coordinator(Plan::immediate());
                let listener = lameduck::bind("127.0.0.1:0").await.unwrap();
                let same = std::net::TcpListener::from(again(&listener));
                same.set_nonblocking(false).unwrap();
                if late {
                    handle.shutdown("test");
                }
                lameduck::serve(listener, hello(), &handle);
                ready(&handle).await;
                begin(shutdown).await.unwrap()
            });
            let _ = tell.send(report.is_clean());
        });

        let clean = told.recv_timeout(seconds(10));

        assert_eq!(clean, Ok(true), "late: {late}");
    }
}

/// One more descriptor of the same socket.
#[cfg(unix)]
fn again(listener: &impl std::os::fd::AsFd) -> std::os::fd::OwnedFd {
    listener.as_fd().try_clone_to_owned().unwrap()
}

pub(crate) async fn refused(address: SocketAddr) -> io::ErrorKind {
    TcpStream::connect(address).await.unwrap_err().kind()
}

pub(crate) fn assert_server_failed(reason: &Reason, expected: &str, because: &str) {
    let Reason::ServerFailed { name, error, .. } = reason else {
        panic!("{reason}");
    };
    assert_eq!((&**name, &**error), (expected, because));
}

pub(crate) fn emfile() -> Step {
    const EMFILE: i32 = 24;
    Step::Fail(io::Error::from_raw_os_error(EMFILE))
}

/// A listener that does as it is told first, and then accepts.
pub(crate) struct Scripted {
    inner: TcpListener,
    steps: Box<dyn Iterator<Item = Step> + Send>,
    next: VecDeque<Step>,
    counts: Arc<Counts>,
}

pub(crate) enum Step {
    Accept,
    /// Says that there is nothing, and never wakes anybody.
    Busy,
    /// Says that there is nothing, and looks again.
    Nothing,
    Fail(io::Error),
    Panic(&'static str),
}

#[derive(Default)]
pub(crate) struct Counts {
    pub(crate) polled: AtomicUsize,
    pub(crate) closed: AtomicUsize,
    /// How often it will still say that others hold it.
    shared: AtomicUsize,
}

impl Scripted {
    pub(crate) fn around<I>(inner: TcpListener, steps: I) -> (Self, Arc<Counts>)
    where
        I: IntoIterator<Item = Step>,
        I::IntoIter: Send + 'static,
    {
        let counts = Arc::<Counts>::default();
        let listener = Scripted {
            inner,
            steps: Box::new(steps.into_iter()),
            next: VecDeque::new(),
            counts: Arc::clone(&counts),
        };
        (listener, counts)
    }
}

impl Accept for Scripted {
    type Io = TcpStream;
    type Peer = SocketAddr;

    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<(TcpStream, SocketAddr)>> {
        self.counts.polled.fetch_add(1, Ordering::Relaxed);
        let step = self.next.pop_front().or_else(|| self.steps.next());
        match step {
            None => Accept::poll_accept(&mut self.inner, cx),
            Some(Step::Accept) => {
                let accepted = Accept::poll_accept(&mut self.inner, cx);
                if accepted.is_pending() {
                    self.next.push_front(Step::Accept);
                }
                accepted
            }
            Some(Step::Busy) => {
                self.next.push_front(Step::Busy);
                Poll::Pending
            }
            Some(Step::Nothing) => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Some(Step::Fail(error)) => Poll::Ready(Err(error)),
            Some(Step::Panic(message)) => panic!("{message}"),
        }
    }

    fn is_shared(&self) -> bool {
        let left = |left: usize| left.checked_sub(1);
        let shared = &self.counts.shared;
        shared
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, left)
            .is_ok()
    }

    fn close(self) -> Vec<(TcpStream, SocketAddr)> {
        self.counts.closed.fetch_add(1, Ordering::Relaxed);
        Accept::close(self.inner)
    }
}
