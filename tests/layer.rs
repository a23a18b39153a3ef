//! `DrainLayer` by itself: what is in flight, until when, what is refused, and what a response says.

#![cfg(feature = "tower")]

use std::collections::HashSet;
use std::convert::Infallible;
use std::future::{pending, ready};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::header::{CONNECTION, CONTENT_LENGTH, RETRY_AFTER, UPGRADE};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use lameduck::report::PhaseOutcome;
use lameduck::{DrainLayer, Phase, Plan, Report, ShutdownCoordinator, ShutdownHandle};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_test::{assert_pending, assert_ready, task};
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};

const SECOND: Duration = Duration::from_secs(1);

// In flight.

#[tokio::test]
async fn request_is_in_flight_before_the_inner_service_is_called() {
    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    let handle = shutdown.handle();
    let seen = Arc::new(AtomicU64::new(0));
    let works_in_call = service_fn({
        let (handle, seen) = (handle.clone(), Arc::clone(&seen));
        move |_: Request<()>| {
            seen.store(handle.in_flight(), Ordering::Relaxed);
            ready(Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new())))
        }
    });

    let response = DrainLayer::new(&handle).layer(works_in_call).call(get("/"));

    assert_eq!(seen.load(Ordering::Relaxed), 1);
    drop(response);
}

#[tokio::test]
async fn request_is_in_flight_though_its_future_was_never_polled() {
    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    let handle = shutdown.handle();

    let response = DrainLayer::new(&handle).layer(ok()).call(get("/"));

    assert_eq!(handle.in_flight(), 1);
    drop(response);
    assert_eq!(handle.in_flight(), 0);
}

#[tokio::test]
async fn service_that_is_not_called_counts_nothing() {
    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    let handle = shutdown.handle();
    let mut service = DrainLayer::new(&handle).layer(ok());

    ServiceExt::<Request<()>>::ready(&mut service)
        .await
        .unwrap();
    let clone = service.clone();

    assert_eq!(handle.in_flight(), 0);
    drop((service, clone));
}

#[tokio::test]
async fn future_that_is_dropped_before_it_is_ready_ends_its_request() {
    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    let handle = shutdown.handle();
    let mut response = task::spawn(DrainLayer::new(&handle).layer(hanging()).oneshot(get("/")));
    assert_pending!(response.poll());
    assert_eq!(handle.in_flight(), 1);

    drop(response);

    assert_eq!(handle.in_flight(), 0);
}

#[tokio::test]
async fn inner_error_ends_its_request() {
    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    let handle = shutdown.handle();
    let failing = service_fn(|_: Request<()>| {
        ready(Err::<Response<Empty<Bytes>>, _>(io::Error::other("failed")))
    });
    let mut response = task::spawn(DrainLayer::new(&handle).layer(failing).call(get("/")));
    assert_eq!(handle.in_flight(), 1);

    let answer = assert_ready!(response.poll());

    // The future that has ended is still there.
    assert_eq!(handle.in_flight(), 0);
    assert_eq!(answer.unwrap_err().to_string(), "failed");
}

// Case 78, as far as the layer goes.
#[tokio::test]
async fn panic_in_the_inner_service_ends_its_request() {
    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    let handle = shutdown.handle();
    let layer = DrainLayer::new(&handle);
    let panics_in_call = layer.layer(service_fn(|_: Request<()>| -> Answer {
        panic!("in the call")
    }));
    let panics_in_future = layer.layer(service_fn(async |_: Request<()>| -> AnswerResult {
        panic!("in the future")
    }));

    let in_call = tokio::spawn(panics_in_call.oneshot(get("/"))).await;
    let in_future = tokio::spawn(panics_in_future.oneshot(get("/"))).await;

    assert!(in_call.unwrap_err().is_panic());
    assert!(in_future.unwrap_err().is_panic());
    assert_eq!(handle.in_flight(), 0);
}

// Case 38.
#[tokio::test(start_paused = true)]
async fn streaming_body_holds_its_request_to_the_last_byte() {
    let shutdown = ShutdownCoordinator::new(thirty_seconds());
    let handle = shutdown.handle();
    let (frames, response) = streaming();
    let service = DrainLayer::new(&handle).layer(answering(response));
    let mut body = service.oneshot(get("/")).await.unwrap().into_body();
    handle.shutdown("test");
    let run = tokio::spawn(shutdown.run());
    let mut closing = task::spawn(handle.reached(Phase::Close));

    handle.reached(Phase::Drain).await;
    frames.send(Ok(Frame::data("first".into()))).unwrap();
    assert_eq!(text(body.frame().await), "first");
    frames.send(Ok(Frame::data("last".into()))).unwrap();
    assert_eq!(text(body.frame().await), "last");
    tokio::task::yield_now().await;
    assert_pending!(closing.poll());
    drop(frames);
    assert!(body.frame().await.is_none());

    let report = run.await.unwrap();
    // The body is still there, but it is over.
    assert_eq!(took(&report, Phase::Drain), Duration::ZERO);
    assert!(report.is_clean());
    drop(body);
}

