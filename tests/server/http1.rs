//! HTTP/1: what a client sees while the server leaves.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::Uri;
use axum::routing::{any, get};
use futures_util::stream;
use lameduck::report::{Kind, PhaseOutcome};
use lameduck::server::RequestNames;
use lameduck::{Phase, Plan, Server, ShutdownCoordinator};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until};

use crate::support::*;

// Case 25.
#[tokio::test(start_paused = true)]
async fn in_lame_duck_all_are_served_and_those_whose_moment_has_come_say_close() {
    let plan = Plan::builder().spread(seconds(8)).build().unwrap();
    let (shutdown, handle) = coordinator(plan);
    let (address, _) = start(hello(), &handle).await;
    let mut clients = Vec::new();
    for _ in 0..64 {
        let mut client = Client::connect(address).await;
        assert!(!client.get("/").await.says_close());
        clients.push(client);
    }

    let t0 = Instant::now();
    let run = begin(shutdown);
    sleep_until(t0 + seconds(4)).await;
    let mut told = Vec::new();
    let mut untold = Vec::new();
    for mut client in clients {
        let response = client.get("/").await;
        assert_eq!((response.status, response.text()), (200, "hello"));
        let which = if response.says_close() {
            &mut told
        } else {
            &mut untold
        };
        which.push(client);
    }
    sleep_until(t0 + seconds(8)).await;
    let mut late = Vec::new();
    for client in &mut untold {
        late.push(client.get("/").await);
    }

    // One half of them each, in the mean; that it is fewer than 12 happens once in ten million runs.
    assert!(told.len() > 11 && untold.len() > 11, "{}", told.len());
    for client in told.iter_mut().chain(&mut untold) {
        assert_eq!(client.end().await.unwrap(), b"");
    }
    for response in late {
        assert!(response.says_close());
    }
    assert!(soon(run).await.unwrap().is_clean());
}

// Case 25, 41.
#[tokio::test(start_paused = true)]
async fn a_connection_accepted_after_the_spread_says_close_on_its_first_response() {
    let (shutdown, handle) = coordinator(cluster());
    let (address, _) = start(hello(), &handle).await;

    let run = begin(shutdown);
    sleep(seconds(5)).await;
    let mut client = Client::connect(address).await;
    let response = client.get("/").await;

    assert_eq!(handle.phase(), Some(Phase::LameDuck));
    assert_eq!(response.status, 200);
    assert!(response.says_close());
    assert_eq!(client.end().await.unwrap(), b"");
    let report = soon(run).await.unwrap();
    assert!(report.is_clean());
    assert_eq!(report.traffic.served, 1);
    assert!(about(report.traffic.last_arrival.unwrap(), seconds(5)));
}

// Cases 30, 33.
#[tokio::test(start_paused = true)]
async fn under_the_local_plan_an_idle_connection_closes_at_once() {
    let (shutdown, handle) = coordinator(Plan::local());
    let (address, _) = start(hello(), &handle).await;
    let mut idle = Client::connect(address).await;
    idle.get("/").await;
    let mut silent = Client::connect(address).await;
    settle().await;

    let run = begin(shutdown);
    let (ended, took) = timed(idle.end()).await;

    assert_eq!(ended.unwrap(), b"");
    assert_eq!(silent.end().await.unwrap(), b"");
    assert!(about(took, Duration::ZERO), "{took:?}");
    let report = soon(run).await.unwrap();
    assert!(report.is_clean());
    assert!(about(report.took, Duration::ZERO), "{report}");
    assert_eq!((report.connections.closed, report.connections.cut), (2, 0));
}

// Case 31.
#[tokio::test(start_paused = true)]
async fn a_request_in_the_handler_at_drain_gets_its_answer_with_close_then_the_end() {
    let gate = Gate::new();
    let (shutdown, handle) = coordinator(cluster());
    let (address, _) = start(gated(&gate), &handle).await;
    let mut client = Client::connect(address).await;
    client.ask("/").await;
    gate.entered().await;

    let run = begin(shutdown);
    reached(&handle, Phase::Drain).await;
    assert_eq!(handle.in_flight(), 1);
    gate.open();
    let response = client.response().await;

    assert_eq!((response.status, response.text()), (200, "hello"));
    assert!(response.says_close());
    assert_eq!(client.end().await.unwrap(), b"");
    let report = soon(run).await.unwrap();
    assert!(report.is_clean());
    assert_eq!((report.connections.closed, report.connections.cut), (1, 0));
}

