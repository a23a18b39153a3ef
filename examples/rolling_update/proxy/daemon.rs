//! A proxy's process: it ends when this program does, however that ends.

use std::fs::{self, File};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

/// Its standard output, in its directory.
pub(super) const OUTPUT: &str = "stdout";
const ERRORS: &str = "stderr";

/// How long it may take until it listens, on a machine that is busy.
const STARTING: Duration = Duration::from_secs(5);
const BETWEEN_LOOKS: Duration = Duration::from_millis(10);

/// Runs what it is given, and ends it when standard input is closed: whoever holds the other end has left.
const KEEPER: &str = r#""$@" & cat >/dev/null; kill "$!"; wait "$!""#;

/// A process that runs. It is ended when this is dropped.
pub(super) struct Daemon(Child);

impl Daemon {
    pub(super) fn start(program: &str, arguments: &[String], directory: &Path) -> io::Result<Self> {
        Command::new("sh")
            .args(["-c", KEEPER, "sh", program])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(File::create(directory.join(OUTPUT))?)
            .stderr(File::create(directory.join(ERRORS))?)
            // A Ctrl-C is for this program alone.
            .process_group(0)
            .spawn()
            .map(Daemon)
    }

    pub(super) async fn listens(&self, address: SocketAddr) -> bool {
        let listening = async {
            while TcpStream::connect(address).await.is_err() {
                sleep(BETWEEN_LOOKS).await;
            }
        };
        timeout(STARTING, listening).await.is_ok()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

pub(super) fn errors(directory: &Path) -> String {
    fs::read_to_string(directory.join(ERRORS)).unwrap_or_default()
}

/// The first of `places` that can be run.
pub(super) fn find(places: [&'static str; 2]) -> Option<&'static str> {
    places.into_iter().find(|program| {
        let version = Command::new(program)
            .arg("-v")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        version.is_ok_and(|status| status.success())
    })
}

/// An address where nobody listens. These programs do not say which port they were given, so they are told.
pub(super) fn free_address() -> io::Result<SocketAddr> {
    TcpListener::bind("127.0.0.1:0")?.local_addr()
}
