//! What the arrival of a request says of routing.

use http::HeaderMap;

use crate::http::traffic::{ProbeAgents, is_probe};
use crate::in_flight::Tracker;

/// Noted when the request's handler has run: by then it is known whether it was exempt, or a probe of ours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// Nobody minds, it has been noted, it is exempt, or it was answered by a probe of ours.
    #[default]
    Nothing,
    /// Somebody else's probe: whoever answers it may be told to be ready by that.
    Probe,
    InService,
    Leaving,
}

impl Arrival {
    #[cold]
    pub(crate) fn of(headers: &HeaderMap, agents: ProbeAgents, tracker: Tracker) -> Self {
        match (is_probe(headers, agents), tracker.is_serving()) {
            (true, _) => Arrival::Probe,
            (false, true) => Arrival::InService,
            (false, false) => Arrival::Leaving,
        }
    }

    /// Notes that it is refused. A probe is no traffic then, either.
    #[cold]
    pub(crate) fn refused(self, tracker: Tracker) {
        if self != Arrival::Probe {
            tracker.refused();
        }
    }

    /// Notes it, once.
    #[inline]
    pub(crate) fn note(&mut self, tracker: impl FnOnce() -> Tracker) {
        match std::mem::take(self) {
            Arrival::Nothing => {}
            Arrival::Probe => tracker().reached(),
            Arrival::InService => tracker().arrived_in_service(),
            Arrival::Leaving => tracker().arrived(),
        }
    }
}
