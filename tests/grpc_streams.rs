//! gRPC calls that stream, and what becomes of them: tonic's own client, and a service as tonic generates one.
//!
//! As in `tests/server`, the clock is paused and the sockets are real.

#![cfg(all(feature = "hyper", feature = "tonic"))]

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream, StreamExt};
use http::uri::{PathAndQuery, Uri};
use lameduck::layer::LongLivedLayer;
use lameduck::report::{Kind, LongCounts, PhaseOutcome};
use lameduck::{LongLived, Moment, Phase, Plan, Report, ShutdownCoordinator, ShutdownHandle};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tonic::body::Body;
use tonic::codec::Streaming;
use tonic::server::NamedService;
use tonic::service::{LayerExt, Routes};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Response, Status};
use tonic_prost::ProstCodec;
use tower::{Service, service_fn};

mod pace;

// The library ends them.

// Case 50: the trailers, behind everything that was sent.
#[tokio::test(start_paused = true)]
async fn a_marked_stream_ends_with_unavailable_behind_all_that_was_sent() {
    let mut server = Server::start(cluster(), Marked::ByLayer).await;
    let mut messages = server.client().await.listen("Listen").await.unwrap();
    let call = server.call().await;
    // Its client reads none of them before it is over.
    let sent: Vec<String> = (0..100).map(long_text).collect();
    for message in &sent {
        call.feed.send(Ok(message.clone())).unwrap();
    }

    let run = server.begin();
    reached(&server.handle, Phase::Close).await;
    assert!(!call.feed.is_closed(), "ended before its phase");
    let report = soon(run).await.unwrap();
    let (received, end) = rest(&mut messages).await;

    assert!(received == sent, "{} of 100 arrived", received.len());
    assert_told_by_the_library(&end);
    assert!(about(took(&report, Phase::Drain), Duration::ZERO));
    assert_all_told(&report, 1);
}

// Case 50. The handler marks its response, as one does whose methods are not all alike.
#[tokio::test(start_paused = true)]
async fn a_marked_call_in_both_directions_ends_with_unavailable_behind_all_that_was_sent() {
    let mut server = Server::start(cluster(), Marked::ByHandlers).await;
    let (say, said) = mpsc::unbounded_channel();
    let mut echo = server.client().await.talk(received(said)).await.unwrap();
    let sent: Vec<String> = (0..100).map(|n| n.to_string()).collect();
    for message in &sent {
        say.send(message.clone()).unwrap();
    }

    let run = server.begin();
    let report = soon(run).await.unwrap();
    let (received, end) = rest(&mut echo).await;

    assert_eq!(received, sent);
    assert_told_by_the_library(&end);
    assert!(about(took(&report, Phase::Drain), Duration::ZERO));
    assert_all_told(&report, 1);
    // Only here: its client has never said that it was done.
    drop(say);
}

#[tokio::test(start_paused = true)]
async fn marked_calls_end_each_at_the_moment_of_its_connection() {
    const CALLS: u64 = 20;
    let mut server = Server::start(cluster(), Marked::ByLayer).await;
    let mut calls = Vec::new();
    for _ in 0..CALLS {
        let messages = server.client().await.listen("AskAndListen").await.unwrap();
        calls.push((messages, server.call().await));
    }

    let run = server.begin();
    let both = calls.into_iter().map(|(mut messages, call)| {
        tokio::spawn(async move {
            // So that the stream's sender lives until it is ended.
            let _feed = call.feed;
            let told = async {
                call.moment.expect("the handler asks for it").await;
                Instant::now()
            };
            let ended = async {
                assert_told_by_the_library(&rest(&mut messages).await.1);
                Instant::now()
            };
            tokio::join!(told, ended)
        })
    });
    let mut ends = Vec::new();
    for both in both.collect::<Vec<_>>() {
        let (told, ended) = soon(both).await.unwrap();
        assert!(about(ended - told, Duration::ZERO), "{:?}", ended - told);
        ends.push(ended);
    }
    let report = soon(run).await.unwrap();

    let between = *ends.iter().max().unwrap() - *ends.iter().min().unwrap();
    let window = server.handle.plan().long_spread();
    assert!(between > window / 2, "{between:?}");
    assert!(between < window + millis(250), "{between:?}");
    // The test has asked for the moment of each as well.
    assert_all_told(&report, 2 * CALLS);
}

