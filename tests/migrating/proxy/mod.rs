//! A CONNECT proxy with an accept loop of its own, as axum's example `http-proxy` has.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

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
async fn tunnels_carry_what_is_asked_and_answered_and_end_when_they_are_quiet() {
    let upstream = upstream().await;
    let program = After::start(after::serve).await;
    let mut tunnel = connect(program.address, upstream).await;
    assert_eq!(ask(&mut tunnel).await.unwrap(), *b"ping");

    let proxy = program.address;
    let run = program.begin().await;
    let mut late = connect(proxy, upstream).await;
    for tunnel in [&mut tunnel, &mut late] {
        assert_eq!(ask(tunnel).await.unwrap(), *b"ping");
    }
    for tunnel in [&mut tunnel, &mut late] {
        // Not by a reset.
        assert_eq!(soon(tunnel.read(&mut [0])).await.unwrap(), 0);
    }
    drop((tunnel, late));
    let report = soon(run).await.unwrap();

    assert!(report.is_clean(), "{report}");
    assert_eq!((report.long.told, report.long.cut), (2, 0), "{report}");
    assert_eq!(report.connections.cut, 0, "{report}");
}

// The control.
#[tokio::test(flavor = "multi_thread")]
async fn before_an_answer_on_its_way_was_lost() {
    let upstream = upstream().await;
    let program = Before::start(before::serve).await;
    let mut tunnel = connect(program.address, upstream).await;
    assert_eq!(ask(&mut tunnel).await.unwrap(), *b"ping");
    tunnel.write_all(b"ping").await.unwrap();

    program.leave().await;

    assert!(hear(&mut tunnel).await.is_err());
}

async fn connect(proxy: SocketAddr, target: SocketAddr) -> TcpStream {
    let mut tunnel = TcpStream::connect(proxy).await.unwrap();
    let request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n");
    tunnel.write_all(request.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(soon(tunnel.read_u8()).await.unwrap());
    }
    assert!(head.starts_with(b"HTTP/1.1 200"), "{head:?}");
    tunnel
}

async fn ask(tunnel: &mut TcpStream) -> std::io::Result<[u8; 4]> {
    tunnel.write_all(b"ping").await?;
    hear(tunnel).await
}

async fn hear(tunnel: &mut TcpStream) -> std::io::Result<[u8; 4]> {
    let mut answer = [0; 4];
    soon(tunnel.read_exact(&mut answer)).await?;
    Ok(answer)
}

/// Says everything that it hears, 100 ms later.
async fn upstream() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut said = [0; 4];
                while stream.read_exact(&mut said).await.is_ok() {
                    tokio::time::sleep(millis(100)).await;
                    let _ = stream.write_all(&said).await;
                }
            });
        }
    });
    address
}
