//! TLS on both sides: the server's certificate, which the clients trust, and streams that are TCP or TLS.

use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::protocol::Protocol;

const NAME: &str = "localhost";

/// A TCP connection, or TLS over one.
pub(crate) type Stream = Box<dyn Io>;

pub(crate) trait Io: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Io for T {}

/// A certificate and its key, in files that are removed at the end.
pub(crate) struct Identity {
    directory: PathBuf,
}

impl Identity {
    pub(crate) fn new() -> Result<Self, Box<dyn Error>> {
        let name = format!("lameduck-client-table-{}", std::process::id());
        let identity = Identity {
            directory: std::env::temp_dir().join(name),
        };
        std::fs::create_dir_all(&identity.directory)?;
        let made = rcgen::generate_simple_self_signed([NAME.to_owned()])?;
        std::fs::write(identity.certificate(), made.cert.pem())?;
        std::fs::write(identity.key(), made.signing_key.serialize_pem())?;
        Ok(identity)
    }

    pub(crate) fn certificate(&self) -> PathBuf {
        self.directory.join("certificate.pem")
    }

    pub(crate) fn key(&self) -> PathBuf {
        self.directory.join("key.pem")
    }

    /// What a client connects with.
    pub(crate) fn connector(&self, protocol: Protocol) -> Result<TlsConnector, Box<dyn Error>> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(self.certificate())?)?;
        let mut config = ClientConfig::builder()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![protocol.alpn().to_vec()];
        Ok(TlsConnector::from(Arc::new(config)))
    }
}

impl Drop for Identity {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// What a server accepts with.
pub(crate) fn acceptor(
    certificate: &Path,
    key: &Path,
    protocol: Protocol,
) -> Result<TlsAcceptor, Box<dyn Error>> {
    let certificate = CertificateDer::from_pem_file(certificate)?;
    let key = PrivateKeyDer::from_pem_file(key)?;
    let mut config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)?;
    config.alpn_protocols = vec![protocol.alpn().to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// The client's handshake, if there is one to do.
pub(crate) async fn connected(
    tcp: TcpStream,
    connector: Option<&TlsConnector>,
) -> io::Result<Stream> {
    let Some(connector) = connector else {
        return Ok(Box::new(tcp));
    };
    let name = ServerName::try_from(NAME).expect("it is a name");
    Ok(Box::new(connector.connect(name, tcp).await?))
}

/// The server's handshake, if there is one to do.
pub(crate) async fn accepted(tcp: TcpStream, acceptor: Option<&TlsAcceptor>) -> io::Result<Stream> {
    match acceptor {
        Some(acceptor) => Ok(Box::new(acceptor.accept(tcp).await?)),
        None => Ok(Box::new(tcp)),
    }
}
