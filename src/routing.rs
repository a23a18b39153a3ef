//! Whether traffic can have been routed here: who serves, who is not ready yet, and what the probes have answered.
//!
//! It answers one question, at the trigger: has LameDuck anything to wait for? What is not known counts as routed.

use std::collections::BTreeMap;
use std::sync::PoisonError;

use tokio::sync::watch;

use crate::sync::{Mutex, MutexGuard};

#[derive(Default)]
pub(crate) struct Routing {
    state: Mutex<State>,
    /// Changes with what keeps the service from being ready.
    readiness: watch::Sender<()>,
}

#[derive(Default)]
struct State {
    /// A server, a layer or a connection group was made.
    serving: bool,
    /// A connection group was made: its requests are not seen.
    unseen: bool,
    /// At some moment it was serving, and nobody held a `NotReady`.
    was_ready: bool,
    /// There is a readiness probe of ours.
    probed: bool,
    /// A probe of ours has answered that traffic may come.
    answered: bool,
    /// Why, in the order in which it was said.
    not_ready: BTreeMap<u64, String>,
    next: u64,
}

impl Routing {
    /// Requests are served here, so a shutdown has to wait until they are routed elsewhere.
    #[cfg(any(feature = "net", feature = "tower"))]
    pub(crate) fn serve(&self) {
        let mut state = self.state();
        state.serving = true;
        state.look();
    }

    /// Connections are served here whose requests are not seen.
    #[cfg(feature = "net")]
    pub(crate) fn serve_unseen(&self) {
        self.state().unseen = true;
        self.serve();
    }

    pub(crate) fn is_serving(&self) -> bool {
        self.state().serving
    }

    /// There is a readiness probe: traffic comes when it has been answered.
    #[cfg(feature = "tower")]
    pub(crate) fn probe(&self) {
        self.state().probed = true;
    }

    /// A probe has been told that traffic may come.
    #[cfg(feature = "tower")]
    pub(crate) fn answered(&self) {
        self.state().answered = true;
    }

    pub(crate) fn add_not_ready(&self, why: String) -> u64 {
        let mut state = self.state();
        let id = state.next;
        state.next += 1;
        state.not_ready.insert(id, why);
        drop(state);
        self.readiness.send_replace(());
        id
    }

    pub(crate) fn remove_not_ready(&self, id: u64) {
        let mut state = self.state();
        state.not_ready.remove(&id);
        state.look();
        drop(state);
        self.readiness.send_replace(());
    }

    /// The coordinator runs: whoever waits for that to be ready should look.
    #[cfg(all(unix, feature = "systemd"))]
    pub(crate) fn look_again(&self) {
        self.readiness.send_replace(());
    }

    /// Changes when somebody takes or drops a `NotReady`, and when the coordinator begins to run.
    #[cfg(any(feature = "tonic", all(unix, feature = "systemd")))]
    pub(crate) fn readiness(&self) -> watch::Receiver<()> {
        self.readiness.subscribe()
    }

    /// Whether nobody holds a `NotReady`.
    #[cfg(feature = "tower")]
    pub(crate) fn is_ready(&self) -> bool {
        self.state().not_ready.is_empty()
    }

    pub(crate) fn not_ready_because(&self) -> Vec<String> {
        let state = self.state();
        state.not_ready.values().cloned().collect()
    }

    /// Whether traffic can have been routed here. `reached` is whether a request has come, or somebody else's probe.
    pub(crate) fn is_routed(&self, reached: bool) -> bool {
        let state = self.state();
        let asked_in_vain = state.probed && !state.answered && !state.unseen && !reached;
        state.serving && state.was_ready && !asked_in_vain
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn look(&mut self) {
        self.was_ready |= self.serving && self.not_ready.is_empty();
    }
}
