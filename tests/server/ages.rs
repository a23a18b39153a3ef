//! `Server::max_connection_age`: connections that leave in normal service, and what a shutdown makes of them.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::response::sse::{Event, Sse};
use axum::routing::get;
use futures_util::StreamExt;
use futures_util::future::join_all;
use futures_util::stream;
use lameduck::server::Serving;
use lameduck::{
    DrainLayer, Moment, Phase, Plan, Reason, Server, ShutdownHandle, Told, close_websocket,
};
use tokio::io::DuplexStream;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::frames::*;
use crate::pipes::*;
use crate::support::*;

const AGE: Duration = seconds(10);
/// When it is over, at the earliest and at the latest.
const EARLY: Duration = seconds(9);
const LATE: Duration = seconds(11);
const LINGER: Duration = seconds(1);

/// A server whose connections have an age.
fn serve(app: Router, handle: &ShutdownHandle) -> (Door, Serving) {
    serve_by(handle, app, |server| server.max_connection_age(AGE))
}

/// The same, with a grace behind it.
fn serve_with_grace(app: Router, handle: &ShutdownHandle, grace: Duration) -> (Door, Serving) {
    serve_by(handle, app, |server| {
        server
            .max_connection_age(AGE)
            .max_connection_age_grace(grace)
    })
}

fn serve_by(
    handle: &ShutdownHandle,
    app: Router,
    set: impl FnOnce(Server) -> Server,
) -> (Door, Serving) {
    let (door, listener) = pipes();
    let serving = set(Server::new(handle)).serve(listener, app);
    (door, serving)
}

/// Asks again and again, until a response says close. How long that took.
async fn until_close(client: &mut Client<DuplexStream>) -> Duration {
    let asking = async {
        while !client.get("/").await.says_close() {
            sleep(millis(10)).await;
        }
    };
    timed(asking).await.1
}