// Case 32.
#[tokio::test(start_paused = true)]
async fn an_idle_connection_in_close_serves_one_more_request_within_its_linger() {
    let (shutdown, handle) = late_end(cluster());
    let (address, _) = start(hello(), &handle).await;
    let mut idle = Client::connect(address).await;
    idle.get("/").await;

    let run = begin(shutdown);
    reached(&handle, Phase::Close).await;
    sleep(millis(500)).await;
    let response = idle.get("/").await;

    assert_eq!(response.status, 200);
    assert!(response.says_close());
    assert_eq!(idle.end().await.unwrap(), b"");
    assert!(soon(run).await.unwrap().is_clean());
}

// Case 32. The phases before Close take their time here, so the connection is woken more than once.
#[tokio::test(start_paused = true)]
async fn an_idle_connection_closes_when_its_linger_in_close_is_over() {
    let (shutdown, handle) = coordinator(cluster());
    let (address, _) = start(hello(), &handle).await;
    let mut idle = Client::connect(address).await;
    idle.get("/").await;

    let run = begin(shutdown);
    reached(&handle, Phase::Close).await;
    let (ended, took) = timed(idle.end()).await;

    assert_eq!(ended.unwrap(), b"");
    assert!(took <= seconds(1) + millis(100), "{took:?}");
    let report = soon(run).await.unwrap();
    assert!(about(report.took, seconds(10) + took), "{report}");
    assert_eq!((report.connections.closed, report.connections.cut), (1, 0));
}

// Case 34.
#[tokio::test(start_paused = true)]
async fn a_pipelined_request_behind_the_answer_that_said_close_is_not_executed() {
    let gate = Gate::new();
    let calls = Arc::new(AtomicUsize::new(0));
    let app = gated(&gate).layer(axum::middleware::from_fn({
        let calls = Arc::clone(&calls);
        move |request: Request, next: axum::middleware::Next| {
            calls.fetch_add(1, Ordering::Relaxed);
            next.run(request)
        }
    }));
    let (shutdown, handle) = coordinator(cluster());
    let (address, _) = start(app, &handle).await;
    let mut client = Client::connect(address).await;
    client.send(request("/first") + &request("/second")).await;
    gate.entered().await;

    let run = begin(shutdown);
    reached(&handle, Phase::Drain).await;
    gate.open();
    gate.open();
    let response = client.response().await;

    assert!(response.says_close());
    assert_eq!(client.end().await.unwrap(), b"");
    assert_eq!(calls.load(Ordering::Relaxed), 1);
    assert!(soon(run).await.unwrap().is_clean());
}

// Case 35. That it is bounded is another test's.
#[tokio::test(start_paused = true)]
async fn a_head_that_is_half_received_at_close_is_served_when_it_is_completed() {
    let (shutdown, handle) = coordinator(Plan::immediate());
    let (address, _) = start(hello(), &handle).await;
    let mut first = Client::connect(address).await;
    first.send("GET / HTT").await;
    let mut second = Client::connect(address).await;
    second.get("/").await;
    second.send("GET / HTTP/1.1\r\nHo").await;
    settle().await;

    let run = begin(shutdown);
    reached(&handle, Phase::Close).await;
    sleep(millis(500)).await;
    first.send("P/1.1\r\nHost: test\r\n\r\n").await;
    second.send("st: test\r\n\r\n").await;

    for client in [&mut first, &mut second] {
        let response = client.response().await;
        assert_eq!(response.status, 200);
        assert!(response.says_close());
        assert_eq!(client.end().await.unwrap(), b"");
    }
    assert!(soon(run).await.unwrap().is_clean());
}

// Case 83.
#[tokio::test(start_paused = true)]
async fn a_second_head_that_is_half_received_at_its_moment_is_served() {
    let (shutdown, handle) = coordinator(cluster());
    let (address, _) = start(hello(), &handle).await;
    let mut client = Client::connect(address).await;
    client.get("/").await;
    client.send("GET / HT").await;
    settle().await;

    let run = begin(shutdown);
    sleep(seconds(1)).await;
    client.send("TP/1.1\r\nHost: test\r\n\r\n").await;
    let response = client.response().await;

    assert_eq!(response.status, 200);
    assert!(response.says_close());
    assert!(soon(run).await.unwrap().is_clean());
}

