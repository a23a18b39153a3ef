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
use crate::http::context;
use crate::progress::Snapshot;

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
/// is skipped if by T0 neither readiness nor [`balancer`] has answered 200, gRPC's health service has said SERVING to nobody, no
/// request has come, and there is no [`ConnectionGroup`](crate::server::ConnectionGroup), whose requests are not seen. So mount
/// it where it is asked; where something else decides about routing, do not make one.
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
/// {
///   "status":"ok","phase":"Drain","time_left_seconds":14.2,"not_ready":[],
///   "in_flight":{"work":3,"long_lived":2,"connections":5,"listeners":1},
///   "since_trigger":{"connections_closed":40,"connections_cut":0,"long_lived_told":0}
/// }
/// ```
///
/// It is one line. Fields may be added.
///
/// | field | meaning |
/// |---|---|
/// | `status` | `ok` with 200, `unavailable` with 503 |
/// | `phase` | the phase's name; `null` in normal service, `"Exit"` when the last phase is over |
/// | `time_left_seconds` | the time until what is in flight is cut (Close's deadline); `null` in normal service |
/// | `not_ready` | what was given to [`not_ready`](ShutdownHandle::not_ready), oldest first |
/// | `in_flight.work` | requests, tasks and guards, without long-lived ones |
/// | `in_flight.long_lived` | [long-lived](ShutdownHandle::long_lived) requests and guards |
/// | `in_flight.connections` | open connections of our servers and connection groups |
/// | `in_flight.listeners` | their open listeners |
/// | `since_trigger.connections_closed` | connections that have ended, those that were cut not among them |
/// | `since_trigger.connections_cut` | connections that were cut |
/// | `since_trigger.long_lived_told` | long-lived requests and connections that have been told to end |
///
/// The numbers of `in_flight` are about right: they are sums over counters that move meanwhile. Connections and listeners of
/// admin servers are not in them. On a server that is not an admin server, `in_flight` includes the connection that asks, and its
/// request, unless [`Server::exempt`](crate::Server::exempt) names its path.
///
/// The request is exempt on servers of ours and for layers around it: see [`Server::exempt`](crate::Server::exempt). Where a
/// middleware spawns handlers, that takes [`Server::context_in_extensions`](crate::Server::context_in_extensions).
#[derive(Clone, Debug)]
pub struct Probe {
    handle: ShutdownHandle,
    question: Question,
}

/// What a probe asks, whatever protocol it speaks.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Question {
    Alive,
    Ready(ReadinessPolicy),
}

impl Question {
    /// Whether the answer is yes. A yes to readiness is noted: traffic may come.
    pub(crate) fn ask(self, handle: &ShutdownHandle) -> bool {
        let Question::Ready(policy) = self else {
            return true;
        };
        let shared = &handle.shared;
        let ready = shared.routing.is_ready() && policy.holds(handle);
        if ready {
            shared.routing.answered();
        }
        ready
    }
}

impl ReadinessPolicy {
    fn holds(self, handle: &ShutdownHandle) -> bool {
        match self {
            ReadinessPolicy::WhileListening => !handle.shared.listeners_closed(),
            ReadinessPolicy::UntilShutdown => !handle.is_shutting_down(),
        }
    }
}

impl Probe {
    fn new(handle: &ShutdownHandle, question: Question) -> Self {
        Probe {
            handle: handle.clone(),
            question,
        }
    }

    fn answer(&self) -> Response<ProbeBody> {
        let ok = self.question.ask(&self.handle);
        let status = if ok {
            StatusCode::OK
        } else {
            StatusCode::SERVICE_UNAVAILABLE
        };
        json(status, self.describe(ok))
    }

    fn describe(&self, ok: bool) -> String {
        let status = if ok { "ok" } else { "unavailable" };
        let now = Snapshot::new(&self.handle);
        let phase = or_null(now.phase.map(|phase| format!("\"{phase}\"")));
        let left = self.handle.remaining();
        let left = or_null(left.map(|left| format!("{:.1}", left.as_secs_f64())));
        let not_ready = self.handle.not_ready_because();
        let not_ready: Vec<String> = not_ready.iter().map(|why| quoted(why)).collect();
        let not_ready = not_ready.join(",");
        let Snapshot {
            long_lived,
            connections,
            listeners,
            connections_closed,
            connections_cut,
            long_told,
            ..
        } = now;
        // The two are read one after the other.
        let work = now.in_flight.saturating_sub(long_lived);
        format!(
            "{{\"status\":\"{status}\",\"phase\":{phase},\"time_left_seconds\":{left},\"not_ready\":[{not_ready}],\
             \"in_flight\":{{\"work\":{work},\"long_lived\":{long_lived},\"connections\":{connections},\
             \"listeners\":{listeners}}},\
             \"since_trigger\":{{\"connections_closed\":{connections_closed},\"connections_cut\":{connections_cut},\
             \"long_lived_told\":{long_told}}}}}\n"
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

    fn call(&mut self, request: Request<B>) -> Self::Future {
        context::mark_exempt(request.extensions());
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
        context::mark_exempt(request.extensions());
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

fn or_null(value: Option<String>) -> String {
    value.unwrap_or_else(|| "null".to_owned())
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
