//! The spread: each connection's own moment to be asked to close.

use std::time::Duration;

/// The moment in `window` at which `lot`, any number, points: evenly spread lots are evenly spread moments. One for each
/// connection, not a decision for each response: that would close busy connections all at once.
pub(super) fn moment(window: Duration, lot: u64) -> Duration {
    // 53 bits: what fits into the mantissa without being rounded up to one.
    window.mul_f64((lot >> 11) as f64 / (1_u64 << 53) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random;

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

    #[test]
    fn ends_of_the_range_are_the_ends_of_the_window() {
        let window = Duration::from_secs(10);

        assert_eq!(moment(window, 0), Duration::ZERO);
        assert!(moment(window, u64::MAX) <= window);
        assert_eq!(moment(Duration::ZERO, u64::MAX), Duration::ZERO);
    }
}
