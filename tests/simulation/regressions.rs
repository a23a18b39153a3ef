//! Seeds that once broke a rule. A failing run prints the line to add.
//!
//! What a seed draws changes with the generator. These are then found again by putting each fault back.

pub(crate) const SEEDS: &[u64] = &[
    0x15,  // hangs: a refused hook was dropped under the lock, and registered another
    0x4bd, // a hook runs in its phase only: one was registered while its phase ended
];
