//! nginx: its upstreams stand in its configuration, which is written anew and loaded for each change.

use std::fmt::Write;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};

use super::front::{ATTEMPT, REPLICA};

pub(super) const NAME: &str = "nginx";
/// Debian's is not in every user's path.
pub(super) const PLACES: [&str; 2] = ["nginx", "/usr/sbin/nginx"];
/// A line for each request, in its directory.
pub(super) const LOG: &str = "access.log";

const CONFIGURATION: &str = "nginx.conf";
const PID: &str = "nginx.pid";

/// Writes the configuration; returns the arguments to start it with.
pub(super) fn configure(
    directory: &Path,
    address: SocketAddr,
    replicas: &[SocketAddr],
) -> io::Result<Vec<String>> {
    let file = directory.join(CONFIGURATION);
    // Whole or not at all: it may be reading it this moment.
    let new = directory.join("new.conf");
    fs::write(&new, configuration(address, replicas))?;
    fs::rename(&new, &file)?;
    Ok(
        ["-p", &directory.display().to_string(), "-c", CONFIGURATION]
            .map(str::to_owned)
            .to_vec(),
    )
}

/// What `nginx -s reload` does: new workers get the new configuration, the old ones leave gracefully.
pub(super) fn reload(
    directory: &Path,
    address: SocketAddr,
    replicas: &[SocketAddr],
) -> io::Result<()> {
    configure(directory, address, replicas)?;
    let id = fs::read_to_string(directory.join(PID))?;
    let status = Command::new("kill")
        .args(["-HUP", id.trim()])
        .stderr(Stdio::null())
        .status()?;
    match status.success() {
        true => Ok(()),
        false => Err(io::Error::other("it has left")),
    }
}

/// Nothing is sent twice (`proxy_next_upstream off`), no replica is thought to be ill (`max_fails=0`), and no connection is
/// closed unasked, but for what a reload does.
fn configuration(address: SocketAddr, replicas: &[SocketAddr]) -> String {
    let mut servers = String::new();
    for replica in replicas {
        let _ = writeln!(servers, "server {replica} max_fails=0;");
    }
    let attempt = ATTEMPT.replace('-', "_");
    format!(
        "daemon off;
        worker_processes 1;
        worker_shutdown_timeout 5s;
        pid {PID};
        error_log error.log notice;
        events {{ worker_connections 1024; }}
        http {{
            log_format attempts '$http_{attempt} $upstream_addr $upstream_connect_time $status $connection_requests';
            access_log {LOG} attempts;
            client_body_temp_path body;
            proxy_temp_path proxy;
            fastcgi_temp_path fastcgi;
            uwsgi_temp_path uwsgi;
            scgi_temp_path scgi;
            keepalive_timeout 300s;
            keepalive_requests 1000000;
            upstream replicas {{
                {servers}
                keepalive 32;
                keepalive_timeout 300s;
                keepalive_requests 1000000;
            }}
            server {{
                listen {address};
                location / {{
                    proxy_pass http://replicas;
                    proxy_http_version 1.1;
                    proxy_set_header Connection \"\";
                    proxy_next_upstream off;
                    add_header {REPLICA} $upstream_addr always;
                }}
            }}
        }}\n"
    )
}
