//! How far a rollout may go: `maxSurge` and `maxUnavailable`, and what becomes of them for a number of replicas.

use std::fmt;

use crate::amount::Amount;

/// A pair that Kubernetes would accept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Strategy {
    max_surge: Amount,
    max_unavailable: Amount,
}

/// The same in pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// So many more than the replicas may exist, those that are terminating not counted.
    pub(crate) surge: u64,
    /// So many less than the replicas may be available.
    pub(crate) unavailable: u64,
}

impl Strategy {
    /// Kubernetes' default.
    pub(crate) const DEFAULT: Strategy = Strategy {
        max_surge: Amount::Percent(25),
        max_unavailable: Amount::Percent(25),
    };

    /// What people choose most, to be compared.
    pub(crate) const USUAL: [Strategy; 4] = [
        Strategy::DEFAULT,
        Strategy {
            max_surge: Amount::Pods(1),
            max_unavailable: Amount::Pods(0),
        },
        Strategy {
            max_surge: Amount::Pods(0),
            max_unavailable: Amount::Pods(1),
        },
        Strategy {
            max_surge: Amount::Percent(100),
            max_unavailable: Amount::Pods(0),
        },
    ];

    /// Refuses what the API server would refuse.
    pub(crate) fn new(max_surge: Amount, max_unavailable: Amount) -> Result<Self, String> {
        if max_surge.is_zero() && max_unavailable.is_zero() {
            return Err(
                "--max-surge and --max-unavailable are both 0, so no pod could be replaced; Kubernetes refuses that, too"
                    .to_owned(),
            );
        }
        if matches!(max_unavailable, Amount::Percent(percent) if percent > 100) {
            return Err(format!(
                "--max-unavailable is {max_unavailable}; Kubernetes refuses more than 100%"
            ));
        }
        Ok(Strategy {
            max_surge,
            max_unavailable,
        })
    }

    /// In favour of availability: surge is rounded up, unavailable down. Both may be zero after that, and nothing could move; then
    /// one may be unavailable, because there may be no room for one more.
    pub(crate) fn limits(self, replicas: u64) -> Limits {
        let surge = self.max_surge.rounded_up(replicas);
        let unavailable = match self.max_unavailable.rounded_down(replicas) {
            0 if surge == 0 => 1,
            unavailable => unavailable,
        };
        Limits {
            surge,
            unavailable: unavailable.min(replicas),
        }
    }
}

impl fmt::Display for Strategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} / {}", self.max_surge, self.max_unavailable)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strategy(max_surge: &str, max_unavailable: &str) -> Result<Strategy, String> {
        Strategy::new(max_surge.parse()?, max_unavailable.parse()?)
    }

    /// The controller's own test cases, the examples in its comments, and what its rounding makes of other pairs.
    #[test]
    fn pair_becomes_the_pods_that_the_controller_makes_of_it() {
        for (replicas, max_surge, max_unavailable, surge, unavailable) in [
            (10, "39%", "39%", 4, 3),
            (10, "0", "39%", 0, 3),
            (10, "39%", "0", 4, 0),
            // Both are zero once rounded.
            (2, "0%", "1%", 0, 1),
            (1, "0%", "1%", 0, 1),
            (2, "1%", "25%", 1, 0),
            (1, "1%", "25%", 1, 0),
            (2, "1%", "0%", 1, 0),
            (1, "1%", "0%", 1, 0),
            (10, "1", "5", 1, 5),
            (10, "1", "10", 1, 10),
            // No more than all.
            (5, "1", "10", 1, 5),
            (10, "1", "50%", 1, 5),
            (10, "1", "100%", 1, 10),
            (5, "1", "100%", 1, 5),
            // The default.
            (1, "25%", "25%", 1, 0),
            (3, "25%", "25%", 1, 0),
            (4, "25%", "25%", 1, 1),
            (5, "25%", "25%", 2, 1),
            (10, "25%", "25%", 3, 2),
            (100, "25%", "25%", 25, 25),
            // The others that are compared.
            (10, "0", "1", 0, 1),
            (10, "100%", "0", 10, 0),
            (10, "150%", "0", 15, 0),
        ] {
            let limits = strategy(max_surge, max_unavailable)
                .expect("Kubernetes accepts it")
                .limits(replicas);

            let expected = Limits { surge, unavailable };
            assert_eq!(
                limits, expected,
                "{replicas} replicas, {max_surge} / {max_unavailable}"
            );
        }
    }

    #[test]
    fn both_zero_is_refused_however_it_is_written() {
        for (max_surge, max_unavailable) in [("0", "0"), ("0%", "0"), ("0", "0%"), ("0%", "0%")] {
            let error = strategy(max_surge, max_unavailable).expect_err("nothing could move");

            assert!(error.contains("are both 0"), "{error}");
        }
    }

    #[test]
    fn more_than_all_may_surge_but_not_be_unavailable() {
        let error = strategy("25%", "101%").expect_err("there are not so many");

        assert!(error.contains("--max-unavailable is 101%"), "{error}");
        assert!(strategy("101%", "25%").is_ok());
    }
}
