//! Chance that can be had again: all traffic comes from the seed.

/// SplitMix64.
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    /// Two numbers as one seed: the same two give the same, and neighbours have nothing in common.
    pub(crate) fn of(seed: u64, number: u64) -> Self {
        let mut first = Random(seed);
        let base = first.number();
        let mut second = Random(base ^ number.wrapping_mul(0xd6e8_feb8_6659_fd93));
        Random(second.number())
    }

    fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.number() % limit
    }

    /// From 0 to 1, never 1.
    pub(crate) fn part(&mut self) -> f64 {
        const STEPS: u64 = 1 << 53;
        (self.number() >> 11) as f64 / STEPS as f64
    }

    pub(crate) fn between(&mut self, least: f64, most: f64) -> f64 {
        least + (most - least) * self.part()
    }

    /// How long until what comes by chance, `mean` apart, comes next.
    pub(crate) fn wait(&mut self, mean: f64) -> f64 {
        -mean * (1.0 - self.part()).ln()
    }
}
