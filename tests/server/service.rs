//! What can be served, and what a server can be told.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::extract::ConnectInfo;
use axum::http::{Request, Response};
use axum::routing::get;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use lameduck::{Phase, Plan, Server, ShutdownCoordinator};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use crate::support::*;

#[tokio::test(start_paused = true)]
async fn a_tower_service_that_is_not_axum_is_served() {
    let service = tower::service_fn(async |request: Request<Incoming>| {
        let body = Full::new(Bytes::from(request.uri().path().to_owned()));
        Ok::<_, Infallible>(Response::new(body))
    });
    let (shutdown, handle) = coordinator(Plan::immediate());
    let listener = lameduck::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();

    lameduck::serve(listener, service, &handle);
    let response = Client::connect(address).await.get("/path").await;

    assert_eq!(response.text(), "/path");
    assert!(soon(begin(shutdown)).await.unwrap().is_clean());
}

#[tokio::test(start_paused = true)]
async fn a_service_that_fails_ends_its_connection_and_is_counted_down() {
    let service = tower::service_fn(async |_: Request<Incoming>| {
        Err::<Response<Full<Bytes>>, _>(std::io::Error::other("the test's own failure"))
    });
    let (shutdown, handle) = coordinator(Plan::immediate());
    let listener = lameduck::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    lameduck::serve(listener, service, &handle);

    let mut client = Client::connect(address).await;
    client.ask("/").await;
    let ended = client.end().await.unwrap();
    settle().await;

    assert_eq!(ended, b"");
    assert_eq!((handle.connections(), handle.in_flight()), (0, 0));
    assert!(soon(begin(shutdown)).await.unwrap().is_clean());
}

// The request is in flight while the service is not ready, too.
#[tokio::test(start_paused = true)]
async fn a_request_that_waits_for_its_service_to_be_ready_is_in_flight() {
    let inner = tower::service_fn(async |_: Request<Incoming>| {
        Ok::<_, Infallible>(Response::new(Full::new(Bytes::from("hello"))))
    });
    let permits = Arc::new(tokio::sync::Semaphore::new(1));
    let service = tower::limit::GlobalConcurrencyLimitLayer::with_semaphore(Arc::clone(&permits));
    let service = tower::Layer::layer(&service, inner);
    let (shutdown, handle) = coordinator(Plan::immediate());
    let listener = lameduck::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    lameduck::serve(listener, service, &handle);
    let taken = permits.acquire().await.unwrap();
    let mut client = Client::connect(address).await;
    client.ask("/").await;
    settle().await;

    let run = begin(shutdown);
    settle().await;
    let waiting = (handle.phase(), handle.in_flight());
    drop(taken);

    assert_eq!(waiting, (Some(Phase::Drain), 1));
    assert_eq!(client.response().await.text(), "hello");
    assert!(soon(run).await.unwrap().is_clean());
}

#[tokio::test(start_paused = true)]
async fn connect_info_is_extracted_from_the_request_extension() {
    let app = Router::new().route(
        "/",
        get(async |ConnectInfo(peer): ConnectInfo<SocketAddr>| peer.to_string()),
    );
    let (_shutdown, handle) = coordinator(Plan::immediate());
    let listener = lameduck::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();

    Server::new(&handle)
        .request_extension(|_, peer: &SocketAddr| ConnectInfo(*peer))
        .serve(listener, app);
    let mut client = Client::connect(address).await;
    let response = client.get("/").await;

    assert_eq!(response.text(), client.address().to_string());
}

#[tokio::test(start_paused = true)]
async fn without_a_request_extension_none_is_inserted() {
    let service = tower::service_fn(async |request: Request<Incoming>| {
        let body = request.extensions().len().to_string();
        Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(body))))
    });
    let (_shutdown, handle) = coordinator(Plan::immediate());
    let listener = lameduck::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();

    lameduck::serve(listener, service, &handle);
    let response = Client::connect(address).await.get("/").await;

    assert_eq!(response.text(), "0");
}

#[tokio::test(start_paused = true)]
async fn hypers_settings_can_be_changed() {
    let (_shutdown, handle) = coordinator(Plan::immediate());
    let listener = lameduck::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();

    Server::new(&handle)
        .http1(|http1| {
            http1.title_case_headers(true).keep_alive(false);
        })
        .http2(|http2| {
            http2.max_concurrent_streams(1);
        })
        .serve(listener, hello());
    let mut client = Client::connect(address).await;
    client.ask("/").await;
    let all = String::from_utf8(client.end().await.unwrap()).unwrap();

    assert!(all.contains("Content-Length: 5"), "{all}");
}

// tonic's own server is not needed: its routes are a tower service.
#[tokio::test(start_paused = true)]
async fn tonic_routes_are_served_and_leave_well() {
    let (shutdown, handle) = coordinator(cluster());
    let (_reporter, health) = tonic_health::server::health_reporter();
    let listener = lameduck::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    lameduck::serve(listener, tonic::service::Routes::new(health), &handle);
    ready(&handle).await;
    let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{address}")).unwrap();
    let mut client = HealthClient::new(soon(endpoint.connect()).await.unwrap());
    let check = || HealthCheckRequest::default();
    let before = soon(client.check(check())).await.unwrap();

    let run = begin(shutdown);
    let during = soon(client.check(check())).await.unwrap();
    let report = soon(run).await.unwrap();

    assert_eq!(before.into_inner().status, 1);
    assert_eq!(during.into_inner().status, 1);
    assert!(report.is_clean());
    assert!(about(report.took, seconds(10)), "{report}");
    assert_eq!((report.traffic.served, report.connections.cut), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn probes_on_the_services_own_listener_are_no_traffic() {
    let (shutdown, handle) = coordinator(cluster());
    let app = hello().route_service("/livez", lameduck::liveness(&handle));
    let (address, _) = start(app, &handle).await;

    let run = begin(shutdown);
    for path in ["/livez", "/"] {
        let mut client = Client::connect(address).await;
        client.ask(path).await;
        assert_eq!(client.response().await.status, 200, "{path}");
    }
    let report = soon(run).await.unwrap();

    assert_eq!(report.traffic.served, 1);
    assert_eq!(report.traffic.per_second, [1]);
}

// Case 21.
#[tokio::test(start_paused = true)]
async fn a_handler_may_trigger_the_shutdown_and_is_answered() {
    let (shutdown, handle) = coordinator(Plan::immediate());
    let calls = Arc::new(AtomicUsize::new(0));
    let app = Router::new().route("/", {
        let (handle, calls) = (handle.clone(), Arc::clone(&calls));
        get(async move || {
            calls.fetch_add(1, Ordering::Relaxed);
            handle.shutdown("asked by a handler").to_string()
        })
    });
    let (address, _) = start(app, &handle).await;
    let mut client = Client::connect(address).await;
    client.ask("/").await;

    let report = soon(shutdown.run()).await;
    let response = client.response().await;

    assert_eq!((response.status, response.text()), (200, "true"));
    assert!(report.is_clean());
    assert_eq!(calls.load(Ordering::Relaxed), 1);
}

// Case 80.
#[tokio::test]
#[should_panic(expected = "there is no reactor running")]
async fn serving_outside_a_runtime_panics() {
    let listener = lameduck::bind("127.0.0.1:0").await.unwrap();
    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    let handle = shutdown.handle();

    let outside = std::thread::spawn(move || drop(lameduck::serve(listener, hello(), &handle)));

    if let Err(panic) = outside.join() {
        std::panic::resume_unwind(panic);
    }
}
