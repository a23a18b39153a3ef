//! What tonic-build would generate for a service `Clock` with the methods `Greet` and `Tick`, in short.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use tonic::body::Body;
use tonic::server::{Grpc, NamedService};
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;
use tower::{Service, service_fn};

pub(super) type Ticks = BoxStream<'static, Result<String, Status>>;

#[tonic::async_trait]
pub(super) trait Clock: Send + Sync + 'static {
    async fn greet(&self, request: Request<String>) -> Result<Response<String>, Status>;
    async fn tick(&self, request: Request<String>) -> Result<Response<Ticks>, Status>;
}

#[derive(Debug)]
pub(super) struct ClockServer<T>(Arc<T>);

impl<T> ClockServer<T> {
    pub(super) fn new(clock: T) -> Self {
        ClockServer(Arc::new(clock))
    }
}

impl<T> Clone for ClockServer<T> {
    fn clone(&self) -> Self {
        ClockServer(self.0.clone())
    }
}

impl<T> NamedService for ClockServer<T> {
    const NAME: &'static str = "example.Clock";
}

impl<T: Clock> Service<http::Request<Body>> for ClockServer<T> {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<http::Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let clock = self.0.clone();
        Box::pin(async move {
            let mut grpc = Grpc::new(ProstCodec::<String, String>::default());
            let response = match request.uri().path() {
                "/example.Clock/Greet" => {
                    let greet = move |it| {
                        let clock = clock.clone();
                        async move { clock.greet(it).await }
                    };
                    grpc.unary(service_fn(greet), request).await
                }
                "/example.Clock/Tick" => {
                    let tick = move |it| {
                        let clock = clock.clone();
                        async move { clock.tick(it).await }
                    };
                    grpc.server_streaming(service_fn(tick), request).await
                }
                other => Status::unimplemented(other).into_http(),
            };
            Ok(response)
        })
    }
}
