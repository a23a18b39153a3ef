//! Event streams on servers of ours: axum's `Sse`, whose handler knows nothing of a shutdown.

use std::convert::Infallible;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::response::Extension;
use axum::response::sse::{Event, Sse};
use axum::routing::get;
use futures_util::stream::{self, Stream, StreamExt};
use http_body_util::BodyExt;
use hyper::Request;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use lameduck::report::{Kind, PhaseOutcome};
use lameduck::{EventStreams, LongLived, Moment, Phase, Plan};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

use crate::support::*;

// Case 56.
#[tokio::test(start_paused = true)]
async fn an_event_stream_of_http1_ends_whole_and_its_connection_after_it() {
    let (shutdown, handle) = coordinator(Plan::immediate());
    let (address, _) = start(events(), &handle).await;
    let mut client = Client::connect(address).await;
    client.ask("/events").await;
    client.until(b"data: tick\n\n").await;
    assert_eq!(
        (
            handle.connections(),
            handle.in_flight(),
            handle.long_lived()
        ),
        (1, 1, 1)
    );

    let run = begin(shutdown);
    let rest = String::from_utf8(client.end().await.unwrap()).unwrap();
    let report = soon(run).await.unwrap();

    let (events, farewell) = rest.rsplit_once("retry: ").unwrap();
    assert!(!events.contains("data: tick\n\r"), "{rest:?}");
    // The last chunk: the body is whole.
    assert!(farewell.ends_with("\n\n\r\n0\r\n\r\n"), "{rest:?}");
    assert!(report.is_clean(), "{report}");
    assert_eq!((report.connections.closed, report.connections.cut), (1, 0));
    assert_eq!((report.long.told, report.long.cut), (1, 0));
    assert!(report.took < seconds(1), "{report}");
}

