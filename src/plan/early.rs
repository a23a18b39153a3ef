//! Leaving LameDuck early.

use std::time::Duration;

/// When LameDuck may be over before its time: when silence proves that traffic has moved. Set with
/// [`PlanBuilder::leave_early`](crate::PlanBuilder::leave_early).
///
/// All of this has to hold:
///
/// - at least [`min`](LeaveEarly::min) has passed since T0;
/// - nothing has arrived for [`quiet`](LeaveEarly::quiet). Probes do not count: those of this crate, those that name
///   themselves (the kubelet's, AWS's and Google's balancers', and those of
///   [`probe_user_agents`](crate::ShutdownCoordinator::probe_user_agents)), and what [`Server::exempt`] or [`DrainLayer::exempt`]
///   names;
/// - the traffic before T0 makes that silence significant. It was counted in quiet times, one after the other: in each of the
///   last 20 at least 14 requests must have arrived. With an average of 14, chance alone makes such a silence less than once
///   in a million times; that it holds for the least of 20 is for traffic that comes in bursts.
///
/// So a service that is too quiet to prove anything, has been up for less than 20 quiet times, or had a pause in that time stays
/// for its whole time. A pause that comes more seldom is not in the history and is taken for the end of traffic, and so is a route
/// that moves last and by which little comes: `min` is the safeguard against both.
///
/// [`DrainLayer::exempt`]: crate::DrainLayer::exempt
/// [`Server::exempt`]: crate::Server::exempt
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaveEarly {
    min: Duration,
    quiet: Duration,
}

impl LeaveEarly {
    /// The shortest quiet time.
    pub(crate) const SHORTEST: Duration = Duration::from_millis(100);

    /// Not before 5 s have passed, after a silence of 3 s.
    #[must_use]
    pub const fn new() -> Self {
        LeaveEarly {
            min: Duration::from_secs(5),
            quiet: Duration::from_secs(3),
        }
    }

    /// How long LameDuck takes at least, counted from T0; 5 s by default, ten years at most. With more than LameDuck has, it is
    /// never over early.
    #[must_use]
    pub const fn min(mut self, min: Duration) -> Self {
        self.min = min;
        self
    }

    /// How long nothing may have arrived; 3 s by default, 0.1 s at least, ten years at most. The longer, the
    /// fewer requests a second are needed for proof: 14 in this time.
    #[must_use]
    pub const fn quiet(mut self, quiet: Duration) -> Self {
        self.quiet = quiet;
        self
    }

    pub(crate) const fn minimum(self) -> Duration {
        self.min
    }

    pub(crate) const fn quiet_time(self) -> Duration {
        self.quiet
    }
}

impl Default for LeaveEarly {
    fn default() -> Self {
        LeaveEarly::new()
    }
}
