//! A client of HTTP/1 that keeps its connection until it is told to leave (RFC 9112, section 9.6).

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::sleep;

use crate::book::Book;

/// Asks until there are enough.
pub(crate) async fn ask(address: SocketAddr, client: u64, book: &Book) {
    let Some(mut number) = book.next() else {
        return;
    };
    loop {
        let mut connection = Connection::open(address).await;
        book.connected();
        loop {
            let goes_on = connection.ask(number, book).await;
            match book.next() {
                Some(next) => number = next,
                None => return,
            }
            if !goes_on {
                break;
            }
            pause(client, number).await;
        }
    }
}

/// Some clients never pause, some for a moment, and some for as long as a connection lives.
async fn pause(client: u64, number: u64) {
    match client % 8 {
        0 => sleep(Duration::from_millis(number % 4)).await,
        1 if number % 20 == 0 => sleep(Duration::from_millis(40 + number % 20)).await,
        _ => {}
    }
}

struct Connection {
    stream: TcpStream,
    read: Vec<u8>,
}

/// The end of the connection came in place of an answer, or within it.
enum Failed {
    Whole,
    Broken,
}

impl Connection {
    async fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Connection {
            stream,
            read: Vec::new(),
        }
    }

    /// Asks once. Returns whether the connection goes on.
    async fn ask(&mut self, number: u64, book: &Book) -> bool {
        if self.send(number).await.is_err() {
            book.fail(number);
            return false;
        }
        match self.response().await {
            Ok((body, closes)) => {
                book.answer(number, &body);
                !closes
            }
            Err(Failed::Whole) => {
                book.fail(number);
                false
            }
            Err(Failed::Broken) => {
                book.broke();
                false
            }
        }
    }

    /// One in five has a body, which comes in two parts.
    async fn send(&mut self, number: u64) -> io::Result<()> {
        if number % 5 != 0 {
            let request = format!("GET /{number} HTTP/1.1\r\nHost: test\r\n\r\n");
            return self.stream.write_all(request.as_bytes()).await;
        }
        const HALF: [u8; 2_000] = [b'x'; 2_000];
        let head = format!("POST /{number} HTTP/1.1\r\nHost: test\r\nContent-Length: 4000\r\n\r\n");
        let first = [head.as_bytes(), &HALF].concat();
        self.stream.write_all(&first).await?;
        tokio::task::yield_now().await;
        self.stream.write_all(&HALF).await
    }

    /// The response's body, and whether its head said close.
    async fn response(&mut self) -> Result<(Vec<u8>, bool), Failed> {
        const END: &[u8] = b"\r\n\r\n";
        let end = loop {
            let found = self.read.windows(END.len()).position(|it| it == END);
            if let Some(at) = found {
                break at + END.len();
            }
            self.more().await?;
        };
        let head = String::from_utf8(self.read.drain(..end).collect()).unwrap();
        let head = head.to_ascii_lowercase();
        assert!(head.starts_with("http/1.1 200 "), "{head}");
        let field = |name: &str| {
            let mut lines = head.lines().filter_map(|line| line.split_once(": "));
            lines.find(|line| line.0 == name).map(|line| line.1)
        };
        let length: usize = field("content-length").unwrap().parse().unwrap();
        while self.read.len() < length {
            self.more().await.map_err(|_| Failed::Broken)?;
        }
        let closes = field("connection") == Some("close");
        Ok((self.read.drain(..length).collect(), closes))
    }

    async fn more(&mut self) -> Result<(), Failed> {
        match self.stream.read_buf(&mut self.read).await {
            Ok(1..) => Ok(()),
            _ if self.read.is_empty() => Err(Failed::Whole),
            _ => Err(Failed::Broken),
        }
    }
}
