//! What watches have shown, and what our own writes returned before a watch shows it.
//!
//! Invariant: [`Store::get`] never returns an object that is older than our own last write to it. External Secrets
//! lacks this and mints a token and a half per rotation.
//!
//! One store takes several watches of the same kind (one per namespace in namespaced mode); it is complete when each
//! of them has been listed.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use kube::runtime::watcher::Event;

use super::Key;

/// Something with a resourceVersion.
pub trait Versioned {
    /// The resourceVersion.
    fn version(&self) -> &str;
}

impl<K: kube::Resource> Versioned for K {
    fn version(&self) -> &str {
        self.meta().resource_version.as_deref().unwrap_or_default()
    }
}

/// Which of two versions is newer. Since Kubernetes 1.35 they are numbers that may be compared; what can't be read is
/// held to be older than anything, so that a watch always wins over it.
fn number(version: &str) -> u128 {
    version.parse().unwrap_or(0)
}

/// The objects of one kind.
pub struct Store<T> {
    inner: Mutex<Inner<T>>,
    /// Whether every watch has been listed once.
    complete: tokio::sync::watch::Sender<bool>,
    /// Whether every watch has been listed since [`Store::expire`].
    current: tokio::sync::watch::Sender<bool>,
}

struct Inner<T> {
    shown: HashMap<Key, Shown<T>>,
    written: HashMap<Key, Arc<T>>,
    lists: Vec<List<T>>,
    /// The last deletions that a watch has shown, with their versions: the answer of a write may come after it.
    deleted: VecDeque<(Key, u128)>,
}

/// How many deletions are kept. An answer is late by milliseconds.
const DELETIONS: usize = 1024;

struct Shown<T> {
    object: Arc<T>,
    scope: usize,
}

/// A list that is being received, per watch.
struct List<T> {
    buffer: HashMap<Key, Arc<T>>,
    complete: bool,
    /// Whether it was begun since the store expired.
    begun: bool,
    /// Whether such a one has ended.
    current: bool,
}

impl<T> List<T> {
    fn new() -> Self {
        Self { buffer: HashMap::new(), complete: false, begun: false, current: false }
    }
}

impl<T: Versioned> Store<T> {
    /// A store that is filled by so many watches.
    pub fn new(watches: usize) -> Self {
        let lists = (0..watches).map(|_| List::new()).collect();
        let inner = Inner { shown: HashMap::new(), written: HashMap::new(), lists, deleted: VecDeque::new() };
        let sender = || tokio::sync::watch::Sender::new(watches == 0);
        Self { inner: Mutex::new(inner), complete: sender(), current: sender() }
    }

    fn lock(&self) -> MutexGuard<'_, Inner<T>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in an event of the watch `scope`; returns what others changed. The echo of our own writes is no change.
    pub fn take<K>(&self, scope: usize, event: Event<K>, convert: impl Fn(K) -> (Key, T)) -> Vec<Key> {
        let mut inner = self.lock();
        match event {
            Event::Init => {
                if let Some(list) = inner.lists.get_mut(scope) {
                    list.buffer.clear();
                    list.begun = true;
                }
                Vec::new()
            }
            Event::InitApply(object) => {
                let (key, object) = convert(object);
                if let Some(list) = inner.lists.get_mut(scope) {
                    list.buffer.insert(key, Arc::new(object));
                }
                Vec::new()
            }
            Event::InitDone => {
                let changed = inner.replace(scope);
                let complete = inner.lists.iter().all(|list| list.complete);
                let current = inner.lists.iter().all(|list| list.current);
                // Under the lock, so that `expire` is not undone.
                self.complete.send_if_modified(|was| !std::mem::replace(was, complete) && complete);
                self.current.send_if_modified(|was| !std::mem::replace(was, current) && current);
                changed
            }
            Event::Apply(object) => {
                let (key, object) = convert(object);
                let changed = inner.show(key.clone(), Arc::new(object), scope);
                changed.then_some(key).into_iter().collect()
            }
            Event::Delete(object) => {
                let (key, object) = convert(object);
                inner.shown.remove(&key);
                inner.written.remove(&key);
                inner.deleted.push_back((key.clone(), number(object.version())));
                if inner.deleted.len() > DELETIONS {
                    inner.deleted.pop_front();
                }
                vec![key]
            }
        }
    }

