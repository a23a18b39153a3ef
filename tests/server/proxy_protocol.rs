//! The PROXY protocol, versions 1 and 2, by hand from its specification, and from HAProxy where that is installed.

use std::fs;
use std::io::Write;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use axum::routing::get;
use axum::{Extension, Router};
use lameduck::report::Kind;
use lameduck::server::{Proxied, Timeouts};
use lameduck::{Phase, Plan, Server, ShutdownCoordinator, ShutdownHandle};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;
use tokio_rustls::rustls::pki_types::ServerName;

use crate::frames::*;
use crate::party::Party;
use crate::support::*;

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
const V1: &str = "PROXY TCP4 203.0.113.9 198.51.100.1 4711 443\r\n";
const CLIENT: &str = "203.0.113.9:4711";
const ADDRESSES_4: &[u8] = &[203, 0, 113, 9, 198, 51, 100, 1, 0x12, 0x67, 0x01, 0xbb];
/// PP2_TYPE_NOOP (4), two bytes long.
const TLV: &[u8] = &[4, 0, 2, 0, 0];

fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
    [SIGNATURE, &[command, family], &length, rest].concat()
}

fn addresses_6() -> Vec<u8> {
    let mut bytes = vec![0; 32];
    bytes[..2].copy_from_slice(&[0x20, 0x01]);
    bytes[15] = 9;
    bytes[31] = 1;
    bytes.extend([0x12, 0x67, 0x01, 0xbb]);
    bytes
}

/// Answers with the client, and the address that it connected to if a header says.
fn whoami() -> Router {
    type Peer = Extension<Proxied<SocketAddr>>;
    Router::new().fallback(get(async |Extension(peer): Peer| match peer.destination {
        Some(destination) => format!("{} to {destination}", peer.client()),
        None => peer.client().to_string(),
    }))
}

/// A server for which every peer is a proxy.
async fn behind_proxies(app: Router, handle: &ShutdownHandle) -> SocketAddr {
    let listener = lameduck::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    Server::new(handle)
        .proxy_protocol(|_| true)
        .request_extension(|_, peer: &Proxied<SocketAddr>| peer.clone())
        .serve(Paced(listener), app);
    ready(handle).await;
    address
}

#[tokio::test(start_paused = true)]
async fn a_header_of_any_version_and_family_names_the_client() {
    let (shutdown, handle) = coordinator(Plan::immediate());
    let address = behind_proxies(whoami(), &handle).await;
    let longest = format!(
        "PROXY TCP6 {0} {0} 65535 65535\r\n",
        "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"
    );
    let long = format!(
        "{0}:65535 to {0}:65535",
        "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]"
    );
    let four = format!("{CLIENT} to 198.51.100.1:443");
    let six = "[2001::9]:4711 to [::1]:443";
    let much = [ADDRESSES_4, &[0xea, 0xff, 0x00], &[7; 0xff00]].concat();
    let headers = [
        (V1.into(), &*four),
        (b"PROXY TCP6 2001::9 ::1 4711 443\r\n".to_vec(), six),
        (longest.into_bytes(), &*long),
        (v2(0x21, 0x11, ADDRESSES_4), &*four),
        (v2(0x21, 0x11, &[ADDRESSES_4, TLV].concat()), &*four),
        (v2(0x21, 0x11, &much), &*four),
        (v2(0x21, 0x21, &addresses_6()), six),
        (v2(0x21, 0x21, &[&*addresses_6(), TLV].concat()), six),
    ];

    for (header, expected) in headers {
        let mut client = Client::connect(address).await;
        // With what is behind it, which is not the header's.
        client
            .send([&*header, request("/").as_bytes()].concat())
            .await;
        let response = client.response().await;
        assert_eq!(response.text(), expected, "{header:?}");
        assert_eq!(client.get("/").await.text(), expected, "{header:?}");
    }
    assert!(soon(begin(shutdown)).await.unwrap().is_clean());
}