// Case 38.
#[tokio::test(start_paused = true)]
async fn body_that_outlasts_close_is_cut_and_the_report_is_not_clean() {
    let shutdown = ShutdownCoordinator::new(thirty_seconds());
    let handle = shutdown.handle();
    let (_frames, response) = streaming();
    let service = DrainLayer::new(&handle).layer(answering(response));
    let _body = service.oneshot(get("/")).await.unwrap().into_body();
    handle.shutdown("test");

    let report = shutdown.run().await;

    assert_eq!(report.cut, 1);
    assert!(!report.is_clean());
    for phase in [Phase::Drain, Phase::Close] {
        let report = report.phase(phase).unwrap();
        assert_eq!(report.outcome, PhaseOutcome::TimedOut, "{phase}");
        assert_eq!(report.left_behind_total, 1, "{phase}");
    }
    assert_eq!(started(&report, Phase::Release), 28 * SECOND);
}

// Case 39.
#[tokio::test(start_paused = true)]
async fn body_that_is_dropped_ends_its_request_at_once() {
    let shutdown = ShutdownCoordinator::new(thirty_seconds());
    let handle = shutdown.handle();
    let (frames, response) = streaming();
    let service = DrainLayer::new(&handle).layer(answering(response));
    let mut body = service.oneshot(get("/")).await.unwrap().into_body();
    frames.send(Ok(Frame::data("half".into()))).unwrap();
    assert_eq!(text(body.frame().await), "half");
    handle.shutdown("test");
    let run = tokio::spawn(shutdown.run());
    handle.reached(Phase::Drain).await;
    sleep(SECOND).await;

    drop(body);

    let report = run.await.unwrap();
    assert_eq!(took(&report, Phase::Drain), SECOND);
    assert!(report.is_clean());
}

#[tokio::test]
async fn body_that_fails_ends_its_request() {
    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    let handle = shutdown.handle();
    let (frames, response) = streaming();
    let service = DrainLayer::new(&handle).layer(answering(response));
    let mut body = service.oneshot(get("/")).await.unwrap().into_body();
    frames.send(Err(io::Error::other("failed"))).unwrap();

    let error = body.frame().await.unwrap().unwrap_err();

    assert_eq!(error.to_string(), "failed");
    assert_eq!(handle.in_flight(), 0);
    drop(body);
}

// Case 78, as far as the layer goes.
#[tokio::test]
async fn panic_in_a_body_ends_its_request() {
    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    let handle = shutdown.handle();
    let panics = StreamBody::new(stream::poll_fn(
        |_| -> Poll<Option<Result<Frame<Bytes>, Infallible>>> { panic!("in the body") },
    ));
    let service = DrainLayer::new(&handle).layer(answering(Response::new(panics)));
    let body = service.oneshot(get("/")).await.unwrap().into_body();

    let collected = tokio::spawn(body.collect()).await;

    assert!(collected.unwrap_err().is_panic());
    assert_eq!(handle.in_flight(), 0);
}

#[tokio::test]
async fn trailers_pass_and_the_request_is_in_flight_until_after_them() {
    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    let handle = shutdown.handle();
    let (frames, response) = streaming();
    let service = DrainLayer::new(&handle).layer(answering(response));
    let mut body = service.oneshot(get("/")).await.unwrap().into_body();
    let trailers = HeaderMap::from_iter([("grpc-status".parse().unwrap(), 0.into())]);
    frames.send(Ok(Frame::trailers(trailers.clone()))).unwrap();
    drop(frames);

    let frame = body.frame().await.unwrap().unwrap();

    assert_eq!(frame.into_trailers().unwrap(), trailers);
    assert_eq!(handle.in_flight(), 1);
    assert!(body.frame().await.is_none());
    assert_eq!(handle.in_flight(), 0);
}

#[tokio::test]
async fn body_says_of_its_end_and_size_what_the_inner_body_says() {
    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    let layer = DrainLayer::new(&shutdown.handle());
    let full = Full::new(Bytes::from_static(b"hello"));

    let vague = layer.layer(answering(Response::new(Vague)));
    let vague = vague.oneshot(get("/")).await.unwrap().into_body();
    let full = layer.layer(answering(Response::new(full)));
    let mut full = full.oneshot(get("/")).await.unwrap().into_body();
    let empty = layer
        .layer(ok())
        .oneshot(get("/"))
        .await
        .unwrap()
        .into_body();

    assert_eq!(
        (vague.size_hint().lower(), vague.size_hint().upper()),
        (3, Some(9))
    );
    assert!(!vague.is_end_stream());
    assert_eq!(full.size_hint().exact(), Some(5));
    assert!(!full.is_end_stream());
    assert_eq!(text(full.frame().await), "hello");
    assert!(full.is_end_stream());
    assert!(empty.is_end_stream());
    assert_eq!(empty.size_hint().exact(), Some(0));
}

#[tokio::test]
async fn what_a_body_owns_is_dropped_before_its_request_is_over() {
    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    let handle = shutdown.handle();
    let (ended, dropped) = (Witness::new(&handle), Witness::new(&handle));
    let [seen_at_end, seen_at_drop] = [&ended, &dropped].map(|witness| Arc::clone(&witness.seen));
    let layer = DrainLayer::new(&handle);
    let ended = layer.layer(answering(Response::new(Owning(ended))));
    let mut ended = ended.oneshot(get("/")).await.unwrap().into_body();
    let dropped = layer.layer(answering(Response::new(Owning(dropped))));
    let dropped = dropped.oneshot(get("/")).await.unwrap().into_body();

    assert!(ended.frame().await.is_none());
    let after_end = seen_at_end.load(Ordering::Relaxed);
    drop(dropped);
    let after_drop = seen_at_drop.load(Ordering::Relaxed);

    assert_eq!((after_end, after_drop), (2, 1));
    assert_eq!(handle.in_flight(), 0);
}

