//! axum's extractors: under a server of ours, under a layer, and under neither.

#![cfg(feature = "axum")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response, StatusCode};
use axum::middleware::{Next, from_fn};
use axum::routing::get;
use http_body_util::BodyExt;
use lameduck::{DrainLayer, Moment, Phase, Plan, ShutdownCoordinator, ShutdownHandle};
use tokio::sync::mpsc;
use tower::ServiceExt;

#[tokio::test]
async fn a_handler_is_given_the_handle_and_its_moment() {
    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    let handle = shutdown.handle();
    let app = app().layer(DrainLayer::new(&handle));

    let (status, _) = ask(app, "/leave").await;

    assert_eq!(status, StatusCode::OK);
    assert_eq!(handle.reason().unwrap().to_string(), "requested: asked to");
}

#[tokio::test]
async fn where_nobody_knows_of_a_shutdown_it_is_a_mistake_that_says_so() {
    let (status, text) = ask(app(), "/leave").await;

    assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(
        text,
        "lameduck does not know this request: either it came neither through a server of lameduck nor through its layer, \
         or its handler runs in another task; for that, set `context_in_extensions` on the server or the layer"
    );
}

#[tokio::test]
async fn a_handler_that_a_middleware_spawns_is_given_both_with_the_setting() {
    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    let handle = shutdown.handle();
    let layer = DrainLayer::new(&handle);

    let without = ask(spawning().layer(layer.clone()), "/leave").await;
    let maybe = ask(spawning().layer(layer.clone()), "/maybe").await;
    assert_eq!(without.0, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(maybe.1, "false false");
    assert!(!handle.is_shutting_down());

    let app = spawning().layer(layer.context_in_extensions());
    let maybe = ask(app.clone(), "/maybe").await;
    let (status, _) = ask(app, "/leave").await;
    assert_eq!(maybe.1, "true true");
    assert_eq!(status, StatusCode::OK);
    assert_eq!(handle.reason().unwrap().to_string(), "requested: asked to");
}

// The order in which a layer's settings are called does not matter.
#[tokio::test]
async fn an_exempt_request_that_is_spawned_is_given_both_and_counts_nothing() {
    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    let handle = shutdown.handle();
    let layer = DrainLayer::new(&handle)
        .context_in_extensions()
        .exempt(|_| true)
        .reject(|_, _| Response::new(()));

    let maybe = ask(spawning().layer(layer), "/maybe").await;

    assert_eq!(maybe.1, "true true");
    assert_eq!((handle.in_flight(), handle.long_lived()), (0, 0));
}

#[tokio::test]
async fn a_context_that_outlives_its_coordinator_gives_nothing() {
    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    let layer = DrainLayer::new(&shutdown.handle()).exempt(|_| true);
    drop(shutdown);
    // Whoever has its gauge now is somebody else.
    let _next = ShutdownCoordinator::new(Plan::immediate());

    let app = spawning().layer(layer.context_in_extensions());

    assert_eq!(ask(app, "/maybe").await.1, "false false");
}

#[tokio::test]
async fn with_two_coordinators_a_spawned_handler_is_given_the_inner_one() {
    let [outer, inner] = [(); 2].map(|()| ShutdownCoordinator::new(Plan::immediate()));
    let layer = |shutdown: &ShutdownCoordinator| DrainLayer::new(shutdown).context_in_extensions();
    let asks = get(async |_: Moment, handle: ShutdownHandle| {
        let long = handle.long_lived();
        handle.shutdown("asked to");
        long.to_string()
    });
    let app = Router::new().route("/", asks).layer(from_fn(spawn));

    let (_, long) = ask(app.layer(layer(&inner)).layer(layer(&outer)), "/").await;

    assert_eq!(long, "1");
    assert!(inner.is_shutting_down() && !outer.is_shutting_down());
}

// By its extensions first, then on its thread; and in the other order.
#[tokio::test(start_paused = true)]
async fn a_request_under_a_layer_has_one_moment_whichever_way_it_is_asked_for() {
    let (moments, mut asked) = mpsc::unbounded_channel();
    let current_first = Arc::new(AtomicBool::new(false));
    let asks = async move |request: Request<Body>| {
        let first = current_first.fetch_not(Ordering::Relaxed);
        let of = || Moment::of(request.extensions()).unwrap();
        let current = || Moment::current().unwrap();
        let pair = match first {
            true => (current(), of()),
            false => (of(), current()),
        };
        moments.send(pair).unwrap();
    };
    let plan = Plan::builder().grace_period(Duration::from_secs(30));
    let shutdown = ShutdownCoordinator::new(plan.build().unwrap());
    let handle = shutdown.handle();
    let layer = DrainLayer::new(&handle).context_in_extensions();
    let app = Router::new().route("/", get(asks)).layer(layer);
    ask(app.clone(), "/").await;
    ask(app, "/").await;

    let guard = handle.long_guard("holds Close");
    handle.shutdown("test");
    tokio::spawn(shutdown.run());
    handle.reached(Phase::Close).await;

    // Each says when it comes, once that is known.
    let said = |moment| format!("{moment:?}");
    let [one, other] = [(); 2].map(|()| asked.try_recv().unwrap());
    assert!(said(&one.0).contains("Some"));
    assert_eq!(said(&one.0), said(&one.1));
    assert_eq!(said(&other.0), said(&other.1));
    assert_ne!(said(&one.0), said(&other.0));
    drop(guard);
}

#[tokio::test]
async fn a_handler_may_do_without() {
    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    let layer = DrainLayer::new(&shutdown.handle());

    assert_eq!(ask(app(), "/maybe").await.1, "false false");
    assert_eq!(ask(app().layer(layer), "/maybe").await.1, "true true");
}

/// The same, with handlers that a client which goes away does not cancel.
fn spawning() -> Router {
    app().layer(from_fn(spawn))
}

async fn spawn(request: Request<Body>, next: Next) -> axum::response::Response {
    tokio::spawn(next.run(request)).await.unwrap()
}

fn app() -> Router {
    Router::new()
        .route(
            "/leave",
            get(async |handle: ShutdownHandle, _: Moment| {
                handle.shutdown("asked to");
            }),
        )
        .route(
            "/maybe",
            get(
                async |handle: Option<ShutdownHandle>, moment: Option<Moment>| {
                    format!("{} {}", handle.is_some(), moment.is_some())
                },
            ),
        )
}

async fn ask(app: Router, path: &str) -> (StatusCode, String) {
    let request = Request::get(path).body(Body::empty()).unwrap();
    let response = app.oneshot(request).await.unwrap();
    let status = response.status();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}
