//! A client of HTTP/2 that keeps its connection until it is told to leave (RFC 9113, section 6.8).

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use h2::client::{self, SendRequest};
use http::Request;
use tokio::net::TcpStream;

use crate::book::Book;

/// How many streams a connection carries at the same time.
const STREAMS: u64 = 4;

/// Asks until there are enough.
pub(crate) async fn ask(address: SocketAddr, client: u64, book: Arc<Book>) {
    let streams = if client % 2 == 0 { 1 } else { STREAMS };
    while !asked_on_one(address, streams, &book).await {}
}

/// Asks until the connection leaves. Returns whether there are enough.
async fn asked_on_one(address: SocketAddr, streams: u64, book: &Arc<Book>) -> bool {
    let stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let (sender, connection) = client::handshake(stream).await.unwrap();
    book.connected();
    let connection = tokio::spawn(async move { drop(connection.await) });
    let all = (0..streams).map(|_| asked_on_stream(sender.clone(), book));
    let enough = futures_util::future::join_all(all).await;
    drop(sender);
    connection.await.unwrap();
    enough.contains(&true)
}

/// One after the other.
async fn asked_on_stream(mut sender: SendRequest<Bytes>, book: &Book) -> bool {
    loop {
        // A GOAWAY has come: nothing is sent any more.
        let Ok(ready) = sender.ready().await else {
            return false;
        };
        sender = ready;
        let Some(number) = book.next() else {
            return true;
        };
        let request = Request::get(format!("http://test/{number}"))
            .body(())
            .unwrap();
        match sender.send_request(request, true) {
            Ok((response, _)) => read(number, response, book).await,
            Err(_) => {
                book.fail(number);
                return false;
            }
        }
    }
}

async fn read(number: u64, response: client::ResponseFuture, book: &Book) {
    let Ok(response) = response.await else {
        return book.fail(number);
    };
    assert_eq!(response.status(), 200);
    let mut body = response.into_body();
    let mut all = Vec::new();
    while let Some(part) = body.data().await {
        let Ok(part) = part else {
            return book.broke();
        };
        body.flow_control().release_capacity(part.len()).unwrap();
        all.extend(part);
    }
    book.answer(number, &all);
}
