//! Chance that repeats itself: SplitMix64. Never asks the machine for randomness.

use std::time::Duration;

pub struct Chance(u64);

impl Chance {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number from 0 to one less than this.
    pub fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(end).unwrap()).unwrap()
    }

    pub fn percent(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    pub fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())].clone()
    }

    /// A time between two, in whole seconds.
    pub fn between(&mut self, from: Duration, to: Duration) -> Duration {
        from + Duration::from_secs(self.next() % ((to - from).as_secs() + 1))
    }

    /// The same where short and long ones are as likely as one another.
    pub fn about(&mut self, from: Duration, to: Duration) -> Duration {
        let doublings = (to.as_secs() / from.as_secs().max(1)).max(1).ilog2();
        let least = from * (1 << self.below(usize::try_from(doublings).unwrap() + 1));
        self.between(least, (2 * least).min(to).max(least))
    }
}
