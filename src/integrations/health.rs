//! What gRPC's health service answers: what was set of each service, and of three names what the probes of HTTP answer.

use std::future::pending;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_core::Stream;
use tonic::{Request, Response, Status};
use tonic_health::ServingStatus;
use tonic_health::pb::health_server::Health;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use tonic_health::server::{HealthService, WatchStream as TonicWatch};

use super::grpc::HealthReporter;
use crate::handle::ShutdownHandle;
use crate::http::probe::{Question, ReadinessPolicy};

const SERVING: i32 = ServingStatus::Serving as i32;
const NOT_SERVING: i32 = ServingStatus::NotServing as i32;

/// Answers `Check` and `Watch`.
#[derive(Clone)]
pub(super) struct Answers {
    pub(super) handle: ShutdownHandle,
    pub(super) reporter: HealthReporter,
    pub(super) policy: ReadinessPolicy,
}

impl Answers {
    /// What a service of this name is asked for; `None` if it is somebody's service.
    async fn question(&self, service: &str) -> Option<Question> {
        let question = match service {
            "livez" => Question::Alive,
            "readyz" => Question::Ready(self.policy),
            "balancerz" => Question::Ready(ReadinessPolicy::UntilShutdown),
            _ => return None,
        };
        (!self.reporter.knows(service).await).then_some(question)
    }

    fn set(&self) -> HealthService {
        HealthService::from_health_reporter(self.reporter.inner.clone())
    }
}

#[tonic::async_trait]
impl Health for Answers {
    type WatchStream = WatchStream;

    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        if let Some(question) = self.question(&request.get_ref().service).await {
            return Ok(Response::new(response(question.ask(&self.handle))));
        }
        let answer = self.set().check(request).await?;
        note(&self.handle, answer.get_ref());
        Ok(answer)
    }

    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<WatchStream>, Status> {
        let handle = self.handle.clone();
        let stream = match self.question(&request.get_ref().service).await {
            Some(question) => WatchStream::Follows(Follows {
                handle,
                question,
                said: None,
                change: None,
            }),
            None => {
                let set = self.set().watch(request).await?.into_inner();
                WatchStream::Set { handle, set }
            }
        };
        Ok(Response::new(stream))
    }
}

fn response(serving: bool) -> HealthCheckResponse {
    let status = if serving { SERVING } else { NOT_SERVING };
    HealthCheckResponse { status }
}

/// Somebody has been told that traffic may come.
fn note(handle: &ShutdownHandle, answer: &HealthCheckResponse) {
    if answer.status == SERVING {
        handle.shared.routing.answered();
    }
}

/// What `Watch` sends.
pub(super) enum WatchStream {
    /// What is set of a service.
    Set {
        handle: ShutdownHandle,
        set: TonicWatch,
    },
    /// What a probe answers.
    Follows(Follows),
}

impl Stream for WatchStream {
    type Item = Result<HealthCheckResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        match &mut *self {
            WatchStream::Set { handle, set } => {
                let next = ready!(Pin::new(set).poll_next(cx));
                if let Some(Ok(answer)) = &next {
                    note(handle, answer);
                }
                Poll::Ready(next)
            }
            WatchStream::Follows(follows) => follows.poll_next(cx).map(|next| Some(Ok(next))),
        }
    }
}

/// The answer to a question, whenever it changes.
pub(super) struct Follows {
    handle: ShutdownHandle,
    question: Question,
    said: Option<bool>,
    change: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl Follows {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<HealthCheckResponse> {
        loop {
            // Before it is asked: what changes after that is not missed.
            let handle = &self.handle;
            let change = self.change.get_or_insert_with(|| Box::pin(change(handle)));
            let answer = self.question.ask(handle);
            if self.said.replace(answer) != Some(answer) {
                return Poll::Ready(response(answer));
            }
            ready!(change.as_mut().poll(cx));
            self.change = None;
        }
    }
}

/// Ready when an answer may have changed since this was called.
fn change(handle: &ShutdownHandle) -> impl Future<Output = ()> + Send + use<> {
    let mut readiness = handle.shared.routing.readiness();
    let mut stage = handle.shared.progress.moved();
    let closing = handle.shared.progress.close_listeners().clone();
    let are_open = !closing.is_cancelled();
    async move {
        // The handle keeps the senders alive.
        tokio::select! {
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
