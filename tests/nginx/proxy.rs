//! nginx as a process of ours, in a directory of its own.

use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};

use tokio::net::TcpStream;
use tokio::time::sleep;

use crate::millis;
use crate::process::Scratch;

/// Debian's is not in every user's path.
const PLACES: [&str; 2] = ["nginx", "/usr/sbin/nginx"];

/// An nginx in front of one server. Killed when it is dropped.
pub(crate) struct Nginx {
    pub(crate) address: SocketAddr,
    child: Child,
    directory: Scratch,
}

pub(crate) fn find() -> Option<&'static str> {
    PLACES.into_iter().find(|nginx| {
        let version = Command::new(nginx).arg("-v").stderr(Stdio::null()).status();
        version.is_ok_and(|status| status.success())
    })
}

impl Nginx {
    /// `/0/…` goes through pool 0, and so on; each keeps up to `pool_size` connections alive.
    pub(crate) async fn start(
        nginx: &str,
        upstream: SocketAddr,
        pools: usize,
        pool_size: usize,
    ) -> Nginx {
        // Somebody else may take the port between our look and nginx's.
        const TRIES: u32 = 5;
        for _ in 0..TRIES {
            let address = free_port();
            // One nginx for each server, so its port makes the name unique.
            let directory = Scratch::new(&format!("nginx-{}", upstream.port()));
            let configuration = directory.path("nginx.conf");
            fs::write(
                &configuration,
                configured(address, upstream, pools, pool_size),
            )
            .unwrap();
            let stderr = File::create(directory.path("stderr")).unwrap();
            let mut started = Nginx {
                address,
                child: Command::new(nginx)
                    .args(["-c", &configuration, "-p", &directory.path("")])
                    .stdin(Stdio::null())
                    .stdout(Stdio::null())
                    .stderr(stderr)
                    .spawn()
                    .unwrap(),
                directory,
            };
            if started.listens().await {
                return started;
            }
            eprintln!("nginx did not start: {}", started.read("stderr"));
        }
        panic!("nginx did not start in {TRIES} tries");
    }

    /// What its error log has beyond warnings.
    pub(crate) fn complaints(&self) -> Vec<String> {
        let log = self.read("error.log");
        let harmless = ["[debug]", "[info]", "[notice]", "[warn]"];
        log.lines()
            .filter(|line| !harmless.iter().any(|level| line.contains(level)))
            .map(str::to_owned)
            .collect()
    }

    /// Waits until it listens, or has ended.
    async fn listens(&mut self) -> bool {
        while self.child.try_wait().unwrap().is_none() {
            if TcpStream::connect(self.address).await.is_ok() {
                return true;
            }
            sleep(millis(10)).await;
        }
        false
    }

    fn read(&self, file: &str) -> String {
        fs::read_to_string(self.directory.path(file)).unwrap()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // Both fail when it has ended, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_port() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap()
}

fn configured(address: SocketAddr, upstream: SocketAddr, pools: usize, pool_size: usize) -> String {
    let mut upstreams = String::new();
    let mut locations = String::new();
    for pool in 0..pools {
        upstreams += &format!(
            "upstream pool_{pool} {{
                server {upstream};
                keepalive {pool_size};
                keepalive_timeout 300s;
                keepalive_requests 1000000;
            }}\n"
        );
        locations += &format!(
            "location /{pool}/ {{
                proxy_pass http://pool_{pool}/;
            }}
            location /{pool}/unbuffered/ {{
                proxy_request_buffering off;
                proxy_buffering off;
                proxy_pass http://pool_{pool}/;
            }}\n"
        );
    }
    // One process, so killing it leaves none behind. It closes no connection unasked while the test runs, and sends no
    // request again, which would hide a loss.
    format!(
        "daemon off;
        master_process off;
        pid nginx.pid;
        error_log error.log info;
        events {{ worker_connections 4096; }}
        http {{
            access_log off;
            client_body_temp_path body;
            proxy_temp_path proxy;
            fastcgi_temp_path fastcgi;
            uwsgi_temp_path uwsgi;
            scgi_temp_path scgi;
            keepalive_timeout 300s;
            keepalive_requests 1000000;
            proxy_http_version 1.1;
            proxy_set_header Connection \"\";
            proxy_next_upstream off;
            {upstreams}
            server {{
                listen {address};
                {locations}
            }}
        }}\n"
    )
}
