//! A restart behind a listener that the parent holds: the successor comes when the first server has left, or before.
//!
//! The parent is what systemd is for a socket unit. So nobody may be refused: a client that comes between the two servers waits
//! in the queue.

use std::io::{self, ErrorKind};
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::answer;
use crate::attempt::{Ask, Log, Lost, Outcome, PATIENCE, Way};
use crate::http1::{pieces, unconnected};
use crate::process::{Ended, Process};
use crate::random::Random;
use crate::server::Settings;

/// New connections come so often: 150 a second.
const BETWEEN_CONNECTIONS: Duration = Duration::from_micros(6_667);
/// And so many are kept, with a request each 133 ms: another 150 a second.
const KEPT: usize = 20;
const BETWEEN_REQUESTS: (Duration, Duration) =
    (Duration::from_millis(66), Duration::from_millis(200));

/// How long clients are watched before the first server is told to stop, and when the second one has taken over.
const BEFORE: Duration = Duration::from_millis(200);
const AFTERWARDS: Duration = Duration::from_millis(300);
/// For so long nobody accepts, if the successor comes afterwards.
const NOBODY: Duration = Duration::from_millis(100);

/// What the parent holds.
enum Held {
    Tcp(std::net::TcpListener),
    Unix(std::os::unix::net::UnixListener),
}

/// Where clients find it.
#[derive(Clone)]
enum Place {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

/// Plays one restart: TCP and Unix by turns, and of each both orders. Returns how the servers ended.
pub(crate) async fn play(
    number: usize,
    settings: impl Fn(&str) -> Settings,
    directory: &Path,
    log: &Arc<Log>,
    random: &mut Random,
) -> Result<Ended, String> {
    let overlaps = number % 4 >= 2;
    let (held, place) = listen(number % 2 == 0, directory).map_err(|error| error.to_string())?;
    let start = async |name: &str| {
        let listener = held.again().map_err(|error| error.to_string())?;
        Process::start_with(settings(name), Some(listener)).await
    };
    let mut first = start("first").await?;
    let over = CancellationToken::new();
    let mut clients = JoinSet::new();
    clients.spawn(connect(place.clone(), Arc::clone(log), over.clone()));
    for _ in 0..KEPT {
        let client = Client {
            place: place.clone(),
            log: Arc::clone(log),
            kept: None,
        };
        clients.spawn(client.keep(random.split(), over.clone()));
    }

    sleep(BEFORE).await;
    let (ended, mut second) = if overlaps {
        let second = start("second").await?;
        first.terminate().await?;
        (first.wait().await?, second)
    } else {
        first.terminate().await?;
        let ended = first.wait().await?;
        sleep(NOBODY).await;
        (ended, start("second").await?)
    };
    sleep(AFTERWARDS).await;
    over.cancel();
    while let Some(client) = clients.join_next().await {
        client.map_err(|error| format!("a client: {error}"))?;
    }
    second.terminate().await?;
    Ok(ended.and(second.wait().await?))
}

fn listen(unix: bool, directory: &Path) -> io::Result<(Held, Place)> {
    if unix {
        let path = directory.join("held.sock");
        // The one of the round before.
        let _ = std::fs::remove_file(&path);
        let listener = std::os::unix::net::UnixListener::bind(&path)?;
        return Ok((Held::Unix(listener), Place::Unix(path)));
    }
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    Ok((Held::Tcp(listener), Place::Tcp(address)))
}

impl Held {
    fn again(&self) -> io::Result<OwnedFd> {
        match self {
            Held::Tcp(listener) => Ok(listener.try_clone()?.into()),
            Held::Unix(listener) => Ok(listener.try_clone()?.into()),
        }
    }
}

/// One connection after the other, each with one request, whatever becomes of those before.
async fn connect(place: Place, log: Arc<Log>, over: CancellationToken) {
    let mut due = interval(BETWEEN_CONNECTIONS);
    let mut clients = JoinSet::new();
    while !over.is_cancelled() {
        due.tick().await;
        let mut client = Client {
            place: place.clone(),
            log: Arc::clone(&log),
            kept: None,
        };
        clients.spawn(async move { client.attempt(Way::OneShot).await });
    }
    clients.join_all().await;
}

struct Client {
    place: Place,
    log: Arc<Log>,
    kept: Option<Wire>,
}

impl Client {
    async fn keep(mut self, mut random: Random, over: CancellationToken) {
        while !over.is_cancelled() {
            sleep(random.between(BETWEEN_REQUESTS.0, BETWEEN_REQUESTS.1)).await;
            self.attempt(Way::KeepAlive).await;
        }
    }

    async fn attempt(&mut self, way: Way) {
        let began = SystemTime::now();
        let ask = Ask::new(crate::attempt::Kind::Quick, false);
        let end = timeout(PATIENCE, self.ask(&ask, way)).await;
        let end = end.unwrap_or_else(|_| Err((Outcome::TimedOut, "no end in time".to_owned())));
        self.log.add(ask, way, began, end);
    }

    async fn ask(&mut self, ask: &Ask, way: Way) -> Result<(), Lost> {
        let mut wire = match self.kept.take().filter(Wire::looks_open) {
            Some(wire) => wire,
            None => self.place.connect().await.map_err(unconnected)?,
        };
        // If this fails, reading says what happened.
        let _ = wire.stream().write_all(&pieces(ask).concat()).await;
        let mut buffer = Vec::new();
        let answer = answer::read(ask, &mut buffer, &mut wire.stream()).await?;
        if way == Way::KeepAlive && !answer.close {
            self.kept = Some(wire);
        }
        Ok(())
    }
}

enum Wire {
    Tcp(TcpStream),
    Unix(UnixStream),
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

impl Wire {
    fn stream(&mut self) -> &mut (dyn Stream + 'static) {
        match self {
            Wire::Tcp(stream) => stream,
            Wire::Unix(stream) => stream,
        }
    }

    /// What a careful client looks at just before it sends: whether the server's end has come already.
    fn looks_open(&self) -> bool {
        let socket = match self {
            Wire::Tcp(stream) => SockRef::from(stream),
            Wire::Unix(stream) => SockRef::from(stream),
        };
        match socket.peek(&mut [MaybeUninit::uninit()]) {
            Err(error) => error.kind() == ErrorKind::WouldBlock,
            Ok(_) => false,
        }
    }
}

impl Place {
    async fn connect(&self) -> io::Result<Wire> {
        let path = match self {
            Place::Tcp(address) => return Ok(Wire::Tcp(TcpStream::connect(address).await?)),
            Place::Unix(path) => path,
        };
        // A full queue of a Unix socket is an error where TCP waits.
        let latest = Instant::now() + PATIENCE;
        loop {
            match UnixStream::connect(path).await {
                Err(error) if error.kind() == ErrorKind::WouldBlock && Instant::now() < latest => {
                    sleep(BETWEEN_CONNECTIONS).await;
                }
                connected => return Ok(Wire::Unix(connected?)),
            }
        }
    }
}
