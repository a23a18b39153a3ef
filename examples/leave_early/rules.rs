//! Rules by which one could leave, as arithmetic over the same arrivals.

use crate::clock::{Column, MIN, Millis, QUIET};

/// What the traffic before T0 has to be like, so that a silence of `QUIET` is believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Evidence {
    /// Each of the last `windows` quiet times had at least so many requests.
    Each { windows: u64, least: usize },
    /// They had so many on average.
    Mean { windows: u64, least: usize },
    /// Any.
    None,
}

/// One rule.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rule {
    /// Two lines of a table's head.
    pub(crate) name: [&'static str; 2],
    pub(crate) evidence: Evidence,
}

impl Rule {
    /// The crate's own, as it should be.
    pub(crate) const OURS: Rule = Rule {
        name: ["the rule:", "14 in each of 20"],
        evidence: Evidence::Each {
            windows: 20,
            least: 14,
        },
    };
    pub(crate) const SILENCE: Rule = Rule {
        name: ["3 s of silence", "alone"],
        evidence: Evidence::None,
    };

    /// All, in the order of the table.
    pub(crate) const ALL: [Rule; 5] = [
        Rule::OURS,
        Rule {
            name: ["14 in 20", "on average"],
            evidence: Evidence::Mean {
                windows: 20,
                least: 14,
            },
        },
        Rule::SILENCE,
        Rule {
            name: ["14 in each of", "200 (10 min)"],
            evidence: Evidence::Each {
                windows: 200,
                least: 14,
            },
        },
        Rule {
            name: ["140 in each", "of 20"],
            evidence: Evidence::Each {
                windows: 20,
                least: 140,
            },
        },
    ];

    /// When LameDuck is over, from T0. `arrivals` are all that come here.
    pub(crate) fn leaves(self, arrivals: &[Millis], t0: Millis, column: Column) -> Millis {
        let trigger = arrivals.partition_point(|&at| at < t0);
        if !self.evidence.is_enough(&arrivals[..trigger], t0) {
            return column.lame_duck;
        }
        let mut over = t0 + MIN.max(QUIET);
        for &at in &arrivals[trigger..] {
            if at > over {
                break;
            }
            over = over.max(at + QUIET);
        }
        (over - t0).min(column.lame_duck)
    }
}

impl Evidence {
    /// `arrivals` are those before `t0`. Quiet times are counted from the beginning; the one that T0 breaks off is none.
    fn is_enough(self, arrivals: &[Millis], t0: Millis) -> bool {
        let last = t0 / QUIET;
        let in_window = |window: u64| {
            let until = |end: Millis| arrivals.partition_point(|&at| at < end);
            until((window + 1) * QUIET) - until(window * QUIET)
        };
        match self {
            Evidence::Each { windows, least } => {
                (last - windows..last).all(|window| in_window(window) >= least)
            }
            Evidence::Mean { windows, least } => {
                let all: usize = (last - windows..last).map(in_window).sum();
                all >= least * windows as usize
            }
            Evidence::None => true,
        }
    }
}
