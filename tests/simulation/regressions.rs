//! Seeds that once broke a rule. A failing run prints the line to add.

pub(crate) const SEEDS: &[u64] = &[];
