//! How it accepts, and how it stops.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use socket2::{SockFilter, SockRef};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

use super::Planted;
use super::app::App;

/// It accepts for so long after the signal: longer than the tests' cluster takes to route elsewhere.
pub(crate) const LAME_DUCK: Duration = Duration::from_millis(700);
/// An HTTP/2 connection is told so long after the signal, or after it was accepted.
const BEFORE_GOAWAY: Duration = Duration::from_millis(50);
/// A handshake that has begun is over by then.
const HANDSHAKES: Duration = Duration::from_millis(20);
/// What the queue gets to fill, where that is the fault.
const FILLING: Duration = Duration::from_millis(200);
/// It lives on for so long, where that is the fault.
const AFTERLIFE: Duration = Duration::from_millis(1200);
/// Nothing that it waits for lasts longer.
const LONGEST: Duration = Duration::from_secs(8);

#[derive(Clone)]
struct Server {
    planted: Planted,
    tls: Option<TlsAcceptor>,
    stopping: watch::Receiver<bool>,
    /// A clone lives with each connection.
    alive: mpsc::Sender<()>,
}

pub(crate) fn main(port: u16, planted: Planted, tls: bool) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("there is room for a runtime");
    runtime.block_on(serve(port, planted, tls));
    std::process::exit(0);
}

async fn serve(port: u16, planted: Planted, tls: bool) {
    let mut sigterm = signal(SignalKind::terminate()).expect("there are signals");
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await;
    let listener = listener.expect("the port is free");
    let (stop, stopping) = watch::channel(false);
    let (alive, mut all) = mpsc::channel(1);
    let server = Server {
        planted,
        tls: tls.then(acceptor),
        stopping,
        alive,
    };
    server.accept_until(&listener, sigterm.recv()).await;
    match planted {
        Planted::ExitsAtOnce => return,
        Planted::IgnoresTheSignal => {
            server
                .accept_until(&listener, std::future::pending::<()>())
                .await;
        }
        _ => {}
    }
    stop.send_replace(true);
    server.close(listener).await;

    drop(server);
    // Nothing is sent: it ends when the last connection does.
    let _ = timeout(LONGEST, all.recv()).await;
    if planted == Planted::LeavesLate {
        std::future::pending().await
    }
}

impl Server {
    async fn accept_until<T>(&self, listener: &TcpListener, end: impl Future<Output = T>) {
        let accepting = async {
            loop {
                if let Ok((stream, _)) = listener.accept().await {
                    tokio::spawn(self.clone().connection(stream));
                }
            }
        };
        tokio::select! {
            _ = end => {}
            () = accepting => {}
        }
    }

    async fn close(&self, listener: TcpListener) {
        if self.planted != Planted::RefusesWhileAlive {
            self.accept_until(&listener, sleep(LAME_DUCK)).await;
        }
        match self.planted {
            Planted::DropsTheQueue => sleep(FILLING).await,
            _ => {
                keep_out(&listener);
                self.accept_until(&listener, sleep(HANDSHAKES)).await;
            }
        }
        drop(listener);
        if matches!(
            self.planted,
            Planted::RefusesWhileAlive | Planted::DropsTheQueue
        ) {
            sleep(AFTERLIFE).await;
        }
    }

    async fn connection(self, stream: TcpStream) {
        let _ = stream.set_nodelay(true);
        if self.planted == Planted::ResetsKept {
            let _ = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
        }
        match &self.tls {
            None => {
                let mut first = [0; 3];
                // A request that is shorter is none.
                let _ = stream.peek(&mut first).await;
                self.http(stream, first == *b"PRI").await;
            }
            Some(tls) => {
                if let Ok(stream) = tls.accept(stream).await {
                    let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                    self.http(stream, is_http2).await;
                }
            }
        }
    }

    async fn http(
        self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        is_http2: bool,
    ) {
        let mut stopping = self.stopping.clone();
        let app = App {
            planted: self.planted,
            stopping: self.stopping,
            before: Arc::default(),
            alive: self.alive,
        };
        let service = service_fn(move |request| app.clone().answer(request));
        let io = TokioIo::new(stream);
        let cuts = self.planted == Planted::CutsSlow;
        if !is_http2 {
            let connection = hyper::server::conn::http1::Builder::new()
                .serve_connection(io, service)
                .with_upgrades();
            tokio::select! {
                _ = connection => {}
                _ = stopping.wait_for(|stop| *stop), if cuts => {}
            }
            return;
        }
        let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        let mut connection = std::pin::pin!(builder.serve_connection(io, service));
        let goaway = async {
            let _ = stopping.wait_for(|stop| *stop).await;
            sleep(BEFORE_GOAWAY).await;
        };
        tokio::select! {
            _ = &mut connection => return,
            () = goaway => connection.as_mut().graceful_shutdown(),
        }
        let _ = connection.await;
    }
}

/// Drops what would begin a connection, so that the queue that is emptied stays empty (Linux; a classic BPF program).
fn keep_out(listener: &TcpListener) {
    // Load the flags of the TCP header; keep SYN and ACK; a SYN alone is dropped.
    let program = [
        SockFilter::new(0x30, 0, 0, 13),
        SockFilter::new(0x54, 0, 0, 0x12),
        SockFilter::new(0x15, 0, 1, 0x02),
        SockFilter::new(0x06, 0, 0, 0),
        SockFilter::new(0x06, 0, 0, u32::MAX),
    ];
    let _ = SockRef::from(listener).attach_filter(&program);
}

fn acceptor() -> TlsAcceptor {
    let names = ["localhost".to_owned()];
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(names).expect("ring makes keys");
    let key = PrivateKeyDer::try_from(signing_key.serialize_der()).expect("it is a key");
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring has the ciphers")
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .expect("the key is the certificate's");
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    TlsAcceptor::from(Arc::new(config))
}
