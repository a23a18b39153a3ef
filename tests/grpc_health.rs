//! gRPC's health service, with tonic's own client.

#![cfg(all(feature = "hyper", feature = "tonic"))]

use std::time::Duration;

use lameduck::{Phase, Plan, ShutdownCoordinator};
use tokio::time::timeout;
use tonic::Code;
use tonic::service::Routes;
use tonic::transport::Endpoint;
use tonic_health::ServingStatus;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

const PATIENCE: Duration = Duration::from_secs(30);
const SERVING: i32 = 1;
const NOT_SERVING: i32 = 2;

// Case 52.
#[tokio::test]
async fn a_watch_learns_at_the_trigger_and_ends_with_unavailable() {
    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    let handle = shutdown.handle();
    let (health, server) = lameduck::grpc::health(&handle).unwrap();
    assert!(lameduck::grpc::health(&handle).is_err(), "the second one");
    health
        .set_service_status("shop.Orders", ServingStatus::Serving)
        .await;
    let listener = lameduck::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    lameduck::serve(listener, Routes::new(server), &handle);
    let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
    let mut client = HealthClient::new(endpoint.connect().await.unwrap());
    let request = HealthCheckRequest {
        service: "shop.Orders".to_owned(),
    };
    let mut watch = client.watch(request).await.unwrap().into_inner();
    let first = timeout(PATIENCE, watch.message()).await.unwrap().unwrap();

    handle.shutdown("test");
    let run = tokio::spawn(shutdown.run());
    let second = timeout(PATIENCE, watch.message()).await.unwrap();
    let end = match &second {
        Ok(Some(_)) => timeout(PATIENCE, watch.message()).await.unwrap(),
        _ => second.clone(),
    };
    health
        .set_service_status("shop.Orders", ServingStatus::Serving)
        .await;
    let report = timeout(PATIENCE, run).await.unwrap().unwrap();

    assert_eq!(first.unwrap().status, SERVING);
    // With this plan its moment may come in the same instant.
    if let Ok(Some(second)) = second {
        assert_eq!(second.status, NOT_SERVING);
    }
    assert_eq!(end.unwrap_err().code(), Code::Unavailable);
    assert!(report.is_clean(), "{report}");
    assert_eq!((report.long.told, report.long.cut), (1, 0));
}

// Case 52: what is set later is ignored, of services that were known and of new ones.
#[tokio::test]
async fn nobody_can_set_it_back() {
    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    let handle = shutdown.handle();
    let (health, server) = lameduck::grpc::health(&handle).unwrap();
    let listener = lameduck::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    lameduck::serve(listener, Routes::new(server), &handle);
    // A connection each: the first is asked to leave at the trigger.
    let check = async |name: &str| {
        let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
        let mut client = HealthClient::new(endpoint.connect().await.unwrap());
        let service = name.to_owned();
        let checked = client.check(HealthCheckRequest { service }).await;
        checked.map(|checked| checked.into_inner().status)
    };
    assert_eq!(check("").await.unwrap(), SERVING);
    // Calls are served while this holds Drain.
    let guard = handle.guard();

    handle.shutdown("test");
    let run = tokio::spawn(shutdown.run());
    timeout(PATIENCE, handle.reached(Phase::Drain))
        .await
        .unwrap();
    health.set_service_status("", ServingStatus::Serving).await;
    health
        .set_service_status("shop.Orders", ServingStatus::Serving)
        .await;

    assert_eq!(check("").await.unwrap(), NOT_SERVING);
    assert_eq!(check("shop.Orders").await.unwrap(), NOT_SERVING);
    health.clear_service_status("shop.Orders").await;
    assert_eq!(
        check("shop.Orders").await.unwrap_err().code(),
        Code::NotFound
    );
    drop(guard);
    timeout(PATIENCE, run).await.unwrap().unwrap();
}
