//! Judges a run: which requests were lost, and by which fault.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::attempt::{Attempt, Fate};
use crate::fault::Fault;
use crate::outcome::{Departure, Loss};
use crate::round::Round;
use crate::scenario::{Rotation, Scenario};

/// What happens in this time before the exit is the exit's: the kernel closes sockets before the drill learns that the process has
/// ended.
const AT_THE_EXIT: Duration = Duration::from_millis(100);
/// A server that never leaves the rotation has to close its listener some time. Then it may live for so long.
const CLOSING: Duration = Duration::from_millis(250);

/// A run that is judged.
#[derive(Debug)]
pub(crate) struct Judged {
    pub(crate) fates: BTreeMap<Fate, u64>,
    pub(crate) losses: Vec<Loss>,
    pub(crate) departure: Departure,
    /// From the signal to the first refusal.
    pub(crate) closed_after: Option<Duration>,
}

pub(crate) fn judge(scenario: Scenario, number: usize, round: &Round) -> Judged {
    let court = Court {
        round,
        rotation: scenario.recipe().rotation,
    };
    let mut fates = BTreeMap::new();
    let mut losses = Vec::new();
    for attempt in &round.book.attempts {
        let fate = court.fate(attempt);
        *fates.entry(fate).or_default() += 1;
        if fate.is_loss() {
            losses.push(court.loss(scenario, number, attempt, fate));
        }
    }
    Judged {
        fates,
        losses,
        departure: court.departure(),
        closed_after: court.first_refusal().map(|at| at - round.t0),
    }
}

struct Court<'a> {
    round: &'a Round,
    rotation: Rotation,
}

