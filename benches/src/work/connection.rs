//! Connections, one after the other: open, one request, close.

use super::request::with_server;
use crate::wire::client::Client;

/// `http1/router/bare`: the version, the application, the server.
pub fn run(name: &str, times: u64) {
    with_server(name, async move |connector, version| {
        for _ in 0..times {
            let mut client = Client::open(connector.connect(), version).await;
            client.request().await;
            client.close().await;
        }
    });
}