// The server stops reading where it ends the call: HTTP/2 lets it say so with RST_STREAM(NO_ERROR), and that is no error.
#[tokio::test(start_paused = true)]
async fn a_client_that_goes_on_sending_gets_the_trailers() {
    const CALLS: u64 = 20;
    let mut server = Server::start(cluster(), Marked::ByHandlers).await;
    let mut calls = Vec::new();
    for _ in 0..CALLS {
        let (count, mut counted) = mpsc::unbounded_channel();
        let said = stream::unfold((0, count), |(n, count)| async move {
            sleep(millis(10)).await;
            // Whoever has stopped looking does not stop it.
            let _ = count.send(n);
            Some((n.to_string(), (n + 1, count)))
        });
        let mut echo = server.client().await.talk(said).await.unwrap();
        calls.push(tokio::spawn(async move {
            let (received, end) = rest(&mut echo).await;
            let mut sent = 0;
            while counted.try_recv().is_ok() {
                sent += 1;
            }
            (received, end, sent)
        }));
    }

    let run = server.begin();
    for call in calls {
        let (received, end, sent) = soon(call).await.unwrap();

        assert_told_by_the_library(&end);
        // What it had sent came back but for what was on its way.
        assert!(received.len() > 500, "{} came back", received.len());
        assert!(received.len() + 20 > sent, "{} of {sent}", received.len());
        let whole = received
            .iter()
            .zip(0..)
            .all(|(text, n)| *text == n.to_string());
        assert!(whole);
    }

    assert_all_told(&soon(run).await.unwrap(), CALLS);
}

// gRPC clients open a new connection after GOAWAY, and it may be past its moment.
#[tokio::test(start_paused = true)]
async fn a_marked_call_that_begins_after_its_moment_gets_trailers_alone() {
    let plan = Plan::builder().spread(Duration::ZERO);
    let plan = plan.long_spread(Duration::ZERO).build().unwrap();
    let mut server = Server::start(plan, Marked::ByLayer).await;
    // So that Close lasts.
    let guard = server.handle.long_guard("another").unwrap();

    let run = server.begin();
    let mut early = server.client().await.listen("Listen").await.unwrap();
    let call = server.call().await;
    call.feed.send(Ok("in LameDuck".to_owned())).unwrap();
    let first = soon(early.message()).await.unwrap();
    reached(&server.handle, Phase::Close).await;
    let client = server.client().await;
    let began = Instant::now();
    // Not a stream that ends at once: a client that has seen a response's head does not try again.
    let end = client.listen("Listen").await.unwrap_err();
    let took = began.elapsed();
    drop(guard);

    assert_eq!(first.as_deref(), Some("in LameDuck"));
    assert_told_by_the_library(&rest(&mut early).await.1);
    assert_told_by_the_library(&end);
    assert!(about(took, Duration::ZERO), "{took:?}");
    assert_all_told(&soon(run).await.unwrap(), 2);
}

// The handler ends them.

// Case 50: it sees its moment, with the deadline.
#[tokio::test(start_paused = true)]
async fn a_handler_that_asks_for_its_moment_ends_its_stream_with_its_own_status() {
    let plan = Plan::builder().spread(Duration::ZERO);
    let plan = plan.long_spread(Duration::ZERO).build().unwrap();
    // No hook asks for Release's time.
    let left = plan.deadline(Phase::Release) - plan.deadline(Phase::LameDuck);
    let mut server = Server::start(plan, Marked::ByHandlers).await;
    let mut messages = server.client().await.listen("LeaveAtMoment").await.unwrap();
    let call = server.call().await;
    call.feed.send(Ok("one".to_owned())).unwrap();

    let run = server.begin();
    let (received, end) = rest(&mut messages).await;
    let report = soon(run).await.unwrap();

    assert_eq!(received, ["one"]);
    assert_eq!(end.code(), Code::Aborted);
    let (why, time) = end.message().split_once("; ms: ").unwrap();
    assert_eq!(why, "requested: test");
    let time = millis(time.parse().unwrap());
    assert!(about(time, left), "{time:?}, not {left:?}");
    assert!(!end.metadata().contains_key(PUSHBACK));
    assert_all_told(&report, 1);
}

