//! Random numbers that spread load. Not for secrets.

use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// A number that differs from call to call and from process to process.
pub(crate) fn number() -> u64 {
    static SEED: LazyLock<u64> = LazyLock::new(seed);
    static NEXT: AtomicU64 = AtomicU64::new(0);
    mix(*SEED, NEXT.fetch_add(1, Ordering::Relaxed))
}

/// A number that differs from call to call.
pub(crate) fn seed() -> u64 {
    RandomState::new().hash_one("lameduck")
}

/// The `index`-th number of the sequence that `seed` begins (SplitMix64).
pub(crate) fn mix(seed: u64, index: u64) -> u64 {
    let mut z = seed.wrapping_add(index.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
