//! The time of a run, and what it is measured against.

use std::time::Duration;

use lameduck::{LeaveEarly, Plan};

/// On the clock of a run, or between two moments of it.
pub(crate) type Millis = u64;

pub(crate) const SECOND: Millis = 1000;
/// `LeaveEarly`'s own defaults. `play` would tell if they changed: its outcome is held against these.
pub(crate) const QUIET: Millis = 3 * SECOND;
pub(crate) const MIN: Millis = 5 * SECOND;

/// When the last of traffic moves, of how long a LameDuck.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Column {
    /// From T0. `None` is never.
    pub(crate) moves: Option<Millis>,
    pub(crate) grace: Millis,
    pub(crate) lame_duck: Millis,
}

impl Column {
    /// All, in the order of the tables.
    pub(crate) const ALL: [Column; 7] = [
        Column::short(Some(SECOND)),
        Column::short(Some(2 * SECOND)),
        Column::short(Some(5 * SECOND)),
        Column::short(Some(8 * SECOND)),
        Column::short(None),
        Column::long(Some(25 * SECOND)),
        Column::long(None),
    ];
    /// Where nothing is ever moved away.
    pub(crate) const NEVER: Column = Column::short(None);
    pub(crate) const NEVER_LONG: Column = Column::long(None);
    /// What an ordinary Service takes.
    pub(crate) const USUAL: Column = Column::short(Some(2 * SECOND));

    /// The plan of 30 s.
    const fn short(moves: Option<Millis>) -> Self {
        Column {
            moves,
            grace: 30 * SECOND,
            lame_duck: 10 * SECOND,
        }
    }

    /// The plan for balancers that are slow.
    const fn long(moves: Option<Millis>) -> Self {
        Column {
            moves,
            grace: 80 * SECOND,
            lame_duck: 45 * SECOND,
        }
    }

    /// Whether somebody who leaves `after` T0 is still routed to.
    pub(crate) fn is_routed(self, after: Millis) -> bool {
        self.moves.is_none_or(|moves| after < moves)
    }

    pub(crate) fn plan(self, early: bool) -> Plan {
        let plan = Plan::builder()
            .grace_period(Duration::from_millis(self.grace))
            .lame_duck(Duration::from_millis(self.lame_duck));
        let plan = match early {
            true => plan.leave_early(LeaveEarly::new()),
            false => plan,
        };
        plan.build().expect("it fits")
    }
}
