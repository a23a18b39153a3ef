//! What arrives once the shutdown has begun.

use tokio::time::Instant;

/// What arrived since the shutdown began.
#[derive(Clone, Debug, Default)]
pub(crate) struct Arrivals {
    /// T0, once the coordinator knows it on its own clock.
    pub(super) since: Option<Instant>,
    pub(crate) served: u64,
    pub(crate) refused: u64,
    /// When the last one came that was served.
    pub(crate) last: Option<Instant>,
    /// When the last one came that was refused.
    pub(super) last_refused: Option<Instant>,
    /// How many of `served` came in each second.
    pub(crate) per_second: Vec<u64>,
    /// How many have come of which nobody has said yet whether they are traffic.
    pub(super) undecided: u64,
    /// When the last such one came.
    last_undecided: Option<Instant>,
}

impl Arrivals {
    #[cfg(any(feature = "tower", feature = "net"))]
    pub(super) fn refused(&mut self, now: Instant) {
        self.refused += 1;
        self.last_refused = Some(now);
    }

    /// When the last one came, served or refused. What may be traffic counts as traffic until it is decided.
    pub(super) fn last(&self) -> Option<Instant> {
        let undecided = self.last_undecided.filter(|_| self.undecided > 0);
        self.last.max(self.last_refused).max(undecided)
    }

    #[cfg(feature = "tower")]
    pub(super) fn begin_undecided(&mut self, now: Instant) {
        self.undecided += 1;
        self.last_undecided = Some(now);
    }

    #[cfg(any(feature = "tower", feature = "net"))]
    pub(super) fn served(&mut self, at: Instant) {
        /// Whoever comes later is in `served` only.
        const MOST_SECONDS: usize = 60;

        self.served += 1;
        self.last = self.last.max(Some(at));
        let since = self.since.map(|since| at.saturating_duration_since(since));
        let second = since.unwrap_or_default().as_secs() as usize;
        if second < MOST_SECONDS {
            let seconds = self.per_second.len().max(second + 1);
            self.per_second.resize(seconds, 0);
            self.per_second[second] += 1;
        }
    }
}

#[cfg(all(test, feature = "tower"))]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn who_comes_after_a_minute_is_counted_in_no_second() {
        let t0 = Instant::now();
        let mut arrivals = Arrivals {
            since: Some(t0),
            ..Arrivals::default()
        };

        for seconds in [0, 59, 60, 61] {
            arrivals.served(t0 + Duration::from_secs(seconds));
        }

        assert_eq!(arrivals.served, 4);
        assert_eq!(arrivals.per_second.len(), 60);
        assert_eq!(arrivals.per_second.iter().sum::<u64>(), 2);
    }
}
