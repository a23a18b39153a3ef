//! mTLS, written for axum-server: a handler sees its client's certificate.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::body::{Body, to_bytes};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig};

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
async fn every_request_is_answered_with_its_clients_certificate() {
    let (site, ann, bob) = (Party::new(), Party::new(), Party::new());
    let tls = site.server(&[&ann, &bob]);
    let program = After::start(|listener, handle| after::serve(listener, tls, handle)).await;
    let address = program.address;
    let in_flight = tokio::spawn(ask(ann.connect(&site, address).await.unwrap()));

    let run = program.begin().await;
    let late = tokio::spawn(ask(bob.connect(&site, address).await.unwrap()));

    assert_eq!(soon(in_flight).await.unwrap().unwrap(), **ann.certificate());
    assert_eq!(soon(late).await.unwrap().unwrap(), **bob.certificate());
    let report = soon(run).await.unwrap();
    assert!(report.is_clean(), "{report}");
    assert_eq!((report.cut, report.connections.cut), (0, 0), "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn client_without_a_known_certificate_is_not_served() {
    let (site, ann, eve) = (Party::new(), Party::new(), Party::new());
    let tls = site.server(&[&ann]);
    let program = After::start(|listener, handle| after::serve(listener, tls, handle)).await;

    // In TLS 1.3 a client learns of it when it reads.
    let answer = match eve.connect(&site, program.address).await {
        Ok(client) => ask(client).await.map_err(drop),
        Err(_) => Err(()),
    };

    assert_eq!(answer, Err(()));
}

// The control.
#[tokio::test(flavor = "multi_thread")]
async fn before_a_client_that_came_after_the_signal_was_refused() {
    let (site, ann) = (Party::new(), Party::new());
    let tls = site.server(&[&ann]);
    let program = Before::start(move |listener, stop| async {
        before::serve(listener.into_std()?, tls, stop).await
    })
    .await;
    let address = program.address;
    let answer = ask(ann.connect(&site, address).await.unwrap()).await;
    assert_eq!(answer.unwrap(), **ann.certificate());

    program.leave().await;

    let refused = ann.connect(&site, address).await.map(drop).unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
}

/// Somebody with a certificate of its own.
struct Party {
    made: rcgen::CertifiedKey<rcgen::KeyPair>,
}

impl Party {
    fn new() -> Self {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        Party { made }
    }

    fn certificate(&self) -> &CertificateDer<'static> {
        self.made.cert.der()
    }

    fn key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::try_from(self.made.signing_key.serialize_der()).unwrap()
    }

    fn server(&self, clients: &[&Party]) -> Arc<ServerConfig> {
        let clients = WebPkiClientVerifier::builder(Arc::new(roots(clients))).build();
        let config = ServerConfig::builder()
            .with_client_cert_verifier(clients.unwrap())
            .with_single_cert(vec![self.certificate().clone()], self.key());
        Arc::new(config.unwrap())
    }

    async fn connect(&self, site: &Party, address: SocketAddr) -> io::Result<SendRequest<Body>> {
        let config = ClientConfig::builder()
            .with_root_certificates(roots(&[site]))
            .with_client_auth_cert(vec![self.certificate().clone()], self.key())
            .unwrap();
        let tcp = TcpStream::connect(address).await?;
        let name = ServerName::try_from("localhost").unwrap();
        let connect = TlsConnector::from(Arc::new(config)).connect(name, tcp);
        let tls = TokioIo::new(soon(connect).await?);
        let (requests, connection) = http1::handshake(tls).await.map_err(io::Error::other)?;
        tokio::spawn(connection);
        Ok(requests)
    }
}

fn roots(parties: &[&Party]) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    for party in parties {
        roots.add(party.certificate().clone()).unwrap();
    }
    roots
}

async fn ask(mut client: SendRequest<Body>) -> hyper::Result<Vec<u8>> {
    let request = http::Request::get("/certificate").header("host", "localhost");
    let request = request.body(Body::empty()).unwrap();
    let response = soon(client.send_request(request)).await?;
    let body = soon(to_bytes(Body::new(response.into_body()), 10_000)).await;
    Ok(body.unwrap().to_vec())
}
