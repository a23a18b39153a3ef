//! Traffic as it may come to a pod.

use std::f64::consts::TAU;

use crate::clock::{Millis, QUIET, SECOND};
use crate::random::Random;

/// How much of the time before T0 is drawn: as many quiet times as the most patient rule looks at, and one more.
pub(crate) const BEFORE: u64 = 201;
/// How much of the time after T0: longer than any LameDuck here.
const AFTER: Millis = 46 * SECOND;
/// When the other nodes have moved, where one lags.
const OTHERS_MOVE: Millis = SECOND;
/// Of so many nodes one lags.
pub(crate) const NODES: u64 = 10;

/// What it is expected to show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Promise {
    /// It proves enough: nothing may go wrong, and something has to be saved.
    Steady,
    /// Steady, but near the least that proves something: nothing may go wrong.
    Doubtful,
    /// It proves nothing: the rule has to stay.
    TooQuiet,
    /// Told, not judged: by how much the rule is wrong there is what this program is for.
    Open,
}

/// One kind of it. Rates are requests a second, times are seconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Traffic {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) promise: Promise,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    /// By chance, at one rate.
    Steady(f64),
    /// By chance at `rate` for `on` of each `period`, then nothing.
    Bursts { on: f64, period: f64, rate: f64 },
    /// By chance, at a rate that goes up and down.
    Wave { low: f64, high: f64, period: f64 },
    /// Clients that each ask ten times a second and pause for some seconds now and then, each by itself.
    Clients { count: u64, busy: f64, pause: f64 },
    /// The same, but all pause at once, from time to time.
    Together {
        count: u64,
        busy: (f64, f64),
        pause: f64,
    },
    /// By chance, over ten nodes, one of which moves last.
    Nodes(f64),
}

impl Traffic {
    /// All, in the order of the tables.
    pub(crate) fn all() -> Vec<Traffic> {
        use Promise::{Doubtful, Open, Steady, TooQuiet};

        let steady = |name, rate, promise| Traffic {
            name,
            kind: Kind::Steady(rate),
            promise,
        };
        let open = |name, kind| Traffic {
            name,
            kind,
            promise: Open,
        };
        vec![
            steady("steady, 0.2 a second", 0.2, TooQuiet),
            steady("steady, 0.5", 0.5, TooQuiet),
            steady("steady, 1", 1.0, TooQuiet),
            steady("steady, 2", 2.0, TooQuiet),
            steady("steady, 5", 5.0, Doubtful),
            steady("steady, 10", 10.0, Steady),
            steady("steady, 20", 20.0, Steady),
            steady("steady, 100", 100.0, Steady),
            open(
                "wave of a day, 0.5 to 20",
                Kind::Wave {
                    low: 0.5,
                    high: 20.0,
                    period: 86_400.0,
                },
            ),
            open(
                "wave of 5 min, 0.5 to 20",
                Kind::Wave {
                    low: 0.5,
                    high: 20.0,
                    period: 300.0,
                },
            ),
            open("bursts, 1 s of 2 s", bursts(1.0, 2.0)),
            open("bursts, 2 s of 10 s", bursts(2.0, 10.0)),
            open("bursts, 30 s of 60 s", bursts(30.0, 60.0)),
            open("bursts, 110 s of 2 min", bursts(110.0, 120.0)),
            open("bursts, 4 min of 5 min", bursts(240.0, 300.0)),
            open("bursts, 14 min of 15 min", bursts(840.0, 900.0)),
            open(
                "2 clients, each pauses",
                Kind::Clients {
                    count: 2,
                    busy: 40.0,
                    pause: 5.0,
                },
            ),
            open(
                "8 clients, each pauses",
                Kind::Clients {
                    count: 8,
                    busy: 40.0,
                    pause: 5.0,
                },
            ),
            open(
                "4 clients, pause at once",
                Kind::Together {
                    count: 4,
                    busy: (60.0, 180.0),
                    pause: 6.0,
                },
            ),
            open("1 of 10 nodes lags, 10", Kind::Nodes(10.0)),
            open("1 of 10 nodes lags, 20", Kind::Nodes(20.0)),
            open("1 of 10 nodes lags, 100", Kind::Nodes(100.0)),
        ]
    }

