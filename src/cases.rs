//! Properties, checked on made-up input: the same cases in every run, and the smallest that fails.

use proptest::strategy::Strategy;
use proptest::test_runner::{Config, RngSeed, TestRunner};

const SEED: u64 = 0x1a3e_d0c5;

/// Checks `holds`, which panics where it does not, on so many values.
pub(crate) fn check<S: Strategy>(cases: u32, values: S, holds: impl Fn(S::Value)) {
    let config = Config {
        cases,
        rng_seed: RngSeed::Fixed(SEED),
        // Nothing is written into the tree.
        failure_persistence: None,
        ..Config::default()
    };
    let mut runner = TestRunner::new(config);
    let checked = runner.run(&values, |value| {
        holds(value);
        Ok(())
    });
    if let Err(failed) = checked {
        panic!("{failed}");
    }
}

/// Cuts something into parts at these places, wherever they point.
#[cfg(feature = "tower")]
pub(crate) fn cut<'a>(mut bytes: &'a [u8], places: &[usize]) -> Vec<&'a [u8]> {
    let mut parts = Vec::new();
    for place in places {
        let (part, rest) = bytes.split_at(place % (bytes.len() + 1));
        parts.push(part);
        bytes = rest;
    }
    parts.push(bytes);
    parts
}
