//! What a server has set for all of its connections.

use super::names::RequestNames;
use super::timeouts::Timeouts;
use super::upgrades::RefuseUpgrades;

#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    pub(super) names: RequestNames,
    pub(super) timeouts: Timeouts,
    pub(super) upgrades: RefuseUpgrades,
}

impl Default for Terms {
    fn default() -> Self {
        Terms::from(Timeouts::new())
    }
}

impl From<Timeouts> for Terms {
    fn from(timeouts: Timeouts) -> Self {
        Terms {
            names: RequestNames::default(),
            timeouts,
            upgrades: RefuseUpgrades::default(),
        }
    }
}