    /// What is drawn for a `seed`.
    pub(crate) fn draw(self, mut random: Random) -> Sequence {
        // Everything that the crate does is on an even millisecond and every arrival on an odd one: which of two things at the
        // same moment comes first is the runtime's business, and nobody's measurement.
        let phase = 2 + 2 * random.below((QUIET - 2) / 2);
        let t0 = BEFORE * QUIET + phase;
        let end = (t0 + AFTER) as f64 / 1000.0;
        let mut times = times(self.kind, end, &mut random);
        times.sort_unstable_by(f64::total_cmp);
        let nodes = matches!(self.kind, Kind::Nodes(_));
        let arrivals = times.into_iter().map(|at| Arrival {
            at: (at * 500.0) as Millis * 2 + 1,
            moves_last: !nodes || random.below(NODES) == 0,
        });
        Sequence {
            arrivals: arrivals.collect(),
            t0,
        }
    }
}

/// As many as 20 a second while they last.
const fn bursts(on: f64, period: f64) -> Kind {
    let rate = 20.0;
    Kind::Bursts { on, period, rate }
}

/// When requests come, in seconds, in any order.
fn times(kind: Kind, end: f64, random: &mut Random) -> Vec<f64> {
    match kind {
        Kind::Steady(rate) | Kind::Nodes(rate) => by_chance(rate, end, random, |_| 1.0),
        Kind::Bursts { on, period, rate } => {
            let begin = random.between(0.0, period);
            by_chance(rate, end, random, |at| {
                f64::from(u8::from((at + begin) % period < on))
            })
        }
        Kind::Wave { low, high, period } => {
            let begin = random.between(0.0, period);
            by_chance(high, end, random, |at| {
                let height = (1.0 + (TAU * (at + begin) / period).sin()) / 2.0;
                (low + (high - low) * height) / high
            })
        }
        Kind::Clients { count, busy, pause } => {
            let mut all = Vec::new();
            for _ in 0..count {
                let spans = spans(end, random, |random| {
                    (random.wait(busy), random.wait(pause))
                });
                asks(&spans, random, &mut all);
            }
            all
        }
        Kind::Together { count, busy, pause } => {
            let spans = spans(end, random, |random| {
                (random.between(busy.0, busy.1), pause)
            });
            let mut all = Vec::new();
            for _ in 0..count {
                asks(&spans, random, &mut all);
            }
            all
        }
    }
}

/// Of what would come at `rate` each one comes with the probability `share` of its time.
fn by_chance(rate: f64, end: f64, random: &mut Random, share: impl Fn(f64) -> f64) -> Vec<f64> {
    let mut all = Vec::new();
    let mut at = random.wait(1.0 / rate);
    while at < end {
        if random.part() < share(at) {
            all.push(at);
        }
        at += random.wait(1.0 / rate);
    }
    all
}

/// From when to when somebody is busy. It begins somewhere in the middle.
fn spans(
    end: f64,
    random: &mut Random,
    mut next: impl FnMut(&mut Random) -> (f64, f64),
) -> Vec<(f64, f64)> {
    const LONG_BEFORE: f64 = 400.0;
    let mut spans = Vec::new();
    let mut at = -LONG_BEFORE * (1.0 + random.part());
    while at < end {
        let (busy, pause) = next(random);
        spans.push((at.max(0.0), (at + busy).min(end)));
        at += busy + pause;
    }
    spans.retain(|(from, to)| from < to);
    spans
}

/// One client: a request 50 to 150 ms after the other, while it is busy.
fn asks(spans: &[(f64, f64)], random: &mut Random, all: &mut Vec<f64>) {
    for &(from, to) in spans {
        let mut at = from + random.between(0.0, 0.1);
        while at < to {
            all.push(at);
            at += random.between(0.05, 0.15);
        }
    }
}

/// What comes if nothing is ever moved away.
#[derive(Clone, Debug)]
pub(crate) struct Sequence {
    arrivals: Vec<Arrival>,
    pub(crate) t0: Millis,
}

#[derive(Clone, Copy, Debug)]
struct Arrival {
    at: Millis,
    /// Whether it comes by the last route that moves.
    moves_last: bool,
}

impl Sequence {
    /// What comes here if traffic moves `delay` after T0, or never.
    pub(crate) fn routed_here(&self, delay: Option<Millis>) -> Vec<Millis> {
        let last = delay.map_or(Millis::MAX, |delay| self.t0 + delay);
        let others = last.min(self.t0 + OTHERS_MOVE);
        let mut before = None;
        let here = self
            .arrivals
            .iter()
            .filter(|arrival| match arrival.moves_last {
                true => arrival.at < last,
                false => arrival.at < others,
            });
        here.map(|arrival| {
            let at = match before {
                // Exactly then a silence is over: neither before nor after.
                Some(before) if arrival.at == before + QUIET => arrival.at + 2,
                Some(before) => arrival.at.max(before),
                None => arrival.at,
            };
            before = Some(at);
            at
        })
        .collect()
    }
}
