//! A real reverse proxy between the clients and the replicas of one column.
//!
//! Unlike the [`Balancer`](crate::balancer), it is in the way of the bytes: it has connections of its own to the replicas,
//! keeps them alive, and chooses a replica for each request. It sends no request twice; that would hide a loss.

mod daemon;
mod front;
mod haproxy;
mod log;
mod nginx;

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use crate::balancer::Endpoint;
use crate::tally::Counts;

use daemon::Daemon;
pub(crate) use front::{ATTEMPT, Front};

/// Somebody else may take its port between our look and the proxy's.
const TRIES: u32 = 3;

/// Which one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Nginx,
    Haproxy,
}

impl Kind {
    pub(crate) fn parse(name: &str) -> Option<Self> {
        [Kind::Nginx, Kind::Haproxy]
            .into_iter()
            .find(|kind| kind.name() == name)
    }

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Kind::Nginx => nginx::NAME,
            Kind::Haproxy => haproxy::NAME,
        }
    }

    /// The program; `None` if it is not installed.
    pub(crate) fn program(self) -> Option<&'static str> {
        match self {
            Kind::Nginx => daemon::find(nginx::PLACES),
            Kind::Haproxy => daemon::find(haproxy::PLACES),
        }
    }
}

/// A proxy that runs. It is ended when this is dropped.
pub(crate) struct Proxy {
    kind: Kind,
    directory: PathBuf,
    front: Arc<Front>,
    daemon: Daemon,
    /// Where it routes to.
    rotation: Mutex<Vec<SocketAddr>>,
    /// When it was told to load its configuration anew.
    reloads: Mutex<Vec<SystemTime>>,
}

impl Proxy {
    /// Starts one that routes to these replicas.
    pub(crate) async fn start(
        kind: Kind,
        directory: PathBuf,
        replicas: Vec<Arc<Endpoint>>,
    ) -> Result<Self, String> {
        let say = |error: std::io::Error| format!("{}: {error}", kind.name());
        let program = kind
            .program()
            .ok_or_else(|| format!("{} is not installed", kind.name()))?;
        fs::create_dir_all(&directory).map_err(say)?;
        let rotation: Vec<SocketAddr> = replicas.iter().map(|replica| replica.address).collect();
        for _ in 0..TRIES {
            let address = daemon::free_address().map_err(say)?;
            let arguments = match kind {
                Kind::Nginx => nginx::configure(&directory, address, &rotation),
                Kind::Haproxy => haproxy::configure(&directory, address, &rotation),
            };
            let daemon = Daemon::start(program, &arguments.map_err(say)?, &directory);
            let daemon = daemon.map_err(say)?;
            if daemon.listens(address).await {
                return Ok(Proxy {
                    kind,
                    directory,
                    front: Arc::new(Front::new(address, replicas)),
                    daemon,
                    rotation: Mutex::new(rotation),
                    reloads: Mutex::default(),
                });
            }
        }
        let said = daemon::errors(&directory);
        Err(format!("{} does not listen: {said}", kind.name()))
    }

    /// What clients know of it.
    pub(crate) fn front(&self) -> Arc<Front> {
        Arc::clone(&self.front)
    }

    pub(crate) async fn add(&self, endpoint: Arc<Endpoint>) -> Result<(), String> {
        let address = endpoint.address;
        self.front.know(endpoint);
        self.rotate(|rotation| rotation.push(address))?;
        match self.kind {
            // A server of an upstream block is where its configuration says.
            Kind::Nginx => Ok(()),
            Kind::Haproxy => haproxy::add(&self.directory, address).await,
        }
    }

    pub(crate) async fn remove(&self, endpoint: &Endpoint) -> Result<(), String> {
        let address = endpoint.address;
        self.rotate(|rotation| rotation.retain(|other| *other != address))?;
        match self.kind {
            Kind::Nginx => Ok(()),
            Kind::Haproxy => haproxy::remove(&self.directory, address).await,
        }
    }

    /// Ends it, and says of each loss what its log says of it.
    pub(crate) fn account(self, counts: &mut Counts) -> Result<(), String> {
        let Proxy {
            kind,
            directory,
            front,
            daemon,
            reloads,
            ..
        } = self;
        // It writes a line when a request is over: its last ones come now.
        drop(daemon);
        let log = match kind {
            Kind::Nginx => directory.join(nginx::LOG),
            Kind::Haproxy => directory.join(daemon::OUTPUT),
        };
        let log = read(&log)?;
        let reloads = reloads.into_inner().expect("nobody panics with it");
        log::account(&log, kind, &front, &reloads, counts);
        Ok(())
    }

    /// One change after the other: the configuration that is written last has all of them.
    fn rotate(&self, change: impl FnOnce(&mut Vec<SocketAddr>)) -> Result<(), String> {
        let mut rotation = self.rotation.lock().expect("nobody panics with it");
        change(&mut rotation);
        match self.kind {
            Kind::Nginx => {
                let mut reloads = self.reloads.lock().expect("nobody panics with it");
                reloads.push(SystemTime::now());
                nginx::reload(&self.directory, self.front.address, &rotation)
                    .map_err(|error| format!("{}: {error}", self.kind.name()))
            }
            Kind::Haproxy => Ok(()),
        }
    }
}

fn read(file: &Path) -> Result<String, String> {
    fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))
}
