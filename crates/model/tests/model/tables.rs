//! Answers that were worked out once: the planner is pure, and many states of the world look the same to it.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, DefaultHasher, Hash, Hasher},
    sync::{Arc, Mutex},
};

/// The hash of anything.
pub fn hash_of(thing: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    thing.hash(&mut hasher);
    hasher.finish()
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
pub struct Table<V>([Part<V>; 64]);

impl<V> Default for Table<V> {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Part::default()))
    }
}

impl<V: Clone> Table<V> {
    fn part(&self, key: u64) -> &Part<V> {
        &self.0[(key >> 58) as usize]
    }

    pub fn get(&self, key: u64) -> Option<V> {
        self.part(key).lock().unwrap().get(&key).cloned()
    }

    pub fn put(&self, key: u64, answer: V) {
        self.part(key).lock().unwrap().insert(key, answer);
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

    pub fn len(&self) -> usize {
        self.0.iter().map(|part| part.lock().unwrap().len()).sum()
    }
}