// A layer in front of this one may do so.
#[tokio::test]
async fn body_of_a_known_size_that_is_kept_after_its_end_holds_nobody() {
    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    let handle = shutdown.handle();
    let full = Full::new(Bytes::from_static(b"hello"));
    let service = DrainLayer::new(&handle).layer(answering(Response::new(full)));
    let mut body = service.oneshot(get("/")).await.unwrap().into_body();

    assert_eq!(text(body.frame().await), "hello");
    assert_eq!(handle.in_flight(), 1);
    assert!(body.frame().await.is_none());

    assert_eq!(handle.in_flight(), 0);
    drop(body);
}

#[tokio::test]
async fn body_that_has_ended_stays_ended() {
    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    let layer = DrainLayer::new(&shutdown.handle());
    let (frames, response) = streaming();
    let service = layer.layer(answering(response));
    let mut body = service.oneshot(get("/")).await.unwrap().into_body();
    drop(frames);

    assert!(body.frame().await.is_none());

    assert!(body.frame().await.is_none());
    assert!(body.is_end_stream());
    assert_eq!(body.size_hint().exact(), Some(0));
}

// Drain and Close.

#[tokio::test(start_paused = true)]
async fn layer_gives_lame_duck_its_full_length() {
    let with = ShutdownCoordinator::new(thirty_seconds());
    let without = ShutdownCoordinator::new(thirty_seconds());
    let _layer = DrainLayer::new(&with.handle());
    with.handle().shutdown("test");
    without.handle().shutdown("test");

    let (with, without) = tokio::join!(with.run(), without.run());

    assert_eq!(took(&with, Phase::LameDuck), 10 * SECOND);
    assert_eq!(with.took, 10 * SECOND);
    assert_eq!(without.took, Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn request_of_lame_duck_is_served_and_drain_waits_for_it() {
    let shutdown = ShutdownCoordinator::new(thirty_seconds());
    let handle = shutdown.handle();
    let layer = DrainLayer::new(&handle);
    handle.shutdown("test");
    let run = tokio::spawn(shutdown.run());
    sleep(9 * SECOND).await;

    let response = layer.layer(slow(4 * SECOND)).oneshot(get("/")).await;

    assert_eq!(response.unwrap().status(), StatusCode::OK);
    let report = run.await.unwrap();
    assert_eq!(took(&report, Phase::Drain), 3 * SECOND);
    assert_eq!(report.took, 13 * SECOND);
    assert!(report.is_clean());
}

#[tokio::test(start_paused = true)]
async fn request_that_arrives_in_drain_is_served_and_close_waits_for_it() {
    let shutdown = ShutdownCoordinator::new(thirty_seconds());
    let handle = shutdown.handle();
    let layer = DrainLayer::new(&handle);
    let early = under_way(layer.layer(slow(11 * SECOND)).oneshot(get("/early"))).await;
    handle.shutdown("test");
    let run = tokio::spawn(shutdown.run());
    handle.reached(Phase::Drain).await;

    let late = layer.layer(slow(5 * SECOND)).oneshot(get("/late"));
    let late = late.await.unwrap().status();

    let report = run.await.unwrap();
    assert_eq!(late, StatusCode::OK);
    assert_eq!(early.await.unwrap(), StatusCode::OK);
    // Drain ends with what began before it, though the late one goes on.
    assert_eq!(started(&report, Phase::Close), 11 * SECOND);
    assert_eq!(started(&report, Phase::Release), 15 * SECOND);
    assert_eq!(report.traffic.served, 1);
    assert_eq!(report.traffic.last_arrival, Some(10 * SECOND));
    assert!(report.is_clean());
}

#[tokio::test(start_paused = true)]
async fn request_that_arrives_in_close_is_served_and_waited_for() {
    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    let layer = DrainLayer::new(&shutdown.handle());
    let stay = Stay::within(Phase::Close, shutdown).await;
    let late = under_way(layer.layer(slow(SECOND)).oneshot(get("/"))).await;

    let report = stay.end().await;

    assert_eq!(late.await.unwrap(), StatusCode::OK);
    assert_eq!(took(&report, Phase::Close), SECOND);
    assert_eq!((report.traffic.served, report.traffic.refused), (1, 0));
    assert!(report.is_clean());
}

#[tokio::test(start_paused = true)]
async fn request_that_arrives_while_close_waits_for_another_is_served() {
    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    let layer = DrainLayer::new(&shutdown.handle());
    let stay = Stay::within(Phase::Close, shutdown).await;
    let first = under_way(layer.layer(slow(2 * SECOND)).oneshot(get("/"))).await;
    let run = tokio::spawn(stay.end());
    sleep(SECOND).await;

    let second = under_way(layer.layer(slow(2 * SECOND)).oneshot(get("/"))).await;

    let report = run.await.unwrap();
    assert_eq!(first.await.unwrap(), StatusCode::OK);
    assert_eq!(second.await.unwrap(), StatusCode::OK);
    assert_eq!(started(&report, Phase::Release), 3 * SECOND);
    assert!(report.is_clean());
}

#[tokio::test(start_paused = true)]
async fn request_that_arrives_in_drain_and_outlasts_close_is_cut() {
    let shutdown = ShutdownCoordinator::new(thirty_seconds());
    let layer = DrainLayer::new(&shutdown.handle());
    let stay = Stay::within(Phase::Drain, shutdown).await;
    let mut late = task::spawn(layer.layer(hanging()).oneshot(get("/")));
    assert_pending!(late.poll());

    let report = stay.end().await;

    let drain = report.phase(Phase::Drain).unwrap();
    assert_eq!(drain.outcome, PhaseOutcome::Completed);
    assert_eq!(started(&report, Phase::Release), 28 * SECOND);
    assert_eq!(report.cut, 1);
    assert!(!report.is_clean());
}

#[tokio::test(start_paused = true)]
async fn traffic_without_a_gap_holds_up_neither_drain_nor_close() {
    let shutdown = ShutdownCoordinator::new(thirty_seconds());
    let handle = shutdown.handle();
    let layer = DrainLayer::new(&handle);
    // One every 300 ms, for 500 ms each: there is always one in flight, and each is over by itself.
    let load = tokio::spawn(async move {
        loop {
            tokio::spawn(layer.layer(slow(SECOND / 2)).oneshot(get("/")));
            sleep(SECOND * 3 / 10).await;
        }
    });
    sleep(SECOND).await;
    handle.shutdown("test");

    let report = shutdown.run().await;
    load.abort();

    assert!(took(&report, Phase::Drain) <= SECOND / 2);
    // Nothing stops the flow under somebody else's server: Close has its whole time, and what is in flight then is cut.
    assert_eq!(started(&report, Phase::Release), 28 * SECOND);
    assert!((1..=2).contains(&report.cut), "{}", report.cut);
}

// Case 61.
#[tokio::test(start_paused = true)]
async fn detached_work_that_holds_a_clone_of_a_guard_is_waited_for() {
    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    let handle = shutdown.handle();
    let layer = DrainLayer::new(&handle);
    let service = layer.layer(service_fn({
        let handle = handle.clone();
        move |_: Request<()>| {
            let guard = handle.guard().expect("Release has not begun");
            let clone = guard.clone();
            tokio::spawn(async move {
                sleep(3 * SECOND).await;
                drop(clone);
            });
            ready(Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new())))
        }
    }));
    service.oneshot(get("/")).await.unwrap();
    handle.shutdown("test");

    let report = shutdown.run().await;

    assert_eq!(took(&report, Phase::Drain), 3 * SECOND);
    assert!(report.is_clean());
}

