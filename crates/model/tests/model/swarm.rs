//! Configurations by chance: what nobody thought of putting together.
//!
//! Each seed is one: a start, and three to six kinds of trouble. Those that are too large are cut off, since the next seed
//! is worth more than the rest of this one.

use rand::{RngExt, SeedableRng, rngs::StdRng};

/// After so many states a configuration is cut off.
pub const MOST: usize = 2_000_000;

const STARTS: [&str; 12] = [
    "Settled",
    "Settled",
    "Settled",
    "Two",
    "New",
    "Trusting",
    "Retained",
    "Deactivating",
    "Kept",
    "Restored",
    "Adopting",
    "AdoptingById",
];

/// Kinds of trouble, and how often each may come at most.
const KINDS: [(&str, u32); 18] = [
    ("crash", 2),
    ("lost", 2),
    ("late", 2),
    ("refuse", 2),
    ("alter", 2),
    ("unbind", 1),
    ("lag", 2),
    ("rotate", 2),
    ("revoke", 2),
    ("toggle", 2),
    ("edit", 2),
    ("rename", 2),
    ("delete", 1),
    ("secret", 2),
    ("squat", 1),
    ("hub", 2),
    ("reshape", 2),
    ("tick", 3),
];

/// A seed's configuration, in the words of `OAT_MODEL`.
pub fn words(seed: u64) -> String {
    let mut random = StdRng::seed_from_u64(seed);
    let mut words = vec![STARTS[random.random_range(0..STARTS.len())].to_owned()];
    if random.random_ratio(1, 3) {
        words.push(format!("limit={} places=1 settle=1", random.random_range(2..=4)));
    }
    let (mut kinds, count) = (KINDS.to_vec(), random.random_range(3..=6));
    for _ in 0..count {
        let (kind, most) = kinds.swap_remove(random.random_range(0..kinds.len()));
        words.push(format!("{kind}={}", random.random_range(1..=most)));
        // An object without our finalizer is gone at once, whatever is under way for it.
        kinds.retain(|(other, _)| !matches!((kind, *other), ("delete", "unbind") | ("unbind", "delete")));
    }
    words.join(" ")
}