// tonic passes the extensions of HTTP's request on.
#[tokio::test(start_paused = true)]
async fn a_spawned_handler_ends_its_stream_at_its_moment_if_its_request_carries_a_context() {
    for carries in [false, true] {
        let marked = Marked::Spawned { carries };
        let mut server = Server::start(cluster(), marked).await;
        let opened = server.client().await.listen("LeaveAtMoment").await;
        if !carries {
            assert_eq!(opened.unwrap_err().message(), "no moment");
            continue;
        }
        let mut messages = opened.unwrap();
        let call = server.call().await;
        call.feed.send(Ok("hello".to_owned())).unwrap();

        let report = soon(server.begin()).await.unwrap();
        let (received, end) = rest(&mut messages).await;

        assert_eq!(received, ["hello"]);
        assert_eq!(end.code(), Code::Aborted, "{end:?}");
        assert!(about(took(&report, Phase::Drain), Duration::ZERO));
        assert_all_told(&report, 1);
    }
}

// Case 50. It needs no mark, for it is over before anybody has waited for it in vain.
#[tokio::test(start_paused = true)]
async fn a_handler_that_asks_for_drain_ends_its_stream_with_its_own_status() {
    let mut server = Server::start(cluster(), Marked::ByHandlers).await;
    let mut messages = server.client().await.listen("LeaveAtDrain").await.unwrap();
    let call = server.call().await;
    call.feed.send(Ok("one".to_owned())).unwrap();

    let run = server.begin();
    let (received, end) = rest(&mut messages).await;
    let ended_in = server.handle.phase();
    let report = soon(run).await.unwrap();

    assert_eq!(received, ["one"]);
    assert_eq!(end.code(), Code::ResourceExhausted);
    assert_eq!(end.message(), "the room is full");
    assert!(ended_in >= Some(Phase::Drain), "{ended_in:?}");
    assert!(about(took(&report, Phase::Drain), Duration::ZERO));
    assert_all_told(&report, 0);
}

// Its answer comes at its end, so that nothing of it can be marked by its handler.
#[tokio::test(start_paused = true)]
async fn a_call_whose_client_streams_is_told_and_answers() {
    let mut server = Server::start(cluster(), Marked::ByHandlers).await;
    let client = server.client().await;
    let answer = tokio::spawn(async move { client.quack("Count").await });
    in_flight(&server.handle, 1).await;

    let run = server.begin();
    let answer = soon(answer).await.unwrap();
    let report = soon(run).await.unwrap();

    let ducks: u64 = answer.unwrap().parse().unwrap();
    assert!(ducks > 50, "{ducks} in 10 s");
    assert!(about(took(&report, Phase::Drain), Duration::ZERO));
    assert_all_told(&report, 1);
}

// Nobody ends them.

#[tokio::test(start_paused = true)]
async fn a_marked_call_that_never_answers_does_not_hold_drain() {
    let mut server = Server::start(Plan::immediate(), Marked::ByLayer).await;
    let client = server.client().await;
    let answer = tokio::spawn(async move { client.quack("Swallow").await });
    in_flight(&server.handle, 1).await;

    let report = soon(server.begin()).await.unwrap();

    assert!(report.is_clean(), "{report}");
    assert_eq!((report.cut, report.long.cut), (0, 1));
    assert!(about(took(&report, Phase::Drain), Duration::ZERO));
    let close = report.phase(Phase::Close).unwrap();
    assert_eq!(close.outcome, PhaseOutcome::TimedOut);
    answer.await.unwrap().unwrap_err();
}

