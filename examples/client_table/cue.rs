//! What a client waits for, and what it says itself. Nobody guesses how long something takes.

use std::convert::Infallible;

use tokio::sync::{mpsc, watch};

use crate::moment::Moment;
use crate::process::Said;

/// A client's side.
#[derive(Clone, Debug)]
pub(crate) struct Cue {
    pub(crate) moment: Moment,
    /// The phase in which the server ends idle connections.
    closes_in: Moment,
    /// The phase has begun that catches the client in its action.
    pub(crate) begun: Occasion,
    /// The server's process is gone.
    pub(crate) left: Occasion,
    said: Said,
    /// Dropped when the client is in the middle of its action.
    preparing: Option<mpsc::Sender<Infallible>>,
}

/// What happens once.
#[derive(Clone, Debug)]
pub(crate) struct Occasion(watch::Receiver<bool>);

/// The other side.
#[derive(Debug)]
pub(crate) struct Director {
    begun: watch::Sender<bool>,
    left: watch::Sender<bool>,
    preparing: mpsc::Receiver<Infallible>,
}

/// A cue for each client is a clone of the one that is returned.
pub(crate) fn direct(moment: Moment, closes_in: Moment, said: Said) -> (Director, Cue) {
    let (begun, begun_cue) = watch::channel(false);
    let (left, left_cue) = watch::channel(false);
    let (ready, preparing) = mpsc::channel(1);
    let director = Director {
        begun,
        left,
        preparing,
    };
    let cue = Cue {
        moment,
        closes_in,
        begun: Occasion(begun_cue),
        left: Occasion(left_cue),
        said,
        preparing: Some(ready),
    };
    (director, cue)
}

impl Director {
    /// Waits until every client is in the middle of its action, or has none any more.
    pub(crate) async fn all_ready(&mut self) {
        // Nothing is ever sent: it is over when the last sender has been dropped.
        let _ = self.preparing.recv().await;
    }

    /// Tells the clients that the phase has begun.
    pub(crate) fn begin(&self) {
        self.begun.send_replace(true);
    }

    /// Tells the clients that the server is gone.
    pub(crate) fn leave(&self) {
        self.left.send_replace(true);
    }
}

impl Cue {
    /// Says that the client is in the middle of its action.
    pub(crate) fn ready(&mut self) {
        self.preparing = None;
    }

    /// Waits until the server ends idle connections; before SIGTERM for nothing but the others.
    pub(crate) async fn closes(&mut self) {
        match self.moment {
            Moment::Normal => self.begun.come().await,
            _ => self.said(&format!("phase {}", self.closes_in)).await,
        }
    }

    /// Waits until the request's handler has been called.
    pub(crate) async fn entered(&mut self, path: &str) {
        self.said(&format!("entered {path}")).await;
    }

    /// Waits until the server has said a line that begins with `start`.
    pub(crate) async fn said(&mut self, start: &str) {
        let begins = |said: &Vec<String>| said.iter().any(|line| line.starts_with(start));
        if self.said.wait_for(begins).await.is_err() {
            // It has said its last, and not this.
            std::future::pending().await
        }
    }
}

impl Occasion {
    pub(crate) async fn come(&mut self) {
        if self.0.wait_for(|come| *come).await.is_err() {
            // The director is gone, and with it the run.
            std::future::pending().await
        }
    }

    pub(crate) fn has_come(&self) -> bool {
        *self.0.borrow()
    }
}