// Case 61.
#[tokio::test(start_paused = true)]
async fn detached_work_without_a_guard_is_not_waited_for() {
    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    let handle = shutdown.handle();
    let service = DrainLayer::new(&handle).layer(service_fn(|_: Request<()>| {
        tokio::spawn(sleep(3 * SECOND));
        ready(Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new())))
    }));
    service.oneshot(get("/")).await.unwrap();
    handle.shutdown("test");

    let report = shutdown.run().await;

    assert_eq!(report.took, Duration::ZERO);
}

// Case 63.
#[tokio::test(start_paused = true)]
async fn pool_is_closed_when_the_request_that_uses_it_is_over() {
    let shutdown = ShutdownCoordinator::new(thirty_seconds());
    let handle = shutdown.handle();
    let pool = Arc::new(Semaphore::new(1));
    shutdown
        .hook(Phase::Release, "pool", {
            let pool = Arc::clone(&pool);
            async move || pool.close()
        })
        .unwrap();
    let service = DrainLayer::new(&handle).layer(service_fn({
        let pool = Arc::clone(&pool);
        move |_: Request<()>| {
            let pool = Arc::clone(&pool);
            async move {
                sleep(12 * SECOND).await;
                let connection = pool.acquire().await;
                let status = match connection {
                    Ok(_) => StatusCode::OK,
                    Err(_) => StatusCode::INTERNAL_SERVER_ERROR,
                };
                let mut response = Response::new(Empty::<Bytes>::new());
                *response.status_mut() = status;
                Ok::<_, Infallible>(response)
            }
        }
    }));
    let status = under_way(service.oneshot(get("/"))).await;
    handle.shutdown("test");

    let report = shutdown.run().await;

    assert_eq!(status.await.unwrap(), StatusCode::OK);
    assert_eq!(started(&report, Phase::Release), 12 * SECOND);
    assert!(pool.is_closed());
    assert!(report.is_clean());
}

// Refused, and exempt.

// Case 58.
#[tokio::test(start_paused = true)]
async fn request_in_release_is_refused_before_the_handler_runs() {
    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    let layer = DrainLayer::new(&shutdown.handle());
    let (calls, handler) = counting();
    let stay = Stay::within(Phase::Release, shutdown).await;

    let response = layer.layer(handler).oneshot(get("/")).await.unwrap();

    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    let retry_after = response.headers()[RETRY_AFTER].to_str().unwrap();
    assert!(["1", "2", "3"].contains(&retry_after), "{retry_after}");
    assert_eq!(response.headers()[CONNECTION], "close");
    assert!(response.body().is_end_stream());
    assert_eq!(response.body().size_hint().exact(), Some(0));
    assert!(response.into_body().frame().await.is_none());
    let report = stay.end().await;
    assert_eq!(calls.load(Ordering::Relaxed), 0);
    assert_eq!((report.traffic.served, report.traffic.refused), (0, 1));
    assert_eq!(report.traffic.last_arrival, None);
    assert!(report.is_clean());
}

