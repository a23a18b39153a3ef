//! Seeds that once broke a rule. A failing run prints the line to add.

pub(crate) const SEEDS: &[u64] = &[
    0x1b,  // hangs: a refused hook was dropped under the lock, and registered another
    0xab5, // no hook is lost: the report has all, as they were registered
];
