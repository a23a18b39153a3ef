//! The layer: how requests are counted and refused.

use std::fmt;
use std::time::Duration;

use http::Response;
use tower_layer::Layer;

use super::rules::{Exempt, Reject, Rules, unavailable};
use super::service::DrainService;
use crate::handle::ShutdownHandle;
use crate::http::traffic::RequestHead;
use crate::phase::Phase;

/// Counts the requests that pass, so that Drain waits for them; a [`tower_layer::Layer`] for any server.
///
/// - A request is in flight from before the inner service is called until its response's body is over, has failed, or is
///   dropped.
/// - From T0 on every HTTP/1 response says `Connection: close`. HTTP/2 has no such header; there the server has to send
///   GOAWAY.
/// - From Release on a request gets 503 with `Retry-After` before the inner service is called: what it needs is being
///   closed. [`refuse_from`](DrainLayer::refuse_from) lets that begin earlier.
///
/// Under [`serve`](crate::serve) the layer is not needed: it counts by itself, and with both each request counts twice. The
/// layer is for somebody else's server:
///
/// ```
/// # use lameduck::{DrainLayer, Phase, Plan, ShutdownCoordinator};
/// # use axum::{Router, routing::get};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let shutdown = ShutdownCoordinator::new(Plan::immediate());
/// # let handle = shutdown.handle();
/// let app = Router::new()
///     .route("/", get(|| async { "hello" }))
///     .layer(DrainLayer::new(&handle));
/// let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
/// let server = axum::serve(listener, app).with_graceful_shutdown(handle.reached(Phase::Drain));
/// tokio::spawn(server.into_future());
/// # handle.shutdown("example");
/// // Not for the server's end: it waits for ever for a client that never goes away.
/// let report = shutdown.run().await;
/// # assert!(report.is_clean());
/// # Ok(())
/// # }
/// ```
///
/// Making a layer says that requests are served here, so LameDuck has something to wait for.
///
/// The layer sees requests, not connections: an upgraded connection (a WebSocket) is over for it when the `101` is sent.
/// Take a [`long_guard`](ShutdownHandle::long_guard) in the handler for that. Event streams are ended at their moment; another
/// stream that does not end by itself (gRPC's health `Watch`) holds Drain to its deadline unless it is marked as
/// [`LongLived`](crate::LongLived).
///
/// A layer that outlives its coordinator refuses everything.
#[derive(Clone)]
pub struct DrainLayer<E = Exempt, R = Reject> {
    rules: Rules<E, R>,
}

impl DrainLayer {
    /// A layer that counts every request.
    #[must_use]
    pub fn new(handle: &ShutdownHandle) -> Self {
        handle.shared.routing.serve();
        DrainLayer {
            rules: Rules {
                tracker: handle.shared.tracker(),
                carry: false,
                refuse_from: None,
                agents: handle.shared.probe_agents(),
                exempt: |_| false,
                reject: |_, retry_after| unavailable(retry_after),
            },
        }
    }
}

impl<E, R> DrainLayer<E, R> {
    /// Says which requests are exempt: probes of your own, metrics. An exempt request is
    ///
    /// - not counted, and never refused,
    /// - waited for neither by Drain nor by Close,
    /// - no traffic: it neither keeps LameDuck from being over early ([`LeaveEarly`](crate::LeaveEarly)) nor does it count as an
    ///   arrival in the report.
    ///
    /// One rule for all of these: a request that is not waited for must not be turned away while others are, nor the reverse.
    ///
    /// Under a server of ours, or another layer of the same coordinator, the request is exempt there as well, from the moment at
    /// which this layer is called. [`Server::exempt`](crate::Server::exempt) knows earlier. What is exempt around this layer is
    /// exempt here. This crate's probes, and `Check` of gRPC's health service, are exempt without a rule. But whoever refuses requests
    /// has not called what is within by then: this layer [refuses](DrainLayer::refuse_from) probes, and a server around it what this
    /// layer exempts.
    ///
    /// The rule is called once for each request. By default none is exempt.
    #[must_use]
    pub fn exempt<F>(self, exempt: F) -> DrainLayer<F, R>
    where
        F: Fn(RequestHead<'_>) -> bool + Clone,
    {
        DrainLayer {
            rules: Rules {
                tracker: self.rules.tracker,
                carry: self.rules.carry,
                refuse_from: self.rules.refuse_from,
                agents: self.rules.agents,
                exempt,
                reject: self.rules.reject,
            },
        }
    }

    /// Puts a context into the extensions of each request, for handlers that run in a task of their own: where a middleware
    /// spawns them, or in a `LocalSet`; and for services that tower's `Buffer` calls. There it is found by [`Moment::of`],
    /// [`ShutdownHandle::of`] and axum's extractors, and what [`LongLivedLayer`](crate::layer::LongLivedLayer) marks lasts.
    ///
    /// Off by default, because it costs each request some allocations. With several layers of one coordinator, or a layer under
    /// [`Server`](crate::Server), set it on each: whoever counts the request without it does not learn that it lasts, nor that it is
    /// [exempt](DrainLayer::exempt).
    ///
    /// [`Moment::of`]: crate::Moment::of
    #[must_use]
    pub fn context_in_extensions(mut self) -> Self {
        self.rules.carry = true;
        self
    }

    /// From this phase on, refuses each new request with 503 and `Retry-After` before the inner service is called, on HTTP/1 with
    /// `Connection: close`: for a gateway whose requests cost a GPU. [`reject`](DrainLayer::reject) changes the answer. Requests
    /// that began before are finished, and exempt ones are never refused.
    ///
    /// By default, and with a phase after Release, requests are refused from Release on. A refused request is lost unless its
    /// client, or a proxy in front, tries it again elsewhere. So with [`Phase::LameDuck`] on Kubernetes, where traffic still
    /// comes for some seconds after SIGTERM, each of those requests gets 503; [`Phase::Drain`] refuses those that come after
    /// routing has had its time to move. Probes that pass the layer are refused, too, unless they are
    /// [`exempt`](DrainLayer::exempt).
    ///
    /// The report counts them ([`Traffic::refused`](crate::report::Traffic::refused)). They are evidence of traffic, so
    /// [`leave_early`](crate::PlanBuilder::leave_early) waits until none comes.
    #[must_use]
    pub fn refuse_from(mut self, phase: Phase) -> Self {
        self.rules.refuse_from = Some(phase);
        self
    }

    /// Makes the answer to a request that comes too late, instead of 503 with `Retry-After` (RFC 9110, sections 15.6.4 and
    /// 10.2.3). The closure is given the time after which to try again, 1 to 3 s, drawn anew for each answer; it sets the
    /// header itself, if it wants one. The answer has no body.
    #[must_use]
    pub fn reject<F>(self, reject: F) -> DrainLayer<E, F>
    where
        F: Fn(RequestHead<'_>, Duration) -> Response<()> + Clone,
    {
        DrainLayer {
            rules: Rules {
                tracker: self.rules.tracker,
                carry: self.rules.carry,
                refuse_from: self.rules.refuse_from,
                agents: self.rules.agents,
                exempt: self.rules.exempt,
                reject,
            },
        }
    }
}

impl<S, E: Clone, R: Clone> Layer<S> for DrainLayer<E, R> {
    type Service = DrainService<S, E, R>;

    fn layer(&self, inner: S) -> Self::Service {
        DrainService::new(inner, self.rules.clone())
    }
}

impl<E, R> fmt::Debug for DrainLayer<E, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DrainLayer").finish_non_exhaustive()
    }
}