// Case 58.
#[tokio::test(start_paused = true)]
async fn request_in_exit_is_refused() {
    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    let layer = DrainLayer::new(&shutdown.handle());
    let (calls, handler) = counting();
    let stay = Stay::within(Phase::Exit, shutdown).await;

    let response = layer.layer(handler).oneshot(get("/")).await.unwrap();

    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    let report = stay.end().await;
    assert_eq!(calls.load(Ordering::Relaxed), 0);
    assert_eq!(report.traffic.refused, 1);
}

// Case 58.
#[tokio::test(start_paused = true)]
async fn times_after_which_to_try_again_are_not_all_the_same() {
    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    let layer = DrainLayer::new(&shutdown.handle());
    let stay = Stay::within(Phase::Release, shutdown).await;
    let mut seen = HashSet::new();

    for _ in 0..200 {
        let response = layer.layer(ok()).oneshot(get("/")).await.unwrap();
        seen.insert(response.headers()[RETRY_AFTER].clone());
    }

    let all = ["1", "2", "3"].map(HeaderValue::from_static);
    assert_eq!(seen, HashSet::from(all));
    assert_eq!(stay.end().await.traffic.refused, 200);
}

#[tokio::test(start_paused = true)]
async fn refused_http2_request_is_not_told_to_close() {
    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    let layer = DrainLayer::new(&shutdown.handle());
    let stay = Stay::within(Phase::Release, shutdown).await;

    let request = versioned(Version::HTTP_2);
    let response = layer.layer(ok()).oneshot(request).await.unwrap();

    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(response.headers().contains_key(RETRY_AFTER));
    assert!(!response.headers().contains_key(CONNECTION));
    stay.end().await;
}

// Case 62.
#[tokio::test(start_paused = true)]
async fn reject_function_makes_the_answer_to_a_late_request() {
    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    let layer = DrainLayer::new(&shutdown.handle()).reject(|_, retry_after| {
        assert!((SECOND..=3 * SECOND).contains(&retry_after));
        let mut response = Response::new(());
        *response.status_mut() = StatusCode::TOO_MANY_REQUESTS;
        response.headers_mut().insert("x-late", 1.into());
        response
    });
    let (calls, handler) = counting();
    let stay = Stay::within(Phase::Release, shutdown).await;

    let response = layer.layer(handler).oneshot(get("/")).await.unwrap();

    assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(response.headers()["x-late"], "1");
    assert!(!response.headers().contains_key(RETRY_AFTER));
    assert_eq!(response.headers()[CONNECTION], "close");
    assert_eq!(calls.load(Ordering::Relaxed), 0);
    assert_eq!(stay.end().await.traffic.refused, 1);
}

// Case 59.
#[tokio::test(start_paused = true)]
async fn exempt_request_is_served_in_release_and_others_are_not() {
    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    let layer = DrainLayer::new(&shutdown.handle()).exempt(|head| head.uri.path() == "/metrics");
    let stay = Stay::within(Phase::Release, shutdown).await;

    let exempt = layer.layer(ok()).oneshot(get("/metrics?all")).await;
    let other = layer.layer(ok()).oneshot(get("/")).await;

    assert_eq!(exempt.unwrap().status(), StatusCode::OK);
    assert_eq!(other.unwrap().status(), StatusCode::SERVICE_UNAVAILABLE);
    let report = stay.end().await;
    assert_eq!((report.traffic.served, report.traffic.refused), (0, 1));
}

// Case 59.
#[tokio::test(start_paused = true)]
async fn exempt_request_that_hangs_holds_up_nothing() {
    let shutdown = ShutdownCoordinator::new(thirty_seconds());
    let handle = shutdown.handle();
    let layer = DrainLayer::new(&handle).exempt(|head| head.uri.path() == "/metrics");
    let mut early = task::spawn(layer.layer(hanging()).oneshot(get("/metrics")));
    assert_pending!(early.poll());
    handle.shutdown("test");
    let mut late = task::spawn(layer.layer(hanging()).oneshot(get("/metrics")));
    assert_pending!(late.poll());

    let report = shutdown.run().await;

    assert_eq!(report.took, 10 * SECOND);
    assert_eq!((report.traffic.served, report.traffic.refused), (0, 0));
    assert_eq!(report.traffic.last_arrival, None);
    assert_eq!(report.cut, 0);
    assert!(report.is_clean());
    assert_eq!(handle.in_flight(), 0);
}

#[tokio::test]
async fn exempt_rule_sees_method_target_and_headers() {
    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    let handle = shutdown.handle();
    let layer = DrainLayer::new(&handle).exempt(|head| {
        head.method == Method::HEAD
            && head.uri == "/livez?full"
            && head.headers.contains_key("x-probe")
    });
    let mut probe = get("/livez?full");
    *probe.method_mut() = Method::HEAD;
    probe.headers_mut().insert("x-probe", 1.into());
    let mut by_get = probe.clone();
    *by_get.method_mut() = Method::GET;

    let in_flight = [probe, by_get].map(|request| {
        let response = layer.layer(hanging()).call(request);
        let in_flight = handle.in_flight();
        drop(response);
        in_flight
    });

    assert_eq!(in_flight, [0, 1]);
}

