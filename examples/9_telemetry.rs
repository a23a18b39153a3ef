//! Telemetry of a service that is leaving: metrics that are scraped to the very end, traces that are flushed in Exit.
//!
//! ```console
//! $ cargo run --features metrics --example telemetry
//! listening on 127.0.0.1:3000, metrics and probes on 127.0.0.1:3001
//! $ curl http://127.0.0.1:3000/ & curl http://127.0.0.1:3001/metrics
//! ```
//!
//! Then press Ctrl-C, or send SIGTERM, and ask for the metrics again: `lameduck_phase` says how far it has come. The admin
//! listener answers until the process ends. The spans, which OpenTelemetry keeps until there are enough of them, are printed in
//! Exit, after everything that may make one: on a thread of their own, because exporters block, and for half a second at most.

use std::error::Error;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use lameduck::{Phase, Plan, ShutdownCoordinator};
use metrics_exporter_prometheus::PrometheusBuilder;
use opentelemetry::trace::{Tracer, TracerProvider};
use opentelemetry_sdk::trace::SdkTracerProvider;
use tokio::time::sleep;

#[tokio::main]
async fn main() -> Result<ExitCode, Box<dyn Error>> {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .init();
    let mut args = std::env::args().skip(1);
    let address = args.next().unwrap_or("127.0.0.1:3000".to_owned());
    let admin_address = args.next().unwrap_or("127.0.0.1:3001".to_owned());

    let shutdown = ShutdownCoordinator::new(Plan::from_env()?);
    let handle = shutdown.handle();
    lameduck::signal::listen(&handle)?;

    // A real service has an exporter that sends spans to a collector in its place. It blocks as well.
    let traces = SdkTracerProvider::builder()
        .with_batch_exporter(opentelemetry_stdout::SpanExporter::default())
        .build();
    let tracer = traces.tracer("service");
    let flush = move || traces.shutdown();
    let bounded = Phase::Exit.timeout(Duration::from_millis(500));
    shutdown.try_blocking_hook(bounded, "traces", flush)?;

    let recorder = PrometheusBuilder::new().install_recorder()?;
    let asked = handle.clone();
    let metrics = async move || {
        // So that they are true now.
        asked.publish_metrics();
        recorder.render()
    };
    let admin = lameduck::bind(admin_address.as_str()).await?;
    let admin_at: SocketAddr = admin.local_addr()?;
    let probes = Router::new()
        .route("/metrics", get(metrics))
        .fallback_service(lameduck::probes(&handle));
    lameduck::serve_admin(admin, probes, &handle);

    let work = async move || {
        let span = tracer.start("work");
        sleep(Duration::from_secs(1)).await;
        drop(span);
        "done\n"
    };
    let listener = lameduck::bind(address.as_str()).await?;
    println!(
        "listening on {}, metrics and probes on {admin_at}",
        listener.local_addr()?
    );
    lameduck::serve(listener, Router::new().route("/", get(work)), &handle);

    let report = shutdown.run().await;
    println!("{report}");
    Ok(report.exit_code())
}
