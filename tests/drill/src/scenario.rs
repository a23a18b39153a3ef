//! The scenarios, as data: who sends what, when the signal comes, and what the cluster does.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

/// What a server is put through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Scenario {
    /// Requests of every kind are in flight.
    InFlight,
    /// Many connections are used again and again: does the server close one under a request?
    KeepAlive,
    /// Many connections are made around the moment at which the listener closes.
    Burst,
    /// WebSockets and event streams are open. Needs one of the two routes.
    Long,
    /// Clients are in the middle of a head, a body or an answer.
    Slow,
    /// The server stays in rotation until it has left, as in an eviction or a node's shutdown.
    NeverOut,
    /// The signal comes while the server starts.
    Early,
}

/// What becomes of the server's place in the rotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rotation {
    /// New connections are routed to it for the propagation delay, counted from the signal, and then no longer.
    Leaves,
    Stays,
}

/// When the signal comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moment {
    UnderLoad,
    WhileStarting,
}

/// What a client does again and again, or once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Habit {
    KeepAlive,
    OneShot,
    /// Two requests in one write.
    Pairs,
    /// HTTP/2, three streams at once.
    Streams,
    Burst,
    HalfHead,
    HalfBody,
    SlowReader,
    WebSocket,
    Events,
}

/// Some clients of one habit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Part {
    pub(crate) habit: Habit,
    pub(crate) clients: usize,
    /// The pause between two requests of a client, in milliseconds: at least, and at most.
    pub(crate) gap: (u64, u64),
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Recipe {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) moment: Moment,
    pub(crate) rotation: Rotation,
    pub(crate) parts: &'static [Part],
}

const fn part(habit: Habit, clients: usize, gap: (u64, u64)) -> Part {
    Part {
        habit,
        clients,
        gap,
    }
}

const EASY: (u64, u64) = (2, 25);
/// Most of the time each connection is idle for less than a server needs to close it.
const TIGHT: (u64, u64) = (0, 6);
const NONE: (u64, u64) = (0, 0);

static IN_FLIGHT: Recipe = Recipe {
    name: "in-flight",
    about: "requests of every kind are in flight",
    moment: Moment::UnderLoad,
    rotation: Rotation::Leaves,
    parts: &[
        part(Habit::KeepAlive, 8, EASY),
        part(Habit::OneShot, 4, EASY),
        part(Habit::Pairs, 2, EASY),
        part(Habit::Streams, 2, EASY),
    ],
};

static KEEP_ALIVE: Recipe = Recipe {
    name: "keep-alive",
    about: "many connections are used again and again",
    moment: Moment::UnderLoad,
    rotation: Rotation::Leaves,
    parts: &[
        part(Habit::KeepAlive, 40, TIGHT),
        part(Habit::Streams, 4, TIGHT),
    ],
};

static BURST: Recipe = Recipe {
    name: "burst",
    about: "many connections are made around the close of the listener",
    moment: Moment::UnderLoad,
    rotation: Rotation::Stays,
    parts: &[part(Habit::Burst, 1, NONE)],
};

static LONG: Recipe = Recipe {
    name: "long",
    about: "WebSockets and event streams are open",
    moment: Moment::UnderLoad,
    rotation: Rotation::Leaves,
    parts: &[
        part(Habit::WebSocket, 8, NONE),
        part(Habit::Events, 8, NONE),
        part(Habit::KeepAlive, 2, EASY),
    ],
};

static SLOW: Recipe = Recipe {
    name: "slow",
    about: "clients are in the middle of a head, a body or an answer",
    moment: Moment::UnderLoad,
    rotation: Rotation::Leaves,
    parts: &[
        part(Habit::HalfHead, 8, NONE),
        part(Habit::HalfBody, 4, NONE),
        part(Habit::SlowReader, 4, NONE),
        part(Habit::KeepAlive, 2, EASY),
    ],
};

static NEVER_OUT: Recipe = Recipe {
    name: "never-out",
    about: "the server stays in rotation until it has left",
    moment: Moment::UnderLoad,
    rotation: Rotation::Stays,
    parts: &[
        part(Habit::KeepAlive, 8, EASY),
        part(Habit::OneShot, 8, EASY),
        part(Habit::Streams, 2, EASY),
    ],
};

static EARLY: Recipe = Recipe {
    name: "early",
    about: "the signal comes while the server starts",
    moment: Moment::WhileStarting,
    rotation: Rotation::Leaves,
    parts: &[],
};

impl Scenario {
    /// All of them, in the order in which they are played.
    pub const ALL: &'static [Scenario] = &[
        Scenario::InFlight,
        Scenario::KeepAlive,
        Scenario::Burst,
        Scenario::Long,
        Scenario::Slow,
        Scenario::NeverOut,
        Scenario::Early,
    ];

    /// Its name on the command line.
    pub const fn name(self) -> &'static str {
        self.recipe().name
    }

    /// What it is about, in one line.
    pub const fn about(self) -> &'static str {
        self.recipe().about
    }

    pub(crate) const fn recipe(self) -> &'static Recipe {
        match self {
            Scenario::InFlight => &IN_FLIGHT,
            Scenario::KeepAlive => &KEEP_ALIVE,
            Scenario::Burst => &BURST,
            Scenario::Long => &LONG,
            Scenario::Slow => &SLOW,
            Scenario::NeverOut => &NEVER_OUT,
            Scenario::Early => &EARLY,
        }
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Scenario {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let mut all = Scenario::ALL.iter();
        let found = all.find(|scenario| scenario.name() == name);
        found.copied().ok_or_else(|| {
            let names: Vec<_> = Scenario::ALL.iter().map(|one| one.name()).collect();
            format!("not a scenario; there are {}", names.join(", "))
        })
    }
}