#[tokio::test(start_paused = true)]
async fn layer_that_outlives_its_coordinator_refuses_and_disturbs_nobody() {
    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    let layer = DrainLayer::new(&shutdown.handle()).exempt(|head| head.uri.path() == "/metrics");
    let (calls, handler) = counting();
    drop(shutdown);
    // Likely to get the counters that are free again.
    let next = ShutdownCoordinator::new(Plan::immediate());

    let refused = layer.layer(handler).oneshot(get("/")).await.unwrap();
    let exempt = layer.layer(ok()).oneshot(get("/metrics")).await.unwrap();
    let in_flight = next.handle().in_flight();
    next.handle().shutdown("test");
    let late = layer.layer(ok()).oneshot(get("/")).await.unwrap();
    let report = next.run().await;

    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(late.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(exempt.status(), StatusCode::OK);
    assert_eq!(calls.load(Ordering::Relaxed), 0);
    assert_eq!(in_flight, 0);
    assert_eq!((report.traffic.served, report.traffic.refused), (0, 0));
    assert!(report.is_clean());
}

#[tokio::test(start_paused = true)]
async fn body_that_outlives_its_coordinator_disturbs_nobody() {
    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    let (frames, response) = streaming();
    let service = DrainLayer::new(&shutdown.handle()).layer(answering(response));
    let mut body = service.oneshot(get("/")).await.unwrap().into_body();
    drop(shutdown);
    let next = ShutdownCoordinator::new(Plan::immediate());
    let guard = next.handle().guard().unwrap();

    frames.send(Ok(Frame::data("late".into()))).unwrap();
    assert_eq!(text(body.frame().await), "late");
    drop(body);

    assert_eq!(next.handle().in_flight(), 1);
    drop(guard);
    assert_eq!(next.handle().in_flight(), 0);
}

// What a response says.

#[tokio::test]
async fn response_says_nothing_in_normal_service() {
    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    let layer = DrainLayer::new(&shutdown.handle());

    let response = layer.layer(ok()).oneshot(get("/")).await.unwrap();

    assert!(!response.headers().contains_key(CONNECTION));
}

#[tokio::test]
async fn http1_response_says_close_from_t0_on() {
    let shutdown = ShutdownCoordinator::new(thirty_seconds());
    let handle = shutdown.handle();
    let layer = DrainLayer::new(&handle);
    handle.shutdown("test");

    for version in [Version::HTTP_10, Version::HTTP_11] {
        let response = layer.layer(ok()).oneshot(versioned(version)).await.unwrap();

        assert_eq!(response.headers()[CONNECTION], "close", "{version:?}");
        assert_eq!(response.status(), StatusCode::OK);
    }
}

#[tokio::test]
async fn response_to_a_request_from_before_t0_says_close() {
    let shutdown = ShutdownCoordinator::new(thirty_seconds());
    let handle = shutdown.handle();
    let (answer, answered) = oneshot::channel();
    let mut answered = Some(answered);
    let waiting = service_fn(move |_: Request<()>| answered.take().expect("called once"));
    let mut response = task::spawn(DrainLayer::new(&handle).layer(waiting).oneshot(get("/")));
    assert_pending!(response.poll());
    handle.shutdown("test");

    answer.send(Response::new(Empty::<Bytes>::new())).unwrap();

    assert!(response.is_woken());
    let response = assert_ready!(response.poll()).unwrap();
    assert_eq!(response.headers()[CONNECTION], "close");
}

#[tokio::test]
async fn http2_response_does_not_say_close() {
    let shutdown = ShutdownCoordinator::new(thirty_seconds());
    let handle = shutdown.handle();
    let layer = DrainLayer::new(&handle);
    handle.shutdown("test");

    for version in [Version::HTTP_2, Version::HTTP_3] {
        // As hyper leaves it to the server: the response says HTTP/1.1 of itself.
        let response = layer.layer(ok()).oneshot(versioned(version)).await.unwrap();

        assert_eq!(response.version(), Version::HTTP_11);
        assert!(!response.headers().contains_key(CONNECTION), "{version:?}");
    }
}

#[tokio::test]
async fn response_that_calls_itself_http2_says_close_to_an_http1_request() {
    let shutdown = ShutdownCoordinator::new(thirty_seconds());
    let handle = shutdown.handle();
    let mut response = Response::new(Empty::<Bytes>::new());
    // A proxy that passes on what it got from upstream.
    *response.version_mut() = Version::HTTP_2;
    let service = DrainLayer::new(&handle).layer(answering(response));
    handle.shutdown("test");

    let response = service.oneshot(get("/")).await.unwrap();

    assert_eq!(response.headers()[CONNECTION], "close");
}

#[tokio::test]
async fn close_takes_the_place_of_keep_alive() {
    let shutdown = ShutdownCoordinator::new(thirty_seconds());
    let handle = shutdown.handle();
    let mut response = Response::new(Empty::<Bytes>::new());
    let keep_alive = HeaderValue::from_static("keep-alive");
    response.headers_mut().append(CONNECTION, keep_alive);
    let service = DrainLayer::new(&handle).layer(answering(response));
    handle.shutdown("test");

    let response = service.oneshot(get("/")).await.unwrap();

    let said: Vec<_> = response.headers().get_all(CONNECTION).iter().collect();
    assert_eq!(said, ["close"]);
}

#[tokio::test]
async fn upgrade_keeps_its_own_connection_header() {
    let shutdown = ShutdownCoordinator::new(thirty_seconds());
    let handle = shutdown.handle();
    let mut response = Response::new(Empty::<Bytes>::new());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    let service = DrainLayer::new(&handle).layer(answering(response));
    handle.shutdown("test");

    let response = service.oneshot(get("/chat")).await.unwrap();

    assert_eq!(response.headers()[CONNECTION], "upgrade");
    assert_eq!(response.headers()[UPGRADE], "websocket");
}

#[tokio::test]
async fn tunnel_is_not_told_to_close_but_a_refused_one_is() {
    let shutdown = ShutdownCoordinator::new(thirty_seconds());
    let handle = shutdown.handle();
    let layer = DrainLayer::new(&handle);
    let mut refused = Response::new(Empty::<Bytes>::new());
    *refused.status_mut() = StatusCode::FORBIDDEN;
    let connect = || {
        let mut request = get("example.org:443");
        *request.method_mut() = Method::CONNECT;
        request
    };
    handle.shutdown("test");

    let tunnel = layer.layer(ok()).oneshot(connect()).await.unwrap();
    let refused = layer.layer(answering(refused)).oneshot(connect()).await;

    assert!(!tunnel.headers().contains_key(CONNECTION));
    assert_eq!(refused.unwrap().headers()[CONNECTION], "close");
}

#[tokio::test]
async fn exempt_response_says_close_too() {
    let shutdown = ShutdownCoordinator::new(thirty_seconds());
    let handle = shutdown.handle();
    let layer = DrainLayer::new(&handle).exempt(|_| true);
    handle.shutdown("test");

    let response = layer.layer(ok()).oneshot(get("/livez")).await.unwrap();

    assert_eq!(response.headers()[CONNECTION], "close");
}

#[tokio::test]
async fn response_passes_unchanged_otherwise() {
    let shutdown = ShutdownCoordinator::new(thirty_seconds());
    let handle = shutdown.handle();
    let mut response = Response::new(Full::new(Bytes::from_static(b"hello")));
    *response.status_mut() = StatusCode::CREATED;
    response.headers_mut().insert(CONTENT_LENGTH, 5.into());
    response.extensions_mut().insert("an extension");
    let service = DrainLayer::new(&handle).layer(answering(response));
    handle.shutdown("test");

    let response = service.oneshot(get("/")).await.unwrap();

    assert_eq!(response.status(), StatusCode::CREATED);
    assert_eq!(response.headers().len(), 2);
    assert_eq!(response.headers()[CONTENT_LENGTH], "5");
    assert_eq!(response.extensions().get(), Some(&"an extension"));
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body, "hello");
}

