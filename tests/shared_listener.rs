//! A listening socket that is not the service's alone: a parent holds it, and the next service accepts from it.

#![cfg(all(target_os = "linux", feature = "hyper", feature = "signal"))]

mod process;

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use lameduck::server::Accept;
use lameduck::{Plan, Server, ShutdownCoordinator};
use process::{Process, SCENARIO, Scratch};

/// A short schedule: these tests are about the socket.
const SHORT: &[(&str, &str)] = &[
    ("TERMINATION_GRACE_PERIOD_SECONDS", "6"),
    ("LAME_DUCK_SECONDS", "0.3"),
];

/// How long a client waits.
const PATIENCE: Duration = Duration::from_secs(10);

#[test]
fn successor_after_the_service_answers_what_was_queued_meanwhile() {
    for kind in KINDS {
        for how in HOWS {
            let held = Held::new(kind);
            let first = held.start("one", how);
            assert_eq!(held.ask().unwrap(), "one", "{kind:?} {how:?}");

            let asking = held.ask_all_the_time();
            first.signal("TERM");
            let ended = first.wait();
            // These wait in the queue of a socket that nobody accepts from.
            let queued: Vec<_> = (0..5).map(|_| held.ask_in_background()).collect();
            thread::sleep(Duration::from_millis(50));
            let second = held.start("two", how);
            let answers = queued.into_iter().map(|it| it.join().unwrap().unwrap());
            let answers: Vec<_> = answers.collect();
            let meanwhile = asking.stop();
            second.signal("TERM");
            let second = second.wait();

            let said = format!("{kind:?} {how:?}: {}{}", ended.stderr, second.stderr);
            assert_eq!(ended.status.code(), Some(0), "{said}");
            assert_eq!(second.status.code(), Some(0), "{said}");
            assert!(answers.iter().all(|it| it == "two"), "{answers:?} {said}");
            assert_eq!(meanwhile, Vec::<String>::new(), "{said}");
            assert!(held.accepts(), "{said}");
        }
    }
}

