//! `Debug`: of every type that writes its own it names the type, or says the sentence that `Display` says.

use std::fmt::{Debug, Display};

use lameduck::{HookError, Phase, Plan, ShutdownCoordinator, TaskError};

/// The type's name begins what is shown. Without the type's parameters, and without its path.
#[track_caller]
fn assert_names_its_type<T: Debug>(value: &T) {
    let name = std::any::type_name::<T>();
    let name = name.split('<').next().unwrap();
    let name = name.rsplit("::").next().unwrap();
    let shown = format!("{value:?}");
    let rest = shown.strip_prefix(name);
    let ends = |rest: &str| !rest.starts_with(char::is_alphanumeric);
    assert!(rest.is_some_and(ends), "{name} is shown as {shown:?}");
}

#[track_caller]
fn assert_is_the_sentence<E: Debug + Display>(error: &E) {
    let shown = format!("{error:?}");
    assert!(!shown.is_empty());
    assert_eq!(shown, error.to_string());
}

#[tokio::test]
async fn debug_of_the_core_names_the_type() {
    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    let handle = shutdown.handle();

    assert_names_its_type(&shutdown);
    assert_names_its_type(&handle);
    assert_names_its_type(&handle.reached(Phase::Drain));
    assert_names_its_type(&handle.not_ready("migrations"));
    assert_names_its_type(&handle.guard().unwrap());
    assert_names_its_type(&handle.named_guard("upload").unwrap());
    assert_names_its_type(&handle.moment());
}

#[test]
fn debug_of_an_error_is_its_sentence() {
    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    let hook: HookError = shutdown
        .hook(Phase::Exit.after("nobody"), "flush", async || {})
        .unwrap_err();
    let task: TaskError = shutdown.task("importer", async |_| {}).unwrap_err();

    assert_is_the_sentence(&hook);
    assert_is_the_sentence(&task);
    assert_is_the_sentence(&Plan::builder().long_phase(Phase::Exit).build().unwrap_err());
}

#[cfg(feature = "tower")]
#[tokio::test]
async fn debug_of_the_layers_names_the_type() {
    use bytes::Bytes;
    use http::{Request, Response};
    use http_body_util::Full;
    use lameduck::layer::LongLivedLayer;
    use lameduck::{DrainLayer, LongLived};
    use std::convert::Infallible;
    use tower::{Layer, Service, service_fn};

    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    let answer =
        async |_: Request<()>| Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()));
    let layer = DrainLayer::new(&shutdown.handle());
    let mark = LongLivedLayer::new(LongLived::new());
    let mut service = layer.layer(service_fn(answer));

    assert_names_its_type(&layer);
    assert_names_its_type(&mark);
    assert_names_its_type(&layer.layer(()));
    assert_names_its_type(&mark.layer(()));
    let response = service.call(Request::new(()));
    assert_names_its_type(&response);
    assert_names_its_type(&response.await.unwrap().into_body());
}

#[cfg(feature = "hyper")]
#[tokio::test]
async fn debug_of_the_server_names_the_type() {
    use lameduck::Server;
    use lameduck::server::ConnectionGroup;
    use std::future::pending;

    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    let handle = shutdown.handle();
    let group = ConnectionGroup::new(&handle);
    let listener = lameduck::bind("127.0.0.1:0").await.unwrap();

    assert_names_its_type(&Server::new(&handle));
    assert_names_its_type(&group);
    assert_names_its_type(&group.watch_raw((), |_| pending::<()>()).unwrap());
    let serving = lameduck::serve(listener, axum::Router::new(), &handle);
    assert_names_its_type(&serving);
}

#[cfg(feature = "tonic")]
#[tokio::test]
async fn debug_of_the_health_service_names_the_type() {
    let shutdown = ShutdownCoordinator::new(Plan::immediate());

    let (reporter, server) = lameduck::grpc::health(&shutdown.handle()).unwrap();

    assert_names_its_type(&reporter);
    assert_names_its_type(&server);
}
