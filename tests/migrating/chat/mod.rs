//! A chat over WebSocket that was written for `axum::serve`.

use std::net::SocketAddr;

use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::support::*;

#[expect(
    dead_code,
    unreachable_pub,
    reason = "a program has a `main`, and a test calls its `serve`"
)]
mod after;
#[expect(
    dead_code,
    unreachable_pub,
    reason = "a program has a `main`, and a test calls its `serve`"
)]
mod before;

#[tokio::test(flavor = "multi_thread")]
async fn every_client_hears_all_that_was_said_and_then_a_close_frame() {
    let program = After::start(after::serve).await;
    let mut ann = Client::join(program.address).await;
    let mut bob = Client::join(program.address).await;
    ann.say("hello").await;
    assert_eq!(ann.hear().await.unwrap(), Message::text("hello"));
    assert_eq!(bob.hear().await.unwrap(), Message::text("hello"));

    let run = program.begin().await;
    let mut late = Client::join(ann.address).await;
    late.say("am I late?").await;
    for client in [&mut ann, &mut bob, &mut late] {
        assert_eq!(client.hear().await.unwrap(), Message::text("am I late?"));
        let Message::Close(Some(frame)) = client.hear().await.unwrap() else {
            panic!("no close frame");
        };
        assert_eq!(frame.code, CloseCode::Restart);
        // After its answer the connection ends, and not by a reset.
        assert!(soon(client.socket.next()).await.is_none());
    }
    let report = soon(run).await.unwrap();

    assert!(report.is_clean(), "{report}");
    assert_eq!((report.long.told, report.long.cut), (3, 0), "{report}");
    assert_eq!(report.connections.cut, 0, "{report}");
}

// The control.
#[tokio::test(flavor = "multi_thread")]
async fn before_a_client_saw_its_connection_break() {
    let program = Before::start(before::serve).await;
    let mut ann = Client::join(program.address).await;
    ann.say("hello").await;
    assert_eq!(ann.hear().await.unwrap(), Message::text("hello"));

    program.leave().await;

    let end = ann.hear().await.unwrap_err();
    assert!(matches!(end, Error::Protocol(_) | Error::Io(_)), "{end:?}");
}

struct Client {
    address: SocketAddr,
    socket: WebSocketStream<TcpStream>,
}

impl Client {
    async fn join(address: SocketAddr) -> Self {
        let tcp = TcpStream::connect(address).await.unwrap();
        let upgrade = client_async(format!("ws://{address}/chat"), tcp);
        let (socket, _) = soon(upgrade).await.unwrap();
        Client { address, socket }
    }

    async fn say(&mut self, text: &str) {
        soon(self.socket.send(Message::text(text))).await.unwrap();
    }

    async fn hear(&mut self) -> Result<Message, Error> {
        soon(self.socket.next()).await.expect("it has ended")
    }
}
