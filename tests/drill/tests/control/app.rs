//! What it answers.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::BodyExt;
use http_body_util::combinators::BoxBody;
use hyper::body::{Body, Frame, Incoming};
use hyper_util::rt::TokioIo;
use tokio::sync::{mpsc, watch};
use tokio::time::sleep;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, frame::coding::CloseCode};

use super::Planted;

const SLOW: Duration = Duration::from_millis(60);
const TICK: Duration = Duration::from_millis(20);
const PIECE: usize = 64 * 1024;
const PIECES: usize = 128;

type Answer = Response<BoxBody<Bytes, io::Error>>;

/// What a connection's requests share.
#[derive(Clone)]
pub(crate) struct App {
    pub(crate) planted: Planted,
    pub(crate) stopping: watch::Receiver<bool>,
    /// Requests of this connection so far.
    pub(crate) before: Arc<AtomicU64>,
    /// Counts what lasts longer than its request.
    pub(crate) alive: mpsc::Sender<()>,
}

impl App {
    /// An error ends the connection without an answer.
    pub(crate) async fn answer(self, request: Request<Incoming>) -> Result<Answer, io::Error> {
        let number = number(&request);
        let before = self.before.fetch_add(1, Ordering::Relaxed);
        if *self.stopping.borrow() {
            match self.planted {
                Planted::ResetsKept if before > 0 && number % 4 == 0 => {
                    return Err(io::Error::other("planted"));
                }
                Planted::SkipsHandlers => return Ok(self.finish(text("nobody did it\n"))),
                Planted::Rejects => {
                    let mut answer = text("we are closing\n");
                    *answer.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
                    return Ok(self.finish(answer));
                }
                Planted::Hangs => std::future::pending().await,
                _ => {}
            }
        }
        println!("drill-request={number}");
        let answer = self.handle(request).await?;
        Ok(self.finish(answer))
    }

    async fn handle(&self, request: Request<Incoming>) -> Result<Answer, io::Error> {
        Ok(match request.uri().path() {
            "/slow" => {
                sleep(SLOW).await;
                self.body("at last\n")
            }
            "/upload" => {
                let body = request.into_body().collect().await;
                let length = body.map_err(io::Error::other)?.to_bytes().len();
                text(&format!("{length} bytes\n"))
            }
            "/download" => self.download(),
            "/events" => self.events(),
            "/ws" => self.websocket(request),
            _ => self.body("hello\n"),
        })
    }

    /// Half of it, where that is the fault.
    fn body(&self, whole: &'static str) -> Answer {
        if self.planted != Planted::CutsBodies || !*self.stopping.borrow() {
            return text(whole);
        }
        let (pieces, mut answer) = stream();
        let length = HeaderValue::from(whole.len());
        answer.headers_mut().insert(header::CONTENT_LENGTH, length);
        let half = Bytes::from_static(&whole.as_bytes()[..whole.len() / 2]);
        tokio::spawn(async move {
            let _ = pieces.send(Ok(half)).await;
            sleep(TICK).await;
            let _ = pieces.send(Err(io::Error::other("planted"))).await;
        });
        answer
    }

    fn download(&self) -> Answer {
        let (pieces, answer) = stream();
        let mut stopping = self.stopping.clone();
        let cuts = self.planted == Planted::CutsSlow;
        tokio::spawn(async move {
            for _ in 0..PIECES {
                let piece = Ok(Bytes::from(vec![b'd'; PIECE]));
                let stopped = async { stopping.wait_for(|stop| *stop).await.is_ok() };
                let sent = tokio::select! {
                    sent = pieces.send(piece) => sent.is_ok(),
                    _ = stopped, if cuts => false,
                };
                if !sent {
                    let _ = pieces.send(Err(io::Error::other("planted"))).await;
                    return;
                }
            }
        });
        answer
    }

    fn events(&self) -> Answer {
        let (pieces, answer) = stream();
        let stopping = self.stopping.clone();
        let cuts = self.planted == Planted::CutsLong;
        tokio::spawn(async move {
            while !*stopping.borrow() {
                let event = Bytes::from_static(b"data: tick\n\n");
                if pieces.send(Ok(event)).await.is_err() {
                    return;
                }
                sleep(TICK).await;
            }
            if cuts {
                let _ = pieces.send(Err(io::Error::other("planted"))).await;
            }
        });
        answer
    }

    fn websocket(&self, mut request: Request<Incoming>) -> Answer {
        let key = request.headers().get(header::SEC_WEBSOCKET_KEY).cloned();
        let accept = derive_accept_key(key.as_ref().map_or(b"", HeaderValue::as_bytes));
        let mut stopping = self.stopping.clone();
        let (planted, alive) = (self.planted, self.alive.clone());
        tokio::spawn(async move {
            let Ok(upgraded) = hyper::upgrade::on(&mut request).await else {
                return;
            };
            let io = TokioIo::new(upgraded);
            let mut socket = WebSocketStream::from_raw_socket(io, Role::Server, None).await;
            let _ = stopping.wait_for(|stop| *stop).await;
            if planted != Planted::CutsLong {
                let farewell = CloseFrame {
                    code: CloseCode::Away,
                    reason: "we leave".into(),
                };
                let _ = socket.send(Message::Close(Some(farewell))).await;
                while let Some(Ok(_)) = socket.next().await {}
            }
            drop(alive);
        });
        let mut answer = text("");
        *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = answer.headers_mut();
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        let accept = HeaderValue::try_from(accept).expect("it is base64");
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
        answer
    }

    /// Says close once it stops.
    fn finish(&self, mut answer: Answer) -> Answer {
        let upgrades = answer.status() == StatusCode::SWITCHING_PROTOCOLS;
        if *self.stopping.borrow() && !upgrades && self.planted != Planted::ResetsKept {
            let close = HeaderValue::from_static("close");
            answer.headers_mut().insert(header::CONNECTION, close);
        }
        answer
    }
}

fn number(request: &Request<Incoming>) -> u64 {
    let number = request.headers().get("drill-request");
    let number = number.and_then(|number| number.to_str().ok()?.parse().ok());
    number.unwrap_or_default()
}

fn text(text: &str) -> Answer {
    let body = http_body_util::Full::new(Bytes::from(text.to_owned()));
    let never = |never: Infallible| match never {};
    Response::new(BoxBody::new(body.map_err(never)))
}

type Piece = Result<Bytes, io::Error>;

fn stream() -> (mpsc::Sender<Piece>, Answer) {
    let (pieces, body) = mpsc::channel(1);
    (pieces, Response::new(BoxBody::new(Pieces(body))))
}

struct Pieces(mpsc::Receiver<Piece>);

impl Body for Pieces {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        self.0
            .poll_recv(cx)
            .map(|piece| piece.map(|piece| piece.map(Frame::data)))
    }
}
