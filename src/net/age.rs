//! A connection's age: the setting, and what is drawn from it for one connection.

use std::time::Duration;

use tokio::time::Instant;

use super::exit::Age;
use crate::long_lived::spread;
use crate::random;

/// The shortest age: the resolution of tokio's timers.
pub(crate) const SHORTEST: Duration = Duration::from_millis(1);
/// How long an idle connection is kept for one more request. The plan's linger is for a process in a hurry, and may be none.
const LINGER: Duration = Duration::from_secs(1);
/// How far an age lies from what was set, at most: to either side. As in gRPC's MAX_CONNECTION_AGE (gRFC A9).
const JITTER: f64 = 0.1;
/// Apart from the lot's other uses.
const DRAW: u64 = 0x61_67_65;

/// What a server has set.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct MaxAge {
    pub(crate) age: Option<Duration>,
    pub(crate) grace: Option<Duration>,
}

impl MaxAge {
    /// The age of the connection with this lot. `None` when there is no limit, or none that a clock could reach.
    pub(crate) fn draw(&self, opened: Instant, lot: u64) -> Option<Age> {
        let set = self.age?;
        let window = spread::moment(set.mul_f64(2.0 * JITTER), random::mix(lot, DRAW));
        let age = set.mul_f64(1.0 - JITTER).checked_add(window)?;
        let at = opened.checked_add(age)?;
        let cut = self.grace.and_then(|grace| at.checked_add(grace));
        // An idle connection should end by itself before it is cut.
        let kept = self.grace.map_or(LINGER, |grace| LINGER.min(grace / 2));
        Some(Age {
            at,
            end: at.checked_add(kept)?,
            cut,
            linger: LINGER,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn age(set: Duration, lot: u64) -> Option<Duration> {
        let opened = Instant::now();
        let max = MaxAge {
            age: Some(set),
            grace: None,
        };
        Some(max.draw(opened, lot)?.at - opened)
    }

    #[test]
    fn ages_lie_within_a_tenth_of_what_was_set() {
        for lot in (0..1_000).map(|index| random::mix(7, index)) {
            let age = age(100 * SECOND, lot).unwrap();
            assert!((90 * SECOND..=110 * SECOND).contains(&age), "{age:?}");
        }
    }

    #[test]
    fn age_that_no_clock_reaches_is_none() {
        assert_eq!(age(Duration::MAX, 0), None);
        assert_eq!(age(Duration::MAX, u64::MAX), None);
    }

    #[test]
    fn grace_that_no_clock_reaches_cuts_nothing() {
        let max = MaxAge {
            age: Some(SECOND),
            grace: Some(Duration::MAX),
        };

        let age = max.draw(Instant::now(), 0).unwrap();

        assert_eq!(age.cut, None);
        assert_eq!(age.end, age.at + LINGER);
    }
}
