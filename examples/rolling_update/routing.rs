//! What routes to the replicas of a column: a Service, or a proxy.

use std::sync::Arc;

use crate::attempt::Route;
use crate::balancer::{Balancer, Endpoint};
use crate::proxy::Proxy;
use crate::tally::Counts;

#[derive(Clone)]
pub(crate) enum Routing {
    Service(Arc<Balancer>),
    Proxy(Arc<Proxy>),
}

impl Routing {
    pub(crate) fn route(&self) -> Route {
        match self {
            Routing::Service(balancer) => Route::Service(Arc::clone(balancer)),
            Routing::Proxy(proxy) => Route::Proxy(proxy.front()),
        }
    }

    pub(crate) async fn add(&self, endpoint: &Arc<Endpoint>) -> Result<(), String> {
        match self {
            Routing::Service(balancer) => balancer.add(Arc::clone(endpoint)),
            Routing::Proxy(proxy) => proxy.add(Arc::clone(endpoint)).await?,
        }
        Ok(())
    }

    pub(crate) async fn remove(&self, endpoint: &Endpoint) -> Result<(), String> {
        match self {
            Routing::Service(balancer) => balancer.remove(endpoint.number),
            Routing::Proxy(proxy) => proxy.remove(endpoint).await?,
        }
        Ok(())
    }

    /// When nobody talks to it any more: whose the losses are.
    pub(crate) fn account(self, counts: &mut Counts) -> Result<(), String> {
        match self {
            Routing::Service(_) => Ok(()),
            Routing::Proxy(proxy) => Arc::into_inner(proxy)
                .ok_or("somebody still talks to the proxy")?
                .account(counts),
        }
    }
}
