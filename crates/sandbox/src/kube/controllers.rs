//! What runs beside an API server in every cluster: definitions become effective, namespaces get their service account
//! and lose their contents, dependents follow their owners, cluster roles collect rules.
//!
//! They see what happened in the history and write to the store, not by requests: faults don't reach them. They run after
//! the request that they follow was answered, as the real ones do.
//!
//! Never does anything for a reason that is not in the store.

mod definitions;
mod garbage;
mod namespaces;

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::Value;

use super::object::{finalizers, is_deleting, meta};
use super::options::DeleteOptions;
use super::store::{Change, Key};
use super::world::{Api, World, time};

pub(super) use definitions::CRDS;

/// Runs until it is dropped.
pub async fn run(api: Arc<Api>) {
    let mut changed = api.subscribe();
    let mut seen = 0;
    loop {
        changed.mark_unchanged();
        let now = time(api.clock.now());
        let settled = api.write(|world| step(world, &now, &mut seen));
        if settled && changed.changed().await.is_err() {
            return;
        }
    }
}

/// What a batch of changes gives cause to look at.
#[derive(Default)]
struct Work {
    namespaces: BTreeSet<String>,
    definitions: BTreeSet<String>,
    /// Objects to look at, with their stores.
    objects: BTreeSet<(String, Key)>,
    /// The uids of objects that are gone.
    gone: BTreeSet<String>,
    roles: bool,
}

/// Looks at what happened since `seen`; true if that was nothing.
fn step(world: &mut World, now: &str, seen: &mut u64) -> bool {
    if world.paused || *seen == world.store.revision() {
        return true;
    }
    let changes = world.store.since(None, *seen).unwrap_or_else(|| everything(world));
    *seen = world.store.revision();
    let work = work(&changes);
    for name in work.definitions {
        definitions::settle(world, now, &name);
    }
    for name in work.namespaces {
        namespaces::settle(world, now, &name);
    }
    garbage::settle(world, now, &work.objects, &work.gone);
    if work.roles {
        aggregate(world);
    }
    false
}

/// For controllers that slept past the history: everything is new.
fn everything(world: &World) -> Vec<Change> {
    let all = world.store.everything();
    all.map(|(store, key, object)| Change {
        revision: world.store.revision(),
        store: store.clone(),
        key: key.clone(),
        before: None,
        after: Some(object.clone()),
    })
    .collect()
}

fn work(changes: &[Change]) -> Work {
    let mut work = Work::default();
    for change in changes {
        match change.store.as_str() {
            "namespaces" => {
                work.namespaces.insert(change.key.1.clone());
            }
            CRDS => {
                work.definitions.insert(change.key.1.clone());
            }
            ROLES => work.roles = true,
            // The store of custom resources has the name of their definition, which may wait for the last of them to go.
            store if change.after.is_none() => {
                work.definitions.insert(store.to_owned());
            }
            _ => {}
        }
        if !change.key.0.is_empty() {
            work.namespaces.insert(change.key.0.clone());
        }
        match (&change.before, &change.after) {
            (Some(before), None) => {
                work.gone.insert(meta(before, "uid").to_owned());
            }
            // Same name, other object.
            (Some(before), Some(after)) if meta(before, "uid") != meta(after, "uid") => {
                work.gone.insert(meta(before, "uid").to_owned());
            }
            _ => {}
        }
        work.objects.insert((change.store.clone(), change.key.clone()));
        let former = change.before.as_deref();
        for owner in former.into_iter().flat_map(super::object::owners) {
            let text = |name: &str| owner[name].as_str().unwrap_or_default().to_owned();
            // An owner may be waiting for this; it is found again by its uid.
            work.gone.insert(format!("owner:{}", text("uid")));
        }
    }
    work
}

/// Stores an object, or lets it go if nothing holds it any more.
fn put_or_release(world: &mut World, store: &str, key: &Key, object: Value) {
    let held = store == "namespaces" && object["spec"]["finalizers"].as_array().is_some_and(|f| !f.is_empty());
    if is_deleting(&object) && finalizers(&object).is_empty() && !held {
        world.store.delete(store, key);
    } else {
        world.store.put(store, key.clone(), object);
    }
}

/// Begins to delete an object that is there and not yet deleting.
fn begin_deletion(world: &mut World, now: &str, store: &str, key: &Key, options: &DeleteOptions) {
    let Some(kind) = world.kinds.by_store(store) else { return };
    if world.store.get(store, &key.0, &key.1).is_some_and(|o| !is_deleting(o)) {
        // It is there: the lock is held since we looked.
        let _answer = super::delete::delete(world, now, &kind, key, options);
    }
}

const ROLES: &str = "clusterroles.rbac.authorization.k8s.io";

/// Cluster roles with an aggregation rule have the rules of those that it selects.
fn aggregate(world: &mut World) {
    use crate::machinery::field::same;
    use crate::machinery::selector::LabelSelector;

    let roles: Vec<(Key, Arc<Value>)> = world.store.list(ROLES, None).map(|(k, o)| (k.clone(), o.clone())).collect();
    for (key, role) in &roles {
        let Some(selectors) = role["aggregationRule"]["clusterRoleSelectors"].as_array() else { continue };
        let selectors: Vec<LabelSelector> =
            selectors.iter().filter_map(|s| LabelSelector::from_object(s).ok()).collect();
        let mut rules: Vec<Value> = Vec::new();
        for (other, selected) in &roles {
            if other != key && selectors.iter().any(|s| s.matches(selected)) {
                for rule in selected["rules"].as_array().into_iter().flatten() {
                    if !rules.contains(rule) {
                        rules.push(rule.clone());
                    }
                }
            }
        }
        let rules = Value::Array(rules);
        if !same(&rules, &role["rules"]) {
            let mut changed = (**role).clone();
            changed["rules"] = rules;
            world.store.put(ROLES, key.clone(), changed);
        }
    }
}
