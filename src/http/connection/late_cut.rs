//! The cut of an upgraded connection: nobody drives it any more, and its age may have a grace.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Wake, Waker};

use tokio::task::coop::{Unconstrained, unconstrained};
use tokio::time::{Instant, Sleep, sleep_until};

use crate::net::connection::Connection;

/// Cuts a connection when the grace behind its age is over, whoever has its IO by then, and whether that is polled or not.
pub(super) struct LateCut {
    /// Only its waker is used. Within a task's budget it could be woken before its time.
    _timer: Pin<Box<Unconstrained<Sleep>>>,
}

impl LateCut {
    /// `None` if the connection is not cut because of its age.
    pub(super) fn of(state: &Arc<Connection>) -> Option<Self> {
        let at = state.age_cut()?;
        let state = Arc::clone(state);
        let cuts = Arc::new(Cuts { state, at });
        let mut timer = Box::pin(unconstrained(sleep_until(at)));
        let waker = Waker::from(Arc::clone(&cuts));
        if timer
            .as_mut()
            .poll(&mut Context::from_waker(&waker))
            .is_ready()
        {
            cuts.wake();
        }
        Some(LateCut { _timer: timer })
    }
}

struct Cuts {
    state: Arc<Connection>,
    at: Instant,
}

impl Wake for Cuts {
    fn wake(self: Arc<Self>) {
        // A runtime that goes away wakes all of its timers.
        if Instant::now() >= self.at {
            self.state.cut_aged();
        }
    }
}