#[tokio::test(start_paused = true)]
async fn a_header_may_come_byte_by_byte() {
    let (_shutdown, handle) = coordinator(Plan::immediate());
    let address = behind_proxies(whoami(), &handle).await;

    for header in [V1.into(), v2(0x21, 0x11, &[ADDRESSES_4, TLV].concat())] {
        let mut client = Client::connect(address).await;
        for byte in header {
            client.send([byte]).await;
            settle().await;
        }
        assert_eq!(
            client.get("/").await.text(),
            format!("{CLIENT} to 198.51.100.1:443")
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_header_that_names_nobody_leaves_the_sockets_peer() {
    let (_shutdown, handle) = coordinator(Plan::immediate());
    let address = behind_proxies(whoami(), &handle).await;
    let headers = [
        b"PROXY UNKNOWN\r\n".to_vec(),
        b"PROXY UNKNOWN 203.0.113.9 198.51.100.1 4711 443\r\n".to_vec(),
        v2(0x20, 0x00, b""),
        v2(0x20, 0x00, TLV),
        // The addresses of LOCAL are not looked at.
        v2(0x20, 0x11, ADDRESSES_4),
        v2(0x20, 0x11, b""),
        v2(0x20, 0x7f, b"?"),
        v2(0x21, 0x00, b""),
        // A Unix socket.
        v2(0x21, 0x31, &[b'/'; 216]),
    ];

    for header in headers {
        let mut client = Client::connect(address).await;
        client.send(&header).await;
        let response = client.get("/").await;
        assert_eq!(response.text(), client.address().to_string(), "{header:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_without_a_whole_header_ends_at_once_and_reaches_no_handler() {
    let gate = Gate::new();
    let (shutdown, handle) = coordinator(Plan::immediate());
    let address = behind_proxies(gated(&gate), &handle).await;
    let get = request("/");
    let wrong = |header: &[u8]| [header, get.as_bytes()].concat();
    let long = format!("PROXY UNKNOWN {}\r\n", "x".repeat(107));
    let connections = [
        b"".to_vec(),
        get.clone().into_bytes(),
        b"G".to_vec(),
        PREFACE.to_vec(),
        // A TLS handshake's record.
        vec![22, 3, 1, 0, 200, 1],
        wrong(b"PROXY TCP4 nonsense\r\n"),
        wrong(b"PROXY TCP4 203.0.113.9 198.51.100.1 4711\r\n"),
        wrong(b"PROXY TCP4 203.0.113.9 198.51.100.1 4711 65536\r\n"),
        wrong(b"PROXY TCP4 2001::9 ::1 4711 443\r\n"),
        wrong(b"PROXY UDP4 203.0.113.9 198.51.100.1 4711 443\r\n"),
        wrong(b"PROXYTCP4  203.0.113.9 198.51.100.1 4711 443\r\n"),
        wrong(long.as_bytes()),
        wrong(&v2(0x11, 0x11, ADDRESSES_4)),
        wrong(&v2(0x22, 0x11, ADDRESSES_4)),
        wrong(&v2(0x21, 0x41, ADDRESSES_4)),
        wrong(&v2(0x21, 0x11, &ADDRESSES_4[1..])),
        wrong(&v2(0x21, 0x21, ADDRESSES_4)),
        V1.as_bytes()[..30].to_vec(),
        v2(0x21, 0x11, ADDRESSES_4)[..20].to_vec(),
    ];

    for bytes in connections {
        let mut client = Client::connect(address).await;
        client.send(&bytes).await;
        // Where the header is not whole it is the client's end that says so.
        let half = bytes.is_empty() || bytes.len() == 20 || bytes.len() == 30;
        if half {
            client.half_close().await;
        }
        let (ended, took) = timed(client.end()).await;
        assert_eq!(ended.unwrap_or_default(), b"", "{bytes:?}");
        assert!(took < seconds(1), "{took:?}: {bytes:?}");
    }
    settle().await;
    let left = (handle.connections(), handle.in_flight());
    gate.open();
    let mut client = Client::connect(address).await;
    client.send(V1).await;

    assert_eq!(left, (0, 0));
    assert_eq!(client.get("/").await.status, 200);
    gate.entered().await;
    assert!(soon(begin(shutdown)).await.unwrap().is_clean());
}

#[tokio::test(start_paused = true)]
async fn a_half_sent_header_is_waited_for_as_long_as_a_handshake_is() {
    let (shutdown, handle) = coordinator(cluster());
    let address = behind_proxies(whoami(), &handle).await;
    let mut first = Client::connect(address).await;
    first.send(&V1[..30]).await;
    let (ended, took) = timed(first.end()).await;
    let mut second = Client::connect(address).await;
    second.send(&V1[..30]).await;
    settle().await;

    let run = begin(shutdown);
    let (second_ended, second_took) = timed(second.end()).await;

    assert_eq!(ended.unwrap(), b"");
    assert!(about(took, seconds(10)), "{took:?}");
    assert_eq!(second_ended.unwrap(), b"");
    assert!(about(second_took, seconds(2)), "{second_took:?}");
    assert!(soon(run).await.unwrap().is_clean());
}

#[tokio::test(start_paused = true)]
async fn no_header_is_read_from_a_peer_that_is_no_proxy() {
    let (_shutdown, handle) = coordinator(Plan::immediate());
    let listener = lameduck::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let proxy = "127.0.0.2";

    Server::new(&handle)
        .proxy_protocol(move |peer: &SocketAddr| peer.ip().to_string() == proxy)
        .request_extension(|_, peer: &Proxied<SocketAddr>| peer.clone())
        .serve(listener, whoami());
    let mut direct = Client::connect(address).await;
    let mut forged = Client::connect(address).await;
    forged
        .send([V1.as_bytes(), request("/").as_bytes()].concat())
        .await;

    assert_eq!(direct.get("/").await.text(), direct.address().to_string());
    assert_eq!(forged.response().await.status, 400);
}

#[tokio::test(start_paused = true)]
async fn http2_behind_a_header_is_served() {
    let (shutdown, handle) = coordinator(Plan::immediate());
    let address = behind_proxies(whoami(), &handle).await;
    let mut client = Client::connect(address).await;
    client.send_now(v2(0x21, 0x11, ADDRESSES_4));

    let mut client = Raw::new(client).await;
    client.0.send(GET).await;
    let body = client.frame_of(DATA).await;

    assert_eq!(
        body.payload,
        format!("{CLIENT} to 198.51.100.1:443").as_bytes()
    );
    drop(client);
    assert!(soon(begin(shutdown)).await.unwrap().is_clean());
}

#[tokio::test(start_paused = true)]
async fn tls_begins_behind_a_header_in_whichever_order_both_are_set() {
    for handshake_first in [true, false] {
        let (_shutdown, handle) = coordinator(Plan::immediate());
        let listener = lameduck::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (site, client) = (Party::new("localhost"), Party::new("client"));
        let acceptor = site.acceptor(&client);
        let handshake = move |tcp: TcpStream| acceptor.accept(tcp);
        let peer = |_: &_, peer: &Proxied<SocketAddr>| peer.clone();
        let server = Server::new(&handle);
        match handshake_first {
            true => server
                .handshake(handshake)
                .proxy_protocol(|_| true)
                .request_extension(peer)
                .serve(listener, whoami()),
            false => server
                .request_extension(peer)
                .proxy_protocol(|_| true)
                .handshake(handshake)
                .serve(listener, whoami()),
        };

        let mut tcp = Client::connect(address).await;
        // The ClientHello follows before the server has read anything.
        tcp.send_now(v2(0x21, 0x11, ADDRESSES_4));
        let name = ServerName::try_from("localhost").unwrap();
        let tls = client.connector(&site).connect(name, tcp.into_inner());
        let response = Client::new(soon(tls).await.unwrap()).get("/").await;

        assert_eq!(response.text(), format!("{CLIENT} to 198.51.100.1:443"));
    }
}

#[tokio::test(start_paused = true)]
async fn the_report_names_the_client_and_before_its_header_the_sockets_peer() {
    let gate = Gate::new();
    let (shutdown, handle) = coordinator(Plan::immediate());
    let listener = lameduck::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    Server::new(&handle)
        .proxy_protocol(|_| true)
        .timeouts(Timeouts::new().handshake(seconds(60), seconds(60)))
        .serve(Paced(listener), gated(&gate));
    let mut known = Client::connect(address).await;
    known.send([V1, &request("/")].concat()).await;
    let mut unknown = Client::connect(address).await;
    unknown.send(&V1[..30]).await;
    gate.entered().await;
    settle().await;

    let report = soon(begin(shutdown)).await.unwrap();

    let left = &report.phase(Phase::Close).unwrap().left_behind;
    let connections = left.iter().filter(|left| left.kind == Kind::Connection);
    let mut names: Vec<_> = connections.map(|left| &*left.name).collect();
    names.sort_by_key(|name| !name.starts_with(CLIENT));
    assert!(
        names[0].starts_with("203.0.113.9:4711 (HTTP/1: GET /"),
        "{names:?}"
    );
    let second = format!("{} (no protocol yet", unknown.address());
    assert!(names[1].starts_with(&second), "{names:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn haproxys_own_headers_name_its_client() {
    let Some(program) = haproxy() else {
        let _ = writeln!(std::io::stderr(), "skipped: HAProxy is not installed");
        return;
    };
    for option in [
        "send-proxy",
        "send-proxy-v2",
        "send-proxy-v2-ssl-cn check check-send-proxy inter 50",
    ] {
        let shutdown = ShutdownCoordinator::new(Plan::immediate()).termination_log("/nonexistent");
        let handle = shutdown.handle();
        let listener = lameduck::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        Server::new(&handle)
            .proxy_protocol(|_| true)
            .request_extension(|_, peer: &Proxied<SocketAddr>| peer.clone())
            .serve(listener, whoami());
        let (front, _haproxy) = Haproxy::start(program, address, option).await;

        let mut client = Client::connect(front).await;
        let seen = client.get("/").await;
        let again = client.get("/").await;

        let expected = format!("{} to {front}", client.address());
        assert_eq!(
            (seen.text(), again.text()),
            (&*expected, &*expected),
            "{option}"
        );
        drop(client);
        let report = soon(begin(shutdown)).await.unwrap();
        assert!(report.is_clean(), "{report}");
    }
}

fn haproxy() -> Option<&'static str> {
    ["haproxy", "/usr/sbin/haproxy"]
        .into_iter()
        .find(|program| {
            let mut version = Command::new(program);
            let status = version.arg("-v").stdout(Stdio::null()).status();
            status.is_ok_and(|status| status.success())
        })
}

/// HAProxy as a process of ours. Killed when it is dropped.
struct Haproxy(Child);

impl Haproxy {
    async fn start(program: &str, server: SocketAddr, option: &str) -> (SocketAddr, Haproxy) {
        // Somebody else may take the port between our look and HAProxy's.
        const TRIES: u32 = 5;
        for _ in 0..TRIES {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let front = listener.local_addr().unwrap();
            drop(listener);
            let file = format!("lameduck-haproxy-{}.cfg", server.port());
            let file = std::env::temp_dir().join(file);
            let configuration = format!(
                "defaults
    mode tcp
    timeout connect 5s
    timeout client 60s
    timeout server 60s
listen column
    bind {front}
    server one {server} {option}
"
            );
            fs::write(&file, configuration).unwrap();
            let mut command = Command::new(program);
            command
                .arg("-f")
                .arg(&file)
                .stdout(Stdio::null())
                .stderr(Stdio::null());
            let mut started = Haproxy(command.spawn().unwrap());
            let listens = started.listens(front).await;
            fs::remove_file(&file).unwrap();
            if listens {
                return (front, started);
            }
        }
        panic!("HAProxy did not start in {TRIES} tries");
    }

    /// Waits until it listens, or has ended.
    async fn listens(&mut self, front: SocketAddr) -> bool {
        while self.0.try_wait().unwrap().is_none() {
            if TcpStream::connect(front).await.is_ok() {
                return true;
            }
            sleep(millis(10)).await;
        }
        false
    }
}

impl Drop for Haproxy {
    fn drop(&mut self) {
        // Both fail when it has ended, which is what is wanted.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
