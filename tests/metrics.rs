//! Metrics, as Prometheus sees them.

#![cfg(all(feature = "metrics", feature = "tower"))]

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use lameduck::{DrainLayer, Phase, Plan, ShutdownCoordinator};
use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, SharedString, Unit};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tokio::time::sleep;
use tower::{Layer, ServiceExt, service_fn};

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[tokio::test(start_paused = true)]
async fn a_scrape_sees_how_far_the_shutdown_has_come() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let scrape = recorder.handle();
    let _recording = metrics::set_default_local_recorder(&recorder);
    let shutdown = ShutdownCoordinator::new(Plan::builder().build().unwrap());
    let handle = shutdown.handle();
    let service = DrainLayer::new(&handle).layer(service_fn(async |_: Request<()>| {
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
    }));
    let (work, long) = (
        handle.guard().unwrap(),
        handle.long_guard("socket").unwrap(),
    );

    shutdown
        .hook(Phase::Release, "pool", || sleep(secs(1)))
        .unwrap();

    handle.publish_metrics();
    assert_eq!(value(&scrape, "lameduck_phase"), 0.0);
    assert_eq!(value(&scrape, "lameduck_in_flight{class=\"work\"}"), 1.0);
    assert_eq!(value(&scrape, "lameduck_in_flight{class=\"long\"}"), 1.0);
    let described = scrape.render();
    assert!(described.contains("# HELP lameduck_phase "), "{described}");
    assert!(described.contains("# TYPE lameduck_refused_requests_total counter"));

    handle.shutdown("test");
    let run = tokio::spawn(shutdown.run());
    drop(service.clone().oneshot(Request::new(())).await);
    handle.reached(Phase::Drain).await;
    // Nobody has asked since: the sequence has told it by itself.
    sleep(secs(1)).await;
    assert_eq!(value(&scrape, "lameduck_phase"), 2.0);
    assert_eq!(value(&scrape, "lameduck_late_requests_total"), 1.0);
    assert_eq!(
        value(
            &scrape,
            "lameduck_phase_duration_seconds{phase=\"LameDuck\"}"
        ),
        10.0
    );
    drop(work);
    tokio::spawn({
        let moment = handle.moment();
        async move { drop(moment.await) }
    });
    handle.reached(Phase::Release).await;
    drop(service.oneshot(Request::new(())).await);
    run.await.unwrap();

    assert_eq!(value(&scrape, "lameduck_phase"), 6.0);
    assert_eq!(value(&scrape, "lameduck_refused_requests_total"), 1.0);
    assert_eq!(value(&scrape, "lameduck_told_total"), 1.0);
    assert_eq!(value(&scrape, "lameduck_cut_total{class=\"long\"}"), 1.0);
    assert_eq!(value(&scrape, "lameduck_cut_total{class=\"work\"}"), 0.0);
    drop(long);
}

#[tokio::test(start_paused = true)]
async fn without_a_recorder_nothing_is_lost() {
    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    shutdown.handle().publish_metrics();
    shutdown.handle().shutdown("test");

    assert!(shutdown.run().await.is_clean());
}

/// A recorder that takes nothing.
struct Broken;

impl metrics::Recorder for Broken {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {
        panic!("described")
    }

    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {
        panic!("described")
    }

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, _: &Key, _: &Metadata<'_>) -> Counter {
        panic!("registered")
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        panic!("registered")
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

#[tokio::test(start_paused = true)]
async fn recorder_that_panics_does_not_stop_the_sequence() {
    let _recording = metrics::set_default_local_recorder(&Broken);
    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    shutdown
        .hook(Phase::Release, "pool", || sleep(secs(3)))
        .unwrap();
    shutdown.hook(Phase::Exit, "flush", async || {}).unwrap();
    shutdown.handle().shutdown("test");

    let report = shutdown.run().await;

    assert!(report.is_clean());
    assert_eq!(report.hooks().count(), 2);
}

fn value(scrape: &PrometheusHandle, name: &str) -> f64 {
    let text = scrape.render();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))
        .unwrap_or_else(|| panic!("no {name} in {text}"));
    line.parse().unwrap()
}