// Case 50: cut at the deadline, and reported.
#[tokio::test(start_paused = true)]
async fn a_stream_that_nobody_marks_or_ends_is_cut_at_the_deadline_of_close() {
    let plan = Plan::immediate();
    // No hook asks for Release's time.
    let deadline = plan.deadline(Phase::Release);
    let mut server = Server::start(plan, Marked::ByHandlers).await;
    let mut messages = server.client().await.listen("Listen").await.unwrap();
    let call = server.call().await;
    call.feed.send(Ok("one".to_owned())).unwrap();

    let run = server.begin();
    let began = Instant::now();
    reached(&server.handle, Phase::Close).await;
    call.feed.send(Ok("in Close".to_owned())).unwrap();
    let (received, end) = rest(&mut messages).await;
    let took = began.elapsed();
    let report = soon(run).await.unwrap();

    assert_eq!(received, ["one", "in Close"]);
    // No status of the server's: it has not said a word.
    assert_ne!(end.code(), Code::Ok);
    assert_ne!(end.message(), FAREWELL);
    assert!(!end.metadata().contains_key(PUSHBACK));
    assert!(about(took, deadline), "{took:?}");
    assert!(call.feed.is_closed());
    assert!(!report.is_clean());
    assert_eq!((report.cut, report.long), (1, LongCounts::default()));
    assert_eq!((report.connections.closed, report.connections.cut), (0, 1));
    let drain = report.phase(Phase::Drain).unwrap();
    assert_eq!(drain.outcome, PhaseOutcome::TimedOut);
    assert_eq!(drain.left_behind[0].kind, Kind::Request);
    assert_eq!(drain.left_behind[0].name, "POST /rooms.Rooms/Listen");
    let close = report.phase(Phase::Close).unwrap();
    assert_eq!((close.left_behind.len(), close.left_behind_total), (1, 1));
    assert_eq!(close.left_behind[0].kind, Kind::Connection);
    let name = &close.left_behind[0].name;
    assert!(
        name.ends_with("(HTTP/2: POST /rooms.Rooms/Listen)"),
        "{name}"
    );
    // What to do about it, where it was cut: once, however many there were.
    let lines: Vec<String> = report.to_string().lines().map(str::to_owned).collect();
    assert_eq!(
        lines.iter().filter(|it| **it == HINT).count(),
        1,
        "{report}"
    );
    assert!(close.to_string().lines().last() == Some(HINT), "{report}");
}

// The same, but for what the hint says: its exit code is 0. Nobody ends it either, because its handler is what it was.
#[tokio::test(start_paused = true)]
async fn a_stream_that_is_marked_as_the_report_says_is_cut_and_clean() {
    let mut server = Server::start(Plan::immediate(), Marked::AndLeftAlone).await;
    let mut messages = server.client().await.listen("Listen").await.unwrap();
    let _call = server.call().await;

    let run = server.begin();
    let (_, end) = rest(&mut messages).await;
    let report = soon(run).await.unwrap();

    assert_ne!(end.code(), Code::Ok);
    assert!(report.is_clean(), "{report}");
    assert_eq!((report.cut, report.long.cut), (0, 1), "{report}");
    assert!(!report.to_string().contains(HINT), "{report}");
}

// The control: the same handler, marked. Its client reads nothing, so that its end cannot be sent.
#[tokio::test(start_paused = true)]
async fn a_marked_stream_that_cannot_be_ended_is_cut_and_listed_and_clean() {
    let mut server = Server::start(Plan::immediate(), Marked::ByLayer).await;
    let _unread = server.client().await.listen("Listen").await.unwrap();
    let call = server.call().await;
    // More than the windows of tonic's client hold.
    for n in 0..2_000 {
        call.feed.send(Ok(long_text(n))).unwrap();
    }
    settle().await;

    let report = soon(server.begin()).await.unwrap();

    assert!(report.is_clean(), "{report}");
    assert_eq!((report.cut, report.long.cut), (0, 1));
    assert_eq!((report.connections.closed, report.connections.cut), (0, 1));
    assert!(about(took(&report, Phase::Drain), Duration::ZERO));
}

// Requests.

#[tokio::test(start_paused = true)]
async fn a_unary_call_in_flight_gets_its_answer_after_most_of_drain() {
    let plan = cluster();
    let (drain, patience) = (
        plan.duration(Phase::Drain),
        most(plan.duration(Phase::Drain)),
    );
    let mut server = Server::start(plan, Marked::ByLayer).await;
    let client = server.client().await;
    let answer = tokio::spawn(async move { client.greet("duck").await });
    server.call().await;

    let run = server.begin();
    let answer = soon(answer).await.unwrap();
    let report = soon(run).await.unwrap();

    assert_eq!(answer.unwrap(), "hello, duck");
    let took = took(&report, Phase::Drain);
    assert!(about(took, patience) && took < drain, "{took:?}");
    let outcome = report.phase(Phase::Drain).unwrap().outcome;
    assert_eq!(outcome, PhaseOutcome::Completed);
    assert_all_told(&report, 0);
}

// What the tests share.

const HINT: &str = "    mark gRPC calls that stream with LongLivedLayer: see LongLived";
const FAREWELL: &str = "the server is shutting down";
const PUSHBACK: &str = "grpc-retry-pushback-ms";

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// LameDuck to 10 s, Drain to 16.5 s, Close to 23 s; every connection gets its GOAWAY at T0.
fn cluster() -> Plan {
    Plan::builder().spread(Duration::ZERO).build().unwrap()
}

