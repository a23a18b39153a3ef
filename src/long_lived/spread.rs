//! The spread: each one's own moment in a window, and the draws that say where it lies.

use std::time::Duration;

use crate::random;
use crate::sync::atomic::{AtomicU64, Ordering};

/// Where lots come from: one seed for all.
pub(crate) struct Draws {
    seed: AtomicU64,
    #[cfg(feature = "net")]
    servers: AtomicU64,
    others: AtomicU64,
}

impl Draws {
    pub(crate) fn new() -> Self {
        Draws {
            seed: AtomicU64::new(random::seed()),
            #[cfg(feature = "net")]
            servers: AtomicU64::new(0),
            others: AtomicU64::new(0),
        }
    }

    /// Makes what is drawn from now on repeatable.
    pub(crate) fn set_seed(&self, seed: u64) {
        self.seed.store(seed, Ordering::Relaxed);
    }

    /// The seed of the next server, from which each of its connections gets its lot.
    #[cfg(feature = "net")]
    pub(crate) fn next_server(&self) -> u64 {
        let seed = self.seed.load(Ordering::Relaxed);
        random::mix(seed, self.servers.fetch_add(1, Ordering::Relaxed))
    }

    /// The lot of something that has no connection of ours. Counted apart, so that neither shifts the other.
    pub(crate) fn next(&self) -> u64 {
        let seed = !self.seed.load(Ordering::Relaxed);
        random::mix(seed, self.others.fetch_add(1, Ordering::Relaxed))
    }
}

/// A time between two others, drawn anew each time.
pub(crate) fn between(shortest: Duration, longest: Duration) -> Duration {
    shortest + moment(longest.saturating_sub(shortest), random::number())
}

/// The moment in `window` at which `lot`, any number, points: evenly spread lots are evenly spread moments. One for each
/// connection, not a decision for each response: that would close busy connections all at once.
pub(crate) fn moment(window: Duration, lot: u64) -> Duration {
    // 53 bits: what fits into the mantissa without being rounded up to one.
    window.mul_f64((lot >> 11) as f64 / (1_u64 << 53) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_lie_in_the_window_and_cover_it() {
        let window = Duration::from_secs(10);
        let mut tenths = [0_u32; 10];

        for index in 0..10_000 {
            let lot = random::mix(7, index);
            tenths[moment(window, lot).as_secs() as usize] += 1;
        }

        // Each is expected 1,000 times, with a standard deviation of 30.
        assert!(
            tenths.iter().all(|&n| (700..1300).contains(&n)),
            "{tenths:?}"
        );
    }

    #[cfg(feature = "net")]
    #[test]
    fn servers_and_what_has_no_connection_draw_apart() {
        let draws = Draws::new();
        draws.set_seed(7);

        let servers = [(); 100].map(|()| draws.next_server());
        let others = [(); 100].map(|()| draws.next());

        assert!(others.iter().all(|lot| !servers.contains(lot)));
    }

    #[test]
    fn ends_of_the_range_are_the_ends_of_the_window() {
        let window = Duration::from_secs(10);

        assert_eq!(moment(window, 0), Duration::ZERO);
        assert!(moment(window, u64::MAX) <= window);
        assert_eq!(moment(Duration::ZERO, u64::MAX), Duration::ZERO);
    }
}
