//! Numbers that look random and follow from a seed: a failure prints it, and the same seed plays the same script again.
//!
//! Never: the same numbers for two tests that run at once by sharing a source.

use std::time::Duration;

/// The environment variable that holds a seed to play again.
pub const SEED: &str = "OAT_TEST_SEED";

/// A source (SplitMix64).
pub struct Random {
    state: u64,
}

impl Random {
    /// From the environment, else a new seed. Says how the test whose name contains `filter` is played again; the
    /// test harness shows that only where it fails.
    pub fn for_test(filter: &str) -> Self {
        let given = std::env::var(SEED).ok();
        let seed = match given {
            Some(text) => text.parse().unwrap_or_else(|_| panic!("{SEED}={text} is no number")),
            None => u64::from(uuid::Uuid::new_v4().as_fields().0),
        };
        let cluster = if super::cluster::is_real() { "OAT_TEST_CLUSTER=real " } else { "" };
        println!("to play it again: {cluster}{SEED}={seed} cargo test --test it {filter}");
        Self { state: seed }
    }

    pub fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// Less than `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// In so many of a hundred cases.
    pub fn percent(&mut self, chance: u64) -> bool {
        self.below(100) < chance
    }

    /// Between these, in milliseconds.
    pub fn between(&mut self, least: u64, most: u64) -> Duration {
        Duration::from_millis(least + self.below(most - least + 1))
    }

    /// A source of its own for a part that runs at the same time.
    pub fn fork(&mut self) -> Self {
        Self { state: self.next() }
    }
}

#[test]
fn one_seed_gives_one_script() {
    let script = |seed| {
        let mut random = Random { state: seed };
        let mut fork = random.fork();
        (0..4).map(|_| (random.below(100), fork.between(10, 20))).collect::<Vec<_>>()
    };
    assert_eq!(script(7), script(7));
    assert_ne!(script(7), script(8));
    let mut random = Random { state: 1 };
    let hits = (0..1000).filter(|_| random.percent(25)).count();
    assert!((200..300).contains(&hits), "{hits}");
    assert!((0..1000).all(|_| random.between(5, 9).as_millis() < 10));
}