// What the report says of traffic.

#[tokio::test(start_paused = true)]
async fn report_counts_what_arrived_after_t0_and_when_the_last_did() {
    let shutdown = ShutdownCoordinator::new(thirty_seconds());
    let handle = shutdown.handle();
    let layer = DrainLayer::new(&handle);
    let request = || layer.layer(ok()).oneshot(get("/"));
    request().await.unwrap();
    handle.shutdown("test");
    let t0 = Instant::now();
    let run = tokio::spawn(shutdown.run());

    for second in [2, 7] {
        sleep_until(t0 + second * SECOND).await;
        request().await.unwrap();
    }

    let report = run.await.unwrap();
    assert_eq!((report.traffic.served, report.traffic.refused), (2, 0));
    assert_eq!(report.traffic.last_arrival, Some(7 * SECOND));
}

#[tokio::test(start_paused = true)]
async fn report_says_that_nothing_arrived() {
    let shutdown = ShutdownCoordinator::new(thirty_seconds());
    let handle = shutdown.handle();
    let layer = DrainLayer::new(&handle);
    layer.layer(ok()).oneshot(get("/")).await.unwrap();
    handle.shutdown("test");

    let report = shutdown.run().await;

    assert_eq!((report.traffic.served, report.traffic.refused), (0, 0));
    assert_eq!(report.traffic.last_arrival, None);
}

// A tower citizen.

#[tokio::test]
async fn readiness_of_the_inner_service_is_passed_on() {
    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    let layer = DrainLayer::new(&shutdown.handle());
    let mut busy = layer.layer(Busy);
    let mut ready = task::spawn(ServiceExt::<Request<()>>::ready(&mut busy));

    assert_pending!(ready.poll());
}

#[tokio::test]
async fn layer_fits_into_a_stack_and_goes_to_other_threads() {
    fn goes_anywhere<T: Clone + Send + Sync + 'static>(_: &T) {}
    fn can_be_spawned<T: Send + 'static>(_: &T) {}
    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    let handle = shutdown.handle();
    let layer = DrainLayer::new(&handle);
    let with_rules = layer
        .clone()
        .exempt(|head| head.method == Method::OPTIONS)
        .reject(|_, _| Response::new(()));

    let service = ServiceBuilder::new()
        .layer(layer.clone())
        .map_request(|request: Request<()>| request)
        .service_fn(async |_: Request<()>| {
            Ok::<_, io::Error>(Response::new(Full::new(Bytes::new())))
        });
    let response = service.clone().oneshot(get("/"));

    goes_anywhere(&layer);
    goes_anywhere(&with_rules);
    goes_anywhere(&service);
    can_be_spawned(&response);
    can_be_spawned(&response.await.unwrap());
}

/// The whole of a default plan: LameDuck ends 10 s after T0, Drain 16.5 s, Close 23 s, or 28 s if no hook asks for the time of
/// Release, and Release 28 s.
fn thirty_seconds() -> Plan {
    Plan::builder().build().unwrap()
}

fn get(uri: &str) -> Request<()> {
    Request::get(uri).body(()).unwrap()
}