impl Court<'_> {
    /// What became of it, as far as the client could not know.
    fn fate(&self, attempt: &Attempt) -> Fate {
        let stays = self.rotation == Rotation::Stays;
        let entered = self.entered(attempt);
        match attempt.fate {
            Fate::Refused if stays && attempt.ended + CLOSING >= self.round.exit.at => Fate::Gone,
            // The client would repeat what has been begun.
            Fate::Repeatable if entered == Some(true) => Fate::Closed,
            // The handler of a long connection may write its line later.
            Fate::Answered if entered == Some(false) && !attempt.way.is_long() => Fate::Unhandled,
            fate => fate,
        }
    }

    fn entered(&self, attempt: &Attempt) -> Option<bool> {
        let entered = self.round.entered.as_ref();
        entered.map(|entered| entered.contains(&attempt.number))
    }

    fn loss(&self, scenario: Scenario, run: usize, attempt: &Attempt, fate: Fate) -> Loss {
        Loss {
            scenario,
            run,
            way: attempt.way,
            fate,
            fault: self.fault(attempt, fate),
            began: self.after_signal(attempt.began),
            ended: self.after_signal(attempt.ended),
            entered: self.entered(attempt),
            why: attempt.why.clone(),
        }
    }

    fn fault(&self, attempt: &Attempt, fate: Fate) -> Fault {
        let at_the_exit = self.is_over_at(attempt.ended);
        match fate {
            _ if attempt.ended < self.round.t0 => Fault::BeforeTheSignal,
            _ if attempt.fate == Fate::Repeatable => Fault::HandedBack,
            Fate::Refused if at_the_exit => Fault::LeftInRotation,
            Fate::Refused => Fault::RefusedWhileAlive,
            Fate::Reset | Fate::Closed | Fate::Cut if attempt.way.is_long() => Fault::CutLong,
            Fate::Reset | Fate::Closed | Fate::Cut if attempt.way.is_slow() => Fault::CutSlow,
            Fate::Reset | Fate::Closed | Fate::Cut if at_the_exit => match self.killed() {
                Some(fault) => fault,
                None => Fault::LeftInFlight,
            },
            Fate::Reset | Fate::Closed if attempt.reused => Fault::DroppedKept,
            Fate::Reset | Fate::Closed => Fault::DroppedNew,
            Fate::Cut => Fault::CutAnswer,
            Fate::Hung => Fault::Hung,
            Fate::Garbled => Fault::Garbled,
            Fate::Unhandled => Fault::Unhandled,
            Fate::Rejected => Fault::Rejected,
            Fate::Answered | Fate::Repeatable | Fate::Gone => unreachable!("that is no loss"),
        }
    }

    fn is_over_at(&self, at: Instant) -> bool {
        at + AT_THE_EXIT >= self.round.exit.at
    }

    /// In seconds; negative before it.
    fn after_signal(&self, at: Instant) -> f64 {
        let t0 = self.round.t0;
        (at - t0).as_secs_f64() - (t0 - at).as_secs_f64()
    }

    fn first_refusal(&self) -> Option<Instant> {
        let attempts = self.round.book.attempts.iter();
        let refused = attempts.filter(|attempt| attempt.fate == Fate::Refused);
        refused
            .map(|attempt| attempt.began.max(self.round.t0))
            .min()
    }

    /// From the first connection that it refused to its exit, if that is not the same moment.
    fn refused_while_alive(&self) -> Option<Duration> {
        let refused = self.first_refusal().filter(|at| !self.is_over_at(*at));
        refused.map(|at| self.round.exit.at - at)
    }

    /// The fault of a server that had to be killed.
    fn killed(&self) -> Option<Fault> {
        let reacted = self.round.book.told > 0 || self.refused_while_alive().is_some();
        self.round.exit.killed.then_some(match reacted {
            true => Fault::Late,
            false => Fault::IgnoredSignal,
        })
    }

    fn departure(&self) -> Departure {
        let exit = &self.round.exit;
        let left_a_process = !exit.killed && !exit.children.is_empty();
        Departure {
            took: exit.at - self.round.t0,
            killed: exit.killed,
            code: exit.code,
            refused_while_alive: self.refused_while_alive().unwrap_or_default(),
            fault: self
                .killed()
                .or(left_a_process.then_some(Fault::LeftAProcess)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attempt::{Book, Way};
    use crate::target::Exit;

    const EXIT: Duration = Duration::from_secs(2);

    /// A run with one request, number 7, which ended so long after the signal.
    fn run(scenario: Scenario, fate: Fate, after: Duration, entered: Option<bool>) -> Judged {
        let t0 = Instant::now();
        let attempt = Attempt {
            number: 7,
            way: Way::OneShot,
            fate,
            reused: false,
            began: t0,
            ended: t0 + after,
            why: String::new(),
        };
        let round = Round {
            book: Book {
                attempts: vec![attempt],
                ..Book::default()
            },
            t0,
            exit: Exit {
                at: t0 + EXIT,
                code: Some(0),
                killed: false,
                children: Vec::new(),
            },
            entered: entered.map(|entered| entered.then_some(7).into_iter().collect()),
        };
        judge(scenario, 1, &round)
    }

    fn fault(judged: &Judged) -> Option<Fault> {
        judged.losses.first().map(|loss| loss.fault)
    }

    #[test]
    fn refusal_is_nobodys_fault_if_the_server_has_left_and_the_cluster_never_learns() {
        let behind = EXIT + Duration::from_millis(100);

        let stays = run(Scenario::NeverOut, Fate::Refused, behind, None);
        assert_eq!((fault(&stays), stays.fates[&Fate::Gone]), (None, 1));
        let leaves = run(Scenario::InFlight, Fate::Refused, behind, None);
        assert_eq!(fault(&leaves), Some(Fault::LeftInRotation));
        let alive = run(Scenario::NeverOut, Fate::Refused, EXIT / 2, None);
        assert_eq!(fault(&alive), Some(Fault::RefusedWhileAlive));
    }

    #[test]
    fn what_is_handed_back_is_lost_if_its_handler_was_entered() {
        let handed_back = |entered| run(Scenario::InFlight, Fate::Repeatable, EXIT / 2, entered);

        assert_eq!(fault(&handed_back(None)), None);
        assert_eq!(fault(&handed_back(Some(false))), None);
        assert_eq!(fault(&handed_back(Some(true))), Some(Fault::HandedBack));
    }

    #[test]
    fn answer_is_lost_if_no_handler_was_entered() {
        let answered = |entered| run(Scenario::InFlight, Fate::Answered, EXIT / 2, entered);

        assert_eq!(fault(&answered(None)), None);
        assert_eq!(fault(&answered(Some(true))), None);
        assert_eq!(fault(&answered(Some(false))), Some(Fault::Unhandled));
    }
}
