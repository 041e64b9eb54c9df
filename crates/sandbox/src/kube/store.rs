//! Objects, one counter for all changes, and the changes themselves for a while.
//!
//! The past is what the present was before the changes since: lists at a version and pages of one list are reconstructed
//! from the history, and are gone when it is.
//!
//! Invariant: every change has its own revision, and the history has them in order, without gaps since `compacted`.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use serde_json::{Value, json};

use super::object::set_meta;

/// Namespace (empty for cluster-wide objects) and name.
pub type Key = (String, String);

/// The objects of one store, in order.
pub type Table = BTreeMap<Key, Arc<Value>>;

/// One change.
#[derive(Clone, Debug)]
pub struct Change {
    /// When, in changes.
    pub revision: u64,
    /// Of which store.
    pub store: String,
    /// Of which object.
    pub key: Key,
    /// The object before; `None` if it was created.
    pub before: Option<Arc<Value>>,
    /// The object after; `None` if it was deleted.
    pub after: Option<Arc<Value>>,
}

/// All objects.
#[derive(Clone, Debug)]
pub struct Store {
    tables: BTreeMap<String, Table>,
    history: VecDeque<Change>,
    keep: usize,
    revision: u64,
    compacted: u64,
}

impl Store {
    /// An empty one that remembers `keep` changes.
    #[must_use]
    pub fn new(keep: usize) -> Self {
        Self { tables: BTreeMap::new(), history: VecDeque::new(), keep, revision: 1, compacted: 0 }
    }

    /// The revision of the last change.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// Changes up to this one are forgotten.
    #[must_use]
    pub fn compacted(&self) -> u64 {
        self.compacted
    }

    /// One object.
    #[must_use]
    pub fn get(&self, store: &str, namespace: &str, name: &str) -> Option<&Arc<Value>> {
        self.tables.get(store)?.get(&(namespace.to_owned(), name.to_owned()))
    }

    /// The objects of a namespace, or all.
    pub fn list<'a>(
        &'a self,
        store: &str,
        namespace: Option<&'a str>,
    ) -> impl Iterator<Item = (&'a Key, &'a Arc<Value>)> {
        let table = self.tables.get(store);
        table.into_iter().flatten().filter(move |((ns, _), _)| namespace.is_none_or(|wanted| wanted == ns))
    }

    /// All objects of all stores.
    pub fn everything(&self) -> impl Iterator<Item = (&String, &Key, &Arc<Value>)> {
        self.tables.iter().flat_map(|(store, table)| table.iter().map(move |(key, object)| (store, key, object)))
    }

    /// A store as it was at a revision; `None` if that is forgotten.
    #[must_use]
    pub fn at(&self, store: &str, revision: u64) -> Option<Table> {
        if revision < self.compacted {
            return None;
        }
        let mut table = self.tables.get(store).cloned().unwrap_or_default();
        for change in self.history.iter().rev() {
            if change.revision <= revision {
                break;
            }
            if change.store == store {
                match &change.before {
                    Some(before) => table.insert(change.key.clone(), before.clone()),
                    None => table.remove(&change.key),
                };
            }
        }
        Some(table)
    }

    /// The changes of a store after a revision; `None` if some are forgotten.
    #[must_use]
    pub fn since(&self, store: Option<&str>, revision: u64) -> Option<Vec<Change>> {
        if revision < self.compacted {
            return None;
        }
        let start = self.history.partition_point(|c| c.revision <= revision);
        let changes = self.history.iter().skip(start);
        Some(changes.filter(|c| store.is_none_or(|s| s == c.store)).cloned().collect())
    }

    /// Writes an object and gives it its resource version.
    pub fn put(&mut self, store: &str, key: Key, mut object: Value) -> Arc<Value> {
        self.revision += 1;
        set_meta(&mut object, "resourceVersion", json!(self.revision.to_string()));
        let object = Arc::new(object);
        let table = self.tables.entry(store.to_owned()).or_default();
        let before = table.insert(key.clone(), object.clone());
        self.record(store, key, before, Some(object.clone()));
        object
    }

    /// Deletes an object; what is left has the resource version of its deletion.
    pub fn delete(&mut self, store: &str, key: &Key) -> Option<Arc<Value>> {
        let before = self.tables.get_mut(store)?.remove(key)?;
        self.revision += 1;
        self.record(store, key.clone(), Some(before.clone()), None);
        Some(before)
    }

    /// Rewrites all objects of a store without a change: for what the real server does when it reads them.
    pub fn reread(&mut self, store: &str, mut read: impl FnMut(&mut Value)) {
        let Some(table) = self.tables.get_mut(store) else { return };
        for object in table.values_mut() {
            read(Arc::make_mut(object));
        }
    }

    /// Forgets the whole history.
    pub fn compact(&mut self) {
        self.history.clear();
        self.compacted = self.revision;
    }

    fn record(&mut self, store: &str, key: Key, before: Option<Arc<Value>>, after: Option<Arc<Value>>) {
        self.history.push_back(Change { revision: self.revision, store: store.to_owned(), key, before, after });
        while self.history.len() > self.keep {
            if let Some(forgotten) = self.history.pop_front() {
                self.compacted = forgotten.revision;
            }
        }
    }
}
