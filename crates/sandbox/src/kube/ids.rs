//! Where uids and generated names come from: randomness, or a seed that makes a run repeatable.
//!
//! Never the same one twice, and never anything that must not be guessed.

/// A source of ids. A clone goes on with the same ones.
#[derive(Clone, Debug)]
pub struct Ids(u64);

impl Ids {
    /// Random ones, or those of a seed.
    #[must_use]
    pub fn new(seed: Option<u64>) -> Self {
        Self(seed.unwrap_or_else(rand::random))
    }

    /// A uid as the real server makes them.
    pub fn uid(&mut self) -> String {
        uuid::Builder::from_random_bytes(self.random()).into_uuid().to_string()
    }

    /// Sixteen bytes.
    pub fn random(&mut self) -> [u8; 16] {
        let (high, low) = (self.next(), self.next());
        (u128::from(high) << 64 | u128::from(low)).to_be_bytes()
    }

    /// SplitMix64: each state comes once before any comes again.
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_repeats_itself_and_no_uid_comes_twice() {
        let (mut one, mut two, mut other) = (Ids::new(Some(1)), Ids::new(Some(1)), Ids::new(Some(2)));
        let uids: Vec<String> = (0..100).map(|_| one.uid()).collect();
        assert!(uids.iter().all(|uid| *uid == two.uid() && *uid != other.uid() && uid.len() == 36));
        assert_eq!(uids.iter().collect::<std::collections::BTreeSet<_>>().len(), 100);
    }
}
