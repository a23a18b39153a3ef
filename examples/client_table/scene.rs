//! One scene: a server, a cast of clients, and the moment that catches them in their actions.

use std::fmt;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use crate::client::Client;
use crate::column::Column;
use crate::cue;
use crate::moment::Moment;
use crate::process::{Ended, Process};
use crate::protocol::Protocol;
use crate::random::Random;
use crate::server::Settings;
use crate::shape::{Cast, Shape};
use crate::story::Story;
use crate::tls::Identity;

/// Clients that are not in their actions by then have missed the moment.
const PATIENCE: Duration = Duration::from_secs(10);
/// What clients do after the moment comes up to so much later.
const DELAY: Duration = Duration::from_millis(150);

#[derive(Clone, Debug)]
pub(crate) struct Scene {
    pub(crate) column: Column,
    pub(crate) protocol: Protocol,
    pub(crate) moment: Moment,
    pub(crate) cast: Cast,
    pub(crate) shapes: Vec<Shape>,
}

/// A scene that is over.
#[derive(Debug)]
pub(crate) struct Played {
    pub(crate) scene: Scene,
    pub(crate) stories: Vec<(Shape, Story)>,
    /// When the phase began that had to catch the clients.
    pub(crate) begun: Instant,
    /// Whether all of them were in their actions by then.
    pub(crate) caught: bool,
    pub(crate) ended: Ended,
}

impl Scene {
    pub(crate) async fn play(
        self,
        identity: &Identity,
        mut random: Random,
    ) -> Result<Played, String> {
        let mut process = Process::start(Settings {
            column: self.column,
            protocol: self.protocol,
            lame_duck: self.moment.lame_duck(),
            certificate: identity.certificate(),
            key: identity.key(),
        })
        .await?;
        let hold_drain = self.moment == Moment::Close;
        if !hold_drain {
            process.end_drain().await?;
        }
        if let Some(phase) = self.moment.clients_begin_in() {
            process.terminate().await?;
            process.begun(phase).await?;
        }

        let closes_in = Moment::closes_in(self.column);
        let (mut director, cue) = cue::direct(self.moment, closes_in, process.said.clone());
        let mut clients = JoinSet::new();
        for &shape in &self.shapes {
            let client = Client {
                shape,
                protocol: self.protocol,
                address: process.address,
                connector: self.connector(identity)?,
                delay: random.between(Duration::ZERO, DELAY),
            };
            clients.spawn(client.play(cue.clone()));
        }
        drop(cue);
        let mut caught = timeout(PATIENCE, director.all_ready()).await.is_ok();

        // Drain begins by itself, and so does Close if Drain has been held open for too long.
        caught &= !process.has_begun(self.moment);
        match self.moment {
            Moment::Normal | Moment::Drain => {}
            Moment::LameDuck => process.terminate().await?,
            Moment::Close => process.end_drain().await?,
        }
        if self.moment != Moment::Normal {
            process.begun(self.moment).await?;
        }
        let begun = Instant::now();
        director.begin();

        let mut stories = Vec::new();
        if self.moment == Moment::Normal {
            stories = joined(&mut clients).await?;
            process.terminate().await?;
        }
        let ended = process.wait().await?;
        director.leave();
        stories.extend(joined(&mut clients).await?);
        Ok(Played {
            scene: self,
            stories,
            begun,
            caught,
            ended,
        })
    }

    fn connector(&self, identity: &Identity) -> Result<Option<tokio_rustls::TlsConnector>, String> {
        let connector = || identity.connector(self.protocol);
        let connector = self.protocol.is_tls().then(connector).transpose();
        connector.map_err(|error| error.to_string())
    }
}

impl fmt::Display for Scene {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.column, self.protocol, self.moment)
    }
}

async fn joined(clients: &mut JoinSet<(Shape, Story)>) -> Result<Vec<(Shape, Story)>, String> {
    let mut stories = Vec::new();
    while let Some(client) = clients.join_next().await {
        stories.push(client.map_err(|error| format!("a client: {error}"))?);
    }
    Ok(stories)
}
