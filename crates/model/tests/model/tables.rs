//! Answers that were worked out once: the planner is pure, and many states of the world look the same to it.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hash, Hasher},
    sync::{Arc, Mutex},
};

/// The hash of anything.
pub fn hash_of(thing: &impl Hash) -> u64 {
    let mut hasher = Folded(FOLD.1);
    thing.hash(&mut hasher);
    hasher.finish()
}

/// Each word is multiplied in, and both halves of the product are kept, as wyhash and ahash do: states are hashed by the
/// hundred million.
struct Folded(u64);

/// Two numbers without a pattern.
const FOLD: (u64, u64) = (0x9e37_79b9_7f4a_7c15, 0x2d35_8dcc_aa6c_78a5);

impl Folded {
    fn fold(&mut self, word: u64) {
        let product = u128::from(self.0 ^ word) * u128::from(FOLD.0);
        self.0 = (product as u64 ^ (product >> 64) as u64).rotate_left(23).wrapping_add(FOLD.1);
    }
}

impl Hasher for Folded {
    fn finish(&self) -> u64 {
        let product = u128::from(self.0) * u128::from(FOLD.1);
        product as u64 ^ (product >> 64) as u64
    }

    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        words.iter().for_each(|word| self.fold(u64::from_le_bytes(*word)));
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        self.fold(u64::from_le_bytes(last) ^ (bytes.len() as u64) << 56);
    }

    fn write_u8(&mut self, word: u8) {
        self.fold(word.into());
    }

    fn write_u32(&mut self, word: u32) {
        self.fold(word.into());
    }

    fn write_u64(&mut self, word: u64) {
        self.fold(word);
    }

    fn write_usize(&mut self, word: usize) {
        self.fold(word as u64);
    }
}

/// Something that is compared and hashed by its hash, which is reckoned once.
#[derive(Debug)]
pub struct Shared<T>(Arc<T>, u64);

impl<T: Hash> Shared<T> {
    pub fn new(thing: T) -> Self {
        let hash = hash_of(&thing);
        Self(Arc::new(thing), hash)
    }
}

impl<T> Shared<T> {
    pub fn get(&self) -> &T {
        &self.0
    }

    pub fn mark(&self) -> u64 {
        self.1
    }
}

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone(), self.1)
    }
}

impl<T> PartialEq for Shared<T> {
    fn eq(&self, other: &Self) -> bool {
        self.1 == other.1
    }
}

impl<T> Eq for Shared<T> {}

impl<T> PartialOrd for Shared<T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Shared<T> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.1.cmp(&other.1)
    }
}

impl<T> Hash for Shared<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.1);
    }
}

/// Keys are hashes already.
#[derive(Default)]
struct Plain(u64);

impl Hasher for Plain {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("keys are hashes");
    }

    fn write_u64(&mut self, key: u64) {
        self.0 = key;
    }
}

type Part<V> = Mutex<HashMap<u64, V, BuildHasherDefault<Plain>>>;

/// Answers by the hash of the question. In parts, so that threads seldom wait for each other.
pub struct Table<V> {
    parts: [Part<V>; 64],
    /// How many a part holds: then it begins anew. What is forgotten is worked out again.
    most: usize,
}

impl<V> Table<V> {
    fn of(most: usize) -> Self {
        Self { parts: std::array::from_fn(|_| Part::default()), most }
    }

    /// For answers that are large: a quarter of a million at once.
    pub fn large() -> Self {
        Self::of(1 << 12)
    }

    /// For answers that take next to nothing: twelve million at once.
    pub fn small() -> Self {
        Self::of(200_000)
    }
}

impl<V: Clone> Table<V> {
    fn part(&self, key: u64) -> &Part<V> {
        &self.parts[(key >> 58) as usize]
    }

    pub fn get(&self, key: u64) -> Option<V> {
        self.part(key).lock().unwrap().get(&key).cloned()
    }

    pub fn put(&self, key: u64, answer: V) {
        let mut part = self.part(key).lock().unwrap();
        if part.len() >= self.most {
            part.clear();
        }
        part.insert(key, answer);
    }

    /// The answer, worked out if nobody asked before.
    pub fn ask(&self, key: u64, answer: impl FnOnce() -> V) -> V {
        if let Some(known) = self.get(key) {
            return known;
        }
        let found = answer();
        self.put(key, found.clone());
        found
    }
}