/// What a call may take that takes the most of `drain`.
fn most(drain: Duration) -> Duration {
    drain.mul_f64(0.9)
}

/// 10 KB.
fn long_text(n: usize) -> String {
    format!("{n:>10240}")
}

/// A test that waits for what never comes fails.
async fn soon<F: Future>(future: F) -> F::Output {
    let waited = timeout(seconds(100), future).await;
    waited.expect("it never came")
}

/// Lets everybody do what they can do now: the clock moves only when nobody has anything left to do.
async fn settle() {
    sleep(millis(100)).await;
}

/// Waits until as many last, or are requests.
async fn in_flight(handle: &ShutdownHandle, count: u64) {
    while handle.in_flight() < count {
        tokio::task::yield_now().await;
    }
    settle().await;
}

async fn reached(handle: &ShutdownHandle, phase: Phase) {
    soon(handle.reached(phase)).await;
}

/// Whether two times are the same, but for what the kernel needs to move bytes.
fn about(left: Duration, right: Duration) -> bool {
    left.abs_diff(right) <= millis(250)
}

fn took(report: &Report, phase: Phase) -> Duration {
    report.phase(phase).unwrap().took
}

/// All messages until the end, and the status it ended with.
async fn rest(messages: &mut Streaming<String>) -> (Vec<String>, Status) {
    let mut received = Vec::new();
    loop {
        match soon(messages.message()).await {
            Ok(Some(message)) => received.push(message),
            Ok(None) => return (received, Status::ok("")),
            Err(status) => return (received, status),
        }
    }
}

/// UNAVAILABLE, and when to try again.
fn assert_told_by_the_library(end: &Status) {
    assert_eq!(end.code(), Code::Unavailable, "{end:?}");
    assert_eq!(end.message(), FAREWELL);
    let pushback = end.metadata().get(PUSHBACK).expect("it is in the trailers");
    let pushback: u64 = pushback.to_str().unwrap().parse().unwrap();
    assert!((1_000..=3_000).contains(&pushback), "{pushback} ms");
}

/// Nothing was cut.
fn assert_all_told(report: &Report, told: u64) {
    assert!(report.is_clean(), "{report}");
    assert_eq!((report.long.told, report.long.cut), (told, 0), "{report}");
    assert_eq!((report.cut, report.connections.cut), (0, 0), "{report}");
}

fn received<T: Send + 'static>(receiver: mpsc::UnboundedReceiver<T>) -> BoxStream<'static, T> {
    let next = async |mut receiver: mpsc::UnboundedReceiver<T>| {
        let item = receiver.recv().await?;
        Some((item, receiver))
    };
    stream::unfold(receiver, next).boxed()
}

/// Who says which calls last.
enum Marked {
    /// The layer: those of `Listen`, `AskAndListen` and `Swallow`.
    ByLayer,
    /// The same, and the library does not end them.
    AndLeftAlone,
    /// Those handlers that know: `Talk` and `LeaveAtMoment`.
    ByHandlers,
    /// The same handlers, each in a task of its own; `carries` says whether their requests carry a context.
    Spawned { carries: bool },
}

/// A server of ours with [`Rooms`].
struct Server {
    address: SocketAddr,
    shutdown: Option<ShutdownCoordinator>,
    handle: ShutdownHandle,
    calls: mpsc::UnboundedReceiver<Call>,
}

impl Server {
    async fn start(plan: Plan, marked: Marked) -> Server {
        tokio::spawn(pace::pace());
        let shutdown = ShutdownCoordinator::new(plan).termination_log("/nonexistent");
        let shutdown = shutdown.seed(7);
        let handle = shutdown.handle();
        let (begun, calls) = mpsc::unbounded_channel();
        let rooms = Rooms {
            begun,
            spawns: matches!(marked, Marked::Spawned { .. }),
        };
        let mut server = lameduck::Server::new(&handle);
        if let Marked::Spawned { carries: true } = marked {
            server = server.context_in_extensions();
        }
        let routes = match marked {
            Marked::ByHandlers | Marked::Spawned { .. } => Routes::new(rooms),
            Marked::ByLayer | Marked::AndLeftAlone => {
                let mark = match marked {
                    Marked::AndLeftAlone => LongLived::new(),
                    _ => LongLived::new().end_at_moment(),
                };
                let layer = LongLivedLayer::new(mark)
                    .when(|head| matches!(method(head.uri), "Listen" | "AskAndListen" | "Swallow"));
                Routes::new(layer.named_layer(rooms))
            }
        };
        let listener = lameduck::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        server.serve(listener, routes);
        while !handle.not_ready_because().is_empty() {
            tokio::task::yield_now().await;
        }
        Server {
            address,
            shutdown: Some(shutdown),
            handle,
            calls,
        }
    }