// Case 38.
#[tokio::test(start_paused = true)]
async fn drain_waits_for_the_last_byte_of_a_body() {
    let (chunks, app) = streaming();
    let (shutdown, handle) = coordinator(Plan::immediate());
    let (address, _) = start(app, &handle).await;
    let mut client = Client::connect(address).await;
    client.ask("/").await;
    chunks.send(Bytes::from("first")).await.unwrap();
    client.until(b"first\r\n").await;

    let run = begin(shutdown);
    sleep(seconds(3)).await;
    let waiting = (handle.phase(), handle.in_flight());
    chunks.send(Bytes::from("last")).await.unwrap();
    drop(chunks);

    assert_eq!(waiting, (Some(Phase::Drain), 1));
    assert_eq!(client.end().await.unwrap(), b"4\r\nlast\r\n0\r\n\r\n");
    let report = soon(run).await.unwrap();
    assert!(report.is_clean());
    assert!(about(report.phase(Phase::Drain).unwrap().took, seconds(3)));
}

// Case 38.
#[tokio::test(start_paused = true)]
async fn a_body_that_never_ends_is_cut_at_the_deadline_and_reported() {
    let (chunks, app) = streaming();
    let plan = Plan::immediate();
    let deadline = plan.deadline(Phase::Release);
    let (shutdown, handle) = coordinator(plan);
    let (address, _) = start(app, &handle).await;
    let mut client = Client::connect(address).await;
    client.ask("/").await;
    chunks.send(Bytes::from("first")).await.unwrap();
    client.until(b"first\r\n").await;

    let run = begin(shutdown);
    let (ended, took) = timed(client.end()).await;

    assert_eq!(ended.unwrap(), b"", "it must not look complete");
    assert!(about(took, deadline), "{took:?}");
    let report = soon(run).await.unwrap();
    assert!(!report.is_clean());
    assert_eq!((report.cut, report.connections.cut), (1, 1));
    let close = report.phase(Phase::Close).unwrap();
    assert_eq!(close.outcome, PhaseOutcome::TimedOut);
    assert_eq!(close.left_behind_total, 1);
    assert_eq!(close.left_behind[0].kind, Kind::Connection);
    assert!(close.left_behind[0].name.ends_with("(HTTP/1: GET /)"));
    assert!(chunks.is_closed());
}

#[tokio::test(start_paused = true)]
async fn a_response_that_the_client_does_not_read_is_cut_and_spoils_the_report() {
    // More than the kernel's buffers hold; the handler is done with it at once.
    let app = Router::new().route("/", get(|| async { vec![b'x'; 32 << 20] }));
    let (shutdown, handle) = coordinator(Plan::immediate());
    let (address, _) = start(app, &handle).await;
    let mut client = Client::connect(address).await;
    client.ask("/").await;
    client.exactly(1).await;

    let report = soon(begin(shutdown)).await.unwrap();

    assert_eq!((report.cut, report.connections.cut), (1, 1), "{report}");
    assert!(!report.is_clean());
    let close = report.phase(Phase::Close).unwrap();
    let name = &close.left_behind[0].name;
    assert!(name.ends_with("(HTTP/1: sending a response)"), "{name}");
}

// Case 39.
#[tokio::test(start_paused = true)]
async fn a_client_that_drops_in_mid_response_releases_the_guard_at_once() {
    let (chunks, app) = streaming();
    let (shutdown, handle) = coordinator(Plan::immediate());
    let (address, _) = start(app, &handle).await;
    let mut client = Client::connect(address).await;
    client.ask("/").await;
    chunks.send(Bytes::from("first")).await.unwrap();
    client.until(b"first\r\n").await;
    let run = begin(shutdown);
    reached(&handle, Phase::Drain).await;

    let begun = Instant::now();
    drop(client);
    let report = soon(run).await.unwrap();

    assert!(about(begun.elapsed(), Duration::ZERO), "{report}");
    assert!(report.is_clean());
    assert!(chunks.is_closed());
}

