//! What a server has set for all of its connections.

use super::age::MaxAge;
use super::socket::SocketOptions;
use super::timeouts::Timeouts;
#[cfg(feature = "hyper")]
use crate::http::traffic::ProbeAgents;
use crate::in_flight::Stage;
use crate::phase::Phase;

#[derive(Clone, Debug)]
pub(crate) struct Terms {
    pub(crate) names: RequestNames,
    pub(crate) timeouts: Timeouts,
    pub(crate) refusals: Refusals,
    /// Whether a request's context is put into its extensions.
    pub(crate) context: bool,
    pub(crate) max_age: MaxAge,
    pub(crate) socket: SocketOptions,
    pub(crate) exempt: Option<Exempt>,
    #[cfg(feature = "hyper")]
    pub(crate) agents: ProbeAgents,
    /// Whether HTTP/2's responses that are ready together leave together.
    pub(crate) gathers: bool,
    /// How many connections may be open.
    pub(crate) max_connections: Option<usize>,
}

#[cfg(feature = "hyper")]
pub(crate) use crate::http::traffic::ExemptRule as Exempt;

/// Without HTTP there are no requests.
#[cfg(not(feature = "hyper"))]
#[derive(Clone, Debug)]
pub(crate) enum Exempt {}

impl Default for Terms {
    fn default() -> Self {
        Terms::from(Timeouts::new())
    }
}

impl From<Timeouts> for Terms {
    fn from(timeouts: Timeouts) -> Self {
        Terms {
            names: RequestNames::default(),
            timeouts,
            refusals: Refusals::default(),
            context: false,
            max_age: MaxAge::default(),
            socket: SocketOptions::default(),
            exempt: None,
            #[cfg(feature = "hyper")]
            agents: &[],
            gathers: true,
            max_connections: None,
        }
    }
}

/// How the report calls requests that were left behind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum RequestNames {
    /// `GET /orders/17`. The query is never shown: tokens live there.
    #[default]
    MethodAndPath,
    /// `GET`, for paths that are secret themselves.
    Method,
    /// Nothing: requests are counted, but not named.
    Off,
}

/// From which phase on what is refused while the listener is open; by default in none.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Refusals {
    pub(crate) requests: Option<Phase>,
    pub(crate) upgrades: Option<Phase>,
}

impl Refusals {
    /// Whether a request is refused in this stage of a shutdown.
    pub(crate) fn refuse(self, stage: Stage, is_upgrade: impl FnOnce() -> bool) -> bool {
        let begun = |from: Option<Phase>| from.is_some_and(|phase| phase.has_begun(stage));
        begun(self.requests) || (begun(self.upgrades) && is_upgrade())
    }
}
