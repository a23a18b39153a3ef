//! `Server::context_in_extensions`: what belongs to a request is found wherever its handler runs.
//!
//! Each test has a control without the setting.

use std::convert::Infallible;
use std::future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade};
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures_util::StreamExt;
use hyper::body::Incoming;
use lameduck::layer::LongLivedLayer;
use lameduck::report::Kind;
use lameduck::{
    DrainLayer, LongLived, Moment, Phase, Plan, Report, Server, ShutdownHandle, close_websocket,
};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{LocalSet, spawn_local};
use tokio_tungstenite::client_async;
use tokio_tungstenite::tungstenite::Message as ClientMessage;
use tower::buffer::Buffer;
use tower::{Layer, service_fn};

use crate::support::*;

// In normal service.

#[tokio::test(start_paused = true)]
async fn handler_that_a_middleware_spawns_is_given_its_request_with_the_setting() {
    for carries in [false, true] {
        let (_shutdown, handle) = coordinator(cluster());
        let address = serve(spawning(asking()), &handle, carries).await;

        expect_answer(address, carries).await;
    }
}

#[tokio::test(start_paused = true)]
async fn handler_in_a_local_set_is_given_its_request_with_the_setting() {
    let local = LocalSet::new();
    let test = async {
        for carries in [false, true] {
            let (_shutdown, handle) = coordinator(cluster());
            let address = serve(in_local_set(asking()), &handle, carries).await;

            expect_answer(address, carries).await;
        }
    };
    local.run_until(test).await;
}