#[test]
fn successor_that_overlaps_goes_on_when_the_service_has_left() {
    for kind in KINDS {
        for how in HOWS {
            let held = Held::new(kind);
            let first = held.start("one", how);
            let second = held.start("two", how);

            let asking = held.ask_all_the_time();
            first.signal("TERM");
            let ended = first.wait();
            let answers: Vec<_> = (0..5).map(|_| held.ask().unwrap_or_default()).collect();
            let meanwhile = asking.stop();
            second.signal("TERM");
            let second = second.wait();

            let said = format!("{kind:?} {how:?}: {}{}", ended.stderr, second.stderr);
            assert_eq!(ended.status.code(), Some(0), "{said}");
            assert_eq!(second.status.code(), Some(0), "{said}");
            assert!(answers.iter().all(|it| it == "two"), "{answers:?} {said}");
            assert_eq!(meanwhile, Vec::<String>::new(), "{said}");
            assert!(held.accepts(), "{said}");
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Tcp,
    Unix,
}

const KINDS: [Kind; 2] = [Kind::Tcp, Kind::Unix];

/// How a service knows that its listener is shared.
#[derive(Clone, Copy, Debug)]
enum How {
    /// By the variables of a service manager.
    Passed,
    /// By the application.
    Said,
    /// By a look at who has it open.
    Seen,
}

const HOWS: [How; 3] = [How::Passed, How::Said, How::Seen];

/// A listener that this process holds for its services.
struct Held {
    listener: Listener,
    place: Place,
    _scratch: Scratch,
}

enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

#[derive(Clone)]
enum Place {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl Held {
    fn new(kind: Kind) -> Self {
        static NUMBER: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let scratch = Scratch::new(&format!("shared-{number}"));
        let (listener, place) = match kind {
            Kind::Tcp => {
                let listener = TcpListener::bind("127.0.0.1:0").unwrap();
                let address = listener.local_addr().unwrap();
                (Listener::Tcp(listener), Place::Tcp(address))
            }
            Kind::Unix => {
                let path = PathBuf::from(scratch.path("socket"));
                let listener = UnixListener::bind(&path).unwrap();
                (Listener::Unix(listener), Place::Unix(path))
            }
        };
        Held {
            listener,
            place,
            _scratch: scratch,
        }
    }

    /// Starts a service that accepts from it.
    fn start(&self, name: &str, how: How) -> Process {
        let (kind, descriptor): (_, OwnedFd) = match &self.listener {
            Listener::Tcp(listener) => ("tcp", listener.try_clone().unwrap().into()),
            Listener::Unix(listener) => ("unix", listener.try_clone().unwrap().into()),
        };
        let scenario = format!("{kind} {how:?} {name}");
        let mut process = match how {
            How::Passed => {
                Process::scenario_with_passed_listener("scenario", &scenario, SHORT, descriptor)
            }
            How::Said | How::Seen => {
                Process::scenario_with_listener("scenario", &scenario, SHORT, descriptor)
            }
        };
        process.line_with("ready");
        process
    }

    fn ask(&self) -> io::Result<String> {
        self.place.ask()
    }

    fn ask_in_background(&self) -> thread::JoinHandle<io::Result<String>> {
        let place = self.place.clone();
        thread::spawn(move || place.ask())
    }

    fn ask_all_the_time(&self) -> Asking {
        let stopped = std::sync::Arc::new(AtomicBool::new(false));
        let clients = (0..3).map(|_| {
            let (place, stopped) = (self.place.clone(), std::sync::Arc::clone(&stopped));
            thread::spawn(move || {
                let mut lost = Vec::new();
                while !stopped.load(Ordering::Relaxed) {
                    match place.ask() {
                        Ok(answer) if matches!(&*answer, "one" | "two") => {}
                        other => lost.push(format!("{other:?}")),
                    }
                    thread::sleep(Duration::from_millis(5));
                }
                lost
            })
        });
        Asking {
            clients: clients.collect(),
            stopped,
        }
    }

    /// Whether the one who holds it can accept from it itself.
    fn accepts(&self) -> bool {
        let place = self.place.clone();
        let client = thread::spawn(move || place.connect().map(drop));
        let accepted = (0..200).any(|_| {
            thread::sleep(Duration::from_millis(10));
            // The services share its mode: it does not block.
            match &self.listener {
                Listener::Tcp(listener) => listener.accept().is_ok(),
                Listener::Unix(listener) => listener.accept().is_ok(),
            }
        });
        accepted && client.join().unwrap().is_ok()
    }
}

struct Asking {
    clients: Vec<thread::JoinHandle<Vec<String>>>,
    stopped: std::sync::Arc<AtomicBool>,
}

impl Asking {
    /// What went wrong.
    fn stop(self) -> Vec<String> {
        self.stopped.store(true, Ordering::Relaxed);
        let lost = self
            .clients
            .into_iter()
            .map(|client| client.join().unwrap());
        lost.flatten().collect()
    }
}

impl Place {
    fn connect(&self) -> io::Result<Box<dyn Stream>> {
        Ok(match self {
            Place::Tcp(address) => {
                let stream = TcpStream::connect_timeout(address, PATIENCE)?;
                stream.set_read_timeout(Some(PATIENCE))?;
                Box::new(stream)
            }
            Place::Unix(path) => {
                let stream = UnixStream::connect(path)?;
                stream.set_read_timeout(Some(PATIENCE))?;
                Box::new(stream)
            }
        })
    }

    /// One request on a connection of its own; the body of the answer.
    fn ask(&self) -> io::Result<String> {
        let mut stream = self.connect()?;
        stream.write_all(b"GET / HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n")?;
        let mut response = String::new();
        stream.read_to_string(&mut response)?;
        let (_, body) = response.split_once("\r\n\r\n").unwrap_or_default();
        Ok(body.to_owned())
    }
}

trait Stream: Read + Write + Send {}

impl<S: Read + Write + Send> Stream for S {}

/// Not a test by itself: what the tests run as a process of its own.
#[test]
fn scenario() {
    let Ok(scenario) = std::env::var(SCENARIO) else {
        return;
    };
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .init();
    let mut words = scenario.split(' ');
    let mut word = || words.next().unwrap().to_owned();
    let (kind, how, name) = (word(), word(), word());
    let descriptor = || io::stdin().as_fd().try_clone_to_owned().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let clean = runtime.block_on(async {
        let mut passed = listenfd::ListenFd::from_env();
        if kind == "tcp" {
            let listener = match passed.take_tcp_listener(0).unwrap_or_default() {
                Some(listener) => listener,
                None => TcpListener::from(descriptor()),
            };
            listener.set_nonblocking(true).unwrap();
            serve(
                tokio::net::TcpListener::from_std(listener).unwrap(),
                &how,
                name,
            )
            .await
        } else {
            let listener = match passed.take_unix_listener(0).unwrap_or_default() {
                Some(listener) => listener,
                None => UnixListener::from(descriptor()),
            };
            listener.set_nonblocking(true).unwrap();
            serve(
                tokio::net::UnixListener::from_std(listener).unwrap(),
                &how,
                name,
            )
            .await
        }
    });
    std::process::exit(i32::from(!clean));
}

async fn serve(listener: impl Accept, how: &str, name: String) -> bool {
    let shutdown = ShutdownCoordinator::new(Plan::from_env().unwrap());
    let handle = shutdown.handle();
    lameduck::signal::listen(&handle).unwrap();
    let app = Router::new().route("/", get(async move || name));
    let mut server = Server::new(&handle);
    if how == "Said" {
        server = server.shared();
    }
    server.serve(listener, app);
    println!("ready");
    shutdown.run().await.is_clean()
}
