//! Bodies that last, under a `DrainLayer`: which do, what waits for them, and how they end.

#![cfg(feature = "tower")]

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, Bytes};
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, Full, StreamBody};
use lameduck::layer::{DrainBody, LongLivedLayer};
use lameduck::report::PhaseOutcome;
use lameduck::{
    DrainLayer, EventStreams, LongLived, Moment, Phase, Plan, Report, ShutdownCoordinator,
    ShutdownHandle,
};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tokio_test::{assert_pending, assert_ready, task};
use tower::{Layer, ServiceExt, service_fn};

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

const EVENTS: &str = "text/event-stream";
const GRPC: &str = "application/grpc";

// Which last.

// Case 56.
#[tokio::test(start_paused = true)]
async fn an_event_stream_ends_at_its_moment_with_a_time_to_come_back() {
    let (shutdown, handle) = coordinator();
    let (mut body, feed) = open(&handle, head(EVENTS)).await;
    feed.send("data: 1\n\n").unwrap();
    assert_eq!(next(&mut body).await.unwrap(), "data: 1\n\n");
    assert_eq!((handle.in_flight(), handle.long_lived()), (1, 1));

    let run = begin(shutdown);
    let farewell = next(&mut body).await.unwrap();
    let after = body.frame().await;

    let wait = farewell
        .strip_prefix("retry: ")
        .and_then(|rest| rest.strip_suffix("\n\n"))
        .unwrap();
    assert!((1_000..=3_000).contains(&wait.parse::<u32>().unwrap()));
    assert!(after.is_none());
    assert!(feed.is_closed(), "the handler's stream is still there");
    let report = run.await.unwrap();
    assert!(report.is_clean(), "{report}");
    assert_eq!((report.long.told, report.long.cut), (1, 0));
    assert_eq!(report.took, Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn an_event_stream_is_not_waited_for_in_drain() {
    let plan = Plan::builder().lame_duck(Duration::ZERO).build().unwrap();
    let half = plan.duration(Phase::Close) / 2;
    let (shutdown, handle) = with(plan);
    let (mut body, _feed) = open(&handle, head(EVENTS)).await;

    let run = begin(shutdown);
    handle.reached(Phase::Close).await;
    let begun = Instant::now();
    while body.frame().await.is_some() {}

    assert!(begun.elapsed() <= half);
    let report = run.await.unwrap();
    assert_eq!(report.phase(Phase::Drain).unwrap().took, Duration::ZERO);
    assert!(report.is_clean());
}

#[tokio::test(start_paused = true)]
async fn a_stream_of_another_kind_is_waited_for_in_drain() {
    let (shutdown, handle) = coordinator();
    let (mut body, feed) = open(&handle, head("application/x-ndjson")).await;
    feed.send("{}\n").unwrap();
    assert_eq!(next(&mut body).await.unwrap(), "{}\n");
    assert_eq!(handle.long_lived(), 0);

    let run = begin(shutdown);
    sleep(secs(5)).await;
    assert_eq!(handle.phase(), Some(Phase::Drain));
    drop(feed);

    assert!(body.frame().await.is_none());
    assert_eq!(
        run.await.unwrap().phase(Phase::Drain).unwrap().took,
        secs(5)
    );
}

#[tokio::test(start_paused = true)]
async fn whoever_fails_or_has_a_length_is_no_event_stream() {
    let (_shutdown, handle) = coordinator();
    let failed = head(EVENTS).status(500);
    let (body, _feed) = open(&handle, failed).await;
    assert_eq!((handle.in_flight(), handle.long_lived()), (1, 0));
    drop(body);

    let whole = service_fn(|_: Request<()>| async {
        let response = Response::builder().header(CONTENT_TYPE, EVENTS);
        Ok::<_, Infallible>(
            response
                .body(Full::new(Bytes::from("data: 1\n\n")))
                .unwrap(),
        )
    });
    let response = DrainLayer::new(&handle)
        .layer(whole)
        .oneshot(Request::new(()));
    let response = response.await.unwrap();

    assert_eq!((handle.in_flight(), handle.long_lived()), (1, 0));
    drop(response);
}

// How they end.

#[tokio::test(start_paused = true)]
async fn an_event_stream_ends_with_the_last_event_that_was_set() {
    let shutdown = ShutdownCoordinator::new(Plan::immediate()).event_streams(
        EventStreams::new()
            .last_event("restart", "one\ntwo")
            .retry(secs(5), secs(5)),
    );
    let handle = shutdown.handle();
    let (mut body, _feed) = open(&handle, head(EVENTS)).await;

    let _run = begin(shutdown);

    assert_eq!(
        next(&mut body).await.unwrap(),
        "event: restart\ndata: one\ndata: two\n\nretry: 5000\n\n"
    );
    assert!(body.frame().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn an_event_stream_may_end_without_a_word() {
    let shutdown = ShutdownCoordinator::new(Plan::immediate())
        .event_streams(EventStreams::new().without_retry());
    let handle = shutdown.handle();
    let (mut body, _feed) = open(&handle, head(EVENTS)).await;

    let run = begin(shutdown);

    assert!(body.frame().await.is_none());
    assert_eq!(run.await.unwrap().long.told, 1);
}

#[tokio::test(start_paused = true)]
async fn an_event_stream_that_is_left_alone_is_cut_at_the_deadline_and_clean() {
    let shutdown =
        ShutdownCoordinator::new(Plan::immediate()).event_streams(EventStreams::new().left_alone());
    let handle = shutdown.handle();
    let (mut body, _feed) = open(&handle, head(EVENTS)).await;

    let report = begin(shutdown).await.unwrap();

    assert_pending!(task::spawn(body.frame()).poll());
    assert_eq!(
        report.phase(Phase::Close).unwrap().outcome,
        PhaseOutcome::TimedOut
    );
    assert_eq!((report.cut, report.long.told, report.long.cut), (0, 0, 1));
    assert!(report.is_clean());
}

#[tokio::test(start_paused = true)]
async fn no_line_of_the_last_event_gets_out_of_its_data() {
    for data in ["one\nretry: 1", "one\rretry: 1", "one\r\nretry: 1"] {
        let shutdown = ShutdownCoordinator::new(Plan::immediate())
            .event_streams(EventStreams::new().last_event("bye", data).without_retry());
        let handle = shutdown.handle();
        let (mut body, _feed) = open(&handle, head(EVENTS)).await;

        let _run = begin(shutdown);

        assert_eq!(
            next(&mut body).await.unwrap(),
            "event: bye\ndata: one\ndata: retry: 1\n\n"
        );
    }
}

#[test]
#[should_panic = "the shortest time to come back, 3s, is longer than the longest, 1s"]
fn a_time_to_come_back_that_ends_before_it_begins_is_refused() {
    let _ = EventStreams::new().retry(secs(3), secs(1));
}

#[test]
#[should_panic = "an event's name has no line breaks"]
fn an_event_name_with_a_line_break_is_refused() {
    let _ = EventStreams::new().last_event("a\ndata: b", "");
}

#[tokio::test(start_paused = true)]
async fn an_event_that_has_begun_is_not_broken_off() {
    let (shutdown, handle) = coordinator();
    let (body, feed) = open(&handle, head(EVENTS)).await;
    let mut body = task::spawn(body);
    feed.send("data: half").unwrap();
    assert_eq!(text(assert_ready!(poll(&mut body))), "data: half");

    let _run = begin(shutdown);
    handle.reached(Phase::Close).await;
    assert_pending!(poll(&mut body));
    feed.send(" of it\n\n").unwrap();

    assert_eq!(text(assert_ready!(poll(&mut body))), " of it\n\n");
    assert!(text(assert_ready!(poll(&mut body))).starts_with("retry: "));
    assert!(assert_ready!(poll(&mut body)).is_none());
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_always_has_something_to_send_is_ended_too() {
    let (shutdown, handle) = coordinator();
    let flood = service_fn(|_: Request<()>| async {
        Ok::<_, Infallible>(head(EVENTS).body(Flood).unwrap())
    });
    let response = DrainLayer::new(&handle)
        .layer(flood)
        .oneshot(Request::new(()));
    let mut body = response.await.unwrap().into_body();
    for _ in 0..100 {
        assert_eq!(next(&mut body).await.unwrap(), "data: 1\n\n");
    }

    let _run = begin(shutdown);
    handle.reached(Phase::Close).await;

    assert!(next(&mut body).await.unwrap().starts_with("retry: "));
    assert!(body.frame().await.is_none());
}

// Nobody knows the connection here, but all that belongs to one request has one moment.
#[tokio::test(start_paused = true)]
async fn a_stream_ends_at_the_moment_that_its_handler_was_given() {
    for seed in 0..10 {
        let shutdown = ShutdownCoordinator::new(Plan::builder().build().unwrap()).seed(seed);
        let handle = shutdown.handle();
        // So that Close lasts.
        let guard = handle.long_guard("socket");
        let (seen, mut moments) = mpsc::unbounded_channel();
        let asking = service_fn(move |_: Request<()>| {
            let seen = seen.clone();
            async move {
                let moment = Moment::current().unwrap();
                seen.send(moment).unwrap();
                Ok::<_, Infallible>(head(EVENTS).body(Silent::<Bytes>::new()).unwrap())
            }
        });
        let service = DrainLayer::new(&handle).layer(asking);
        let response = service.oneshot(Request::new(())).await.unwrap();
        let mut body = response.into_body();
        let moment = moments.recv().await.unwrap();

        let run = begin(shutdown);
        let ended = tokio::spawn(async move {
            while body.frame().await.is_some() {}
            Instant::now()
        });
        moment.await;
        let told = Instant::now();

        assert_eq!(ended.await.unwrap(), told, "seed {seed}");
        drop(guard);
        run.await.unwrap();
    }
}

// What has been compressed cannot be added to.
#[tokio::test(start_paused = true)]
async fn a_compressed_event_stream_ends_where_it_is() {
    let (shutdown, handle) = coordinator();
    let (mut body, feed) = open(&handle, head(EVENTS).header(CONTENT_ENCODING, "gzip")).await;
    feed.send("\u{1f}").unwrap();
    assert_eq!(next(&mut body).await.unwrap(), "\u{1f}");

    let _run = begin(shutdown);

    assert!(body.frame().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_body_of_other_data_than_bytes_ends_without_a_word() {
    let (shutdown, handle) = coordinator();
    let other = service_fn(|_: Request<()>| async {
        Ok::<_, Infallible>(head(EVENTS).body(Silent::<&'static [u8]>::new()).unwrap())
    });
    let response = DrainLayer::new(&handle)
        .layer(other)
        .oneshot(Request::new(()));
    let mut body = response.await.unwrap().into_body();

    let _run = begin(shutdown);

    assert!(body.frame().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_ends_by_itself_ends_as_it_would() {
    let (_shutdown, handle) = coordinator();
    let (mut body, feed) = open(&handle, head(EVENTS)).await;
    feed.send("data: 1\n\n").unwrap();
    drop(feed);

    assert_eq!(next(&mut body).await.unwrap(), "data: 1\n\n");
    assert!(body.frame().await.is_none());
    assert_eq!(handle.in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_stream_whose_client_has_gone_is_not_waited_for() {
    let (shutdown, handle) = coordinator();
    let (body, _feed) = open(&handle, head(EVENTS)).await;

    drop(body);

    assert_eq!(handle.in_flight(), 0);
    assert_eq!(begin(shutdown).await.unwrap().took, Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn the_handlers_stream_is_dropped_before_its_request_is_over() {
    let (shutdown, handle) = coordinator();
    let (mut body, feed) = open(&handle, head(EVENTS)).await;

    let run = begin(shutdown);
    assert!(next(&mut body).await.unwrap().starts_with("retry: "));
    let during = (feed.is_closed(), handle.long_lived());
    assert!(body.frame().await.is_none());

    assert_eq!(during, (true, 1));
    assert_eq!(handle.long_lived(), 0);
    assert!(run.await.unwrap().is_clean());
}

// gRPC.

// Case 50: the trailers.
#[tokio::test(start_paused = true)]
async fn a_marked_call_ends_with_trailers_that_say_unavailable() {
    let (shutdown, handle) = coordinator();
    let marked = head(GRPC).extension(LongLived::new().end_at_moment());
    let (mut body, feed) = open(&handle, marked).await;
    feed.send("a message").unwrap();
    assert_eq!(next(&mut body).await.unwrap(), "a message");

    let run = begin(shutdown);
    let trailers = body
        .frame()
        .await
        .unwrap()
        .unwrap()
        .into_trailers()
        .unwrap();

    assert_eq!(trailers["grpc-status"], "14");
    assert_eq!(trailers["grpc-message"], "the server is shutting down");
    let pushback = trailers["grpc-retry-pushback-ms"].to_str().unwrap();
    assert!((1_000..=3_000).contains(&pushback.parse::<u32>().unwrap()));
    assert!(body.frame().await.is_none());
    assert!(run.await.unwrap().is_clean());
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_not_marked_is_a_request_like_any_other() {
    let (shutdown, handle) = coordinator();
    let (body, feed) = open(&handle, head(GRPC)).await;

    let run = begin(shutdown);
    sleep(secs(3)).await;
    assert_eq!(handle.phase(), Some(Phase::Drain));
    drop((body, feed));

    assert!(run.await.unwrap().is_clean());
}

// Marks.

// Case 50: it is counted, told, and cut if it does not end.
#[tokio::test(start_paused = true)]
async fn what_is_marked_without_more_is_not_ended_for_its_handler() {
    for content_type in [EVENTS, GRPC, "application/octet-stream"] {
        let (shutdown, handle) = coordinator();
        let marked = head(content_type).extension(LongLived::new());
        let (body, feed) = open(&handle, marked).await;
        let mut body = task::spawn(body);
        assert_eq!(handle.long_lived(), 1);

        let run = begin(shutdown);
        handle.reached(Phase::Close).await;
        assert_pending!(poll(&mut body));
        feed.send("the rest").unwrap();
        drop(feed);

        assert_eq!(text(assert_ready!(poll(&mut body))), "the rest");
        assert!(assert_ready!(poll(&mut body)).is_none());
        assert!(run.await.unwrap().is_clean());
    }
}

#[tokio::test(start_paused = true)]
async fn a_download_with_a_length_is_never_ended_before_it_is_whole() {
    let (shutdown, handle) = coordinator();
    let download = service_fn(|_: Request<()>| async {
        let response = Response::builder()
            .header(CONTENT_LENGTH, "9")
            .extension(LongLived::new().end_at_moment());
        Ok::<_, Infallible>(response.body(Sized::new()).unwrap())
    });
    let response = DrainLayer::new(&handle)
        .layer(download)
        .oneshot(Request::new(()));
    let mut body = task::spawn(response.await.unwrap().into_body());
    assert_eq!(body.size_hint().exact(), Some(9));

    let _run = begin(shutdown);
    handle.reached(Phase::Close).await;

    assert_pending!(poll(&mut body));
    assert_eq!(handle.long_lived(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_may_end_anywhere_ends_at_its_moment() {
    let (shutdown, handle) = coordinator();
    let marked = head("application/x-ndjson").extension(LongLived::new().end_at_moment());
    let (mut body, _feed) = open(&handle, marked).await;

    let run = begin(shutdown);

    assert!(body.frame().await.is_none());
    assert!(run.await.unwrap().is_clean());
}

#[tokio::test(start_paused = true)]
async fn a_layer_marks_what_its_rule_says() {
    let (_shutdown, handle) = coordinator();
    let (_feed, stream) = mpsc::unbounded_channel::<&str>();
    let stream = std::sync::Mutex::new(Some(stream));
    let inner = service_fn(move |_: Request<()>| {
        let stream = stream.lock().unwrap().take();
        let stream = stream.unwrap_or_else(|| mpsc::unbounded_channel().1);
        async { Ok::<_, Infallible>(Response::new(Fed { stream })) }
    });
    let marked = LongLivedLayer::new(LongLived::new())
        .when(|head| head.uri.path() == "/download")
        .layer(inner);
    let service = DrainLayer::new(&handle).layer(marked);
    let get = |path: &str| Request::get(path).body(()).unwrap();
    let mut service = service;

    use tower::Service;
    let download = service.call(get("/download")).await.unwrap();
    let counts = (handle.in_flight(), handle.long_lived());
    let other = service.call(get("/other")).await.unwrap();

    assert_eq!(counts, (1, 1));
    assert_eq!((handle.in_flight(), handle.long_lived()), (2, 1));
    drop((download, other));
}

#[tokio::test(start_paused = true)]
async fn an_exempt_stream_is_neither_waited_for_nor_ended() {
    let (shutdown, handle) = coordinator();
    let (feed, stream) = mpsc::unbounded_channel();
    let service = feeding(head(EVENTS), stream);
    let layer = DrainLayer::new(&handle).exempt(|_| true);
    let response = layer
        .layer(service)
        .oneshot(Request::new(()))
        .await
        .unwrap();
    let mut body = task::spawn(response.into_body());
    assert_eq!(handle.in_flight(), 0);

    let report = begin(shutdown).await.unwrap();

    assert_eq!(report.took, Duration::ZERO);
    assert_pending!(poll(&mut body));
    feed.send("data: 1\n\n").unwrap();
    assert_eq!(text(assert_ready!(poll(&mut body))), "data: 1\n\n");
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_begins_after_its_moment_is_ended_at_once() {
    let (shutdown, handle) = coordinator();
    let guard = handle.long_guard("socket");
    let _run = begin(shutdown);
    handle.reached(Phase::Close).await;

    let (mut body, _feed) = open(&handle, head(EVENTS)).await;

    assert!(next(&mut body).await.unwrap().starts_with("retry: "));
    assert!(body.frame().await.is_none());
    drop(guard);
}

// A handler asks.

#[tokio::test(start_paused = true)]
async fn a_handler_finds_the_shutdown_without_having_been_given_a_handle() {
    assert!(ShutdownHandle::current().is_none());
    let (shutdown, handle) = coordinator();
    let asking = service_fn(|_: Request<()>| {
        let in_call = ShutdownHandle::current().is_some();
        async move {
            sleep(secs(1)).await;
            let (handle, moment) = (ShutdownHandle::current(), Moment::current());
            let elsewhere = tokio::spawn(async { ShutdownHandle::current().is_some() });
            assert!(in_call && moment.is_some());
            assert!(!elsewhere.await.unwrap());
            handle.unwrap().shutdown("from a handler");
            Ok::<_, Infallible>(Response::new(Full::new(Bytes::new())))
        }
    });

    let service = DrainLayer::new(&handle).layer(asking);
    let response = service.oneshot(Request::new(())).await.unwrap();

    assert!(handle.is_shutting_down());
    assert!(ShutdownHandle::current().is_none());
    drop((response, shutdown));
}

#[tokio::test(start_paused = true)]
async fn whoever_asks_for_its_moment_keeps_close_waiting_and_not_drain() {
    let (shutdown, handle) = coordinator();
    let polling = service_fn(|_: Request<()>| async {
        Moment::current().unwrap().await;
        Ok::<_, Infallible>(Response::new(Full::new(Bytes::from("nothing new"))))
    });
    // Counted by both.
    let service = DrainLayer::new(&handle).layer(polling);
    let service = DrainLayer::new(&handle).layer(service);
    let mut request = task::spawn(Box::pin(service.oneshot(Request::new(()))));
    assert_pending!(request.poll());
    assert_eq!((handle.in_flight(), handle.long_lived()), (2, 2));

    let run = begin(shutdown);
    let answer = request.into_inner().await.unwrap();
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    let report = run.await.unwrap();

    assert_eq!(body, "nothing new");
    assert!(report.is_clean(), "{report}");
    assert_eq!(report.long.told, 1);
    assert_eq!(report.phase(Phase::Drain).unwrap().took, Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn whoever_asks_for_the_handle_is_a_request_like_any_other() {
    let (_shutdown, handle) = coordinator();
    let polling = service_fn(|_: Request<()>| async {
        let handle = ShutdownHandle::current().unwrap();
        handle.reached(Phase::Drain).await;
        Ok::<_, Infallible>(Response::new(Full::new(Bytes::new())))
    });
    let service = DrainLayer::new(&handle).layer(polling);
    let mut request = task::spawn(service.oneshot(Request::new(())));
    assert_pending!(request.poll());

    assert_eq!((handle.in_flight(), handle.long_lived()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_body_may_ask_for_its_moment() {
    let (shutdown, handle) = coordinator();
    let lazy = service_fn(|_: Request<()>| async {
        let mut moment = None;
        let lines = futures_util::stream::poll_fn(move |cx| {
            let moment = moment.get_or_insert_with(|| Moment::current().unwrap());
            let end = std::pin::pin!(moment).poll(cx);
            end.map(|_| None::<Result<Frame<Bytes>, Infallible>>)
        });
        Ok::<_, Infallible>(Response::new(StreamBody::new(lines)))
    });
    let service = DrainLayer::new(&handle).layer(lazy);
    let response = service.oneshot(Request::new(())).await.unwrap();
    let mut body = task::spawn(response.into_body());
    assert_eq!((handle.in_flight(), handle.long_lived()), (1, 0));
    assert_pending!(poll(&mut body));
    assert_eq!((handle.in_flight(), handle.long_lived()), (1, 1));

    let run = begin(shutdown);
    assert!(body.into_inner().frame().await.is_none());
    let report = run.await.unwrap();

    assert!(report.is_clean(), "{report}");
    assert_eq!(report.phase(Phase::Drain).unwrap().took, Duration::ZERO);
    assert!(Moment::current().is_none());
}

#[tokio::test]
async fn a_panic_in_a_handler_leaves_nothing_behind_on_its_thread() {
    let (_shutdown, handle) = coordinator();
    let panicking = service_fn(|_: Request<()>| async {
        if ShutdownHandle::current().is_some() {
            panic!("on purpose");
        }
        Ok::<_, Infallible>(Response::new(Full::new(Bytes::new())))
    });
    let service = DrainLayer::new(&handle).layer(panicking);

    let panicked = tokio::spawn(service.oneshot(Request::new(()))).await;

    assert!(panicked.unwrap_err().is_panic());
    assert!(ShutdownHandle::current().is_none());
}

#[tokio::test]
async fn a_layer_that_outlives_its_coordinator_gives_handlers_nothing() {
    let (shutdown, handle) = coordinator();
    let layer = DrainLayer::new(&handle).exempt(|_| true);
    drop((shutdown, handle));
    // Whoever has its gauge now is somebody else.
    let (_next, _) = coordinator();
    let asking = service_fn(|_: Request<()>| async {
        let found = ShutdownHandle::current().is_some();
        Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(found.to_string()))))
    });

    let response = layer.layer(asking).oneshot(Request::new(())).await.unwrap();

    assert_eq!(
        response.into_body().collect().await.unwrap().to_bytes(),
        "false"
    );
}

#[tokio::test]
async fn with_two_coordinators_the_inner_one_is_the_current() {
    let (outer, outer_handle) = coordinator();
    let (inner, inner_handle) = coordinator();
    let asking = service_fn(|_: Request<()>| async {
        ShutdownHandle::current()
            .unwrap()
            .shutdown("from a handler");
        Ok::<_, Infallible>(Response::new(Full::new(Bytes::new())))
    });
    let service = DrainLayer::new(&inner_handle).layer(asking);
    let service = DrainLayer::new(&outer_handle).layer(service);

    let response = service.oneshot(Request::new(())).await.unwrap();

    assert!(inner_handle.is_shutting_down());
    assert!(!outer_handle.is_shutting_down());
    drop((response, outer, inner));
}

#[tokio::test]
async fn what_is_said_to_one_coordinator_is_not_said_to_another() {
    let (_outer, outer_handle) = coordinator();
    let (_inner, inner_handle) = coordinator();
    let asking = service_fn(|_: Request<()>| async {
        Moment::current().unwrap().await;
        Ok::<_, Infallible>(Response::new(Full::new(Bytes::new())))
    });
    let service = DrainLayer::new(&inner_handle).layer(asking);
    let service = DrainLayer::new(&outer_handle).layer(service);
    let mut request = task::spawn(Box::pin(service.oneshot(Request::new(()))));

    assert_pending!(request.poll());

    assert_eq!(
        (inner_handle.in_flight(), inner_handle.long_lived()),
        (1, 1)
    );
    assert_eq!(
        (outer_handle.in_flight(), outer_handle.long_lived()),
        (1, 0)
    );
}

// What the tests share.

fn coordinator() -> (ShutdownCoordinator, ShutdownHandle) {
    with(Plan::immediate())
}

fn with(plan: Plan) -> (ShutdownCoordinator, ShutdownHandle) {
    let shutdown = ShutdownCoordinator::new(plan).termination_log("/nonexistent");
    let handle = shutdown.handle();
    (shutdown, handle)
}

fn begin(shutdown: ShutdownCoordinator) -> JoinHandle<std::sync::Arc<Report>> {
    shutdown.handle().shutdown("test");
    tokio::spawn(shutdown.run())
}

fn head(content_type: &str) -> http::response::Builder {
    Response::builder().header(CONTENT_TYPE, content_type)
}

type Feed = mpsc::UnboundedSender<&'static str>;

/// A response under the layer, and what feeds its body.
async fn open(handle: &ShutdownHandle, head: http::response::Builder) -> (DrainBody<Fed>, Feed) {
    let (feed, stream) = mpsc::unbounded_channel();
    let service = DrainLayer::new(handle).layer(feeding(head, stream));
    let response = service.oneshot(Request::new(())).await.unwrap();
    (response.into_body(), feed)
}

fn feeding(
    head: http::response::Builder,
    stream: mpsc::UnboundedReceiver<&'static str>,
) -> impl tower::Service<
    Request<()>,
    Response = Response<Fed>,
    Error = Infallible,
    Future = impl Future<Output = Result<Response<Fed>, Infallible>>,
> {
    let mut response = Some(head.body(Fed { stream }).unwrap());
    service_fn(move |_: Request<()>| {
        let response = response.take().unwrap();
        async { Ok(response) }
    })
}

async fn next<B>(body: &mut B) -> Option<String>
where
    B: Body<Data = Bytes, Error = Infallible> + Unpin,
{
    Some(text(Some(body.frame().await?)))
}

fn text(frame: Option<Result<Frame<Bytes>, Infallible>>) -> String {
    let data = frame.unwrap().unwrap().into_data().unwrap();
    String::from_utf8(data.to_vec()).unwrap()
}

type Polled<B> = Poll<Option<Result<Frame<<B as Body>::Data>, <B as Body>::Error>>>;

fn poll<B: Body + Unpin>(body: &mut task::Spawn<B>) -> Polled<B> {
    body.enter(|cx, body| body.poll_frame(cx))
}

/// What a test feeds it.
struct Fed {
    stream: mpsc::UnboundedReceiver<&'static str>,
}

impl Body for Fed {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let next = self.stream.poll_recv(cx);
        next.map(|text| text.map(|text| Ok(Frame::data(text.into()))))
    }
}

/// Never waits.
struct Flood;

impl Body for Flood {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"data: 1\n\n")))))
    }
}

/// Never says anything.
struct Silent<D>(std::marker::PhantomData<fn() -> D>);

impl<D> Silent<D> {
    fn new() -> Self {
        Silent(std::marker::PhantomData)
    }
}

impl<D: Buf> Body for Silent<D> {
    type Data = D;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<D>, Infallible>>> {
        Poll::Pending
    }
}

/// Says how long it is, and never says more.
struct Sized(Silent<Bytes>);

impl Sized {
    fn new() -> Self {
        Sized(Silent::new())
    }
}

impl Body for Sized {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Pin::new(&mut self.0).poll_frame(cx)
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(9)
    }
}