// Its futures run where they are awaited; its `call` does not.
#[tokio::test(start_paused = true)]
async fn service_that_a_buffer_calls_finds_its_request_with_the_setting() {
    for carries in [false, true] {
        let (_shutdown, handle) = coordinator(cluster());
        let asking = service_fn(|request: Request<Incoming>| {
            let extensions = request.extensions();
            let found = (
                ShutdownHandle::of(extensions).is_some(),
                Moment::of(extensions).is_some(),
            );
            future::ready(Ok::<_, Infallible>(Response::new(Body::from(format!(
                "{found:?}"
            )))))
        });
        let address = serve(Buffer::new(asking, 8), &handle, carries).await;

        let answer = Client::connect(address).await.get("/").await;

        assert_eq!(answer.text(), format!("({carries}, {carries})"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn handler_on_another_thread_is_given_its_request() {
    let (_shutdown, handle) = coordinator(cluster());
    let address = serve(spawning(asking()), &handle, true).await;

    let clients = (0..8).map(|_| async move {
        for _ in 0..50 {
            expect_answer(address, true).await;
        }
    });
    let clients: Vec<_> = clients.map(tokio::spawn).collect();
    for client in clients {
        client.await.unwrap();
    }

    assert_eq!((handle.in_flight(), handle.long_lived()), (0, 0));
}

// In a shutdown.

#[tokio::test(start_paused = true)]
async fn spawned_handler_that_asks_in_drain_lasts_at_once() {
    for carries in [false, true] {
        let gate = Gate::new();
        let (shutdown, handle) = coordinator(Plan::immediate());
        let address = serve(spawning(polling(&gate)), &handle, carries).await;
        let mut client = Client::connect(address).await;
        client.ask("/poll").await;
        gate.entered().await;

        let run = begin(shutdown);
        reached(&handle, Phase::Drain).await;
        settle().await;
        let before = (handle.phase(), handle.long_lived());
        gate.open();
        let answer = client.response().await;
        let report = soon(run).await.unwrap();

        let drain = Plan::immediate().duration(Phase::Drain);
        assert_eq!(before, (Some(Phase::Drain), 0));
        if carries {
            assert_eq!(answer.text(), "nothing new");
            assert!(took(&report, Phase::Drain) < seconds(1), "{report}");
            assert_eq!(report.long.told, 1);
        } else {
            // It answers when it knows by itself that it is late.
            assert_eq!(answer.text(), "no moment");
            assert!(took(&report, Phase::Drain) >= drain, "{report}");
        }
        assert!(report.is_clean(), "{report}");
    }
}

#[tokio::test(start_paused = true)]
async fn spawned_handler_that_lasts_is_not_named_by_drain_and_others_are() {
    let gate = Gate::new();
    let app = spawning(polling(&gate).merge(gated(&gate)));
    let (shutdown, handle) = coordinator(Plan::immediate());
    let address = serve(app, &handle, true).await;
    let mut lasting = Client::connect(address).await;
    lasting.ask("/poll").await;
    gate.entered().await;
    gate.open();
    settle().await;
    let mut held = Client::connect(address).await;
    held.ask("/held").await;
    gate.entered().await;
    assert_eq!((handle.in_flight(), handle.long_lived()), (2, 1));

    let run = begin(shutdown);
    reached(&handle, Phase::Close).await;
    gate.open();
    let answers = (lasting.response().await, held.response().await);
    let report = soon(run).await.unwrap();

    assert_eq!(answers.0.text(), "nothing new");
    assert_eq!(answers.1.text(), "hello");
    let drain = report.phase(Phase::Drain).unwrap();
    let named: Vec<_> = drain.left_behind.iter().map(|it| &*it.name).collect();
    assert_eq!(named, ["GET /held"]);
    assert_eq!(drain.left_behind[0].kind, Kind::Request);
}

#[tokio::test(start_paused = true)]
async fn websocket_of_the_docs_is_told_under_a_middleware_that_spawns() {
    for carries in [false, true] {
        let (shutdown, handle) = coordinator(Plan::immediate());
        let app = spawning(Router::new().route("/", get(chat)));
        let address = serve(app, &handle, carries).await;
        let stream = TcpStream::connect(address).await.unwrap();
        let opened = soon(client_async("ws://test/", stream)).await;
        if !carries {
            assert!(opened.unwrap_err().to_string().contains("500"));
            continue;
        }
        let (mut socket, _) = opened.unwrap();

        let run = begin(shutdown);
        let last = soon(socket.next()).await.unwrap().unwrap();
        // Its answer is sent while it reads on.
        while soon(socket.next()).await.is_some() {}
        let report = soon(run).await.unwrap();

        let ClientMessage::Close(Some(frame)) = last else {
            panic!("{last:?}");
        };
        assert_eq!(u16::from(frame.code), 1012);
        assert!(report.is_clean(), "{report}");
        assert_eq!((report.long.told, report.connections.cut), (1, 0));
        assert!(about(report.took, seconds(0)), "{report}");
    }
}

// A mark is set in `call`.
#[tokio::test(start_paused = true)]
async fn what_a_layer_marks_behind_a_buffer_lasts() {
    for carries in [false, true] {
        let gate = Gate::new();
        let held = {
            let gate = Arc::clone(&gate);
            service_fn(move |_: Request<Incoming>| {
                let gate = Arc::clone(&gate);
                // `Buffer` asks for futures that can be moved to another thread.
                let answer: Answer = Box::pin(async move {
                    gate.pass().await;
                    Ok(Response::new(Body::from("hello")))
                });
                answer
            })
        };
        let marked = LongLivedLayer::new(LongLived::new()).layer(held);
        let (_shutdown, handle) = coordinator(cluster());
        let address = serve(Buffer::new(marked, 8), &handle, carries).await;

        let mut client = Client::connect(address).await;
        client.ask("/").await;
        gate.entered().await;
        let long = handle.long_lived();
        gate.open();

        assert_eq!(client.response().await.text(), "hello");
        assert_eq!(long, u64::from(carries));
    }
}

// The end of a request.

#[tokio::test(start_paused = true)]
async fn handler_that_outlives_its_client_does_not_keep_its_request_in_flight() {
    let (asks, mut asked) = mpsc::unbounded_channel();
    let gate = Gate::new();
    let held = {
        let gate = Arc::clone(&gate);
        async move |request: Request| {
            gate.pass().await;
            let moment = Moment::of(request.extensions());
            asks.send((request, moment)).unwrap();
        }
    };
    let app = spawning(Router::new().route("/", get(held)));
    let (shutdown, handle) = coordinator(cluster());
    let address = serve(app, &handle, true).await;
    let mut client = Client::connect(address).await;
    client.ask("/").await;
    gate.entered().await;
    assert_eq!(handle.in_flight(), 1);

    drop(client);
    settle().await;
    let gone = (handle.in_flight(), handle.connections());
    gate.open();
    let (request, moment) = soon(asked.recv()).await.unwrap();
    let after = (handle.in_flight(), handle.long_lived());
    let report = soon(begin(shutdown)).await.unwrap();

    assert_eq!((gone, after), ((0, 0), (0, 0)));
    assert!(moment.is_some() && report.is_clean());
    assert_eq!(took(&report, Phase::Drain), seconds(0));
    assert!(ShutdownHandle::of(request.extensions()).is_some());
}

// The next request has the name's place in the list by then.
#[tokio::test(start_paused = true)]
async fn context_of_a_request_that_is_over_says_nothing_of_the_next_one() {
    let (seen, mut requests) = mpsc::unbounded_channel();
    let gate = Gate::new();
    let keep = async move |request: Request| {
        seen.send(request).unwrap();
    };
    let app = gated(&gate).route("/keep", get(keep));
    let (shutdown, handle) = coordinator(Plan::immediate());
    let address = serve(app, &handle, true).await;
    let mut client = Client::connect(address).await;
    client.get("/keep").await;
    let over = soon(requests.recv()).await.unwrap();
    client.ask("/next").await;
    gate.entered().await;

    assert!(Moment::of(over.extensions()).is_some());
    let long = handle.long_lived();
    let run = begin(shutdown);
    reached(&handle, Phase::Close).await;
    gate.open();
    let report = soon(run).await.unwrap();

    assert_eq!(long, 0);
    let drain = report.phase(Phase::Drain).unwrap();
    assert_eq!(drain.left_behind[0].name, "GET /next");
}

// With a layer.

#[tokio::test(start_paused = true)]
async fn layer_and_server_learn_both_that_a_spawned_request_lasts() {
    for carries in [false, true] {
        let gate = Gate::new();
        let (_shutdown, handle) = coordinator(cluster());
        let layer = DrainLayer::new(&handle).context_in_extensions();
        let app = spawning(polling(&gate)).layer(layer);
        let address = serve(app, &handle, carries).await;
        let mut client = Client::connect(address).await;
        client.ask("/poll").await;
        gate.entered().await;
        assert_eq!((handle.in_flight(), handle.long_lived()), (2, 0));

        gate.open();
        settle().await;

        // The server does not learn it without a context of its own.
        let long = if carries { 2 } else { 1 };
        assert_eq!((handle.in_flight(), handle.long_lived()), (2, long));
    }
}

#[tokio::test(start_paused = true)]
async fn layer_without_the_setting_learns_of_its_own_thread_that_a_request_lasts() {
    let gate = Gate::new();
    let (_shutdown, handle) = coordinator(cluster());
    let app = polling(&gate).layer(DrainLayer::new(&handle));
    let address = serve(app, &handle, true).await;
    let mut client = Client::connect(address).await;
    client.ask("/poll").await;
    gate.entered().await;

    gate.open();
    settle().await;

    assert_eq!((handle.in_flight(), handle.long_lived()), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn all_that_belongs_to_one_connection_has_one_moment_whichever_way_it_is_asked_for() {
    let (moments, mut asked) = mpsc::unbounded_channel();
    let asking = async move |request: Request| {
        let current = Moment::current();
        let of = Moment::of(request.extensions());
        let spawned = tokio::spawn(async move { Moment::of(request.extensions()) });
        for moment in [current, of, spawned.await.unwrap()] {
            moments.send(moment.unwrap()).unwrap();
        }
    };
    let (shutdown, handle) = coordinator(cluster());
    let layer = DrainLayer::new(&handle).context_in_extensions();
    let app = Router::new().route("/", get(asking)).layer(layer);
    let address = serve(app, &handle, true).await;
    let mut client = Client::connect(address).await;
    client.get("/").await;
    client.get("/").await;
    Client::connect(address).await.get("/").await;
    let guard = handle.long_guard("holds Close");
    let _run = begin(shutdown);
    reached(&handle, Phase::Close).await;

    // It says when it comes, once that is known.
    let first = format!("{:?}", asked.try_recv().unwrap());
    assert!(first.contains("Some"), "{first}");
    for _ in 0..5 {
        assert_eq!(format!("{:?}", asked.try_recv().unwrap()), first);
    }
    assert_ne!(format!("{:?}", asked.try_recv().unwrap()), first);
    drop(guard);
}

// An admin server counts nothing.
#[tokio::test(start_paused = true)]
async fn spawned_handler_of_an_admin_server_is_given_the_handle() {
    let (_shutdown, handle) = coordinator(cluster());
    let listener = lameduck::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    Server::admin(&handle)
        .context_in_extensions()
        .serve(listener, spawning(asking()));

    expect_answer(address, true).await;

    assert_eq!((handle.in_flight(), handle.long_lived()), (0, 0));
}

// What the tests share.

type Answer = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

async fn serve<S>(service: S, handle: &ShutdownHandle, carries: bool) -> SocketAddr
where
    S: tower::Service<Request<Incoming>, Response = Response> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let listener = lameduck::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut server = Server::new(handle);
    if carries {
        server = server.context_in_extensions();
    }
    server.serve(listener, service);
    ready(handle).await;
    address
}

fn spawning(app: Router) -> Router {
    let spawn = async |request: Request, next: Next| {
        let handler = tokio::spawn(next.run(request));
        handler.await.map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)
    };
    app.layer(from_fn(spawn))
}

/// Runs the handlers in the `LocalSet` that this is called in.
fn in_local_set(app: Router) -> Router {
    let (jobs, mut queue) = mpsc::unbounded_channel::<(Request, Next, oneshot::Sender<Response>)>();
    spawn_local(async move {
        while let Some((request, next, answer)) = queue.recv().await {
            spawn_local(async move { answer.send(next.run(request).await) });
        }
    });
    let pass_on = move |request: Request, next: Next| {
        let (answer, answered) = oneshot::channel();
        jobs.send((request, next, answer)).unwrap();
        async {
            answered
                .await
                .map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)
        }
    };
    app.layer(from_fn(pass_on))
}

/// Its handler takes what the crate has for it.
fn asking() -> Router {
    let handler = async |handle: ShutdownHandle, _: Moment| format!("{:?}", handle.phase());
    Router::new().route("/", get(handler))
}

async fn expect_answer(address: SocketAddr, found: bool) {
    let answer = Client::connect(address).await.get("/").await;
    match found {
        true => assert_eq!((answer.status, answer.text()), (200, "None")),
        false => {
            assert_eq!(answer.status, 500);
            assert!(answer.text().contains("set `context_in_extensions`"));
        }
    }
}

/// `/poll` asks for its moment once the gate has let it pass, and answers then.
fn polling(gate: &Arc<Gate>) -> Router {
    let gate = Arc::clone(gate);
    let poll = async move |request: Request| {
        gate.pass().await;
        match Moment::of(request.extensions()) {
            Some(moment) => {
                moment.await;
                "nothing new".into_response()
            }
            None => {
                tokio::time::sleep(Plan::immediate().duration(Phase::Drain)).await;
                "no moment".into_response()
            }
        }
    };
    Router::new().route("/poll", get(poll))
}

/// The handler of `docs/phases.md`.
async fn chat(upgrade: WebSocketUpgrade, moment: Moment) -> Response {
    upgrade.on_upgrade(|socket| echo(socket, moment))
}

async fn echo(mut socket: WebSocket, mut moment: Moment) {
    loop {
        tokio::select! {
            message = socket.recv() => {
                let Some(Ok(message)) = message else { return };
                if socket.send(message).await.is_err() {
                    return;
                }
            }
            told = &mut moment => {
                let restart = CloseFrame { code: 1012, reason: "service restart".into() };
                close_websocket(&mut socket, Message::Close(Some(restart)), &told).await;
                return;
            }
        }
    }
}

fn took(report: &Report, phase: Phase) -> std::time::Duration {
    report.phase(phase).unwrap().took
}
