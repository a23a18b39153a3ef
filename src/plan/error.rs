//! Why a plan could not be made.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use crate::phase::Phase;

use super::LeaveEarly;
use super::setting::{LONGEST, human};

/// Why a [`Plan`](super::Plan) could not be made.
#[derive(Clone, PartialEq)]
#[non_exhaustive]
pub enum PlanError {
    /// The phases and the reserve do not fit between SIGTERM and SIGKILL.
    TooLong {
        /// What they add up to.
        planned: Duration,
        /// What there is.
        budget: Duration,
    },
    /// The preStop hook leaves no time after SIGTERM.
    PreStopTakesAll {
        /// The preStop hook's time.
        pre_stop: Duration,
        /// The grace period that it is taken from.
        grace_period: Duration,
    },
    /// The reserve leaves the watchdog no time before SIGKILL.
    ReserveTooShort {
        /// The reserve that was set.
        reserve: Duration,
        /// The shortest that this budget allows.
        least: Duration,
    },
    /// A spread is longer than the phase that it lies in.
    SpreadTooLong {
        /// Which one: `spread` or `long spread`.
        name: &'static str,
        /// The phase that it lies in.
        phase: Phase,
        /// The spread that was set.
        spread: Duration,
        /// The phase's duration.
        duration: Duration,
    },
    /// Long connections cannot be told in this phase: they are gone by then.
    TooLateForLong {
        /// Release or Exit.
        phase: Phase,
    },
    /// A silence that short proves nothing.
    QuietTooShort {
        /// What was set with [`LeaveEarly::quiet`](crate::LeaveEarly::quiet).
        quiet: Duration,
    },
    /// A variable does not hold a number of seconds.
    MalformedVariable {
        /// The variable's name.
        name: &'static str,
        /// What it holds, cut to 60 characters. Bytes that are not UTF-8 are replaced.
        value: String,
    },
    /// A variable holds more than ten years.
    VariableOutOfRange {
        /// The variable's name.
        name: &'static str,
        /// What it holds, cut to 60 characters.
        value: String,
    },
    /// A variable is zero that may not be.
    ZeroVariable {
        /// The variable's name.
        name: &'static str,
    },
    /// A number that was set in code is more than ten years.
    OutOfRange {
        /// Which number.
        name: &'static str,
        /// Its value.
        value: Duration,
    },
}

// The sentence, too: it is what a `main` prints that returns the error.
impl fmt::Debug for PlanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for PlanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PlanError::TooLong { planned, budget } => write!(
                f,
                "the phases and the reserve add up to {}, which is {} more than the {} from SIGTERM to SIGKILL",
                human(*planned),
                human(planned.saturating_sub(*budget)),
                human(*budget),
            ),
            PlanError::PreStopTakesAll {
                pre_stop,
                grace_period,
            } => write!(
                f,
                "preStop takes {} of a grace period of {}, which leaves no time after SIGTERM",
                human(*pre_stop),
                human(*grace_period),
            ),
            PlanError::ReserveTooShort { reserve, least } => write!(
                f,
                "a reserve of {} is too short: {} at least, or SIGKILL comes before the watchdog ends the process",
                human(*reserve),
                human(*least),
            ),
            PlanError::SpreadTooLong {
                name,
                phase,
                spread,
                duration,
            } => write!(
                f,
                "the {name} of {} is {} longer than the {} of {phase}",
                human(*spread),
                human(spread.saturating_sub(*duration)),
                human(*duration),
            ),
            PlanError::TooLateForLong { phase } => write!(
                f,
                "long connections cannot be told in {phase}: they end in Close at the latest"
            ),
            PlanError::QuietTooShort { quiet } => write!(
                f,
                "a silence of {} proves nothing about traffic: at least {}",
                human(*quiet),
                human(LeaveEarly::SHORTEST),
            ),
            PlanError::MalformedVariable { name, value } => {
                write!(
                    f,
                    "{name} is {value:?}, expected a number of seconds such as \"15\" or \"2.5\""
                )
            }
            PlanError::VariableOutOfRange { name, value } => write!(
                f,
                "{name} is {value:?}, expected at most ten years ({})",
                human(LONGEST),
            ),
            PlanError::ZeroVariable { name } => {
                write!(f, "{name} is zero, expected more than 0 s")
            }
            PlanError::OutOfRange { name, value } => {
                let (value, longest) = (human(*value), human(LONGEST));
                write!(
                    f,
                    "{name} is {value}, expected at most ten years ({longest})"
                )
            }
        }
    }
}

impl Error for PlanError {}
