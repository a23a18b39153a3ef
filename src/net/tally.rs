//! How many requests a connection carries, and how many it has carried.

use std::sync::atomic::{AtomicU64, Ordering};

/// One word, so that a request's beginning is one addition: above, how many have come, which goes round; below, how many are
/// in flight.
#[derive(Default)]
pub(crate) struct Tally(AtomicU64);

const COME: u64 = 1 << 32;
const IN_FLIGHT: u64 = 1;

impl Tally {
    #[inline]
    pub(crate) fn begin(&self) {
        self.0.fetch_add(COME + IN_FLIGHT, Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn finish(&self) {
        // Release: whoever sees that it is over sees what was noted of it.
        self.0.fetch_sub(IN_FLIGHT, Ordering::Release);
    }

    #[inline]
    pub(crate) fn come(&self) -> u32 {
        (self.0.load(Ordering::Relaxed) / COME) as u32
    }

    #[inline]
    pub(crate) fn in_flight(&self) -> u32 {
        self.0.load(Ordering::Acquire) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_many_have_come_goes_round_and_leaves_those_in_flight_alone() {
        let tally = Tally(AtomicU64::new(COME * u64::from(u32::MAX)));
        assert_eq!((tally.come(), tally.in_flight()), (u32::MAX, 0));

        tally.begin();
        assert_eq!((tally.come(), tally.in_flight()), (0, 1));
        tally.begin();
        tally.finish();
        assert_eq!((tally.come(), tally.in_flight()), (1, 1));
    }
}