    /// The newest that is known of an object.
    pub fn get(&self, key: &Key) -> Option<Arc<T>> {
        let inner = self.lock();
        let shown = inner.shown.get(key).map(|shown| &shown.object);
        inner.written.get(key).or(shown).cloned()
    }

    /// The newest that is known of every object.
    pub fn all(&self) -> Vec<(Key, Arc<T>)> {
        let inner = self.lock();
        let shown = inner.shown.iter().filter(|(key, _)| !inner.written.contains_key(*key));
        let shown = shown.map(|(key, shown)| (key.clone(), shown.object.clone()));
        shown.chain(inner.written.iter().map(|(key, object)| (key.clone(), object.clone()))).collect()
    }

    /// Remembers what one of our writes returned, unless a watch has shown something later, a deletion for one.
    pub fn wrote(&self, key: Key, object: T) {
        let mut inner = self.lock();
        let version = number(object.version());
        let gone = inner.deleted.iter().any(|(deleted, at)| *deleted == key && *at >= version);
        let newest = inner.shown.get(&key).is_none_or(|shown| number(shown.object.version()) < version);
        if newest && !gone {
            inner.written.insert(key, Arc::new(object));
        }
    }

    /// Remembers that an object is gone, if what is known under its name is still that object: another one may have
    /// taken the name meanwhile.
    pub fn forget(&self, key: &Key, same: impl Fn(&T) -> bool) {
        let mut inner = self.lock();
        if inner.shown.get(key).is_some_and(|shown| same(&shown.object)) {
            inner.shown.remove(key);
        }
        if inner.written.get(key).is_some_and(|written| same(written)) {
            inner.written.remove(key);
        }
    }

    /// What was listed so far may be older than something that matters. The store is current again when each of its
    /// watches has begun and ended another list; until then all that is known stays known.
    pub fn expire(&self) {
        let mut inner = self.lock();
        inner.lists.iter_mut().for_each(|list| (list.begun, list.current) = (false, false));
        self.current.send_replace(inner.lists.is_empty());
    }

    /// Tells when every watch has been listed since the store expired last.
    pub fn current(&self) -> tokio::sync::watch::Receiver<bool> {
        self.current.subscribe()
    }

    /// Tells when every watch has been listed once.
    pub fn complete(&self) -> tokio::sync::watch::Receiver<bool> {
        self.complete.subscribe()
    }
}

impl<T: Versioned> Inner<T> {
    /// Shows an object; whether it is news.
    fn show(&mut self, key: Key, object: Arc<T>, scope: usize) -> bool {
        let version = number(object.version());
        let written = self.written.get(&key).map(|written| number(written.version()));
        if written.is_some_and(|written| written <= version) {
            self.written.remove(&key);
        }
        let known = self.shown.get(&key).is_some_and(|shown| shown.object.version() == object.version());
        self.shown.insert(key, Shown { object, scope });
        !known && written.is_none_or(|written| written < version)
    }

