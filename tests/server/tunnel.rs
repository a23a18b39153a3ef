//! WebSockets over HTTP/2: extended CONNECT (RFC 8441).

use axum::Router;
use axum::body::Body;
use axum::extract::ws::{Message, WebSocketUpgrade};
use axum::routing::any;
use futures_util::{SinkExt, StreamExt};
use hyper::client::conn::http2;
use hyper::ext::Protocol;
use hyper::{Method, Request, Version};
use hyper_util::rt::{TokioExecutor, TokioIo};
use lameduck::{Moment, Plan, close_websocket};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message as ClientMessage;
use tokio_tungstenite::tungstenite::protocol::Role;

use crate::support::*;

// Case 54, over HTTP/2.
#[tokio::test(start_paused = true)]
async fn a_websocket_over_http2_is_counted_told_or_cut() {
    for heeds in [true, false] {
        let chat = async move |upgrade: WebSocketUpgrade| {
            let mut moment = Moment::current().unwrap();
            upgrade.on_upgrade(async move |mut socket| {
                loop {
                    tokio::select! {
                        message = socket.recv() => {
                            let Some(Ok(message)) = message else { return };
                            let _ = socket.send(message).await;
                        }
                        told = &mut moment, if heeds => {
                            close_websocket(&mut socket, Message::Close(None), &told).await;
                            return;
                        }
                    }
                }
            })
        };
        let (shutdown, handle) = coordinator(Plan::immediate());
        // It offers extended CONNECT unasked, or the client could not send one.
        let (address, _) = start(Router::new().route("/", any(chat)), &handle).await;
        let stream = TcpStream::connect(address).await.unwrap();
        let (mut client, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
        tokio::spawn(connection);
        settle().await;
        let request = Request::builder()
            .method(Method::CONNECT)
            .version(Version::HTTP_2)
            .uri("http://test/")
            .header("sec-websocket-version", "13")
            .extension(Protocol::from_static("websocket"))
            .body(Body::empty())
            .unwrap();
        let response = soon(client.send_request(request)).await.unwrap();
        assert_eq!(response.status(), 200);
        let upgraded = soon(hyper::upgrade::on(response)).await.unwrap();
        let mut socket =
            WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Client, None).await;
        socket.send(ClientMessage::text("hello")).await.unwrap();
        let echo = soon(socket.next()).await.unwrap().unwrap();
        assert_eq!(echo.into_text().unwrap().as_str(), "hello");
        assert_eq!((handle.connections(), handle.in_flight()), (1, 0));

        let run = begin(shutdown);
        let last = soon(socket.next()).await;
        while let Some(Ok(_)) = soon(socket.next()).await {}
        drop((socket, client));
        let report = soon(run).await.unwrap();

        assert_eq!(matches!(last, Some(Ok(ClientMessage::Close(_)))), heeds);
        assert!(report.is_clean(), "{report}");
        assert_eq!(report.connections.cut, u64::from(!heeds), "{report}");
        assert_eq!(
            (report.long.told, report.long.cut),
            (u64::from(heeds), u64::from(!heeds)),
            "{report}"
        );
    }
}