// Rule 4: the listener's report names what overran.
#[tokio::test(start_paused = true)]
async fn a_request_that_overruns_drain_is_named_without_its_query_and_answered_in_close() {
    let gate = Gate::new();
    let plan = Plan::immediate();
    let drain = plan.deadline(Phase::Drain);
    let (shutdown, handle) = coordinator(plan);
    let (address, _) = start(gated(&gate), &handle).await;
    let mut client = Client::connect(address).await;
    client.ask("/slow?token=secret").await;
    gate.entered().await;

    let run = begin(shutdown);
    reached(&handle, Phase::Close).await;
    gate.open();
    let response = client.response().await;

    assert_eq!((response.status, response.text()), (200, "hello"));
    assert!(response.says_close());
    drop(client);
    let report = soon(run).await.unwrap();
    assert!(report.is_clean());
    assert!(about(report.took, drain), "{report}");
    let drain = report.phase(Phase::Drain).unwrap();
    assert_eq!(drain.outcome, PhaseOutcome::TimedOut);
    assert_eq!(drain.left_behind_total, 1);
    assert_eq!(drain.left_behind[0].kind, Kind::Request);
    assert_eq!(drain.left_behind[0].name, "GET /slow");
    assert!(!report.to_string().contains("secret"));
}

#[tokio::test(start_paused = true)]
async fn request_names_show_the_method_only_or_nothing_when_asked_to() {
    for (names, expected) in [
        (RequestNames::Method, Some("GET")),
        (RequestNames::Off, None),
    ] {
        let gate = Gate::new();
        let (shutdown, handle) = coordinator(Plan::immediate());
        let listener = lameduck::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        Server::new(&handle)
            .request_names(names)
            .serve(listener, gated(&gate));
        let mut client = Client::connect(address).await;
        client.ask("/secret").await;
        gate.entered().await;

        let report = soon(begin(shutdown)).await.unwrap();

        let drain = report.phase(Phase::Drain).unwrap();
        assert_eq!(drain.left_behind_total, 1);
        let named: Vec<_> = drain.left_behind.iter().map(|left| &*left.name).collect();
        assert_eq!(named, Vec::from_iter(expected));
        let close = report.phase(Phase::Close).unwrap();
        let busy = format!("(HTTP/1: {})", expected.unwrap_or("1 request"));
        assert!(close.left_behind[0].name.ends_with(&busy), "{close}");
        assert!(!report.to_string().contains("secret"));
    }
}

// Case 67: what is named when the body never comes. That it is bounded is another test's.
#[tokio::test(start_paused = true)]
async fn a_half_sent_request_body_is_named_in_the_report() {
    let app = Router::new().route("/upload", any(|body: Bytes| async move { body }));
    let (shutdown, handle) = coordinator(Plan::immediate());
    let (address, _) = start(app, &handle).await;
    let mut client = Client::connect(address).await;
    client
        .send("POST /upload HTTP/1.1\r\nHost: test\r\nContent-Length: 10\r\n\r\nhalf")
        .await;
    settle().await;

    let report = soon(begin(shutdown)).await.unwrap();

    assert_eq!(report.cut, 1);
    let drain = report.phase(Phase::Drain).unwrap();
    assert_eq!(drain.left_behind[0].name, "POST /upload");
}

// Case 78.
#[tokio::test(start_paused = true)]
async fn a_panicking_handler_releases_its_guard_and_its_connection() {
    let app = Router::new().route(
        "/",
        get(async |path: Uri| -> String { panic!("the test's own panic at {path}") }),
    );
    let (shutdown, handle) = coordinator(Plan::immediate());
    let (address, _) = start(app, &handle).await;
    let mut client = Client::connect(address).await;

    client.ask("/").await;
    let ended = client.end().await;

    assert_eq!(ended.unwrap(), b"");
    assert_eq!((handle.in_flight(), handle.connections()), (0, 0));
    assert!(soon(begin(shutdown)).await.unwrap().is_clean());
}

// Case 81.
#[tokio::test(start_paused = true)]
async fn in_normal_service_an_idle_connection_is_kept_and_answers_after_90_s() {
    let (_shutdown, handle) = coordinator(cluster());
    let (address, _) = start(hello(), &handle).await;
    let mut client = Client::connect(address).await;
    client.get("/").await;

    sleep(seconds(90)).await;
    let response = client.get("/").await;

    assert_eq!(response.status, 200);
    assert!(!response.says_close());
    assert!(client.is_silent().await);
    assert_eq!(handle.connections(), 1);
}

