//! gRPC's health service, for a process that is going to leave.
//!
//! Clients that watch it (gRPC's own client-side health checks, Envoy) send their next calls elsewhere as soon as it says
//! NOT_SERVING. So it does at the trigger, and nobody can set it back.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Request, Response};
use tokio::sync::watch;
use tonic::body::Body;
use tonic::codegen::BoxFuture;
use tonic::server::NamedService;
use tonic_health::ServingStatus;
use tonic_health::pb::health_server::HealthServer as TonicServer;
use tower_layer::Layer;
use tower_service::Service;

use super::health::Answers;
use crate::handle::ShutdownHandle;
use crate::hook::HookError;
use crate::http::context;
use crate::http::probe::ReadinessPolicy;
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
/// At the trigger every service that was set becomes NOT_SERVING, which is pushed to those who watch, whether or not
/// [`run`](crate::ShutdownCoordinator::run) has been called; what is set later is ignored. So clients that balance by it go
/// elsewhere. Probes must not ask for these: the kubelet would take the pod out, which may be the last one that serves. Three
/// names are for probes, and follow those of HTTP:
///
/// | service | SERVING |
/// |---|---|
/// | `livez` | always, as [`liveness`](crate::liveness) |
/// | `readyz` | while nobody holds a [`not_ready`](ShutdownHandle::not_ready) token and the listener is open, as [`readiness`](crate::readiness); see [`HealthServer::policy`] |
/// | `balancerz` | while nobody holds a token, to the trigger, as [`balancer`](crate::balancer) |
///
/// `Watch` of them pushes each change. Whoever sets the status of a service of such a name keeps the name until he clears it, in
/// a `Watch` that is open as well. A `Watch` of any other name ends when that is cleared.
///
/// `Check` is exempt, as [`Server::exempt`](crate::Server::exempt) says. `Watch` lasts: it is ended at its moment, with UNAVAILABLE,
/// holds Close and not Drain, and is no traffic either. Where a middleware spawns handlers, a server learns that only with
/// [`context_in_extensions`](crate::Server::context_in_extensions). Both may stay mounted on an admin server, which answers to the end.
///
/// If [`readiness`](crate::readiness) is mounted as well, an answer of SERVING, unless it is to `livez`, counts as its 200: traffic
/// may come, so LameDuck waits.
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
    let overall = (OVERALL.to_owned(), ServingStatus::Serving);
    let reporter = HealthReporter {
        set: Arc::new(watch::Sender::new(BTreeMap::from([overall]))),
    };
    let server = HealthServer::new(Answers {
        handle: handle.clone(),
        reporter: reporter.clone(),
        policy: ReadinessPolicy::default(),
    });
    // It has nothing to do: the trigger is the coordinator's own news. Its name is taken, so that there is one health service.
    handle.hook(Phase::LameDuck, HOOK, async || {})?;
    Ok((reporter, server))
}

fn is_watch(head: RequestHead<'_>) -> bool {
    head.uri.path().ends_with("/Watch")
}

/// Sets what the health service says of each service. Made by [`health`].
#[derive(Clone)]
pub struct HealthReporter {
    set: Arc<watch::Sender<BTreeMap<String, ServingStatus>>>,
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
        self.set.send_modify(|set| {
            set.insert(name, status);
        });
    }

    /// Forgets the service with this name: who asks for it learns that it is unknown, or, of a name that is for probes, what the
    /// probe says.
    pub async fn clear_service_status(&self, name: &str) {
        self.set.send_modify(|set| {
            set.remove(name);
        });
    }

    /// What has been set of the service with this name.
    pub(super) fn status(&self, name: &str) -> Option<ServingStatus> {
        self.set.borrow().get(name).copied()
    }

    /// Changes whenever something is set or cleared, from now on.
    pub(super) fn changes(&self) -> watch::Receiver<BTreeMap<String, ServingStatus>> {
        self.set.subscribe()
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
    inner: LongLivedService<TonicServer<Answers>, fn(RequestHead<'_>) -> bool>,
    answers: Arc<Answers>,
}

impl HealthServer {
    fn new(answers: Answers) -> Self {
        let answers = Arc::new(answers);
        let mark = LongLivedLayer::new(LongLived::new().end_at_moment());
        HealthServer {
            inner: mark
                .when(is_watch as fn(RequestHead<'_>) -> bool)
                .layer(TonicServer::from_arc(Arc::clone(&answers))),
            answers,
        }
    }

    /// Chooses how long `readyz` is SERVING during a shutdown. By default while the listener is open.
    #[must_use]
    pub fn policy(self, policy: ReadinessPolicy) -> Self {
        HealthServer::new(Answers {
            policy,
            ..Answers::clone(&self.answers)
        })
    }
}

impl NamedService for HealthServer {
    const NAME: &'static str = <TonicServer<Answers> as NamedService>::NAME;
}

impl Service<Request<Body>> for HealthServer {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = LongLivedFuture<BoxFuture<Self::Response, Infallible>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Service::<Request<Body>>::poll_ready(&mut self.inner, cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        match is_watch(RequestHead::from(&request)) {
            true => context::mark_probe(request.extensions()),
            false => context::mark_exempt(request.extensions()),
        }
        self.inner.call(request)
    }
}

impl fmt::Debug for HealthServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HealthServer").finish_non_exhaustive()
    }
}
