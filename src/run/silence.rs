//! Whether silence would prove that traffic has moved.

use std::collections::VecDeque;

/// How many quiet times before T0 are looked at.
const WINDOWS: usize = 20;
/// How many requests must have arrived in each of them. Where 14 are to be expected, none come by chance in e^-14 of all
/// cases, which is less than one in a million.
const LEAST: u64 = 14;

/// How many arrived in each of the last quiet times before T0.
#[derive(Debug, Default)]
pub(crate) struct History {
    counts: VecDeque<u64>,
    total: Option<u64>,
}

impl History {
    /// A quiet time is over. `total` is how many have arrived until now, since some time in the past.
    pub(crate) fn note(&mut self, total: u64) {
        let Some(before) = self.total.replace(total) else {
            return;
        };
        self.counts.push_back(total.wrapping_sub(before));
        if self.counts.len() > WINDOWS {
            self.counts.pop_front();
        }
    }

    /// Whether a quiet time without arrivals would be no accident.
    pub(crate) fn makes_silence_significant(&self) -> bool {
        self.counts.len() == WINDOWS && self.counts.iter().all(|&count| count >= LEAST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(counts: impl IntoIterator<Item = u64>) -> History {
        let mut history = History::default();
        // It may have gone round before.
        let mut total = u64::MAX - 100;
        history.note(total);
        for count in counts {
            total = total.wrapping_add(count);
            history.note(total);
        }
        history
    }

    #[test]
    fn silence_is_significant_after_enough_steady_traffic() {
        assert!(after([LEAST; WINDOWS]).makes_silence_significant());
        assert!(!after([LEAST; WINDOWS - 1]).makes_silence_significant());
        assert!(!after([LEAST - 1; WINDOWS]).makes_silence_significant());
        assert!(!History::default().makes_silence_significant());
    }

    #[test]
    fn one_lull_makes_it_an_accident_until_it_is_long_past() {
        let lull = || std::iter::once(LEAST - 1);
        let traffic = |windows| std::iter::repeat_n(1000, windows);

        assert!(!after(lull().chain(traffic(WINDOWS - 1))).makes_silence_significant());
        assert!(after(lull().chain(traffic(WINDOWS))).makes_silence_significant());
        assert!(!after(traffic(WINDOWS).chain(lull())).makes_silence_significant());
    }
}