#[tokio::test(start_paused = true)]
async fn first_bytes_may_arrive_one_by_one() {
    let app = Router::new().fallback(any(|request: Request| async move {
        format!("{} {}", request.method(), request.uri())
    }));
    let (_shutdown, handle) = coordinator(cluster());
    let (address, _) = start(app, &handle).await;

    // PRI is what an HTTP/2 preface begins with.
    for method in ["P", "PR", "PRI", "PUT", "POST", "PROPFIND", "GET"] {
        let mut client = Client::connect(address).await;
        for byte in format!("{method} /path HTTP/1.1\r\nHost: test\r\n\r\n").bytes() {
            client.send([byte]).await;
            settle().await;
        }
        let response = client.response().await;

        assert_eq!(response.text(), format!("{method} /path"));
    }
}

#[tokio::test(start_paused = true)]
async fn bytes_that_only_begin_like_a_preface_are_all_given_to_http1() {
    let app = Router::new().fallback(any(|request: Request| async move {
        format!("{} {}", request.method(), request.uri())
    }));
    let (_shutdown, handle) = coordinator(cluster());
    let (address, _) = start(app, &handle).await;

    let mut client = Client::connect(address).await;
    client.send("PRI * HTTP/").await;
    settle().await;
    client.send("1.1\r\nHost: test\r\n\r\n").await;
    let response = client.response().await;

    assert_eq!(response.text(), "PRI *");
}

#[tokio::test(start_paused = true)]
async fn half_a_preface_and_then_the_end_closes_the_connection() {
    let (shutdown, handle) = coordinator(cluster());
    let (address, _) = start(hello(), &handle).await;
    let mut client = Client::connect(address).await;
    client.send("PRI * HTTP/2.0\r\n").await;
    settle().await;
    let counted = handle.connections();

    client.half_close().await;
    client.end().await.unwrap();

    assert_eq!(counted, 1);
    settle().await;
    assert_eq!(handle.connections(), 0);
    drop(shutdown);
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_sends_nothing_and_ends_is_forgotten() {
    let (_shutdown, handle) = coordinator(cluster());
    let (address, _) = start(hello(), &handle).await;
    let client = Client::connect(address).await;
    settle().await;
    let counted = handle.connections();

    drop(client);
    settle().await;

    assert_eq!((counted, handle.connections()), (1, 0));
}

// Cases 36, 70: the bytes are in the kernel, and nobody has looked since.
#[tokio::test(start_paused = true)]
async fn a_request_that_the_runtime_has_not_seen_when_the_connection_ends_is_answered() {
    let (shutdown, handle) = coordinator(Plan::immediate());
    let (address, _) = start(hello(), &handle).await;
    let mut idle = Client::connect(address).await;
    idle.get("/").await;
    let mut silent = Client::connect(address).await;
    settle().await;

    for client in [&mut idle, &mut silent] {
        client.send_now(request("/"));
    }
    // Until they have arrived. No task runs meanwhile.
    std::thread::sleep(millis(5));
    let run = begin(shutdown);

    for client in [&mut idle, &mut silent] {
        let response = client.response().await;
        assert_eq!(response.status, 200);
        assert!(response.says_close());
        assert_eq!(client.end().await.unwrap(), b"");
    }
    assert!(soon(run).await.unwrap().is_clean());
}

// Case 36, in small, on two threads and a real clock.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_load_every_request_that_was_handled_is_answered() {
    let plan = Plan::builder()
        .lame_duck(millis(300))
        .spread(millis(200))
        .linger(millis(50))
        .build()
        .unwrap();
    let shutdown = ShutdownCoordinator::new(plan);
    let handle = shutdown.handle();
    let handled = Arc::new(AtomicUsize::new(0));
    let app = Router::new().route("/", {
        let handled = Arc::clone(&handled);
        get(async move || {
            handled.fetch_add(1, Ordering::Relaxed);
            "hello"
        })
    });
    let (address, _) = start(app, &handle).await;
    let clients: Vec<_> = (0..16).map(|_| tokio::spawn(hammer(address))).collect();
    sleep(millis(100)).await;

    let report = soon(begin(shutdown)).await.unwrap();
    let mut answered = 0;
    for client in clients {
        answered += soon(client).await.unwrap();
    }

    assert_eq!(handled.load(Ordering::Relaxed), answered);
    assert!(report.is_clean(), "{report}");
    assert_eq!(report.connections.cut, 0, "{report}");
    assert!(report.traffic.served > 0);
}

