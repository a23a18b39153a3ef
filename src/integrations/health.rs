//! What gRPC's health service answers: what was set of each service, and of three names what the probes of HTTP answer.

use std::future::pending;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_core::Stream;
use tonic::{Request, Response, Status};
use tonic_health::ServingStatus;
use tonic_health::pb::health_server::Health;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

use super::grpc::HealthReporter;
use crate::handle::ShutdownHandle;
use crate::http::probe::{Question, ReadinessPolicy};

/// Answers `Check` and `Watch`.
#[derive(Clone)]
pub(super) struct Answers {
    pub(super) handle: ShutdownHandle,
    pub(super) reporter: HealthReporter,
    pub(super) policy: ReadinessPolicy,
}

impl Answers {
    /// The status of a service: what was set of it, until the trigger; of a name that is for probes, what the probe says.
    fn status(&self, service: &str) -> Option<ServingStatus> {
        let handle = &self.handle;
        let Some(set) = self.reporter.status(service) else {
            let serving = self.question(service)?.ask(handle);
            return Some(match serving {
                true => ServingStatus::Serving,
                false => ServingStatus::NotServing,
            });
        };
        if handle.is_shutting_down() {
            return Some(ServingStatus::NotServing);
        }
        if set == ServingStatus::Serving {
            // Somebody is told that traffic may come.
            handle.shared.routing.answered();
        }
        Some(set)
    }

    /// What a probe of this name asks.
    fn question(&self, service: &str) -> Option<Question> {
        Some(match service {
            "livez" => Question::Alive,
            "readyz" => Question::Ready(self.policy),
            "balancerz" => Question::Ready(ReadinessPolicy::UntilShutdown),
            _ => return None,
        })
    }
}

#[tonic::async_trait]
impl Health for Answers {
    type WatchStream = WatchStream;

    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        let status = self.status(&request.get_ref().service);
        let status = status.ok_or_else(unknown)?;
        Ok(Response::new(response(status)))
    }

    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<WatchStream>, Status> {
        let service = request.into_inner().service;
        self.status(&service).ok_or_else(unknown)?;
        Ok(Response::new(WatchStream {
            answers: self.clone(),
            service,
            said: None,
            change: None,
        }))
    }
}

fn unknown() -> Status {
    Status::not_found("service not registered")
}

fn response(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse {
        status: status as i32,
    }
}

/// What `Watch` sends: the status of a service, whenever it changes, until it is unknown.
pub(super) struct WatchStream {
    answers: Answers,
    service: String,
    said: Option<ServingStatus>,
    change: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl Stream for WatchStream {
    type Item = Result<HealthCheckResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        loop {
            // Before it is asked: what changes after that is not missed.
            let answers = &this.answers;
            let change = this.change.get_or_insert_with(|| Box::pin(change(answers)));
            let Some(status) = answers.status(&this.service) else {
                return Poll::Ready(None);
            };
            if this.said.replace(status) != Some(status) {
                return Poll::Ready(Some(Ok(response(status))));
            }
            ready!(change.as_mut().poll(cx));
            this.change = None;
        }
    }
}

/// Ready when an answer may have changed since this was called.
fn change(answers: &Answers) -> impl Future<Output = ()> + Send + use<> {
    let shared = &answers.handle.shared;
    let mut set = answers.reporter.changes();
    let mut readiness = shared.routing.readiness();
    let mut stage = shared.progress.moved();
    let closing = shared.progress.close_listeners().clone();
    let are_open = !closing.is_cancelled();
    async move {
        // The handle and the reporter keep the senders alive.
        tokio::select! {
            _ = set.changed() => {}
            _ = readiness.changed() => {}
            _ = stage.changed() => {}
            () = async {
                match are_open {
                    true => closing.cancelled().await,
                    false => pending().await,
                }
            } => {}
        }
    }
}