    /// A client with a connection of its own: tonic's would open another one after GOAWAY by itself.
    async fn client(&self) -> Client {
        let endpoint = Endpoint::from_shared(format!("http://{}", self.address)).unwrap();
        Client {
            channel: soon(endpoint.connect()).await.unwrap(),
        }
    }

    /// The call whose handler began next.
    async fn call(&mut self) -> Call {
        soon(self.calls.recv()).await.unwrap()
    }

    /// Triggers the shutdown and lets it run.
    fn begin(&mut self) -> JoinHandle<Arc<Report>> {
        let shutdown = self.shutdown.take().unwrap();
        self.handle.shutdown("test");
        tokio::spawn(shutdown.run())
    }
}

/// What tonic generates for a client.
#[derive(Clone)]
struct Client {
    channel: Channel,
}

impl Client {
    async fn greet(&self, name: &str) -> Result<String, Status> {
        let mut grpc = self.ready().await;
        let request = Request::new(name.to_owned());
        let answer = grpc.unary(request, path("Greet"), codec()).await?;
        Ok(answer.into_inner())
    }

    async fn listen(&self, method: &str) -> Result<Streaming<String>, Status> {
        let mut grpc = self.ready().await;
        let request = Request::new(String::new());
        let answer = grpc.server_streaming(request, path(method), codec());
        Ok(soon(answer).await?.into_inner())
    }

    async fn talk<S>(&self, said: S) -> Result<Streaming<String>, Status>
    where
        S: stream::Stream<Item = String> + Send + 'static,
    {
        let mut grpc = self.ready().await;
        let answer = grpc.streaming(Request::new(said), path("Talk"), codec());
        Ok(soon(answer).await?.into_inner())
    }

    /// Says "duck" again and again; gives the answer.
    async fn quack(&self, method: &str) -> Result<String, Status> {
        let mut grpc = self.ready().await;
        let ducks = stream::unfold((), async |()| {
            sleep(millis(100)).await;
            Some(("duck".to_owned(), ()))
        });
        let answer = grpc.client_streaming(Request::new(ducks), path(method), codec());
        Ok(answer.await?.into_inner())
    }

    async fn ready(&self) -> tonic::client::Grpc<Channel> {
        let mut grpc = tonic::client::Grpc::new(self.channel.clone());
        soon(grpc.ready()).await.unwrap();
        grpc
    }
}

fn path(method: &str) -> PathAndQuery {
    let path = format!("/{}/{method}", Rooms::NAME);
    PathAndQuery::try_from(path).unwrap()
}

fn method(uri: &Uri) -> &str {
    uri.path().rsplit('/').next().unwrap_or_default()
}

fn codec() -> ProstCodec<String, String> {
    ProstCodec::default()
}

/// A call whose handler has begun.
struct Call {
    /// What its stream sends. The stream ends when this is dropped.
    feed: mpsc::UnboundedSender<Result<String, Status>>,
    /// Its moment, if the handler has asked for it.
    moment: Option<Moment>,
}

/// What tonic generates for a server, and the handlers with it.
#[derive(Clone)]
struct Rooms {
    begun: mpsc::UnboundedSender<Call>,
    /// Whether its handlers run in tasks of their own.
    spawns: bool,
}

type Messages = BoxStream<'static, Result<String, Status>>;

impl Rooms {
    /// Tells the test that a handler has begun. Gives what the test feeds it.
    fn begin(&self, moment: Option<Moment>) -> Messages {
        let (feed, fed) = mpsc::unbounded_channel();
        // A test that does not care has dropped it.
        let _ = self.begun.send(Call { feed, moment });
        received(fed)
    }

