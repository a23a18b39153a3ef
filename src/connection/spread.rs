//! The spread: each connection's own moment to be asked to close.

use std::time::Duration;

use crate::random;

/// A moment in `window`, evenly spread. One for each connection, not a decision for each response: that would close busy
/// connections all at once.
pub(super) fn draw(window: Duration) -> Duration {
    part(window, random::number())
}

/// The part of `window` that `number` points at.
fn part(window: Duration, number: u64) -> Duration {
    // 53 bits: what fits into the mantissa without being rounded up to one.
    window.mul_f64((number >> 11) as f64 / (1_u64 << 53) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_lie_in_the_window_and_cover_it() {
        let window = Duration::from_secs(10);
        let mut tenths = [0_u32; 10];

        for _ in 0..10_000 {
            tenths[draw(window).as_secs() as usize] += 1;
        }

        // Each is expected 1,000 times, with a standard deviation of 30.
        assert!(
            tenths.iter().all(|&n| (700..1300).contains(&n)),
            "{tenths:?}"
        );
    }

    #[test]
    fn ends_of_the_range_are_the_ends_of_the_window() {
        let window = Duration::from_secs(10);

        assert_eq!(part(window, 0), Duration::ZERO);
        assert!(part(window, u64::MAX) <= window);
        assert_eq!(draw(Duration::ZERO), Duration::ZERO);
    }
}