#[tokio::test(start_paused = true)]
async fn an_event_stream_of_http2_ends_whole_and_its_connection_after_it() {
    let (shutdown, handle) = coordinator(Plan::immediate());
    let (address, _) = start(events(), &handle).await;
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut client, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
        .await
        .unwrap();
    let connection = tokio::spawn(connection);
    let request = Request::get("http://test/events")
        .body(Body::empty())
        .unwrap();
    let mut body = soon(client.send_request(request))
        .await
        .unwrap()
        .into_body();
    soon(body.frame()).await.unwrap().unwrap();

    let run = begin(shutdown);
    let rest = soon(body.collect()).await.unwrap().to_bytes();
    let ended = soon(connection).await.unwrap();
    let report = soon(run).await.unwrap();

    let rest = String::from_utf8(rest.to_vec()).unwrap();
    assert!(
        rest.contains("retry: ") && rest.ends_with("\n\n"),
        "{rest:?}"
    );
    assert!(ended.is_ok());
    assert!(report.is_clean(), "{report}");
    assert_eq!((report.connections.closed, report.connections.cut), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn event_streams_end_at_their_own_moments_and_drain_waits_for_none() {
    const STREAMS: usize = 50;
    let (shutdown, handle) = coordinator(cluster());
    let shutdown = shutdown.seed(7);
    let (address, _) = start(events(), &handle).await;
    let mut clients = Vec::new();
    for _ in 0..STREAMS {
        let mut client = Client::connect(address).await;
        client.ask("/events").await;
        client.until(b"data: tick\n\n").await;
        clients.push(client);
    }

    let run = begin(shutdown);
    reached(&handle, Phase::Close).await;
    let close = Instant::now();
    let each = clients.into_iter().map(|mut client| {
        tokio::spawn(async move {
            client.until(b"retry: ").await;
            close.elapsed()
        })
    });
    let mut ends = Vec::new();
    for end in each.collect::<Vec<_>>() {
        ends.push(soon(end).await.unwrap());
    }
    let report = soon(run).await.unwrap();

    let window = handle.plan().long_spread() + millis(250);
    assert!(ends.iter().all(|end| *end <= window), "{ends:?}");
    let halves = ends.iter().filter(|end| **end < window / 2).count();
    assert!((10..=40).contains(&halves), "{ends:?}");
    assert!(about(
        report.phase(Phase::Drain).unwrap().took,
        Duration::ZERO
    ));
    assert!(report.is_clean(), "{report}");
    assert_eq!(report.long.told, STREAMS as u64);
}

#[tokio::test(start_paused = true)]
async fn an_event_stream_that_is_left_alone_is_cut_and_listed_and_clean() {
    let (shutdown, handle) = coordinator(Plan::immediate());
    let shutdown = shutdown.event_streams(EventStreams::new().left_alone());
    let (address, _) = start(events(), &handle).await;
    let mut client = Client::connect(address).await;
    client.ask("/events?token=secret").await;
    client.until(b"data: tick\n\n").await;

    let run = begin(shutdown);
    let rest = client.end().await;
    let report = soon(run).await.unwrap();

    // No last chunk: its client can see that it was broken off.
    assert!(rest.is_err() || !rest.unwrap().ends_with(b"0\r\n\r\n"));
    assert!(report.is_clean(), "{report}");
    assert_eq!(
        (report.cut, report.connections.cut, report.long.cut),
        (0, 1, 1)
    );
    assert_eq!(
        report.phase(Phase::Drain).unwrap().outcome,
        PhaseOutcome::Completed
    );
    let left = &report.phase(Phase::Close).unwrap().left_behind;
    assert_eq!(left[0].kind, Kind::Connection);
    assert!(
        left[0].name.ends_with("(HTTP/1: GET /events)"),
        "{}",
        left[0].name
    );
}

#[tokio::test(start_paused = true)]
async fn drain_names_what_it_waits_for_and_no_stream() {
    let gate = Gate::new();
    let (shutdown, handle) = coordinator(Plan::immediate());
    let app = gated(&gate).merge(events());
    let (address, _) = start(app, &handle).await;
    let mut client = Client::connect(address).await;
    client.ask("/events").await;
    client.until(b"data: tick\n\n").await;
    let mut other = Client::connect(address).await;
    other.ask("/slow").await;
    gate.entered().await;

    let report = soon(begin(shutdown)).await.unwrap();

    let drain = report.phase(Phase::Drain).unwrap();
    assert_eq!(drain.left_behind_total, 1);
    assert_eq!(drain.left_behind.len(), 1);
    assert_eq!(drain.left_behind[0].name, "GET /slow");
    assert_eq!(report.cut, 1);
}

// The stream's head did not say close, so its client may come back on the same connection, however late it ended in Close.
#[tokio::test(start_paused = true)]
async fn a_connection_lingers_after_a_stream_has_ended_and_serves_the_next_request() {
    let plan = Plan::builder().spread(Duration::ZERO);
    let (shutdown, handle) = coordinator(plan.build().unwrap());
    // With this seed the first connection is told late in the spread, after the linger time.
    let shutdown = shutdown.seed(LATE);
    let (address, _) = start(events().merge(hello()), &handle).await;
    let mut client = Client::connect(address).await;
    client.ask("/events").await;
    client.until(b"data: tick\n\n").await;

    let run = begin(shutdown);
    reached(&handle, Phase::Close).await;
    let (_, until_the_end) = timed(client.until(b"\r\n0\r\n\r\n")).await;
    sleep(millis(500)).await;
    let answer = client.get("/").await;

    assert!(until_the_end > seconds(2), "{until_the_end:?}");
    assert_eq!(answer.text(), "hello");
    assert!(answer.says_close());
    assert_eq!(client.end().await.unwrap(), b"");
    assert!(soon(run).await.unwrap().is_clean());
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_lingers_after_a_stream_closes_when_nothing_comes() {
    let plan = Plan::builder().spread(Duration::ZERO);
    let (shutdown, handle) = coordinator(plan.build().unwrap());
    let shutdown = shutdown.seed(LATE);
    let (address, _) = start(events(), &handle).await;
    let mut client = Client::connect(address).await;
    client.ask("/events").await;
    client.until(b"data: tick\n\n").await;

    let run = begin(shutdown);
    client.until(b"\r\n0\r\n\r\n").await;
    let (end, took) = timed(client.end()).await;

    assert_eq!(end.unwrap(), b"");
    assert!(about(took, handle.plan().linger()), "{took:?}");
    assert_eq!(soon(run).await.unwrap().connections.closed, 1);
}

// A handler that marks its stream ends it itself, with what only it knows.
#[tokio::test(start_paused = true)]
async fn a_handler_may_end_its_stream_itself_at_the_same_moment() {
    let app = Router::new().route(
        "/events",
        get(async || {
            let moment = Moment::current().unwrap();
            let ticks = ticks().map(Some).chain(stream::pending());
            let last = stream::once(async { Ok(Event::default().data("bye at 17")) });
            let events = ticks.map(Option::unwrap).take_until(moment).chain(last);
            (Extension(LongLived::new()), Sse::new(events))
        }),
    );
    let (shutdown, handle) = coordinator(cluster());
    let (address, _) = start(app, &handle).await;
    let mut client = Client::connect(address).await;
    client.ask("/events").await;
    client.until(b"data: tick\n\n").await;

    let run = begin(shutdown);
    client.until(b"data: bye at 17\n\n\r\n0\r\n\r\n").await;
    let report = soon(run).await.unwrap();

    assert!(report.is_clean(), "{report}");
    assert_eq!((report.long.told, report.long.cut), (1, 0));
}

// The layer is not needed under `serve`, and changes nothing.
#[tokio::test(start_paused = true)]
async fn with_a_layer_under_it_a_stream_still_ends_at_the_moment_of_its_connection() {
    let (seen, mut moments) = tokio::sync::mpsc::unbounded_channel();
    let (shutdown, handle) = coordinator(cluster());
    let app = Router::new()
        .route(
            "/events",
            get(async move || {
                seen.send(Moment::current().unwrap()).unwrap();
                Sse::new(ticks())
            }),
        )
        .layer(lameduck::DrainLayer::new(&handle));
    let (address, _) = start(app, &handle).await;
    let mut client = Client::connect(address).await;
    client.ask("/events").await;
    client.until(b"data: tick\n\n").await;
    let moment = soon(moments.recv()).await.unwrap();

    let run = begin(shutdown);
    let rest = tokio::spawn(async move {
        client.until(b"retry: ").await;
        Instant::now()
    });
    soon(moment).await;
    let told = Instant::now();

    assert!(about(soon(rest).await.unwrap() - told, Duration::ZERO));
    let report = soon(run).await.unwrap();
    assert_eq!(report.connections.closed, 1);
    assert!(report.is_clean(), "{report}");
}

// The lot is the connection's own: what belongs together is told together.
#[tokio::test(start_paused = true)]
async fn all_streams_of_a_connection_end_together() {
    let (shutdown, handle) = coordinator(cluster());
    let (address, _) = start(events(), &handle).await;
    let stream = TcpStream::connect(address).await.unwrap();
    let (client, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    let mut streams = Vec::new();
    for _ in 0..5 {
        let request = Request::get("http://test/events")
            .body(Body::empty())
            .unwrap();
        let response = soon(client.clone().send_request(request)).await.unwrap();
        streams.push(tokio::spawn(async {
            response.into_body().collect().await.unwrap();
            Instant::now()
        }));
    }

    let run = begin(shutdown);
    let mut ends = Vec::new();
    for stream in streams {
        ends.push(soon(stream).await.unwrap());
    }

    assert!(ends.iter().all(|end| about(*end - ends[0], Duration::ZERO)));
    assert_eq!(soon(run).await.unwrap().long.told, 5);
}

const LATE: u64 = 9;

fn events() -> Router {
    Router::new().route("/events", get(async || Sse::new(ticks())))
}

fn ticks() -> impl Stream<Item = Result<Event, Infallible>> {
    stream::unfold((), |()| async {
        sleep(millis(300)).await;
        Some((Ok(Event::default().data("tick")), ()))
    })
}