/// Asks, on one connection after the other, until it is refused. Returns how many answers came.
async fn hammer(address: SocketAddr) -> usize {
    let mut answered = 0;
    while let Ok(stream) = TcpStream::connect(address).await {
        let mut client = Client::new(stream);
        loop {
            if client.try_ask("/").await.is_err() {
                break;
            }
            let Ok(response) = client.try_response().await else {
                break;
            };
            answered += 1;
            if response.says_close() {
                break;
            }
        }
    }
    answered
}

// Rule 2: more than any socket buffer holds, so it is still being written when Close begins.
#[tokio::test(start_paused = true)]
async fn a_response_that_a_slow_client_is_still_reading_in_close_arrives_whole() {
    const LENGTH: usize = 16 << 20;
    let app = Router::new().route("/", get(|| async { vec![7_u8; LENGTH] }));
    let (shutdown, handle) = coordinator(Plan::immediate());
    let (address, _) = start(app, &handle).await;
    let mut client = Client::connect(address).await;
    client.ask("/").await;
    settle().await;

    let run = begin(shutdown);
    reached(&handle, Phase::Close).await;
    sleep(seconds(1)).await;
    let response = client.response().await;

    assert_eq!(response.body.len(), LENGTH);
    assert_eq!(client.end().await.unwrap(), b"");
    assert!(soon(run).await.unwrap().is_clean());
}

// The body arrives after its head, and nobody reads it: what hyper drains is not the next request's head.
#[tokio::test(start_paused = true)]
async fn a_request_body_that_nobody_reads_does_not_hold_the_shutdown() {
    let gate = Gate::new();
    let app = Router::new().route("/", {
        let gate = Arc::clone(&gate);
        any(async move |request: Request| {
            gate.pass().await;
            drop(request);
        })
    });
    let (shutdown, handle) = coordinator(Plan::immediate());
    let (address, _) = start(app, &handle).await;
    let mut client = Client::connect(address).await;
    client
        .send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 4\r\n\r\n")
        .await;
    gate.entered().await;
    client.send("body").await;
    settle().await;
    gate.open();
    client.response().await;

    let report = soon(begin(shutdown)).await.unwrap();

    assert_eq!(report.connections.cut, 0, "{report}");
}

// Case 63.
#[tokio::test(start_paused = true)]
async fn a_pool_is_closed_only_after_the_request_that_uses_it() {
    let gate = Gate::new();
    let (events, mut seen) = mpsc::unbounded_channel();
    let (shutdown, handle) = coordinator(Plan::immediate());
    let closing = events.clone();
    shutdown
        .hook(Phase::Release, "pool", async move || {
            closing.send("pool closed").unwrap();
        })
        .unwrap();
    let app = Router::new().route("/", {
        let gate = Arc::clone(&gate);
        get(async move || {
            gate.pass().await;
            events.send("pool used").unwrap();
        })
    });
    let (address, _) = start(app, &handle).await;
    let mut client = Client::connect(address).await;
    client.ask("/").await;
    gate.entered().await;

    let run = begin(shutdown);
    sleep(seconds(2)).await;
    let too_early = seen.try_recv().is_ok();
    gate.open();
    let report = soon(run).await.unwrap();

    assert!(!too_early);
    assert_eq!(seen.recv().await, Some("pool used"));
    assert_eq!(seen.recv().await, Some("pool closed"));
    assert!(report.is_clean());
}

/// `/` streams what is sent into the channel, and ends with it.
fn streaming() -> (mpsc::Sender<Bytes>, Router) {
    let (chunks, receiver) = mpsc::channel(1);
    let receiver = Arc::new(std::sync::Mutex::new(Some(receiver)));
    let handler = async move || {
        let receiver: mpsc::Receiver<Bytes> = receiver.lock().unwrap().take().unwrap();
        Body::from_stream(stream::unfold(receiver, async |mut receiver| {
            let chunk = receiver.recv().await?;
            Some((Ok::<_, Infallible>(chunk), receiver))
        }))
    };
    (chunks, Router::new().route("/", get(handler)))
}
