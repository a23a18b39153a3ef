//! One client: it connects, plays its shape, and tells its story. Bounded in time.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tokio_rustls::TlsConnector;

use crate::cue::Cue;
use crate::http1;
use crate::http2;
use crate::protocol::Protocol;
use crate::script;
use crate::shape::Shape;
use crate::story::{End, Story};
use crate::wire::Wire;

/// Longer than any server is allowed to live, with what comes before SIGTERM.
const PATIENCE: Duration = Duration::from_secs(60);
/// When the server's process is gone, its kernel may still deliver what a slow client reads.
const AFTER_THE_END: Duration = Duration::from_secs(20);

#[derive(Clone)]
pub(crate) struct Client {
    pub(crate) shape: Shape,
    pub(crate) protocol: Protocol,
    pub(crate) address: SocketAddr,
    pub(crate) connector: Option<TlsConnector>,
    /// Left to chance.
    pub(crate) delay: Duration,
}

impl Client {
    pub(crate) async fn play(self, cue: Cue) -> (Shape, Story) {
        let mut story = Story::default();
        let mut left = cue.left.clone();
        let end = tokio::select! {
            end = self.connect_and_play(cue, &mut story) => end,
            () = sleep(PATIENCE) => End::Open,
            () = async { left.come().await; sleep(AFTER_THE_END).await } => End::Open,
        };
        story.end = end;
        story.over = Some(Instant::now());
        (self.shape, story)
    }

    async fn connect_and_play(&self, mut cue: Cue, story: &mut Story) -> End {
        if self.shape.is_bounded() {
            sleep(script::before_half_a_head(cue.moment)).await;
        }
        let resets = self.shape == Shape::Reset;
        let (connector, left) = (self.connector.as_ref(), cue.left.clone());
        let mut wire = match Wire::connect(self.address, connector, left, resets).await {
            Ok(wire) => wire,
            Err(end) => return end,
        };
        story.peer = Some(wire.peer);
        let (shape, delay) = (self.shape, self.delay);
        let played = if self.protocol.is_http2() {
            http2::Client::new(&mut wire, &mut cue, story, shape, delay)
                .play()
                .await
        } else {
            http1::Client::new(&mut wire, &mut cue, story, shape, delay)
                .play()
                .await
        };
        story.after_exit = wire.after_exit;
        played.err().unwrap_or(End::ByClient)
    }
}
