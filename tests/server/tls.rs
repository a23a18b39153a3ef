//! TLS with tokio-rustls, over loopback: the handshake is counted and bounded, and the connection ends as others do.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use lameduck::server::Accept;
use lameduck::{Server, ShutdownHandle};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::frames::*;
use crate::support::*;

/// A server, and what its clients trust.
struct Site {
    address: SocketAddr,
    roots: RootCertStore,
}

async fn site(app: Router, handle: &ShutdownHandle) -> Site {
    site_of(app, handle, std::convert::identity).await
}

/// The same, with a listener made of the one that is bound.
async fn site_of<L>(app: Router, handle: &ShutdownHandle, of: impl Fn(TcpListener) -> L) -> Site
where
    L: Accept<Io = TcpStream, Peer = SocketAddr>,
{
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let certificate = made.cert.der().clone();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).unwrap();
    let mut config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = lameduck::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    Server::new(handle)
        .handshake(move |tcp| acceptor.accept(tcp))
        .serve(of(listener), app);
    ready(handle).await;
    Site { address, roots }
}

impl Site {
    async fn stream(&self, protocol: &str) -> TlsStream<TcpStream> {
        let mut config = ClientConfig::builder()
            .with_root_certificates(self.roots.clone())
            .with_no_client_auth();
        config.alpn_protocols = vec![protocol.into()];
        let tcp = TcpStream::connect(self.address).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let connector = TlsConnector::from(Arc::new(config));
        soon(connector.connect(name, tcp)).await.unwrap()
    }

    async fn connect(&self) -> Client<TlsStream<TcpStream>> {
        Client::new(self.stream("http/1.1").await)
    }
}

#[tokio::test(start_paused = true)]
async fn http1_over_tls_is_served_told_and_ends_with_close_notify() {
    let (shutdown, handle) = coordinator(cluster());
    let site = site(hello(), &handle).await;
    let mut busy = site.connect().await;
    let mut idle = site.connect().await;
    idle.get("/").await;

    let run = begin(shutdown);
    settle().await;
    let response = busy.get("/").await;
    // rustls takes an end without close_notify for a truncation, and makes an error of it.
    let busy_end = busy.end().await;
    drop(busy);
    let idle_end = idle.end().await;

    assert_eq!((response.status, response.text()), (200, "hello"));
    assert!(response.says_close());
    assert_eq!(busy_end.unwrap(), b"");
    assert_eq!(idle_end.unwrap(), b"");
    let report = soon(run).await.unwrap();
    assert!(report.is_clean());
    // At its own moment in the linger.
    assert!(report.took <= seconds(11) + millis(100), "{report}");
    assert_eq!((report.connections.closed, report.connections.cut), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn http2_over_tls_is_chosen_by_alpn_and_told_by_goaway() {
    let (shutdown, handle) = coordinator(cluster());
    let site = site(hello(), &handle).await;
    let mut client = Raw::new(Client::new(site.stream("h2").await)).await;
    client.0.send(GET).await;
    let body = client.frame_of(DATA).await;

    let run = begin(shutdown);
    client.frame_of(GOAWAY).await;
    let ping = client.frame_of(PING).await;
    client.0.send(ping.answer()).await;
    let last = client.frame_of(GOAWAY).await;

    assert_eq!(body.payload, b"hello");
    assert_eq!(last.payload, [0, 0, 0, 1, 0, 0, 0, 0]);
    assert_eq!(client.0.end().await.unwrap(), b"");
    drop(client);
    assert!(soon(run).await.unwrap().is_clean());
}

// Rule 2, where the bytes are inside rustls and not in the socket any more.
#[tokio::test(start_paused = true)]
async fn a_pipelined_request_that_rustls_holds_when_the_connection_is_to_end_is_answered() {
    let gate = Gate::new();
    let (shutdown, handle) = coordinator(cluster());
    let site = site(gated(&gate), &handle).await;
    let mut client = site.connect().await;
    client.send(request("/first") + &request("/second")).await;
    gate.entered().await;

    gate.open();
    let first = client.response().await;
    gate.entered().await;
    let run = begin(shutdown);
    settle().await;
    gate.open();
    let second = client.response().await;

    assert!(!first.says_close());
    assert_eq!(second.status, 200);
    assert!(second.says_close());
    drop(client);
    assert!(soon(run).await.unwrap().is_clean());
}

// Case 77.
#[tokio::test(start_paused = true)]
async fn a_handshake_that_never_ends_is_waited_for_10_s_and_from_the_shutdown_on_2_s() {
    let (shutdown, handle) = coordinator(cluster());
    let site = site_of(hello(), &handle, Paced).await;
    let mut first = Client::connect(site.address).await;
    // The head of a handshake record, and the begin of a ClientHello.
    first.send([22, 3, 1, 0, 200, 1]).await;
    let (ended, took) = timed(first.end()).await;
    let mut second = Client::connect(site.address).await;
    second.send([22, 3, 1, 0, 200, 1]).await;
    settle().await;
    let counted = handle.connections();

    let run = begin(shutdown);
    let (second_ended, second_took) = timed(second.end()).await;

    assert_eq!(counted, 1);
    assert_eq!(ended.unwrap(), b"");
    assert!(about(took, seconds(10)), "{took:?}");
    assert_eq!(second_ended.unwrap(), b"");
    assert!(about(second_took, seconds(2)), "{second_took:?}");
    let report = soon(run).await.unwrap();
    assert!(report.is_clean());
    assert!(about(report.took, seconds(10)), "{report}");
}

// Case 71: a browser's spare connection.
#[tokio::test(start_paused = true)]
async fn a_connection_that_is_silent_after_its_handshake_is_kept_for_60_s_and_from_the_shutdown_on_1_s()
 {
    let (shutdown, handle) = coordinator(cluster());
    let site = site_of(hello(), &handle, Paced).await;
    let mut first = site.connect().await;
    let (ended, took) = timed(first.end()).await;
    let mut second = site.connect().await;
    settle().await;

    let run = begin(shutdown);
    let (second_ended, second_took) = timed(second.end()).await;

    assert_eq!(ended.unwrap(), b"");
    assert!(about(took, seconds(60)), "{took:?}");
    assert_eq!(second_ended.unwrap(), b"");
    assert!(about(second_took, seconds(1)), "{second_took:?}");
    assert!(soon(run).await.unwrap().is_clean());
}

#[tokio::test(start_paused = true)]
async fn a_client_that_speaks_no_tls_ends_its_own_connection_only() {
    let (shutdown, handle) = coordinator(cluster());
    let site = site(hello(), &handle).await;
    let mut plain = Client::connect(site.address).await;

    plain.ask("/").await;
    let _ = plain.end().await;
    let response = site.connect().await.get("/").await;
    sleep(Duration::from_millis(100)).await;

    assert_eq!(response.status, 200);
    assert_eq!(handle.connections(), 0);
    assert!(soon(begin(shutdown)).await.unwrap().is_clean());
}
