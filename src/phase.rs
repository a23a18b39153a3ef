//! The five phases of leaving, in order.

use std::fmt;

/// A phase of the shutdown. Phases run in the order of [`Phase::ALL`], each of them once.
///
/// `Phase` is ordered: `Phase::Drain < Phase::Close`.
///
/// | phase | what happens in it |
/// |---|---|
/// | [`LameDuck`](Phase::LameDuck) | everything is served as before, while routing moves away |
/// | [`Drain`](Phase::Drain) | requests and tasks that began before it are waited for |
/// | [`Close`](Phase::Close) | idle connections end, long ones are waited for, then the listener closes |
/// | [`Release`](Phase::Release) | database pools, brokers and caches are closed |
/// | [`Exit`](Phase::Exit) | telemetry is flushed |
///
/// `docs/phases.md` has the whole story of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Phase {
    /// Keep serving: routing has not noticed yet that this process is leaving.
    LameDuck,
    /// Wait for requests and tasks that began before this phase. The listener still serves.
    Drain,
    /// End long connections; when they are gone, empty and close the listener.
    Close,
    /// Close what the requests needed: database pools, brokers, caches.
    Release,
    /// Flush telemetry; the process ends after it.
    Exit,
}

impl Phase {
    /// All phases, in the order in which they run.
    pub const ALL: &'static [Phase] = &Phase::EACH;

    /// The same, with their number in the type.
    pub(crate) const EACH: [Phase; 5] = [
        Phase::LameDuck,
        Phase::Drain,
        Phase::Close,
        Phase::Release,
        Phase::Exit,
    ];

    /// The phase's name, the same word as the variant.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Phase::LameDuck => "LameDuck",
            Phase::Drain => "Drain",
            Phase::Close => "Close",
            Phase::Release => "Release",
            Phase::Exit => "Exit",
        }
    }

    /// What the phase is for, in a few words.
    #[must_use]
    pub const fn purpose(self) -> &'static str {
        match self {
            Phase::LameDuck => "keep serving",
            Phase::Drain => "finish what is in flight",
            Phase::Close => "end long connections",
            Phase::Release => "close pools",
            Phase::Exit => "flush telemetry",
        }
    }

    /// The phase's place in [`Phase::ALL`].
    pub(crate) const fn index(self) -> usize {
        self as usize
    }

    /// Whether it has begun by this stage: 0 in normal service, then one more with each phase.
    #[cfg(any(feature = "tower", feature = "net"))]
    pub(crate) const fn has_begun(self, stage: u8) -> bool {
        stage as usize > self.index()
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
