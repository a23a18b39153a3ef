//! axum's extractors: under a server of ours, under a layer, and under neither.

#![cfg(feature = "axum")]

use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use axum::routing::get;
use http_body_util::BodyExt;
use lameduck::{DrainLayer, Moment, Plan, ShutdownCoordinator, ShutdownHandle};
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
        "this request came neither through a server of lameduck nor through its layer"
    );
}

#[tokio::test]
async fn a_handler_may_do_without() {
    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    let layer = DrainLayer::new(&shutdown.handle());

    assert_eq!(ask(app(), "/maybe").await.1, "false false");
    assert_eq!(ask(app().layer(layer), "/maybe").await.1, "true true");
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