fn versioned(version: Version) -> Request<()> {
    Request::get("/").version(version).body(()).unwrap()
}

fn started(report: &Report, phase: Phase) -> Duration {
    report.phase(phase).unwrap().started
}

fn took(report: &Report, phase: Phase) -> Duration {
    report.phase(phase).unwrap().took
}

/// The text of a data frame.
fn text<E: std::fmt::Debug>(frame: Option<Result<Frame<Bytes>, E>>) -> String {
    let data = frame.unwrap().unwrap().into_data().unwrap();
    String::from_utf8(data.to_vec()).unwrap()
}

type AnswerResult = Result<Response<Empty<Bytes>>, Infallible>;
type Answer = std::future::Ready<AnswerResult>;

/// A handler that answers at once.
fn ok() -> impl Service<
    Request<()>,
    Response = Response<Empty<Bytes>>,
    Error = Infallible,
    Future: Send + 'static,
> + Clone
+ Send
+ Sync
+ 'static {
    service_fn(|_| ready(Ok(Response::new(Empty::new()))))
}

/// A handler that answers at once, and how often it was called.
fn counting() -> (
    Arc<AtomicU32>,
    impl Service<Request<()>, Response = Response<Empty<Bytes>>, Error = Infallible>,
) {
    let calls = Arc::new(AtomicU32::new(0));
    let handler = service_fn({
        let calls = Arc::clone(&calls);
        move |_| {
            calls.fetch_add(1, Ordering::Relaxed);
            ready(Ok(Response::new(Empty::new())))
        }
    });
    (calls, handler)
}

/// A handler that takes its time.
fn slow(
    time: Duration,
) -> impl Service<
    Request<()>,
    Response = Response<Empty<Bytes>>,
    Error = Infallible,
    Future: Send + 'static,
> + Send
+ 'static {
    service_fn(move |_| async move {
        sleep(time).await;
        Ok(Response::new(Empty::new()))
    })
}

/// A handler that never answers.
fn hanging()
-> impl Service<Request<()>, Response = Response<Empty<Bytes>>, Error = Infallible, Future: Send> {
    service_fn(|_| pending())
}

/// A handler that answers once, with `response`.
fn answering<B: Send>(
    response: Response<B>,
) -> impl Service<Request<()>, Response = Response<B>, Error = Infallible, Future: Send> {
    let mut response = Some(response);
    service_fn(move |_| ready(Ok(response.take().expect("called once"))))
}

type Written = mpsc::UnboundedSender<Result<Frame<Bytes>, io::Error>>;

/// A response whose body is written by hand.
fn streaming() -> (
    Written,
    Response<impl Body<Data = Bytes, Error = io::Error> + Unpin + Send>,
) {
    let (frames, mut written) = mpsc::unbounded_channel();
    let stream = stream::poll_fn(move |cx| written.poll_recv(cx));
    (frames, Response::new(StreamBody::new(stream)))
}

/// Starts a request, and gives its status when it is over.
async fn under_way<F, B>(response: F) -> JoinHandle<StatusCode>
where
    F: Future<Output = Result<Response<B>, Infallible>> + Send + 'static,
{
    let task = tokio::spawn(async { response.await.unwrap().status() });
    // It is polled once before this goes on: the tests have one thread, and tasks run in their order.
    tokio::task::yield_now().await;
    task
}

/// A shutdown that stays in a phase until it is told to go on.
struct Stay {
    go_on: oneshot::Sender<()>,
    run: JoinHandle<Arc<Report>>,
}

impl Stay {
    /// Triggers the shutdown, and comes back when it is in `phase`.
    async fn within(phase: Phase, shutdown: ShutdownCoordinator) -> Stay {
        let handle = shutdown.handle();
        let (go_on, gone_on) = oneshot::channel::<()>();
        let hook = async move || gone_on.await.expect("`end` is called");
        shutdown.hook(phase, "stay", hook).unwrap();
        handle.shutdown("test");
        let run = tokio::spawn(shutdown.run());
        handle.reached(phase).await;
        Stay { go_on, run }
    }

    async fn end(self) -> Arc<Report> {
        self.go_on.send(()).expect("the hook waits for this");
        self.run.await.unwrap()
    }
}

/// A body of 3 to 9 bytes.
struct Vague;

impl Body for Vague {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Pending
    }

    fn size_hint(&self) -> SizeHint {
        let mut hint = SizeHint::new();
        hint.set_lower(3);
        hint.set_upper(9);
        hint
    }
}

/// A body that ends at once, and owns something.
struct Owning(Witness);

impl Body for Owning {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let _ = &self.0;
        Poll::Ready(None)
    }
}

/// Notes what is in flight when it is dropped.
struct Witness {
    handle: ShutdownHandle,
    seen: Arc<AtomicU64>,
}

impl Witness {
    fn new(handle: &ShutdownHandle) -> Self {
        Witness {
            handle: handle.clone(),
            seen: Arc::new(AtomicU64::new(u64::MAX)),
        }
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        self.seen.store(self.handle.in_flight(), Ordering::Relaxed);
    }
}

/// A service that is never ready.
#[derive(Debug)]
struct Busy;

impl Service<Request<()>> for Busy {
    type Response = Response<Empty<Bytes>>;
    type Error = Infallible;
    type Future = Answer;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Pending
    }

    fn call(&mut self, _: Request<()>) -> Answer {
        unreachable!("it is never ready")
    }
}
