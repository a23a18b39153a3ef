//! The example that a manifest runs, running here.

use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::Value;

use crate::checks::{container, deployments, words};
use crate::directory;
use crate::process::{Process, Scratch};

/// One for a set of manifests, however often they are broken afterwards.
pub(crate) struct Program {
    /// In the order in which its arguments name them.
    addresses: Vec<String>,
    _process: Process,
    _scratch: Scratch,
}

impl Program {
    /// Starts what the first Deployment runs, with the arguments that stand there: on loopback, and with a file of its own.
    pub(crate) fn start(objects: &[Value]) -> Program {
        let deployment = deployments(objects).next().expect("a Deployment");
        let container = container(deployment);
        let binary = match words(&container["command"]) {
            command if command.is_empty() => entrypoint(),
            command => command,
        };
        let name = binary[0].rsplit('/').next().expect("a path").to_owned();
        let app = deployment["metadata"]["name"].as_str().expect("a name");
        let scratch = Scratch::new(&format!("manifest-{app}-{}", unique()));
        let args: Vec<String> = words(&container["args"])
            .iter()
            .map(|arg| match (port(arg), arg.strip_prefix("/data/")) {
                (Some(_), _) => "127.0.0.1:0".to_owned(),
                (None, Some(file)) => scratch.path(file),
                (None, None) => arg.clone(),
            })
            .collect();
        let args: Vec<&str> = args.iter().map(String::as_str).collect();

        let mut process = Process::example(&name, &args, &[]);
        let line = process.line();
        let addresses = line
            .split([' ', ','])
            .filter(|word| word.starts_with("127.0.0.1:"))
            .map(str::to_owned)
            .collect();
        Program {
            addresses,
            _process: process,
            _scratch: scratch,
        }
    }

    /// The status that `GET path` gets on the port that `args` call `port`; `None` where nothing listens.
    pub(crate) fn ask(&self, args: &[String], port: u64, path: &str) -> Option<u16> {
        let ports: Vec<u64> = args.iter().filter_map(|arg| self::port(arg)).collect();
        let at = ports.iter().position(|it| *it == port)?;
        let mut stream = TcpStream::connect(&self.addresses[at]).expect("it listens");
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n"
        )
        .expect("it reads");
        let mut response = String::new();
        stream.read_to_string(&mut response).expect("it answers");
        response.split(' ').nth(1)?.parse().ok()
    }
}

/// Of `0.0.0.0:3000`: what a pod has to listen on to be reached.
fn port(arg: &str) -> Option<u64> {
    arg.strip_prefix("0.0.0.0:")?.parse().ok()
}

/// The image's own.
fn entrypoint() -> Vec<String> {
    let dockerfile = std::fs::read_to_string(format!("{}/Dockerfile", directory())).unwrap();
    let line = dockerfile
        .lines()
        .find_map(|line| line.strip_prefix("ENTRYPOINT "));
    serde_json::from_str(line.expect("an ENTRYPOINT")).expect("in exec form")
}

/// Tests run side by side in one process.
fn unique() -> u32 {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}
