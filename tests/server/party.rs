//! TLS with a certificate at each end.

use std::sync::Arc;

use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// One end of a TLS connection, and the other one's trust.
pub(crate) struct Party {
    pub(crate) made: rcgen::CertifiedKey<rcgen::KeyPair>,
}

impl Party {
    pub(crate) fn new(name: &str) -> Self {
        let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
        Party { made }
    }

    pub(crate) fn certificate(&self) -> &CertificateDer<'static> {
        self.made.cert.der()
    }

    pub(crate) fn key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::try_from(self.made.signing_key.serialize_der()).unwrap()
    }

    pub(crate) fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate().clone()).unwrap();
        roots
    }

    pub(crate) fn acceptor(&self, client: &Party) -> TlsAcceptor {
        let verifier = WebPkiClientVerifier::builder(Arc::new(client.roots())).build();
        let mut config = ServerConfig::builder()
            .with_client_cert_verifier(verifier.unwrap())
            .with_single_cert(vec![self.certificate().clone()], self.key())
            .unwrap();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        TlsAcceptor::from(Arc::new(config))
    }

    pub(crate) fn connector(&self, server: &Party) -> TlsConnector {
        let mut config = ClientConfig::builder()
            .with_root_certificates(server.roots())
            .with_client_auth_cert(vec![self.certificate().clone()], self.key())
            .unwrap();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        TlsConnector::from(Arc::new(config))
    }
}
