//! The clients: a few that ask all the time, and those that are bad on purpose.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Empty};
use hyper::Request;
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::abuse::Client;
use crate::random::Random;

const CLIENTS: usize = 3;
const GAP: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(100));
const PATIENCE: Duration = Duration::from_secs(30);

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// The clients of one service, until this is dropped.
pub(crate) struct Clients(JoinSet<Infallible>);

impl Clients {
    /// Begins with those that ask all the time. Returns when one of them has its first answer.
    pub(crate) async fn start(address: SocketAddr, random: &mut Random) -> Result<Self, String> {
        let mut clients = JoinSet::new();
        let answered = Arc::new(Notify::new());
        for _ in 0..CLIENTS {
            let (answered, random) = (Arc::clone(&answered), random.split());
            clients.spawn(ask_all_the_time(address, answered, random));
        }
        let first = timeout(PATIENCE, answered.notified()).await;
        first.map_err(|_| "no request was answered".to_owned())?;
        Ok(Clients(clients))
    }

    /// A client that is bad on purpose, and stays.
    pub(crate) async fn abuse(&mut self, client: Client, address: SocketAddr) -> io::Result<()> {
        match client {
            Client::WebSocket => {
                let url = format!("ws://{address}/socket");
                let opened = tokio_tungstenite::connect_async(url).await;
                let (socket, _) = opened.map_err(io::Error::other)?;
                self.stay(socket);
            }
            Client::EndlessBody => {
                let stream = send(address, &get("/drip")).await?;
                self.0.spawn(read_on(stream));
            }
            Client::Never => self.stay(send(address, &get("/never")).await?),
            Client::Block => self.stay(send(address, &get("/block")).await?),
            Client::HalfHead => self.stay(send(address, "GET / HTTP/1.1\r\nhost: se").await?),
            Client::HalfBody => {
                let head = "POST /upload HTTP/1.1\r\nhost: service\r\ncontent-length: 10\r\n\r\n";
                self.stay(send(address, &format!("{head}hello")).await?);
            }
            Client::SlowReader => {
                let mut stream = send(address, &get("/large")).await?;
                stream.read_exact(&mut [0; 1024]).await?;
                self.stay(stream);
            }
        }
        Ok(())
    }

    fn stay(&mut self, what: impl Send + 'static) {
        self.0.spawn(async move {
            let _what = what;
            std::future::pending().await
        });
    }
}

impl Client {
    /// Whether a handler is called, and says so.
    pub(crate) fn is_heard_of(self) -> bool {
        self != Client::HalfHead
    }
}

/// On a keep-alive connection, and on the next one when that has ended.
async fn ask_all_the_time(
    address: SocketAddr,
    answered: Arc<Notify>,
    mut random: Random,
) -> Infallible {
    loop {
        // The connection has ended, or there was none: what became of its last request is not the matter here.
        let _ = ask_on_one_connection(address, &answered, &mut random).await;
        sleep(random.between(GAP.0, GAP.1)).await;
    }
}

async fn ask_on_one_connection(
    address: SocketAddr,
    answered: &Notify,
    random: &mut Random,
) -> Result<Infallible, Failure> {
    let stream = TcpStream::connect(address).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let mut driver = JoinSet::new();
    driver.spawn(connection);
    loop {
        sender.ready().await?;
        let request = Request::get("/").header("host", "service");
        let request = request.body(Empty::<Bytes>::new())?;
        let response = sender.send_request(request).await?;
        if response.into_body().collect().await?.to_bytes() == "1\n" {
            answered.notify_one();
        }
        sleep(random.between(GAP.0, GAP.1)).await;
    }
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: service\r\n\r\n")
}

async fn send(address: SocketAddr, text: &str) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(text.as_bytes()).await?;
    Ok(stream)
}

async fn read_on(mut stream: TcpStream) -> Infallible {
    let mut buffer = [0; 1024];
    while stream.read(&mut buffer).await.is_ok_and(|read| read > 0) {}
    std::future::pending().await
}
