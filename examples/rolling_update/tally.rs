//! What became of the requests.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::SystemTime;

use crate::balancer::Endpoint;

/// What became of one attempt, as its client saw it. Everything but an answer is a loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Outcome {
    Answered,
    /// No connection: nobody was listening.
    Refused,
    /// The connection ended before the answer began.
    Reset,
    /// The connection ended in the middle of the answer.
    Cut,
    /// Another status than 200, or no end within the client's patience.
    Other,
}

impl Outcome {
    pub(crate) const ALL: [Outcome; 5] = [
        Outcome::Answered,
        Outcome::Refused,
        Outcome::Reset,
        Outcome::Cut,
        Outcome::Other,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Outcome::Answered => "answered",
            Outcome::Refused => "refused",
            Outcome::Reset => "reset",
            Outcome::Cut => "cut",
            Outcome::Other => "other",
        }
    }
}

/// An attempt that was not answered.
#[derive(Clone, Debug)]
pub(crate) struct Loss {
    pub(crate) outcome: Outcome,
    pub(crate) what: String,
    /// The replica that it went to, if there was one.
    pub(crate) endpoint: Option<Arc<Endpoint>>,
    /// When its connection stood; `None` if it never did. Behind a proxy: when the request was sent, unless the proxy's own
    /// connection never stood.
    pub(crate) connected: Option<SystemTime>,
    pub(crate) ended: SystemTime,
    /// What the proxy's log calls it; `None` where there is no proxy.
    pub(crate) attempt: Option<u64>,
    /// The proxy lost it before it had chosen a replica.
    pub(crate) by_proxy: bool,
}

/// The counts of one column.
#[derive(Debug, Default)]
pub(crate) struct Tally(Mutex<Counts>);

#[derive(Clone, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) outcomes: BTreeMap<Outcome, u64>,
    /// Connections that the server asked, in the protocol's own words, not to be used again.
    pub(crate) told: u64,
    /// Requests sent to a replica that had been told to stop.
    pub(crate) to_dying: u64,
    /// The notes whose writing was confirmed, with the number of the replica that confirmed it.
    pub(crate) written: Vec<(usize, String)>,
    pub(crate) losses: Vec<Loss>,
}

impl Counts {
    pub(crate) fn of(&self, outcome: Outcome) -> u64 {
        self.outcomes.get(&outcome).copied().unwrap_or_default()
    }

    /// Whoever looked closer found another outcome.
    pub(crate) fn move_one(&mut self, from: Outcome, to: Outcome) {
        *self.outcomes.entry(from).or_default() -= 1;
        *self.outcomes.entry(to).or_default() += 1;
    }

    pub(crate) fn sent_to(&mut self, endpoint: &Endpoint, sent: SystemTime) {
        if endpoint.stop().is_some_and(|stop| stop.at_time <= sent) {
            self.to_dying += 1;
        }
    }

    pub(crate) fn requests(&self) -> u64 {
        self.outcomes.values().sum()
    }
}

impl Tally {
    pub(crate) fn answered(&self) {
        let mut counts = self.counts();
        *counts.outcomes.entry(Outcome::Answered).or_default() += 1;
    }

    pub(crate) fn lost(&self, loss: Loss) {
        let mut counts = self.counts();
        *counts.outcomes.entry(loss.outcome).or_default() += 1;
        counts.losses.push(loss);
    }

    pub(crate) fn told(&self) {
        self.counts().told += 1;
    }

    pub(crate) fn sent_to(&self, endpoint: &Endpoint, sent: SystemTime) {
        self.counts().sent_to(endpoint, sent);
    }

    pub(crate) fn written(&self, replica: usize, note: String) {
        self.counts().written.push((replica, note));
    }

    /// Requests so far, and how many of them were lost.
    pub(crate) fn so_far(&self) -> (u64, u64) {
        let counts = self.counts();
        let requests = counts.requests();
        (requests, requests - counts.of(Outcome::Answered))
    }

    pub(crate) fn read(&self) -> Counts {
        self.counts().clone()
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().expect("nobody panics with it")
    }
}
