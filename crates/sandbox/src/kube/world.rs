//! All that the API server knows, behind one lock, and the notice that it changed.
//!
//! Invariant: whoever holds the lock does not wait.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::ids::Ids;
use super::kinds::Kinds;
use super::lag::Lags;
use super::rbac::{self, User};
use super::store::Store;
use crate::clock::Clock;
use crate::machinery::openapi;

/// What is known.
#[derive(Clone, Debug)]
pub struct World {
    /// The objects.
    pub store: Store,
    /// The resources.
    pub kinds: Kinds,
    /// Bearer tokens.
    pub users: BTreeMap<String, User>,
    /// The OpenAPI documents, until the resources change.
    pub documents: Option<Arc<BTreeMap<String, Value>>>,
    /// The specs that the custom resources were made from, by definition.
    pub served: BTreeMap<String, Arc<Value>>,
    /// Whether the controllers do nothing for now.
    pub paused: bool,
    /// Where uids come from.
    pub ids: Ids,
}

/// The world and the means to change it.
#[derive(Debug)]
pub struct Api {
    world: Mutex<World>,
    changed: watch::Sender<u64>,
    /// Where the time comes from.
    pub clock: Clock,
    /// How long watches last, whatever is asked.
    pub longest_watch: Option<Duration>,
    /// What watches and lists don't show yet.
    pub lags: Lags,
}

impl Api {
    /// A cluster as it is when it starts.
    #[must_use]
    pub fn new(clock: Clock, history: usize, ids: Ids) -> Self {
        let mut world = World {
            store: Store::new(history),
            kinds: Kinds::built_in(),
            users: BTreeMap::new(),
            documents: None,
            served: BTreeMap::new(),
            paused: false,
            ids,
        };
        let now = time(clock.now());
        for name in ["default", "kube-node-lease", "kube-public", "kube-system"] {
            let object = json!({
                "apiVersion": "v1", "kind": "Namespace",
                "metadata": {"name": name, "labels": {"kubernetes.io/metadata.name": name}},
                "spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"},
            });
            world.insert("namespaces", "", object, &now);
        }
        for (plural, object) in rbac::bootstrap() {
            world.insert(&format!("{plural}.rbac.authorization.k8s.io"), "", object, &now);
        }
        Self::of(clock, world)
    }

    /// A cluster that begins with what another one knew.
    #[must_use]
    pub fn from_template(clock: Clock, template: &World, ids: Ids) -> Self {
        Self::of(clock, World { ids, ..template.clone() })
    }

    fn of(clock: Clock, world: World) -> Self {
        let changed = watch::Sender::new(world.store.revision());
        Self { world: Mutex::new(world), changed, clock, longest_watch: None, lags: Lags::default() }
    }

    /// Reads.
    pub fn read<T>(&self, read: impl FnOnce(&World) -> T) -> T {
        read(&self.lock())
    }

    /// Changes, and tells those who wait for changes.
    pub fn write<T>(&self, write: impl FnOnce(&mut World) -> T) -> T {
        let mut world = self.lock();
        let before = world.store.revision();
        let done = write(&mut world);
        let after = world.store.revision();
        drop(world);
        if after != before {
            self.changed.send_modify(|revision| *revision = (*revision).max(after));
        }
        done
    }

    /// Resolves at each change.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Wakes those who wait for changes without one.
    pub fn wake(&self) {
        self.changed.send_modify(|_| {});
    }

    // A panic while the lock was held left the world between two statements, never half written.
    fn lock(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A time as objects have it: whole seconds, in UTC.
#[must_use]
pub fn time(now: Timestamp) -> String {
    now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

impl World {
    /// Stores an object that nobody asked for by a request.
    pub fn insert(&mut self, store: &str, namespace: &str, mut object: Value, now: &str) -> Arc<Value> {
        let meta = &mut object["metadata"];
        meta["uid"] = json!(self.ids.uid());
        meta["creationTimestamp"] = json!(now);
        if !namespace.is_empty() {
            meta["namespace"] = json!(namespace);
        }
        let name = meta["name"].as_str().unwrap_or_default().to_owned();
        self.store.put(store, (namespace.to_owned(), name), object)
    }

    /// The OpenAPI documents of the resources as they are.
    pub fn documents(&mut self) -> Arc<BTreeMap<String, Value>> {
        if let Some(documents) = &self.documents {
            return documents.clone();
        }
        let kinds: Vec<_> = self.kinds.iter().cloned().collect();
        let schemas: Vec<Option<Value>> = kinds.iter().map(|kind| self.schema(kind)).collect();
        let resources: Vec<openapi::ApiResource<'_>> = kinds
            .iter()
            .zip(&schemas)
            .filter(|(kind, _)| !kind.store.is_empty())
            .map(|(kind, schema)| openapi::ApiResource {
                group: &kind.group,
                version: &kind.version,
                kind: &kind.kind,
                plural: &kind.plural,
                namespaced: kind.namespaced,
                status: kind.has("status"),
                schema: schema.as_ref(),
            })
            .collect();
        let documents = Arc::new(openapi::documents(&resources));
        self.documents = Some(documents.clone());
        documents
    }

    /// A custom resource's schema as its definition has it.
    fn schema(&self, kind: &super::kinds::Kind) -> Option<Value> {
        let custom = kind.custom.as_ref()?;
        let store = "customresourcedefinitions.apiextensions.k8s.io";
        let definition = self.store.get(store, "", &custom.definition)?;
        let versions = definition["spec"]["versions"].as_array()?;
        let version = versions.iter().find(|v| v["name"] == kind.version.as_str())?;
        Some(version["schema"]["openAPIV3Schema"].clone())
    }
}
