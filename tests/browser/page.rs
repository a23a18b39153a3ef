//! The page in the browser, and what it says.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::routing::post;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use crate::PATIENCE;
use crate::chromium::Chromium;

/// Who speaks: the page's `EventSource` and its `WebSocket`.
pub(crate) const EVENTS: &str = "events";
pub(crate) const SOCKET: &str = "socket";

/// An open page.
pub(crate) struct Page {
    chromium: Chromium,
    hears: mpsc::UnboundedReceiver<Said>,
    so_far: Vec<Said>,
}

struct Said {
    who: String,
    what: String,
    /// By the browser's clock, since the page was opened.
    at: Duration,
}

impl Page {
    /// Opens the page of the service at `address`. It talks to a server of the test, not of the service: what it says does
    /// not depend on what it is about.
    pub(crate) async fn open(chromium: &str, address: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let test = listener.local_addr().unwrap();
        let (said, hears) = mpsc::unbounded_channel();
        let app = Router::new().route(
            "/said",
            post(async move |text: String| {
                // Nobody listens any more when the test is over.
                let _ = said.send(Said::parse(&text));
            }),
        );
        tokio::spawn(async move { axum::serve(listener, app).await });
        let directory = format!("browser-{}", test.port());
        let url = format!("http://{address}/#{test}");
        Page {
            chromium: Chromium::start(chromium, &directory, &url),
            hears,
            so_far: Vec::new(),
        }
    }

    /// Waits until it has said this.
    pub(crate) async fn says(&mut self, who: &str, what: &str) {
        let deadline = Instant::now() + PATIENCE;
        let is_it = |said: &Said| said.who == who && said.what == what;
        while !self.so_far.iter().any(is_it) {
            match timeout_at(deadline, self.hears.recv()).await {
                Ok(said) => self.so_far.push(said.expect("the server runs")),
                Err(_) => panic!(
                    "`{who}: {what}` did not come in {PATIENCE:?}, but\n{self}{}",
                    self.chromium.complaints()
                ),
            }
        }
    }

    /// What one of them has said so far.
    pub(crate) fn said(&self, who: &str) -> Vec<&str> {
        self.of(who).map(|said| said.what.as_str()).collect()
    }

    /// How long it was from `first` to the next `then`.
    pub(crate) fn pause(&self, who: &str, first: &str, then: &str) -> Duration {
        let mut said = self.of(who);
        let mut at = |what: &str| said.find(|said| said.what == what).map(|said| said.at);
        match (at(first), at(then)) {
            (Some(first), Some(then)) => then - first,
            _ => panic!("`{who}` did not say `{first}`, then `{then}`, but\n{self}"),
        }
    }

    fn of(&self, who: &str) -> impl Iterator<Item = &Said> {
        self.so_far.iter().filter(move |said| said.who == who)
    }
}

impl Said {
    fn parse(text: &str) -> Self {
        let said: Value = serde_json::from_str(text).unwrap();
        let text = |name: &str| said[name].as_str().unwrap().to_owned();
        Said {
            who: text("who"),
            what: text("what"),
            at: Duration::from_secs_f64(said["at"].as_f64().unwrap() / 1_000.0),
        }
    }
}

impl fmt::Display for Page {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Said { who, what, at } in &self.so_far {
            writeln!(f, "{:>8.3} s  {who}: {what}", at.as_secs_f64())?;
        }
        Ok(())
    }
}
