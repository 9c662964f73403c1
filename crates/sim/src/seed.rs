//! Chance that repeats: every test prints its seed, and `FIELDKEEP_SEED` replays it.

/// A small generator (SplitMix64, Steele et al. 2014), good enough to pick moments.
#[derive(Debug)]
pub struct Seed(u64);

impl Seed {
    /// The seed of `FIELDKEEP_SEED`, else `fixed`; printed, so that a failure can be replayed.
    #[must_use]
    pub fn new(fixed: u64) -> Self {
        let seed = std::env::var("FIELDKEEP_SEED")
            .ok()
            .and_then(|text| text.parse().ok());
        let seed = seed.unwrap_or(fixed);
        println!("FIELDKEEP_SEED={seed}");
        Self(seed)
    }

    /// The next number below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound.max(1)
    }
}
