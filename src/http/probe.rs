//! Probes: liveness, readiness, and a path for balancers that probe by themselves.
//!
//! They are plain tower services, and exist only where they are mounted.

use std::convert::Infallible;
use std::fmt::{self, Write};
use std::future::{Ready, ready};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Request, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use tower_service::Service;

use crate::handle::ShutdownHandle;
use crate::http::current::Current;

/// Whether the process is alive: always 200, to the very end. A process that is leaving must not be restarted for it.
#[must_use]
pub fn liveness(handle: &ShutdownHandle) -> Probe {
    Probe::new(handle, Question::Alive)
}

/// Whether requests may be sent here: 503 while a [`NotReady`](crate::NotReady) token is held, and when our listeners have
/// closed ([`ReadinessPolicy::WhileListening`]). With only the layer, under somebody else's listener, that is when nothing
/// from before Close is left.
///
/// For a readiness that fails at T0 mount [`balancer`] in its place.
///
/// Once this is called, a process that nobody has asked does not wait in LameDuck: traffic comes after the first 200. LameDuck
/// is skipped if by T0 neither readiness nor [`balancer`] has answered 200, no request has come, and there is neither a
/// [`ConnectionGroup`](crate::server::ConnectionGroup) nor gRPC's health service, whose requests are not seen. So mount it
/// where it is asked; where something else decides about routing, do not make one.
#[must_use]
pub fn readiness(handle: &ShutdownHandle) -> Probe {
    handle.shared.routing.probe();
    Probe::new(handle, Question::Ready(ReadinessPolicy::default()))
}

/// For balancers that probe by themselves (AWS target groups, HAProxy, Consul) and do not hear of Kubernetes' endpoints:
/// like readiness, but 503 from T0 on, while everything is still served.
#[must_use]
pub fn balancer(handle: &ShutdownHandle) -> Probe {
    Probe::new(handle, Question::Ready(ReadinessPolicy::UntilShutdown))
}

/// All three under one service, for [`serve_admin`](crate::serve_admin): `/livez`, `/readyz`, `/balancerz`. Any other path
/// is 404.
#[must_use]
pub fn probes(handle: &ShutdownHandle) -> Probes {
    Probes {
        liveness: liveness(handle),
        readiness: readiness(handle),
        balancer: balancer(handle),
    }
}

/// How long readiness answers 200 during a shutdown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReadinessPolicy {
    /// While the listener is open, so to the end of Close.
    ///
    /// Kubernetes takes a terminating pod's endpoint out of rotation whatever readiness says. But when no other pod is left
    /// (a single replica, scale to zero), kube-proxy sends traffic to terminating endpoints that are still *ready* as its
    /// last resort (KEP-1669); failing readiness at SIGTERM would make the Service refuse everything.
    #[default]
    WhileListening,
    /// Until T0: for containers that are restarted by a liveness probe, and balancers that only look at readiness.
    UntilShutdown,
}

/// A probe: a tower service that answers with JSON.
///
/// ```json
/// {"status":"ok","phase":"LameDuck","time_left_seconds":21.5,"not_ready":[]}
/// ```
///
/// `phase` and `time_left_seconds`, the time until what is in flight is cut, are `null` in normal service.
#[derive(Clone, Debug)]
pub struct Probe {
    handle: ShutdownHandle,
    question: Question,
}

#[derive(Clone, Copy, Debug)]
enum Question {
    Alive,
    Ready(ReadinessPolicy),
}

impl Probe {
    fn new(handle: &ShutdownHandle, question: Question) -> Self {
        Probe {
            handle: handle.clone(),
            question,
        }
    }

    fn answer(&self) -> Response<ProbeBody> {
        let not_ready = self.handle.not_ready_because();
        let ok = match self.question {
            Question::Alive => true,
            Question::Ready(_) if !not_ready.is_empty() => false,
            Question::Ready(ReadinessPolicy::WhileListening) => {
                !self.handle.shared.listeners_closed()
            }
            Question::Ready(ReadinessPolicy::UntilShutdown) => !self.handle.is_shutting_down(),
        };
        if ok && matches!(self.question, Question::Ready(_)) {
            self.handle.shared.routing.answered();
        }
        let status = if ok {
            StatusCode::OK
        } else {
            StatusCode::SERVICE_UNAVAILABLE
        };
        json(status, self.describe(ok, &not_ready))
    }

    fn describe(&self, ok: bool, not_ready: &[String]) -> String {
        let status = if ok { "ok" } else { "unavailable" };
        let phase = self
            .handle
            .phase()
            .map_or_else(|| "null".to_owned(), |phase| format!("\"{phase}\""));
        let left = self.handle.remaining().map_or_else(
            || "null".to_owned(),
            |left| format!("{:.1}", left.as_secs_f64()),
        );
        let not_ready: Vec<String> = not_ready.iter().map(|why| quoted(why)).collect();
        format!(
            "{{\"status\":\"{status}\",\"phase\":{phase},\"time_left_seconds\":{left},\"not_ready\":[{}]}}\n",
            not_ready.join(",")
        )
    }
}

impl<B> Service<Request<B>> for Probe {
    type Response = Response<ProbeBody>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<B>) -> Self::Future {
        Current::mark_exempt();
        ready(Ok(self.answer()))
    }
}

/// The probes of [`probes`]: a tower service that tells them apart by their path.
#[derive(Clone, Debug)]
pub struct Probes {
    liveness: Probe,
    readiness: Probe,
    balancer: Probe,
}

impl Probes {
    /// Chooses how long `/readyz` answers 200 during a shutdown.
    #[must_use]
    pub fn policy(mut self, policy: ReadinessPolicy) -> Self {
        self.readiness.question = Question::Ready(policy);
        self
    }
}

impl<B> Service<Request<B>> for Probes {
    type Response = Response<ProbeBody>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        Current::mark_exempt();
        ready(Ok(match request.uri().path() {
            "/livez" => self.liveness.answer(),
            "/readyz" => self.readiness.answer(),
            "/balancerz" => self.balancer.answer(),
            _ => json(
                StatusCode::NOT_FOUND,
                "{\"paths\":[\"/livez\",\"/readyz\",\"/balancerz\"]}\n".to_owned(),
            ),
        }))
    }
}

/// A probe's answer.
#[derive(Debug)]
pub struct ProbeBody {
    data: Option<Bytes>,
}

impl Body for ProbeBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.data.take().map(|data| Ok(Frame::data(data))))
    }

    fn is_end_stream(&self) -> bool {
        self.data.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.data.as_ref().map_or(0, |data| data.len() as u64))
    }
}

fn json(status: StatusCode, text: String) -> Response<ProbeBody> {
    let mut response = Response::new(ProbeBody {
        data: Some(text.into()),
    });
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// A JSON string (RFC 8259, section 7).
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            control if control < ' ' => {
                write!(quoted, "\\u{:04x}", u32::from(control)).expect("a string takes everything");
            }
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}

impl fmt::Display for ReadinessPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ReadinessPolicy::WhileListening => "while listening",
            ReadinessPolicy::UntilShutdown => "until shutdown",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn strings_are_escaped() {
        assert_eq!(quoted("a \"b\"\\\n"), r#""a \"b\"\\\u000a""#);
    }
}
