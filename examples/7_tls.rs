//! HTTPS with tokio-rustls: the handshake runs in the connection's own task, is counted and bounded.
//!
//! ```console
//! $ cargo run --example tls
//! listening on https://127.0.0.1:3443, with a certificate of its own for localhost
//! $ curl --insecure https://127.0.0.1:3443/
//! hello over HTTP/2.0
//! ```
//!
//! The address, a certificate and its key (PEM files) can be given as arguments:
//! `tls 127.0.0.1:0 certificate.pem key.pem`. Then press Ctrl-C, or send SIGTERM.

use std::error::Error;
use std::process::ExitCode;
use std::sync::Arc;

use axum::Router;
use axum::http::Version;
use axum::routing::get;
use lameduck::{Plan, Server, ShutdownCoordinator};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

#[tokio::main]
async fn main() -> Result<ExitCode, Box<dyn Error>> {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .init();
    let mut args = std::env::args().skip(1);
    let address = args.next().unwrap_or("127.0.0.1:3443".to_owned());
    let files = args.next().zip(args.next());

    let shutdown = ShutdownCoordinator::new(Plan::from_env()?);
    let handle = shutdown.handle();
    lameduck::signal::listen(&handle)?;

    let (certificates, key, whose) = match files {
        Some((certificate, key)) => (
            CertificateDer::pem_file_iter(certificate)?.collect::<Result<_, _>>()?,
            PrivateKeyDer::from_pem_file(key)?,
            "the certificate that was given",
        ),
        None => {
            let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
            let key = PrivateKeyDer::try_from(made.signing_key.serialize_der())?;
            (
                vec![made.cert.der().clone()],
                key,
                "a certificate of its own for localhost",
            )
        }
    };
    let mut config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(certificates, key)?;
    // Without it a client that could speak HTTP/2 does not know that we can.
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));

    let app = Router::new().route(
        "/",
        get(async |version: Version| format!("hello over {version:?}\n")),
    );
    let listener = lameduck::bind(address.as_str()).await?;
    println!(
        "listening on https://{}, with {whose}",
        listener.local_addr()?
    );
    Server::new(&handle)
        .handshake(move |tcp| acceptor.accept(tcp))
        .serve(listener, app);

    let report = shutdown.run().await;
    println!("{report}");
    Ok(report.exit_code())
}
