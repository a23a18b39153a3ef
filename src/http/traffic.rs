//! What is traffic: the one place that decides.
//!
//! - An **exempt** request is none: it is not counted, refused, waited for or named, and says nothing about routing.
//!   [`Server::exempt`](crate::Server::exempt) and [`DrainLayer::exempt`](crate::DrainLayer::exempt) say which are exempt;
//!   this crate's probes, and `Check` of gRPC's health service, say it of themselves.
//! - A **probe** is counted like any request, and says nothing about routing: it names itself ([`is_probe`]), or it is a `Watch`
//!   of gRPC's health service.
//! - Everything else is traffic.

#[cfg(feature = "hyper")]
use std::{fmt, sync::Arc};

use http::header::USER_AGENT;
use http::{Extensions, HeaderMap, Method, Request, Uri, Version};

/// What a rule sees of a request: that of [`Server::exempt`](crate::Server::exempt), [`DrainLayer`](crate::DrainLayer) or
/// [`LongLivedLayer`](crate::layer::LongLivedLayer).
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct RequestHead<'a> {
    /// The method.
    pub method: &'a Method,
    /// The target. A nested router may have stripped it.
    pub uri: &'a Uri,
    /// The protocol's version.
    pub version: Version,
    /// The headers.
    pub headers: &'a HeaderMap,
    /// What the layers before this one have left here: axum's `MatchedPath`, say.
    pub extensions: &'a Extensions,
}

impl<'a, B> From<&'a Request<B>> for RequestHead<'a> {
    fn from(request: &'a Request<B>) -> Self {
        RequestHead {
            method: request.method(),
            uri: request.uri(),
            version: request.version(),
            headers: request.headers(),
            extensions: request.extensions(),
        }
    }
}

/// Which requests of a server are exempt.
#[cfg(feature = "hyper")]
#[derive(Clone)]
pub(crate) struct ExemptRule(Arc<dyn Fn(RequestHead<'_>) -> bool + Send + Sync>);

#[cfg(feature = "hyper")]
impl ExemptRule {
    pub(crate) fn new(rule: impl Fn(RequestHead<'_>) -> bool + Send + Sync + 'static) -> Self {
        ExemptRule(Arc::new(rule))
    }

    pub(crate) fn exempts<B>(&self, request: &Request<B>) -> bool {
        (self.0)(RequestHead::from(request))
    }
}

#[cfg(feature = "hyper")]
impl fmt::Debug for ExemptRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExemptRule").finish_non_exhaustive()
    }
}

/// How user agents begin that are probes, beside those that are known: see
/// [`ShutdownCoordinator::probe_user_agents`](crate::ShutdownCoordinator::probe_user_agents).
pub(crate) type ProbeAgents = &'static [&'static str];

/// Whether it is a probe of somebody who names itself so: the kubelet, AWS's and Google's balancers, and those of `more`.
///
/// Their arrival says nothing about where traffic is routed.
#[cold]
pub(crate) fn is_probe(headers: &HeaderMap, more: ProbeAgents) -> bool {
    const KNOWN: ProbeAgents = &["kube-probe/", "ELB-HealthChecker/", "GoogleHC/"];
    headers.get(USER_AGENT).is_some_and(|agent| {
        let mut all = KNOWN.iter().chain(more);
        all.any(|probe| agent.as_bytes().starts_with(probe.as_bytes()))
    })
}