    /// Takes the most of Drain.
    async fn greet(self, request: Request<String>) -> Result<Response<String>, Status> {
        let handle = ShutdownHandle::current().expect("served by lameduck");
        drop(self.begin(None));
        handle.reached(Phase::Drain).await;
        sleep(most(handle.plan().duration(Phase::Drain))).await;
        Ok(Response::new(format!("hello, {}", request.into_inner())))
    }

    /// Knows nothing of a shutdown.
    async fn listen(self, _: Request<String>) -> Result<Response<Messages>, Status> {
        Ok(Response::new(self.begin(None)))
    }

    async fn ask_and_listen(self, _: Request<String>) -> Result<Response<Messages>, Status> {
        Ok(Response::new(self.begin(Moment::current())))
    }

    /// Counts what its client says, until it is told.
    async fn count(request: Request<Streaming<String>>) -> Result<Response<String>, Status> {
        let moment = Moment::current().expect("served by lameduck");
        let said = request.into_inner().take_until(moment);
        Ok(Response::new(said.count().await.to_string()))
    }

    /// Takes what its client says, and never answers.
    async fn swallow(request: Request<Streaming<String>>) -> Result<Response<String>, Status> {
        let said = request.into_inner().count().await;
        Err(Status::internal(said.to_string()))
    }

    /// Says that it lasts, and how it may be ended.
    async fn talk(request: Request<Streaming<String>>) -> Result<Response<Messages>, Status> {
        let mut response = Response::new(request.into_inner().boxed());
        let mark = LongLived::new().end_at_moment();
        response.extensions_mut().insert(mark);
        Ok(response)
    }

    /// Says by asking that it lasts, and ends by itself.
    async fn leave_at_moment(self, call: Request<String>) -> Result<Response<Messages>, Status> {
        let moment = Moment::of(call.extensions());
        let moment = moment.ok_or_else(|| Status::internal("no moment"))?;
        let next = async |state: Option<(Messages, Moment)>| {
            let (mut messages, mut moment) = state?;
            tokio::select! {
                message = messages.next() => Some((message?, Some((messages, moment)))),
                told = &mut moment => {
                    let left = told.remaining().as_millis();
                    let why = format!("{}; ms: {left}", told.reason());
                    Some((Err(Status::aborted(why)), None))
                }
            }
        };
        let messages = stream::unfold(Some((self.begin(None), moment)), next);
        Ok(Response::new(messages.boxed()))
    }

    /// Ends by itself while it is waited for.
    async fn leave_at_drain(self, _: Request<String>) -> Result<Response<Messages>, Status> {
        let handle = ShutdownHandle::current().expect("served by lameduck");
        let last = async { Err(Status::resource_exhausted("the room is full")) };
        let messages = self.begin(None).take_until(handle.reached(Phase::Drain));
        Ok(Response::new(messages.chain(stream::once(last)).boxed()))
    }
}

impl NamedService for Rooms {
    const NAME: &'static str = "rooms.Rooms";
}

impl Service<http::Request<Body>> for Rooms {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<http::Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let rooms = self.clone();
        let spawns = self.spawns;
        let answer = async move {
            let mut grpc = tonic::server::Grpc::new(codec());
            let response = match method(request.uri()) {
                "Greet" => {
                    let method = service_fn(move |it| rooms.clone().greet(it));
                    grpc.unary(method, request).await
                }
                "Listen" => {
                    let method = service_fn(move |it| rooms.clone().listen(it));
                    grpc.server_streaming(method, request).await
                }
                "AskAndListen" => {
                    let method = service_fn(move |it| rooms.clone().ask_and_listen(it));
                    grpc.server_streaming(method, request).await
                }
                "Count" => {
                    grpc.client_streaming(service_fn(Rooms::count), request)
                        .await
                }
                "Swallow" => {
                    grpc.client_streaming(service_fn(Rooms::swallow), request)
                        .await
                }
                "LeaveAtMoment" => {
                    let method = service_fn(move |it| rooms.clone().leave_at_moment(it));
                    grpc.server_streaming(method, request).await
                }
                "LeaveAtDrain" => {
                    let method = service_fn(move |it| rooms.clone().leave_at_drain(it));
                    grpc.server_streaming(method, request).await
                }
                "Talk" => grpc.streaming(service_fn(Rooms::talk), request).await,
                other => Status::unimplemented(other).into_http(),
            };
            Ok(response)
        };
        match spawns {
            true => Box::pin(async { tokio::spawn(answer).await.unwrap() }),
            false => Box::pin(answer),
        }
    }
}
