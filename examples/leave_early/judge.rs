//! All shutdowns of all kinds of traffic, on two threads.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use crate::args::Args;
use crate::clock::{Column, MIN, Millis};
use crate::play::play;
use crate::random::Random;
use crate::rules::Rule;
use crate::traffic::Traffic;

const THREADS: usize = 2;

/// What was seen of one kind of traffic.
#[derive(Clone, Debug)]
pub(crate) struct Judged {
    pub(crate) traffic: Traffic,
    /// The real crate, for each of [`Column::ALL`].
    pub(crate) cells: [Seen; Column::ALL.len()],
    /// The arithmetic, for each of [`Rule::ALL`]: where nothing is moved away, and where it is.
    pub(crate) never: [Seen; Rule::ALL.len()],
    pub(crate) usual: [Seen; Rule::ALL.len()],
    /// How often crate and arithmetic came to different ends.
    pub(crate) disagreed: u64,
}

/// Shutdowns of one kind, added up.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) shutdowns: u64,
    /// LameDuck was over before its time,
    pub(crate) early: u64,
    /// and traffic was still routed here.
    pub(crate) wrong: u64,
    /// All LameDucks together, and the longest.
    sum: Millis,
    pub(crate) longest: Millis,
}

impl Seen {
    fn add(&mut self, column: Column, after: Millis) {
        let early = after < column.lame_duck;
        self.shutdowns += 1;
        self.early += u64::from(early);
        self.wrong += u64::from(early && column.is_routed(after));
        self.sum += after;
        self.longest = self.longest.max(after);
    }

    pub(crate) fn join(&mut self, other: &Seen) {
        self.shutdowns += other.shutdowns;
        self.early += other.early;
        self.wrong += other.wrong;
        self.sum += other.sum;
        self.longest = self.longest.max(other.longest);
    }

    /// How long LameDuck took on average.
    pub(crate) fn mean(&self) -> f64 {
        self.sum as f64 / self.shutdowns.max(1) as f64
    }
}

/// Each kind of traffic gets `args.seeds` shutdowns of the crate in each column, and `args.drawn` of the arithmetic.
pub(crate) fn judge(args: &Args) -> Vec<Judged> {
    let kinds = args.kinds();
    let empty = |traffic: &Traffic| Judged {
        traffic: *traffic,
        cells: Default::default(),
        never: Default::default(),
        usual: Default::default(),
        disagreed: 0,
    };
    let all: Mutex<Vec<Judged>> = Mutex::new(kinds.iter().map(empty).collect());
    let next = AtomicU64::new(0);
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let (seed, kind) = (number / kinds.len() as u64, number as usize % kinds.len());
                    if seed >= args.drawn {
                        return;
                    }
                    let mut one = empty(&kinds[kind]);
                    one.judge(
                        Random::of(args.seed ^ hash(kinds[kind].name), seed),
                        seed < args.seeds,
                    );
                    all.lock().expect("nobody panics with it")[kind].join(&one);
                }
            });
        }
    });
    all.into_inner().expect("nobody panics with it")
}

impl Judged {
    fn judge(&mut self, random: Random, with_crate: bool) {
        let sequence = self.traffic.draw(random);
        let t0 = sequence.t0;
        if with_crate {
            for (column, seen) in Column::ALL.into_iter().zip(&mut self.cells) {
                let here = sequence.routed_here(column.moves);
                let left = play(column.plan(true), &here, t0);
                let expected = Rule::OURS.leaves(&here, t0, column);
                let same = left.after == expected && left.early == (expected < column.lame_duck);
                self.disagreed += u64::from(!same);
                seen.add(column, left.after);
            }
        }
        let columns = [
            (Column::NEVER, &mut self.never),
            (Column::USUAL, &mut self.usual),
        ];
        for (column, all) in columns {
            let here = sequence.routed_here(column.moves);
            for (rule, seen) in Rule::ALL.into_iter().zip(all) {
                seen.add(column, rule.leaves(&here, t0, column));
            }
        }
    }

    fn join(&mut self, other: &Judged) {
        let pairs = [
            (&mut self.cells[..], &other.cells[..]),
            (&mut self.never[..], &other.never[..]),
            (&mut self.usual[..], &other.usual[..]),
        ];
        for (ours, theirs) in pairs {
            for (one, another) in ours.iter_mut().zip(theirs) {
                one.join(another);
            }
        }
        self.disagreed += other.disagreed;
    }

    /// All columns of the crate together.
    pub(crate) fn together(&self) -> Seen {
        self.sum(|_| true)
    }

    /// Those in which traffic comes for longer than LameDuck takes at least: nobody can be wrong in the others.
    pub(crate) fn at_risk(&self) -> Seen {
        self.sum(|column| column.is_routed(MIN))
    }

    fn sum(&self, counts: impl Fn(Column) -> bool) -> Seen {
        let mut all = Seen::default();
        let columns = Column::ALL.into_iter().zip(&self.cells);
        for (_, seen) in columns.filter(|(column, _)| counts(*column)) {
            all.join(seen);
        }
        all
    }
}

/// FNV-1a: a name's own number, so that a kind gets the same traffic whichever others are judged beside it.
fn hash(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
