//! HAProxy: its servers come and go through its runtime socket, and nothing is loaded anew.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::Path;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use super::front::{ATTEMPT, REPLICA};

pub(super) const NAME: &str = "haproxy";
pub(super) const PLACES: [&str; 2] = ["haproxy", "/usr/sbin/haproxy"];

const CONFIGURATION: &str = "haproxy.cfg";
const SOCKET: &str = "socket";

/// Writes the configuration; returns the arguments to start it with.
pub(super) fn configure(
    directory: &Path,
    address: SocketAddr,
    replicas: &[SocketAddr],
) -> io::Result<Vec<String>> {
    let file = directory.join(CONFIGURATION);
    let socket = directory.join(SOCKET).display().to_string();
    fs::write(&file, configuration(address, &socket, replicas))?;
    Ok(vec!["-f".to_owned(), file.display().to_string()])
}

pub(super) async fn add(directory: &Path, replica: SocketAddr) -> Result<(), String> {
    let server = format!("column/{replica}");
    let command = format!("add server {server} {replica}; enable server {server}");
    tell(directory, &command, "New server registered.").await
}

/// Connections that it has to the replica stay, requests that are on their way as well; no other goes there.
pub(super) async fn remove(directory: &Path, replica: SocketAddr) -> Result<(), String> {
    tell(
        directory,
        &format!("set server column/{replica} state drain"),
        "",
    )
    .await
}

async fn tell(directory: &Path, command: &str, expected: &str) -> Result<(), String> {
    let answer = ask(directory, command).await;
    let answer = answer.map_err(|error| format!("{NAME}: {error}"))?;
    match answer.trim() == expected {
        true => Ok(()),
        false => Err(format!("{NAME}: {command}: {}", answer.trim())),
    }
}

async fn ask(directory: &Path, command: &str) -> io::Result<String> {
    let mut socket = UnixStream::connect(directory.join(SOCKET)).await?;
    socket.write_all(format!("{command}\n").as_bytes()).await?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await?;
    Ok(answer)
}

/// Nothing is sent twice (`retries 0`), also a connection's first request may go on a connection that was idle
/// (`http-reuse always`), and no health check takes a replica out before it is told.
fn configuration(address: SocketAddr, socket: &str, replicas: &[SocketAddr]) -> String {
    let servers: String = replicas
        .iter()
        .map(|replica| format!("    server {replica} {replica}\n"))
        .collect();
    format!(
        "global
    stats socket {socket} level admin
    log stdout format raw local0
defaults
    mode http
    log global
    log-format \"%[capture.req.hdr(0)] %s %Tc %ST %ts\"
    retries 0
    no option redispatch
    http-reuse always
    timeout connect 5s
    timeout client 300s
    timeout server 60s
listen column
    bind {address}
    balance roundrobin
    http-request capture req.hdr({ATTEMPT}) len 20
    http-response set-header {REPLICA} %[srv_name]
{servers}"
    )
}
