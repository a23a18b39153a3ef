//! A service under a `DrainLayer`, and one that is left of a coordinator that is gone.

use std::convert::Infallible;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use axum::http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Bytes;
use lameduck::{DrainLayer, Plan, ShutdownCoordinator, ShutdownHandle};
use tokio::time::sleep;
use tower::Layer;

use crate::scenario::ms;

type Handler = tower::util::BoxCloneSyncService<Request<u64>, Response<Full<Bytes>>, Infallible>;
pub(super) type Layered = <DrainLayer as Layer<Handler>>::Service;

/// What is left of a coordinator that is gone: its gauge may be the next one's.
pub(super) fn stale_layer() -> Layered {
    let coordinator = ShutdownCoordinator::new(Plan::immediate());
    let handle = coordinator.handle();
    let layered = layered(&handle);
    let guard = handle.guard();
    // In this order: nobody should be told that the coordinator was dropped too early.
    drop((guard, handle));
    layered
}

/// A service whose handler takes as long as the request says.
pub(super) fn layered(handle: &ShutdownHandle) -> Layered {
    let handler = tower::service_fn(async |request: Request<u64>| {
        sleep(ms(request.into_body())).await;
        Ok::<_, Infallible>(Response::new(Full::from("done")))
    });
    DrainLayer::new(handle).layer(Handler::new(handler))
}

pub(super) fn is_refusal<B>(
    response: impl Future<Output = Result<Response<B>, Infallible>>,
) -> bool {
    let response = pin!(response);
    let response = response.poll(&mut Context::from_waker(Waker::noop()));
    matches!(response, Poll::Ready(Ok(response)) if response.status() == StatusCode::SERVICE_UNAVAILABLE)
}
