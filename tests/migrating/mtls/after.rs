//! HTTPS for clients with a certificate, which a handler sees.

use std::error::Error;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use axum::routing::get;
use axum::{Extension, Router};
use lameduck::{Plan, Server, ShutdownCoordinator, ShutdownHandle};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};
use tokio_rustls::server::TlsStream;

#[tokio::main]
async fn main() -> Result<ExitCode, Box<dyn Error>> {
    let shutdown = ShutdownCoordinator::new(Plan::from_env()?);
    lameduck::signal::listen(&shutdown)?;
    let listener = lameduck::bind("0.0.0.0:3443").await?;
    serve(listener, tls()?, &shutdown);
    Ok(shutdown.run().await.exit_code())
}

type Certificates = Arc<[CertificateDer<'static>]>;

pub fn serve(listener: TcpListener, tls: Arc<ServerConfig>, handle: &ShutdownHandle) {
    let acceptor = TlsAcceptor::from(tls);
    Server::new(handle)
        .handshake(move |tcp| acceptor.accept(tcp))
        .request_extension(|tls: &TlsStream<TcpStream>, _| {
            Certificates::from(tls.get_ref().1.peer_certificates().unwrap_or_default())
        })
        .serve(listener, app());
}

fn tls() -> Result<Arc<ServerConfig>, Box<dyn Error>> {
    let mut roots = RootCertStore::empty();
    for root in CertificateDer::pem_file_iter("clients.pem")? {
        roots.add(root?)?;
    }
    let clients = WebPkiClientVerifier::builder(Arc::new(roots)).build()?;
    let chain = CertificateDer::pem_file_iter("server.pem")?.collect::<Result<_, _>>()?;
    let key = PrivateKeyDer::from_pem_file("server.key")?;
    let mut tls = ServerConfig::builder()
        .with_client_cert_verifier(clients)
        .with_single_cert(chain, key)?;
    tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(tls))
}

fn app() -> Router {
    Router::new().route("/certificate", get(certificate))
}

async fn certificate(Extension(peer): Extension<Certificates>) -> Vec<u8> {
    sleep(Duration::from_millis(500)).await;
    peer[0].to_vec()
}
