//! What the arrival of a request says of routing.

use http::HeaderMap;
use tokio::time::Instant;

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

/// An arrival of which nobody can say yet whether it is traffic: its handler may run elsewhere, and say that it is none. Dropped
/// when it is none.
#[derive(Debug)]
pub(crate) struct Undecided {
    tracker: Tracker,
    arrival: Arrival,
    at: Instant,
    /// Whether the tracker has been told.
    told: bool,
}

impl Undecided {
    /// `None` when there is nothing to decide.
    pub(crate) fn new(arrival: Arrival, tracker: Tracker) -> Option<Self> {
        let at = Instant::now();
        (arrival != Arrival::Nothing).then(|| Undecided {
            tracker,
            arrival,
            at,
            told: tracker.begin_undecided(at),
        })
    }

    /// It is traffic: notes when it came.
    pub(crate) fn note(mut self) {
        match std::mem::take(&mut self.arrival) {
            Arrival::Leaving => self.tracker.arrived_at(self.at),
            mut other => other.note(|| self.tracker),
        }
    }
}

impl Drop for Undecided {
    fn drop(&mut self) {
        if self.told {
            self.tracker.decided();
        }
    }
}
