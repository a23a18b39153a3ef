//! What is played: a connection, and what happens to it, drawn at random or written down.

/// One connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Setup {
    pub(super) kind: Kind,
    /// TLS comes first.
    pub(super) handshake: bool,
    /// HTTP/2 gets its GOAWAY at its moment.
    pub(super) goaway: bool,
    /// The kernel tells what has not been acknowledged.
    pub(super) tells: bool,
    /// hyper answers a client that has ended its side.
    pub(super) half_close: bool,
    /// How many messages are discarded behind our end; 0 is no limit.
    pub(super) discards: usize,
    pub(super) age: Option<Aging>,
}

/// For how long it is used, in milliseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Aging {
    pub(super) at: u64,
    /// That of a shutdown counts as well, if it is shorter.
    pub(super) linger: u64,
    /// How long an idle one is kept.
    pub(super) kept: u64,
    /// What is left so long behind its age is cut.
    pub(super) grace: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Http1,
    /// Its first bytes could be those of HTTP/2's preface.
    PrefaceLike,
    Http2,
    /// Somebody else's.
    Unseen,
    Raw,
}

/// What happens. What cannot happen at its turn does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Milliseconds pass.
    Wait(u64),
    /// Everybody has had their turn.
    Settle,
    /// The connection's task has its turn if it was woken, and the runtime's driver does not.
    Turn,
    /// The task is woken for nothing.
    Wakes,

    /// The shutdown begins.
    Leave {
        moment: u64,
        linger: u64,
    },
    /// Close begins; the connection's lot lies at so many quarters of the linger.
    Close {
        quarters: u64,
    },
    /// The shutdown is taken back.
    TakeBack,

    // The client.
    Shakes,
    Blank,
    Half,
    Head {
        body: bool,
    },
    Part,
    BodyEnd,
    Pong,
    Ends,
    Resets,
    Reads(Pace),

    // The application.
    Begins,
    /// A response of so many bytes; whether somebody goes on reading the request's body.
    Answers {
        bytes: u64,
        keeps: bool,
    },
    /// A response's head.
    Streams {
        bytes: u64,
    },
    /// Its end.
    StreamEnds,
    Switches,
    TunnelEnds,
    ReadsBody,
    DropsBody,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pace {
    Never,
    /// A byte each millisecond.
    Slowly,
    AtOnce,
}

pub(super) struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = crate::random::mix(self.0, 1);
        self.0
    }

    fn below(&mut self, n: u64) -> u64 {
        (self.roll() >> 16) % n
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }
}

/// The bounds of `Timeouts`, of the machine and of the socket, and what lies beside them.
const TIMES: &[u64] = &[
    1, 1, 5, 9, 10, 11, 100, 249, 250, 251, 499, 500, 501, 750, 999, 1000, 1001, 1500, 1999, 2000,
    2001, 3000, 5000, 7999, 9999, 10_000, 10_001, 30_000, 59_999, 60_000,
];

pub(super) fn draw(seed: u64) -> (Setup, Vec<Step>) {
    let dice = &mut Dice(crate::random::mix(0x6c61_6d65, seed));
    let setup = Setup {
        kind: match dice.below(20) {
            0..=8 => Kind::Http1,
            9 | 10 => Kind::PrefaceLike,
            11..=17 => Kind::Http2,
            18 => Kind::Unseen,
            _ => Kind::Raw,
        },
        handshake: dice.one_in(5),
        goaway: !dice.one_in(4),
        tells: !dice.one_in(4),
        half_close: dice.one_in(6),
        discards: if dice.one_in(10) { 2 } else { 0 },
        age: aging(&mut Dice(crate::random::mix(0x61_67_65, seed))),
    };
    let length = 4 + dice.below(28);
    let mut steps = Vec::new();
    if setup.handshake && !dice.one_in(3) {
        steps.push(Step::Shakes);
    }
    steps.extend((0..length).map(|_| step(dice)));
    (setup, steps)
}

fn aging(dice: &mut Dice) -> Option<Aging> {
    let linger = dice.pick(&[0, 100, 1000, 1000, 2000, 5000]);
    let grace = dice.pick(&[
        None,
        None,
        Some(0),
        Some(1),
        Some(1000),
        Some(3000),
        Some(20_000),
    ]);
    dice.one_in(2).then(|| Aging {
        at: dice.pick(&[
            1, 10, 100, 500, 999, 1000, 1001, 2000, 5000, 10_000, 30_000, 60_000,
        ]),
        linger,
        kept: grace.map_or(linger, |grace| linger.min(grace / 2)),
        grace,
    })
}

fn step(dice: &mut Dice) -> Step {
    match dice.below(64) {
        0..=9 => Step::Wait(dice.pick(TIMES)),
        10..=15 => Step::Settle,
        16..=18 => Step::Turn,
        19 => Step::Wakes,
        20..=22 => Step::Leave {
            moment: dice.pick(&[0, 1, 500, 1000, 3000]),
            linger: dice.pick(&[0, 100, 1000, 1000, 2000, 5000]),
        },
        23..=25 => Step::Close {
            quarters: dice.below(5),
        },
        26 => Step::TakeBack,
        27 => Step::Shakes,
        28 => Step::Blank,
        29..=31 => Step::Half,
        32..=38 => Step::Head {
            body: dice.one_in(3),
        },
        39 => Step::Part,
        40..=41 => Step::BodyEnd,
        42 => Step::Pong,
        43 => Step::Ends,
        44 if dice.one_in(3) => Step::Resets,
        44..=45 => Step::Reads(dice.pick(&[Pace::Never, Pace::Slowly, Pace::AtOnce])),
        46..=50 => Step::Begins,
        51..=57 => Step::Answers {
            bytes: dice.pick(&[1, 100, 400, 3000]),
            keeps: dice.one_in(3),
        },
        58 => Step::Streams {
            bytes: dice.pick(&[1, 100, 3000]),
        },
        59..=60 => Step::StreamEnds,
        61 if dice.one_in(4) => Step::Switches,
        61 => Step::TunnelEnds,
        62 => Step::ReadsBody,
        _ => Step::DropsBody,
    }
}

/// The steps without those that are not needed to break a rule.
pub(super) fn shrink(steps: &[Step], breaks: impl Fn(&[Step]) -> bool) -> Vec<Step> {
    let mut steps = steps.to_vec();
    loop {
        let before = steps.len();
        for length in [8, 4, 2, 1] {
            let mut at = 0;
            while at < steps.len() {
                let mut fewer = steps.clone();
                fewer.drain(at..(at + length).min(steps.len()));
                if breaks(&fewer) {
                    steps = fewer;
                } else {
                    at += 1;
                }
            }
        }
        if steps.len() == before {
            return steps;
        }
    }
}
