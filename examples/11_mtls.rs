//! Mutual TLS: clients need a certificate, the handler knows whose it is, and the server's own is replaced without a restart.
//!
//! ```console
//! $ cargo run --example mtls -- 127.0.0.1:3443 mtls
//! listening on https://127.0.0.1:3443, with the certificates in mtls
//! $ curl --cacert mtls/server.pem --cert mtls/alice.pem --key mtls/alice-key.pem https://localhost:3443/
//! hello alice
//! ```
//!
//! The directory has `server.pem` with `server-key.pem`, and `clients.pem`: the certificates that sign clients'. If it does not exist,
//! it is made, with a client called alice. When `server.pem` or its key changes, new connections get the new certificate within
//! a second; those that are open go on. A pair that does not fit is logged, and the old one stays. So it works with a secret that
//! Kubernetes or cert-manager renews.

use std::error::Error;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use axum::routing::get;
use axum::{Extension, Router};
use lameduck::{Plan, Server, ShutdownCoordinator};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};
use tokio_rustls::server::TlsStream;
use webpki::EndEntityCert;

type BoxError = Box<dyn Error + Send + Sync>;

/// How long a new certificate may go unnoticed.
const POLL: Duration = Duration::from_secs(1);

#[tokio::main]
async fn main() -> Result<ExitCode, BoxError> {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .init();
    let mut args = std::env::args().skip(1);
    let address = args.next().unwrap_or("127.0.0.1:3443".to_owned());
    let directory = PathBuf::from(args.next().unwrap_or("mtls".to_owned()));
    if !directory.exists() {
        make(&directory)?;
    }

    let shutdown = ShutdownCoordinator::new(Plan::from_env()?);
    let handle = shutdown.handle();
    lameduck::signal::listen(&handle)?;

    let certificate = Arc::new(Reloaded::new(&directory)?);
    let mut config = ServerConfig::builder()
        .with_client_cert_verifier(WebPkiClientVerifier::builder(clients(&directory)?).build()?)
        .with_cert_resolver(Arc::clone(&certificate) as _);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    // To the end of the process: during the shutdown there are new connections, too.
    tokio::spawn(async move { certificate.follow().await });

    let app = Router::new().route(
        "/",
        get(async |Extension(Client(name)): Extension<Client>| format!("hello {name}\n")),
    );
    let listener = lameduck::bind(address.as_str()).await?;
    println!(
        "listening on https://{}, with the certificates in {}",
        listener.local_addr()?,
        directory.display()
    );
    Server::new(&handle)
        .handshake(move |tcp| acceptor.accept(tcp))
        .request_extension(|tls: &TlsStream<TcpStream>, _| Client::of(tls))
        .serve(listener, app);

    let report = shutdown.run().await;
    println!("{report}");
    Ok(report.exit_code())
}

/// The first name in a client's certificate, which the handshake has verified.
#[derive(Clone)]
struct Client(Arc<str>);

impl Client {
    fn of(tls: &TlsStream<TcpStream>) -> Client {
        let chain = tls.get_ref().1.peer_certificates().unwrap_or_default();
        let certificate = chain
            .first()
            .and_then(|it| EndEntityCert::try_from(it).ok());
        let name = certificate
            .as_ref()
            .and_then(|it| it.valid_dns_names().next());
        Client(name.unwrap_or("somebody").into())
    }
}

/// The server's certificate, read again when its files change.
#[derive(Debug)]
struct Reloaded {
    certificate: PathBuf,
    key: PathBuf,
    current: RwLock<Arc<CertifiedKey>>,
}

impl Reloaded {
    fn new(directory: &Path) -> Result<Self, BoxError> {
        let certificate = directory.join("server.pem");
        let key = directory.join("server-key.pem");
        let current = RwLock::new(Arc::new(read(&certificate, &key)?));
        Ok(Reloaded {
            certificate,
            key,
            current,
        })
    }

    async fn follow(&self) {
        let mut seen = None;
        let mut ticks = tokio::time::interval(POLL);
        loop {
            ticks.tick().await;
            let changed = self.changed().ok();
            if changed == seen {
                continue;
            }
            // Read after the look at the times: what changes meanwhile is seen by the next one.
            seen = changed;
            match read(&self.certificate, &self.key) {
                Ok(key) => {
                    *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(key);
                    tracing::info!("certificate read");
                }
                Err(error) => tracing::warn!(error, "certificate not read, the last one stays"),
            }
        }
    }

    fn changed(&self) -> io::Result<[SystemTime; 2]> {
        let changed = |file| fs::metadata(file)?.modified();
        Ok([changed(&self.certificate)?, changed(&self.key)?])
    }
}

impl ResolvesServerCert for Reloaded {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        Some(Arc::clone(&current))
    }
}

/// Fails if the key is not the certificate's: both files change one after the other.
fn read(certificate: &Path, key: &Path) -> Result<CertifiedKey, BoxError> {
    let chain = CertificateDer::pem_file_iter(certificate)?.collect::<Result<_, _>>()?;
    let key = PrivateKeyDer::from_pem_file(key)?;
    Ok(CertifiedKey::from_der(chain, key, &default_provider())?)
}

fn clients(directory: &Path) -> Result<Arc<RootCertStore>, BoxError> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(directory.join("clients.pem"))? {
        roots.add(certificate?)?;
    }
    Ok(Arc::new(roots))
}

/// Certificates to try it with. alice's has signed itself.
fn make(directory: &Path) -> Result<(), BoxError> {
    fs::create_dir(directory)?;
    for (name, owner) in [("server", "localhost"), ("alice", "alice")] {
        let made = rcgen::generate_simple_self_signed([owner.to_owned()])?;
        let key = directory.join(format!("{name}-key.pem"));
        fs::write(key, made.signing_key.serialize_pem())?;
        fs::write(directory.join(format!("{name}.pem")), made.cert.pem())?;
    }
    fs::copy(directory.join("alice.pem"), directory.join("clients.pem"))?;
    Ok(())
}
