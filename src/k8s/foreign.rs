//! The names of Secrets that are not ours, so that one that is in the way is found before a token is made, and a change
//! of an owner's credentials is noticed, without a request for either.
//!
//! Kept are 64 bits per name; metadata and data are dropped while streaming.

use std::{
    collections::{HashMap, HashSet},
    hash::{BuildHasher, RandomState},
    sync::{Mutex, MutexGuard, PoisonError},
};

use kube::runtime::watcher::Event;

use super::Key;

/// The names of Secrets without our label.
pub struct Foreign {
    hasher: RandomState,
    inner: Mutex<HashMap<usize, Names>>,
    complete: tokio::sync::watch::Sender<bool>,
    watches: usize,
}

#[derive(Default)]
struct Names {
    names: HashSet<u64>,
    buffer: HashSet<u64>,
    complete: bool,
}

impl Foreign {
    /// No names yet, from so many watches.
    pub fn new(watches: usize) -> Self {
        let complete = tokio::sync::watch::Sender::new(watches == 0);
        Self { hasher: RandomState::new(), inner: Mutex::default(), complete, watches }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<usize, Names>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether there is a Secret of this name that is not ours.
    pub fn contains(&self, key: &Key) -> bool {
        let hash = self.hasher.hash_one(key);
        self.lock().values().any(|names| names.names.contains(&hash))
    }

    /// Takes in an event of the watch `scope`.
    pub fn take(&self, scope: usize, event: &Event<Key>) {
        let mut inner = self.lock();
        let names = inner.entry(scope).or_default();
        match event {
            Event::Init => names.buffer.clear(),
            Event::InitApply(key) => {
                names.buffer.insert(self.hasher.hash_one(key));
            }
            Event::InitDone => {
                names.names = std::mem::take(&mut names.buffer);
                names.complete = true;
                let complete = inner.values().filter(|names| names.complete).count() == self.watches;
                drop(inner);
                self.complete.send_if_modified(|was| !std::mem::replace(was, complete) && complete);
            }
            Event::Apply(key) => {
                names.names.insert(self.hasher.hash_one(key));
            }
            Event::Delete(key) => {
                names.names.remove(&self.hasher.hash_one(key));
            }
        }
    }

    /// Tells when every watch has been listed once.
    pub fn complete(&self) -> tokio::sync::watch::Receiver<bool> {
        self.complete.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str) -> Key {
        Key { namespace: "a".into(), name: name.into() }
    }

    #[test]
    fn names_come_and_go() {
        let foreign = Foreign::new(1);
        for event in [Event::Init, Event::InitApply(named("x")), Event::InitDone, Event::Apply(named("y"))] {
            foreign.take(0, &event);
        }
        assert!(*foreign.complete().borrow());
        assert!(foreign.contains(&named("x")) && foreign.contains(&named("y")) && !foreign.contains(&named("z")));
        foreign.take(0, &Event::Delete(named("y")));
        assert!(!foreign.contains(&named("y")));
        for event in [Event::Init, Event::InitApply(named("z")), Event::InitDone] {
            foreign.take(0, &event);
        }
        assert!(!foreign.contains(&named("x")) && foreign.contains(&named("z")));
    }
}
