//! What a connection's IO and peer tell, as its requests see it: with Unix sockets, tokio-rustls, axum and tonic.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::routing::get;
use axum::{Extension, Router};
use lameduck::{Plan, Server};
use tokio::net::TcpStream;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::server::TlsStream;
use tonic::service::Routes;
use tonic::transport::server::{Connected, TcpConnectInfo, TlsConnectInfo};
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity};
use tonic::{Request, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::health_server::HealthServer;
use tonic_health::server::{HealthReporter, HealthService};

use crate::party::Party;
use crate::support::*;

#[tokio::test(start_paused = true)]
async fn an_extension_is_made_once_for_a_connection_and_cloned_into_each_request() {
    let (_shutdown, handle) = coordinator(Plan::immediate());
    let listener = lameduck::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let app = Router::new().route(
        "/",
        get(async |Extension(number): Extension<usize>| number.to_string()),
    );
    let made = Arc::new(AtomicUsize::new(0));

    Server::new(&handle)
        .request_extension(move |_: &TcpStream, _| made.fetch_add(1, Ordering::Relaxed))
        .serve(listener, app);
    let mut first = Client::connect(address).await;
    let mut second = Client::connect(address).await;
    let mut seen = Vec::new();
    for _ in 0..2 {
        seen.push(first.get("/").await.text().to_owned());
        seen.push(second.get("/").await.text().to_owned());
    }

    assert_eq!(seen, ["0", "1", "0", "1"]);
}

#[tokio::test(start_paused = true)]
async fn extensions_add_up_and_of_one_type_the_later_stays() {
    let (_shutdown, handle) = coordinator(Plan::immediate());
    let listener = lameduck::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    type Both = (Extension<u8>, Extension<&'static str>);
    let app = Router::new().route(
        "/",
        get(async |(Extension(number), Extension(word)): Both| format!("{number} {word}")),
    );

    Server::new(&handle)
        .request_extension(|_, _| "first")
        .request_extension(|_, _| 5_u8)
        .request_extension(|_, _| "last")
        .serve(listener, app);
    let response = Client::connect(address).await.get("/").await;

    assert_eq!(response.text(), "5 last");
}

#[cfg(unix)]
#[tokio::test(start_paused = true)]
async fn a_unix_peers_credentials_reach_its_requests() {
    use tokio::net::unix::UCred;
    use tokio::net::{UnixListener, UnixStream};

    let (_shutdown, handle) = coordinator(Plan::immediate());
    let name = format!("lameduck-credentials-{}", std::process::id());
    let path = std::env::temp_dir().join(name);
    let listener = UnixListener::bind(&path).unwrap();
    let app = Router::new().route(
        "/",
        get(async |Extension(peer): Extension<Option<UCred>>| peer.unwrap().uid().to_string()),
    );

    Server::new(&handle)
        .request_extension(|io: &UnixStream, _| io.peer_cred().ok())
        .serve(listener, app);
    let mut client = Client::new(UnixStream::connect(&path).await.unwrap());
    std::fs::remove_file(&path).unwrap();
    let response = client.get("/").await;

    let us = rustix::process::getuid().as_raw();
    assert_eq!(response.text(), us.to_string());
}

#[tokio::test(start_paused = true)]
async fn a_tls_clients_certificate_its_server_name_and_its_protocol_reach_its_requests() {
    #[derive(Clone)]
    struct Learned {
        certificate: Option<CertificateDer<'static>>,
        server_name: Option<String>,
        protocol: Option<Vec<u8>>,
    }
    let (_shutdown, handle) = coordinator(Plan::immediate());
    let listener = lameduck::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (site, client) = (Party::new("localhost"), Party::new("client"));
    let acceptor = site.acceptor(&client);
    let (seen, mut learned) = tokio::sync::mpsc::unbounded_channel();
    let app = Router::new().route(
        "/",
        get(async move |Extension(it): Extension<Learned>| seen.send(it).unwrap()),
    );

    Server::new(&handle)
        .handshake(move |tcp| acceptor.accept(tcp))
        .request_extension(|tls: &TlsStream<TcpStream>, _| {
            let tls = tls.get_ref().1;
            Learned {
                certificate: tls.peer_certificates().map(|chain| chain[0].clone()),
                server_name: tls.server_name().map(str::to_owned),
                protocol: tls.alpn_protocol().map(<[u8]>::to_owned),
            }
        })
        .serve(listener, app);
    let tcp = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let tls = soon(client.connector(&site).connect(name, tcp)).await;
    Client::new(tls.unwrap()).get("/").await;

    let learned = learned.recv().await.unwrap();
    assert_eq!(learned.certificate.as_ref(), Some(client.certificate()));
    assert_eq!(learned.server_name.as_deref(), Some("localhost"));
    assert_eq!(learned.protocol.as_deref(), Some(&b"http/1.1"[..]));
}

#[tokio::test(start_paused = true)]
async fn tonics_requests_know_their_clients_address() {
    let (_shutdown, handle) = coordinator(Plan::immediate());
    let listener = lameduck::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();

    Server::new(&handle)
        .request_extension(|io: &TcpStream, _| io.connect_info())
        .serve(
            listener,
            grpc(|request| {
                let remote = request.remote_addr().unwrap();
                let info: &TcpConnectInfo = request.extensions().get().unwrap();
                assert_eq!(info.remote_addr(), Some(remote));
                format!("{} {}", remote.ip(), request.local_addr().unwrap())
            }),
        );
    let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();

    assert_eq!(told(endpoint).await, format!("127.0.0.1 {address}"));
}

#[tokio::test(start_paused = true)]
async fn tonics_requests_know_their_clients_certificate() {
    let (_shutdown, handle) = coordinator(Plan::immediate());
    let listener = lameduck::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (site, client) = (Party::new("localhost"), Party::new("client"));
    let acceptor = site.acceptor(&client);
    let certificate = client.certificate().clone();

    Server::new(&handle)
        .handshake(move |tcp| acceptor.accept(tcp))
        .request_extension(|tls: &TlsStream<TcpStream>, _| tls.connect_info())
        .serve(
            listener,
            grpc(move |request| {
                assert_eq!(request.peer_certs().unwrap().first(), Some(&certificate));
                let info: &TlsConnectInfo<TcpConnectInfo> = request.extensions().get().unwrap();
                assert_eq!(info.get_ref().remote_addr(), request.remote_addr());
                format!("to {}", request.local_addr().unwrap())
            }),
        );
    let tls = ClientTlsConfig::new()
        .domain_name("localhost")
        .ca_certificate(Certificate::from_pem(site.made.cert.pem()))
        .identity(Identity::from_pem(
            client.made.cert.pem(),
            client.made.signing_key.serialize_pem(),
        ));
    let endpoint = Endpoint::from_shared(format!("https://{address}")).unwrap();

    let told = told(endpoint.tls_config(tls).unwrap()).await;

    assert_eq!(told, format!("to {address}"));
}

/// Refuses each call with what `describe` says of its request.
fn grpc<F>(describe: F) -> Routes
where
    F: Fn(&Request<()>) -> String + Clone + Send + Sync + 'static,
{
    let health = HealthService::from_health_reporter(HealthReporter::new());
    let refuse = move |request| Err(Status::unavailable(describe(&request)));
    Routes::new(HealthServer::with_interceptor(health, refuse))
}

/// What a call is refused with.
async fn told(endpoint: Endpoint) -> String {
    let mut client = HealthClient::new(soon(endpoint.connect()).await.unwrap());
    let answer = soon(client.check(HealthCheckRequest::default())).await;
    answer.unwrap_err().message().to_owned()
}
