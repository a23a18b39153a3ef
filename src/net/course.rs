//! How far a connection has come on its way out.

use std::pin::Pin;
use std::time::Duration;

use tokio::time::Instant;

use super::connection::Connection;
use super::graceful::{GracefulConnection, sealed::Token};
use crate::handle::ShutdownHandle;
use crate::phase::Phase;
use crate::spread;

/// A connection that was opened a moment ago is about to be used: a GOAWAY that comes before its first request would send
/// the client away with nothing, to open the next one, which gets the same. And a client often has more than one request
/// for it: hyper's fails one that it has just sent when a GOAWAY comes in the same instant. So it comes when the first ones
/// have been answered.
const FRESH: Duration = Duration::from_secs(1);

/// How far a connection has come on its way out.
#[derive(Debug, Default)]
pub(crate) struct Course {
    step: Step,
    /// When the shutdown began; `None` in normal service.
    t0: Option<Instant>,
}

/// When a shutdown began, and a connection's own moment in it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Leaving {
    pub(crate) t0: Instant,
    pub(crate) moment: Instant,
}

#[derive(Clone, Copy, Debug, Default)]
enum Step {
    /// Normal service.
    #[default]
    Serving,
    /// The shutdown has begun; its own moment comes at `moment`.
    Waiting { moment: Instant },
    /// Its moment has come: HTTP/1 responses say close. HTTP/2 gets its GOAWAY as soon as it is not fresh.
    Asking,
    /// It has been asked to close, and goes on serving.
    Asked,
    /// Close has begun: it closes when it is still idle at `until`.
    Lingering { until: Instant },
    /// Close has begun, and a response is on its way. If that does not end it, because its head left before the moment had
    /// come, it lingers from the end of it on.
    Busy,
    /// It closes as soon as it is idle.
    Ending,
}

impl Course {
    /// T0, and the connection's own moment; `None` in normal service.
    pub(crate) fn leaving(&self, state: &Connection) -> Option<Leaving> {
        let t0 = self.t0?;
        let moment = moment(t0, state);
        Some(Leaving { t0, moment })
    }

    /// Takes every step whose time has come, from the shutdown's beginning on. Returns when the next one is due.
    #[cold]
    pub(crate) fn advance<C: GracefulConnection>(
        &mut self,
        state: &Connection,
        mut connection: Pin<&mut C>,
    ) -> Option<Instant> {
        if !state.is_counted() || matches!(self.step, Step::Ending) {
            return None;
        }
        let handle = &state.handle;
        let now = Instant::now();
        loop {
            match self.step {
                Step::Serving => {
                    let t0 = handle.shared.t0().unwrap_or(now);
                    self.t0 = Some(t0);
                    let moment = moment(t0, state);
                    self.step = Step::Waiting { moment };
                }
                Step::Waiting { moment } => {
                    if now < moment && !in_close(handle) {
                        return Some(moment);
                    }
                    state.asked.say_close();
                    self.step = Step::Asking;
                }
                Step::Asking => {
                    let fresh_until = state.since + FRESH.min(handle.plan().linger());
                    let used = state.requested() > 0 && state.is_idle();
                    if now < fresh_until && !used {
                        return Some(fresh_until);
                    }
                    connection.as_mut().ask(Token);
                    self.step = Step::Asked;
                }
                Step::Asked => {
                    if !in_close(handle) {
                        return None;
                    }
                    let until = now + handle.plan().linger();
                    self.step = Step::Lingering { until };
                }
                Step::Lingering { .. } if state.owes_response() => self.step = Step::Busy,
                Step::Busy => {
                    if state.owes_response() {
                        return None;
                    }
                    let until = now + handle.plan().linger();
                    self.step = Step::Lingering { until };
                }
                Step::Lingering { until } => {
                    if now < until {
                        return Some(until);
                    }
                    state.asked.end();
                    connection.as_mut().end(Token);
                    self.step = Step::Ending;
                }
                Step::Ending => return None,
            }
        }
    }
}

/// A connection's own moment: from the whole window, however late it came. Those that come after theirs are asked at once.
fn moment(t0: Instant, state: &Connection) -> Instant {
    t0 + spread::moment(state.handle.plan().spread(), state.lot)
}

/// Whether connections have something to do when this phase begins.
pub(crate) fn has_a_step_at(phase: Phase) -> bool {
    matches!(phase, Phase::LameDuck | Phase::Close)
}

/// Whether Close has begun, or is over.
fn in_close(handle: &ShutdownHandle) -> bool {
    handle.phase() >= Some(Phase::Close)
}