#[track_caller]
fn assert_within(took: Duration, earliest: Duration, latest: Duration) {
    assert!((earliest..=latest + millis(20)).contains(&took), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn without_the_setting_a_connection_has_no_age() {
    let (_shutdown, handle) = exact(cluster());
    let (door, listener) = pipes();
    lameduck::serve(listener, hello(), &handle);
    let mut http1 = door.connect();
    let mut http2 = door.http2().await;
    http1.get("/").await;

    sleep(seconds(7 * 24 * 60 * 60)).await;
    http2.0.send(GET).await;

    assert!(!http1.get("/").await.says_close());
    // A GOAWAY before it is passed over by nobody.
    assert_eq!(http2.frame_of(DATA).await.payload, b"hello");
    assert!(http2.0.is_silent().await);
}

#[tokio::test(start_paused = true)]
async fn connection_in_use_hears_close_when_its_age_is_over_and_ends_behind_that_response() {
    let (_shutdown, handle) = exact(cluster());
    let (door, _) = serve(hello(), &handle);
    let mut client = door.connect();

    let took = until_close(&mut client).await;
    let (rest, ended) = timed(client.end()).await;

    assert_within(took, EARLY, LATE);
    assert_eq!(rest.unwrap(), b"");
    assert_took(ended, Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn idle_connection_lingers_behind_its_age_and_ends() {
    let (_shutdown, handle) = exact(cluster());
    let (door, _) = serve(hello(), &handle);
    let mut used = door.connect();
    let mut unused = door.connect();
    used.get("/").await;

    let (rest, took) = timed(used.end()).await;
    let (_, unused_took) = timed(unused.end()).await;

    assert_eq!(rest.unwrap(), b"");
    assert_within(took, EARLY + LINGER, LATE + LINGER);
    assert_within(took + unused_took, EARLY + LINGER, LATE + LINGER);
    drop((used, unused));
    settle().await;
    assert_eq!(handle.connections(), 0);
}

#[tokio::test(start_paused = true)]
async fn request_that_is_handled_when_the_age_is_over_gets_its_whole_response() {
    let gate = Gate::new();
    let (_shutdown, handle) = exact(cluster());
    let (door, _) = serve(gated(&gate), &handle);
    let mut client = door.connect();
    client.ask("/").await;
    gate.entered().await;

    sleep(seconds(24 * 60 * 60)).await;
    gate.open();
    let response = client.response().await;

    assert!(response.says_close());
    assert_eq!(response.text(), "hello");
    assert_eq!(client.end().await.unwrap(), b"");
}

// The end of an idle connection is the same in each run of one seed. Each run sends at another instant around it.
#[tokio::test(start_paused = true)]
async fn request_that_is_sent_at_the_very_end_is_answered_or_was_not_handled() {
    let end = {
        let (door, _, begun) = seeded_door();
        let mut client = door.connect();
        client.get("/").await;
        client.end().await.unwrap();
        begun.elapsed()
    };
    let mut answers = HashMap::new();

    for before in 0..20 {
        let (door, handled, begun) = seeded_door();
        let mut client = door.connect();
        client.get("/").await;
        sleep_until(begun + end + millis(10) - millis(before)).await;
        let sent = client.try_ask("/").await.is_ok();
        let answered = client.try_response().await.is_ok_and(|it| it.says_close());
        settle().await;
        assert_eq!(handled.load(Ordering::SeqCst), 1 + u32::from(answered));
        assert!(sent || !answered);
        *answers.entry(answered).or_insert(0) += 1;
    }

    assert!(answers[&true] >= 9 && answers[&false] >= 9, "{answers:?}");
}

/// A server that counts what it handles, and whose first connection has the same age each time.
fn seeded_door() -> (Door, Arc<AtomicU32>, Instant) {
    let (shutdown, handle) = exact(cluster());
    drop(shutdown.seed(7));
    let handled = Arc::new(AtomicU32::new(0));
    let app = Router::new().fallback({
        let handled = Arc::clone(&handled);
        async move || {
            handled.fetch_add(1, Ordering::SeqCst);
            "hello"
        }
    });
    let (door, _) = serve(app, &handle);
    (door, handled, Instant::now())
}

#[tokio::test(start_paused = true)]
async fn http2_gets_both_goaways_when_its_age_is_over_and_finishes_its_streams() {
    let gate = Gate::new();
    let (_shutdown, handle) = exact(cluster());
    let (door, _) = serve(gated(&gate), &handle);
    let begun = Instant::now();
    let mut client = door.http2().await;
    client.0.send(GET).await;
    gate.entered().await;

    let first = client.frame_of(GOAWAY).await;
    let took = begun.elapsed();
    let ping = client.frame_of(PING).await;
    // On its way when the GOAWAY came: it is below the last stream of the second.
    let mut second = GET.to_vec();
    second[8] = 3;
    client.0.send([&second, &*ping.answer()].concat()).await;
    gate.entered().await;
    let last = client.frame_of(GOAWAY).await;
    sleep(seconds(24 * 60 * 60)).await;
    gate.open();
    gate.open();
    let bodies = [
        client.frame_of(DATA).await.payload,
        client.frame_of(DATA).await.payload,
    ];

    // It waits for its stream for as long.
    assert_within(took, EARLY + LINGER, LATE + LINGER);
    assert_eq!(first.payload[..4], [0x7f, 0xff, 0xff, 0xff]);
    assert_eq!(last.payload, [0, 0, 0, 3, 0, 0, 0, 0]);
    assert_eq!(bodies, [b"hello", b"hello"]);
    client.0.end().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn without_goaway_http2_leaves_when_it_has_lingered_and_nothing_is_in_flight() {
    let gate = Gate::new();
    let (_shutdown, handle) = exact(cluster());
    let (door, _) = serve_by(&handle, gated(&gate), |server| {
        server.max_connection_age(AGE).goaway(false)
    });
    let mut client = door.http2().await;
    client.0.send(GET).await;
    gate.entered().await;

    sleep(seconds(60)).await;
    gate.open();
    // A GOAWAY before it would have been seen.
    let body = client.frame_of(DATA).await;
    let (ping, took) = timed(client.frame_of(PING)).await;
    client.0.send(ping.answer()).await;

    assert_eq!(body.payload, b"hello");
    assert_took(took, Duration::ZERO);
    client.frame_of(GOAWAY).await;
    assert_eq!(client.0.end().await.unwrap(), b"");
}

/// WebSockets that say what they are told, and how they ended.
fn chat(answers: bool) -> (Router, UnboundedReceiver<Told>, UnboundedReceiver<Instant>) {
    let (tell, told) = unbounded_channel();
    let (end, ended) = unbounded_channel();
    let handler = async move |moment: Moment, upgrade: WebSocketUpgrade| {
        upgrade.on_upgrade(move |socket| talk(socket, moment, tell, end, answers))
    };
    (Router::new().route("/", get(handler)), told, ended)
}

async fn talk(
    mut socket: WebSocket,
    moment: Moment,
    tell: UnboundedSender<Told>,
    end: UnboundedSender<Instant>,
    answers: bool,
) {
    let told = moment.await;
    tell.send(told.clone()).unwrap();
    match answers {
        true => drop(close_websocket(&mut socket, Message::Close(None), &told).await),
        false => while let Some(Ok(_)) = socket.recv().await {},
    }
    end.send(Instant::now()).unwrap();
}

async fn open(door: &Door) -> WebSocketStream<DuplexStream> {
    let (socket, _) = client_async("ws://test/", door.stream()).await.unwrap();
    socket
}

#[tokio::test(start_paused = true)]
async fn websocket_is_told_when_its_age_is_over_and_not_cut() {
    let (app, mut told, mut ended) = chat(true);
    let (_shutdown, handle) = exact(cluster());
    let (door, _) = serve(app, &handle);
    let mut socket = open(&door).await;

    let (first, took) = timed(socket.next()).await;
    let told = told.recv().await.unwrap();
    while let Some(Ok(_)) = socket.next().await {}
    ended.recv().await.unwrap();

    assert!(first.unwrap().unwrap().is_close());
    assert_within(took, EARLY, LATE);
    assert_eq!(told.reason(), &Reason::ConnectionAge);
    assert!(told.remaining() > seconds(365 * 24 * 60 * 60));
    assert!(!handle.is_shutting_down());
}

#[tokio::test(start_paused = true)]
async fn clone_of_a_moment_is_told_when_the_connection_is_gone() {
    let (keep, mut kept) = unbounded_channel();
    let app = Router::new().fallback(async move |moment: Moment| {
        keep.send(moment).unwrap();
        "hello"
    });
    let (_shutdown, handle) = exact(cluster());
    let (door, _) = serve(app, &handle);
    let begun = Instant::now();
    door.connect().get("/").await;
    settle().await;

    let moment = kept.recv().await.unwrap().clone();
    let told = soon(moment).await;

    assert_eq!(handle.connections(), 0);
    assert_within(begun.elapsed(), EARLY, LATE);
    assert_eq!(told.reason(), &Reason::ConnectionAge);
}

#[tokio::test(start_paused = true)]
async fn websocket_that_stays_is_cut_when_the_grace_is_over_and_not_before() {
    let grace = seconds(30);
    let (app, mut told, mut ended) = chat(false);
    let (shutdown, handle) = exact(Plan::immediate());
    let (door, _) = serve_with_grace(app, &handle, grace);
    let mut socket = open(&door).await;

    let told = soon(told.recv()).await.unwrap();
    let deadline = told.deadline();
    assert_took(told.remaining(), grace);
    let ended = soon(ended.recv()).await.unwrap();
    let client = soon(socket.next()).await;

    assert_took(ended - deadline, Duration::ZERO);
    assert!(!matches!(client, Some(Ok(_))), "{client:?}");
    settle().await;
    assert_eq!(handle.connections(), 0);
    let report = soon(begin(shutdown)).await.unwrap();
    assert!(report.is_clean(), "{report}");
    assert_eq!((report.connections.closed, report.connections.cut), (0, 0));
    assert_eq!((report.long.told, report.long.cut), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn websocket_that_nobody_reads_stays_without_a_grace() {
    let (app, mut told, _ended) = chat(false);
    let (_shutdown, handle) = exact(cluster());
    let (door, _) = serve(app, &handle);
    let _socket = open(&door).await;

    soon(told.recv()).await.unwrap();
    sleep(seconds(7 * 24 * 60 * 60)).await;

    assert_eq!(handle.connections(), 1);
}

#[tokio::test(start_paused = true)]
async fn event_stream_ends_whole_when_its_age_is_over_and_its_connection_behind_it() {
    let (_shutdown, handle) = exact(cluster());
    let (door, _) = serve(ticking(), &handle);
    let mut client = door.connect();
    client.ask("/").await;

    let (stream, took) = timed(client.until(b"\r\n0\r\n\r\n")).await;
    let (rest, lingered) = timed(client.end()).await;

    let stream = String::from_utf8(stream).unwrap();
    assert!(stream.contains("retry: "), "{stream}");
    assert_within(took, EARLY, LATE);
    assert_eq!(rest.unwrap(), b"");
    // Its head could not say close.
    assert_took(lingered, LINGER);
}

/// An event stream without an end.
fn ticking() -> Router {
    let ticks = || {
        stream::unfold((), |()| async {
            sleep(millis(300)).await;
            let tick = Ok::<_, Infallible>(Event::default().data("tick"));
            Some((tick, ()))
        })
    };
    Router::new().route("/", get(async move || Sse::new(ticks())))
}

// Nobody waits for them; their connections have an age all the same.
#[tokio::test(start_paused = true)]
async fn event_stream_that_is_exempt_or_on_an_admin_server_ends_when_its_age_is_over() {
    let by_server: fn(&ShutdownHandle, Pipes) -> Serving = |handle, listener| {
        let server = Server::new(handle).exempt(|_| true);
        server.max_connection_age(AGE).serve(listener, ticking())
    };
    let by_layer: fn(&ShutdownHandle, Pipes) -> Serving = |handle, listener| {
        let layer = DrainLayer::new(handle).exempt(|_| true);
        let server = Server::new(handle).max_connection_age(AGE);
        server.serve(listener, ticking().layer(layer))
    };
    let admin: fn(&ShutdownHandle, Pipes) -> Serving = |handle, listener| {
        let server = Server::admin(handle).max_connection_age(AGE);
        server.serve(listener, ticking())
    };
    for serve in [by_server, by_layer, admin] {
        let (shutdown, handle) = exact(cluster());
        let (door, listener) = pipes();
        serve(&handle, listener);
        let mut client = door.connect();
        client.ask("/").await;

        let (stream, took) = timed(client.until(b"\r\n0\r\n\r\n")).await;
        let (rest, lingered) = timed(client.end()).await;

        let stream = String::from_utf8(stream).unwrap();
        assert!(stream.contains("retry: "), "{stream}");
        assert_within(took, EARLY, LATE);
        assert_eq!(rest.unwrap(), b"");
        assert_took(lingered, LINGER);
        drop(shutdown);
    }
}

// As without an age: it is not told, and dropped at the end of Exit.
#[tokio::test(start_paused = true)]
async fn shutdown_does_not_end_an_exempt_event_stream_whose_age_is_not_over() {
    let (shutdown, handle) = exact(cluster());
    let (door, _) = serve_by(&handle, ticking(), |server| {
        let age = seconds(24 * 60 * 60);
        server.exempt(|_| true).max_connection_age(age)
    });
    ready(&handle).await;
    let mut client = door.connect();
    client.ask("/").await;
    settle().await;

    let report = soon(begin(shutdown)).await.unwrap();
    let stream = client.end().await.unwrap();

    let stream = String::from_utf8(stream).unwrap();
    assert!(!stream.contains("retry: "), "{stream}");
    assert!(report.is_clean(), "{report}");
    assert_eq!(report.long.told, 0);
}

#[tokio::test(start_paused = true)]
async fn request_is_cut_when_the_grace_is_over_and_the_report_stays_clean() {
    let grace = seconds(5);
    for http2 in [false, true] {
        let gate = Gate::new();
        let (shutdown, handle) = exact(cluster());
        let (door, _) = serve_with_grace(gated(&gate), &handle, grace);
        let begun = Instant::now();
        let mut client = match http2 {
            true => door.http2().await.0,
            false => door.connect(),
        };
        match http2 {
            true => client.send(GET).await,
            false => client.ask("/").await,
        }
        gate.entered().await;

        let rest = client.end().await;
        let took = begun.elapsed();
        settle().await;

        assert_within(took, EARLY + grace, LATE + grace);
        assert!(http2 || rest.unwrap().is_empty());
        assert_eq!((handle.connections(), handle.in_flight()), (0, 0));
        let report = soon(begin(shutdown)).await.unwrap();
        assert!(report.is_clean(), "{report}");
        assert_eq!((report.connections.closed, report.connections.cut), (0, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn idle_connection_ends_by_itself_before_a_short_grace_cuts_it() {
    let (_shutdown, handle) = exact(cluster());
    let (door, _) = serve_with_grace(hello(), &handle, millis(200));
    let mut client = door.connect();
    let begun = Instant::now();
    client.get("/").await;

    client.end().await.unwrap();

    assert_within(begun.elapsed(), EARLY + millis(100), LATE + millis(100));
}

#[tokio::test(start_paused = true)]
async fn shutdown_finds_a_connection_whose_age_is_over_and_waits_for_its_request() {
    let gate = Gate::new();
    let (shutdown, handle) = exact(cluster());
    let (door, _) = serve(gated(&gate), &handle);
    let mut client = door.connect();
    client.ask("/").await;
    gate.entered().await;
    sleep(seconds(60)).await;

    let run = begin(shutdown);
    reached(&handle, Phase::Drain).await;
    gate.open();
    let response = client.response().await;

    assert!(response.says_close());
    assert_eq!(response.text(), "hello");
    client.end().await.unwrap();
    let report = soon(run).await.unwrap();
    assert!(report.is_clean(), "{report}");
    assert_eq!((report.connections.closed, report.connections.cut), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn shutdown_does_not_count_connections_that_had_ended_because_of_their_age() {
    let (shutdown, handle) = exact(Plan::immediate());
    let (door, _) = serve(hello(), &handle);
    let mut client = door.connect();
    until_close(&mut client).await;
    client.end().await.unwrap();
    drop(client);
    settle().await;

    let report = soon(begin(shutdown)).await.unwrap();

    assert!(report.is_clean(), "{report}");
    assert_eq!((report.connections.closed, report.connections.cut), (0, 0));
    assert_eq!(report.traffic.served, 0);
}

#[tokio::test(start_paused = true)]
async fn shutdown_that_cuts_a_websocket_names_it_as_told_because_of_its_age() {
    let (app, mut told, _ended) = chat(false);
    let (shutdown, handle) = exact(Plan::immediate());
    let (door, _) = serve(app, &handle);
    let _socket = open(&door).await;
    soon(told.recv()).await.unwrap();

    let report = soon(begin(shutdown)).await.unwrap();

    let close = report.phase(Phase::Close).unwrap();
    let name = &close.left_behind[0].name;
    assert!(name.ends_with("(HTTP/1: upgraded, told to end)"), "{name}");
    // It was told before the shutdown.
    assert_eq!((report.long.told, report.long.cut), (0, 1));
    assert_eq!((report.connections.closed, report.connections.cut), (0, 1));
}

#[cfg(feature = "metrics")]
#[tokio::test(start_paused = true)]
async fn metrics_count_who_ended_behind_its_age_and_who_was_cut() {
    let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
    let scrape = recorder.handle();
    let _recording = metrics::set_default_local_recorder(&recorder);
    let gate = Gate::new();
    let (_shutdown, handle) = exact(cluster());
    let (door, _) = serve_with_grace(gated(&gate), &handle, seconds(5));
    let mut idle = door.connect();
    let mut busy = door.connect();
    busy.ask("/").await;
    gate.entered().await;
    drop(door.connect());

    idle.end().await.unwrap();
    busy.end().await.unwrap();
    settle().await;
    handle.publish_metrics();

    let text = scrape.render();
    let has = |line: &str| text.lines().any(|it| it == line);
    assert!(has("lameduck_aged_connections_total 2"), "{text}");
    assert!(has("lameduck_aged_connections_cut_total 1"), "{text}");
}

// The shutdown would end the idle connection in Close, and tell the WebSocket there.
#[tokio::test(start_paused = true)]
async fn age_that_is_over_in_a_shutdown_comes_before_a_later_moment() {
    let plan = || {
        Plan::builder()
            .grace_period(seconds(200))
            .lame_duck(seconds(100))
            .spread(Duration::ZERO)
    };
    let (shutdown, handle) = exact(plan().build().unwrap());
    let (door, _) = serve(hello(), &handle);
    let mut client = door.connect();
    client.get("/").await;
    let run = begin(shutdown);

    let (_, took) = timed(client.end()).await;

    assert_within(took, EARLY + LINGER, LATE + LINGER);
    assert_eq!(handle.phase(), Some(Phase::LameDuck));
    let report = soon(run).await.unwrap();
    assert!(report.is_clean(), "{report}");
    assert_eq!(report.connections.closed, 1);
}

#[tokio::test(start_paused = true)]
async fn websocket_is_told_of_its_age_in_a_shutdown_and_of_the_earlier_deadline() {
    let grace = seconds(20);
    let (app, mut told, _ended) = chat(true);
    let plan = Plan::builder()
        .grace_period(seconds(200))
        .lame_duck(seconds(100));
    let (shutdown, handle) = exact(plan.build().unwrap());
    let (door, _) = serve_with_grace(app, &handle, grace);
    let mut socket = open(&door).await;
    let run = begin(shutdown);

    let told = soon(told.recv()).await.unwrap();
    while let Some(Ok(_)) = socket.next().await {}
    drop(socket);
    let report = soon(run).await.unwrap();

    assert_eq!(told.reason(), &Reason::ConnectionAge);
    assert!(told.deadline() < Instant::now());
    assert!(report.is_clean(), "{report}");
    assert_eq!((report.long.told, report.long.cut), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn websocket_whose_moment_is_earlier_is_told_of_the_shutdown() {
    let (app, mut told, _ended) = chat(true);
    let (shutdown, handle) = exact(Plan::immediate());
    let (door, _) = serve_with_grace(app, &handle, seconds(1));
    let mut socket = open(&door).await;

    let run = begin(shutdown);
    let told = soon(told.recv()).await.unwrap();
    while let Some(Ok(_)) = socket.next().await {}
    drop(socket);
    soon(run).await.unwrap();

    assert_eq!(told.reason(), &Reason::from("test"));
    // The age is over, and its grace, 12 s after the beginning, which is before the end of Close.
    assert!(told.deadline() < Instant::now() + seconds(15));
}

// Kolmogorov-Smirnov: how far what was drawn is from an even spread, at most. 1.95 is exceeded by one sample in a thousand, and
// the seed is always the same.
#[tokio::test(start_paused = true)]
async fn ages_are_uniform() {
    const CONNECTIONS: usize = 500;
    let (shutdown, handle) = exact(cluster());
    let _shutdown = shutdown.seed(11);
    let (door, _) = serve(hello(), &handle);
    let clients = (0..CONNECTIONS)
        .map(|_| door.connect())
        .map(async |mut client| {
            client.get("/").await;
            timed(client.end()).await.1 - LINGER
        });

    let mut ages = join_all(clients).await;

    ages.sort();
    let window = (LATE - EARLY).as_secs_f64();
    let n = CONNECTIONS as f64;
    let distance = |(index, age): (usize, &Duration)| {
        let even = (age.as_secs_f64() - EARLY.as_secs_f64()) / window;
        let (below, above) = (index as f64 / n, (index + 1) as f64 / n);
        (even - below).abs().max((even - above).abs())
    };
    let most = ages.iter().enumerate().map(distance).fold(0.0, f64::max);
    assert!(most * n.sqrt() < 1.95, "{most}");
    assert_within(ages[0], EARLY, LATE);
    assert_within(ages[CONNECTIONS - 1], EARLY, LATE);
}

#[tokio::test(start_paused = true)]
async fn connections_of_an_admin_server_may_have_an_age() {
    let (_shutdown, handle) = exact(cluster());
    let (door, listener) = pipes();
    Server::admin(&handle)
        .max_connection_age(AGE)
        .serve(listener, hello());
    let mut client = door.connect();

    let took = until_close(&mut client).await;

    assert_within(took, EARLY, LATE);
}

#[tokio::test]
#[should_panic(expected = "a connection's age is 1 ms at least, not 0ns")]
async fn age_of_zero_is_refused() {
    let (_shutdown, handle) = exact(cluster());
    let _ = Server::new(&handle).max_connection_age(Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn age_that_no_clock_reaches_is_none() {
    let (_shutdown, handle) = exact(cluster());
    let (door, _) = serve_by(&handle, hello(), |server| {
        server
            .max_connection_age(Duration::MAX)
            .max_connection_age_grace(Duration::MAX)
    });

    assert!(!door.connect().get("/").await.says_close());
}