    /// A list replaces what its watch had shown.
    fn replace(&mut self, scope: usize) -> Vec<Key> {
        let Some(list) = self.lists.get_mut(scope) else {
            return Vec::new();
        };
        list.complete = true;
        list.current = list.begun;
        let buffer = std::mem::take(&mut list.buffer);
        let gone =
            |(key, shown): (&Key, &Shown<T>)| (shown.scope == scope && !buffer.contains_key(key)).then(|| key.clone());
        let gone: Vec<Key> = self.shown.iter().filter_map(gone).collect();
        for key in &gone {
            self.shown.remove(key);
            self.written.remove(key);
        }
        let news: Vec<Key> = buffer
            .into_iter()
            .filter_map(|(key, object)| self.show(key.clone(), object, scope).then_some(key))
            .collect();
        gone.into_iter().chain(news).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Debug)]
    struct Thing(&'static str, &'static str);

    impl Versioned for Thing {
        fn version(&self) -> &str {
            self.1
        }
    }

    fn named(name: &str) -> Key {
        Key { namespace: "a".into(), name: name.into() }
    }

    fn take(store: &Store<Thing>, event: Event<Thing>) -> Vec<String> {
        store.take(0, event, |thing| (named(thing.0), thing)).into_iter().map(|key| key.name).collect()
    }

    fn version(store: &Store<Thing>, name: &str) -> Option<&'static str> {
        store.get(&named(name)).map(|thing| thing.1)
    }

    #[test]
    fn our_own_writes_are_seen_before_the_watch_shows_them_and_are_no_news_then() {
        let store = Store::new(1);
        assert_eq!(take(&store, Event::Apply(Thing("x", "9"))), ["x"]);
        store.wrote(named("x"), Thing("x", "11"));
        assert_eq!(version(&store, "x"), Some("11"));
        assert!(take(&store, Event::Apply(Thing("x", "10"))).is_empty(), "older than our write");
        assert_eq!(version(&store, "x"), Some("11"));
        assert!(take(&store, Event::Apply(Thing("x", "11"))).is_empty(), "our write's echo");
        assert_eq!(take(&store, Event::Apply(Thing("x", "12"))), ["x"]);
        assert_eq!(version(&store, "x"), Some("12"));
    }

    #[test]
    fn a_write_that_the_watch_has_overtaken_is_forgotten() {
        let store = Store::new(1);
        take(&store, Event::Apply(Thing("x", "100")));
        store.wrote(named("x"), Thing("x", "99"));
        assert_eq!(version(&store, "x"), Some("100"));
    }

    #[test]
    fn a_store_that_expired_is_current_again_after_a_list_that_was_begun_since() {
        let store = Store::new(1);
        let current = || *store.current().borrow();
        let list = |store: &Store<Thing>| {
            take(store, Event::Init);
            take(store, Event::InitApply(Thing("x", "1")));
        };
        assert!(!current());
        list(&store);
        take(&store, Event::InitDone);
        assert!(current());
        list(&store);
        store.expire();
        assert!(!current() && *store.complete().borrow());
        take(&store, Event::InitDone);
        assert!(!current(), "that list was under way before");
        assert_eq!(version(&store, "x"), Some("1"), "what is known stays known");
        list(&store);
        assert!(!current());
        take(&store, Event::InitDone);
        assert!(current());
    }

    #[test]
    fn a_list_replaces_what_was_there_and_names_the_differences() {
        let store = Store::new(1);
        assert!(!*store.complete().borrow());
        for event in [Event::Init, Event::InitApply(Thing("x", "1")), Event::InitApply(Thing("y", "2"))] {
            assert!(take(&store, event).is_empty());
        }
        let mut changed = take(&store, Event::InitDone);
        changed.sort();
        assert_eq!(changed, ["x", "y"]);
        assert!(*store.complete().borrow());
        for event in [Event::Init, Event::InitApply(Thing("y", "2")), Event::InitApply(Thing("z", "3"))] {
            take(&store, event);
        }
        let mut changed = take(&store, Event::InitDone);
        changed.sort();
        assert_eq!(changed, ["x", "z"], "x is gone, y is as it was, z is new");
        assert_eq!(version(&store, "x"), None);
    }

    #[test]
    fn two_watches_do_not_take_each_others_objects_away() {
        let store = Store::new(2);
        let convert = |thing: Thing| (named(thing.0), thing);
        store.take(0, Event::InitApply(Thing("x", "1")), convert);
        store.take(0, Event::InitDone, convert);
        assert!(!*store.complete().borrow(), "the second watch has not been listed");
        store.take(1, Event::InitDone, convert);
        assert!(*store.complete().borrow());
        assert_eq!(version(&store, "x"), Some("1"));
    }

    #[test]
    fn an_answer_that_comes_after_the_deletion_brings_nothing_back() {
        let store = Store::new(1);
        take(&store, Event::Apply(Thing("x", "1")));
        take(&store, Event::Delete(Thing("x", "3")));
        store.wrote(named("x"), Thing("x", "2"));
        assert_eq!(version(&store, "x"), None);
        store.wrote(named("x"), Thing("x", "4"));
        assert_eq!(version(&store, "x"), Some("4"), "made again after it");
    }

    #[test]
    fn what_took_the_name_of_a_deleted_object_is_kept() {
        let store = Store::new(1);
        take(&store, Event::Apply(Thing("x", "1")));
        take(&store, Event::Apply(Thing("x", "5")));
        store.forget(&named("x"), |thing| thing.1 == "1");
        assert_eq!(version(&store, "x"), Some("5"));
        store.forget(&named("x"), |thing| thing.1 == "5");
        assert_eq!(version(&store, "x"), None);
    }

    #[test]
    fn deletions_are_news() {
        let store = Store::new(1);
        take(&store, Event::Apply(Thing("x", "1")));
        store.wrote(named("x"), Thing("x", "2"));
        assert_eq!(take(&store, Event::Delete(Thing("x", "3"))), ["x"]);
        assert_eq!(version(&store, "x"), None);
    }
}
