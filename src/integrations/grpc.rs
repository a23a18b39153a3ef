//! gRPC's health service, for a process that is going to leave.
//!
//! Clients that watch it (gRPC's own client-side health checks, Envoy) send their next calls elsewhere as soon as it says
//! NOT_SERVING. So it does at the trigger, and nobody can set it back.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Request, Response};
use tokio::sync::Mutex;
use tonic::body::Body;
use tonic::server::NamedService;
use tonic_health::ServingStatus;
use tonic_health::pb::health_server::HealthServer as TonicServer;
use tonic_health::server::{HealthReporter as TonicReporter, HealthService};
use tower_layer::Layer;
use tower_service::Service;

use crate::handle::ShutdownHandle;
use crate::hook::HookError;
use crate::http::current::Current;
use crate::http::request::{
    LongLived, LongLivedFuture, LongLivedLayer, LongLivedService, RequestHead,
};
use crate::phase::Phase;

/// The name of the hook that [`health`] registers.
const HOOK: &str = "gRPC health";
/// The overall health, in gRPC's health checking protocol.
const OVERALL: &str = "";

/// gRPC's health service (`grpc.health.v1.Health`), and what sets it. The overall health, the service named "", is serving.
///
/// At the trigger every service becomes NOT_SERVING, which is pushed to those who watch; what is set later is ignored. A watch
/// lasts: it is ended at its moment, with UNAVAILABLE, and does not hold Drain.
///
/// ```no_run
/// # async fn example(handle: lameduck::ShutdownHandle) -> Result<(), Box<dyn std::error::Error>> {
/// use tonic::service::Routes;
///
/// let (health, server) = lameduck::grpc::health(&handle)?;
/// health.set_service_status("shop.Orders", tonic_health::ServingStatus::Serving).await;
///
/// let listener = lameduck::bind("0.0.0.0:50051").await?;
/// lameduck::serve(listener, Routes::new(server), &handle);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// It registers a hook of LameDuck, `gRPC health`: a second one, or a shutdown that has gone further, is a [`HookError`].
pub fn health(handle: &ShutdownHandle) -> Result<(HealthReporter, HealthServer), HookError> {
    let reporter = HealthReporter {
        inner: TonicReporter::new(),
        names: Arc::new(Mutex::new(Names {
            leaving: handle.is_shutting_down(),
            all: BTreeSet::from([OVERALL.to_owned()]),
        })),
    };
    let mark = LongLivedLayer::new(LongLived::new().end_at_moment());
    let service = HealthService::from_health_reporter(reporter.inner.clone());
    let server = HealthServer {
        inner: mark
            .when(is_watch as fn(RequestHead<'_>) -> bool)
            .layer(TonicServer::new(service)),
    };
    // What it answers is not seen, so it may have said that traffic may come.
    handle.shared.routing.answered();
    let leaving = reporter.clone();
    handle.hook(Phase::LameDuck, HOOK, async move || leaving.leave().await)?;
    Ok((reporter, server))
}

fn is_watch(head: RequestHead<'_>) -> bool {
    head.uri.path().ends_with("/Watch")
}

/// Sets what the health service says of each service. Made by [`health`].
#[derive(Clone)]
pub struct HealthReporter {
    inner: TonicReporter,
    /// Locked while the inner one is changed: what is set has its place before the trigger, or comes too late.
    names: Arc<Mutex<Names>>,
}

struct Names {
    leaving: bool,
    all: BTreeSet<String>,
}

impl HealthReporter {
    /// Sets the status of the service `S`. See [`set_service_status`](HealthReporter::set_service_status).
    pub async fn set_serving<S: NamedService>(&self) {
        self.set_service_status(S::NAME, ServingStatus::Serving)
            .await;
    }

    /// Sets the status of the service `S`. See [`set_service_status`](HealthReporter::set_service_status).
    pub async fn set_not_serving<S: NamedService>(&self) {
        self.set_service_status(S::NAME, ServingStatus::NotServing)
            .await;
    }

    /// Sets the status of the service with this name; "" is the overall health. Once the process is leaving it is NOT_SERVING
    /// whatever is set.
    pub async fn set_service_status(&self, name: impl Into<String>, status: ServingStatus) {
        let name = name.into();
        let mut names = self.names.lock().await;
        let status = match names.leaving {
            true => ServingStatus::NotServing,
            false => status,
        };
        self.inner.set_service_status(&name, status).await;
        names.all.insert(name);
    }

    /// Forgets the service with this name: who asks for it learns that it is unknown.
    pub async fn clear_service_status(&self, name: &str) {
        let mut names = self.names.lock().await;
        self.inner.clone().clear_service_status(name).await;
        names.all.remove(name);
    }

    async fn leave(&self) {
        let mut names = self.names.lock().await;
        names.leaving = true;
        for name in &names.all {
            self.inner
                .set_service_status(name, ServingStatus::NotServing)
                .await;
        }
    }
}

impl fmt::Debug for HealthReporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HealthReporter").finish_non_exhaustive()
    }
}

/// gRPC's health service: a tower service for tonic's `Routes`. Made by [`health`].
#[derive(Clone)]
pub struct HealthServer {
    inner: LongLivedService<TonicServer<HealthService>, fn(RequestHead<'_>) -> bool>,
}

impl NamedService for HealthServer {
    const NAME: &'static str = <TonicServer<HealthService> as NamedService>::NAME;
}

impl Service<Request<Body>> for HealthServer {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = LongLivedFuture<<TonicServer<HealthService> as Service<Request<Body>>>::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Service::<Request<Body>>::poll_ready(&mut self.inner, cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        match is_watch(RequestHead::from(&request)) {
            true => Current::mark_probe(),
            false => Current::mark_exempt(),
        }
        self.inner.call(request)
    }
}

impl fmt::Debug for HealthServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HealthServer").finish_non_exhaustive()
    }
}
