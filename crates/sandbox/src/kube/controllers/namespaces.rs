//! Every namespace has a service account named `default`; one that is deleted loses its contents first.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::super::delete::set_condition;
use super::super::object::{finalizers, is_deleting};
use super::super::options::DeleteOptions;
use super::super::store::Key;
use super::super::world::World;
use super::{begin_deletion, put_or_release};
use crate::machinery::field::same;

const STORE: &str = "namespaces";

pub fn settle(world: &mut World, now: &str, name: &str) {
    let Some(namespace) = world.store.get(STORE, "", name).cloned() else { return };
    if !is_deleting(&namespace) {
        if world.store.get("serviceaccounts", name, "default").is_none() {
            let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}});
            world.insert("serviceaccounts", name, account, now);
        }
        return;
    }
    if namespace["spec"]["finalizers"].as_array().is_none_or(Vec::is_empty) {
        return;
    }
    let contents = contents(world, name);
    for (store, key) in &contents {
        begin_deletion(world, now, store, key, &DeleteOptions::background());
    }
    let left = left(world, name);
    let mut changed = (*namespace).clone();
    describe(&mut changed, &left, now);
    if left.resources.is_empty()
        && let Some(list) = changed["spec"]["finalizers"].as_array_mut()
    {
        list.retain(|f| f != "kubernetes");
    }
    if changed["spec"]["finalizers"] == json!([]) {
        changed["spec"] = json!({});
    }
    if !same(&changed, &namespace) {
        put_or_release(world, STORE, &(String::new(), name.to_owned()), changed);
    }
}

fn stores(world: &World) -> BTreeSet<String> {
    let kinds = world.kinds.iter().filter(|k| k.namespaced && !k.store.is_empty());
    kinds.map(|k| k.store.clone()).collect()
}

fn contents(world: &World, name: &str) -> Vec<(String, Key)> {
    let mut found = Vec::new();
    for store in stores(world) {
        let keys: Vec<Key> = world.store.list(&store, Some(name)).map(|(key, _)| key.clone()).collect();
        found.extend(keys.into_iter().map(|key| (store.clone(), key)));
    }
    found
}

/// What is still there: resources and finalizers, with how many objects each.
#[derive(Default)]
struct Left {
    resources: BTreeMap<String, usize>,
    finalizers: BTreeMap<String, usize>,
}

fn left(world: &World, name: &str) -> Left {
    let mut left = Left::default();
    for store in stores(world) {
        let (plural, group) = store.split_once('.').unwrap_or((&store, ""));
        for (_, object) in world.store.list(&store, Some(name)) {
            *left.resources.entry(format!("{plural}.{group}")).or_default() += 1;
            for finalizer in finalizers(object) {
                *left.finalizers.entry(finalizer.to_owned()).or_default() += 1;
            }
        }
    }
    left
}

fn describe(namespace: &mut Value, left: &Left, now: &str) {
    let list = |counts: &BTreeMap<String, usize>, verb: &str| {
        let parts: Vec<String> =
            counts.iter().map(|(what, count)| format!("{what} {verb} {count} resource instances")).collect();
        parts.join(", ")
    };
    let mut set = |kind: &str, good: (&str, &str), bad: Option<(&str, String)>| {
        let (status, reason, message) = match bad {
            Some((reason, message)) => ("True", reason, message),
            None => ("False", good.0, good.1.to_owned()),
        };
        let conditions = namespace["status"]["conditions"].as_array();
        let same = |c: &&Value| c["type"] == kind && c["status"] == status && c["message"] == message.as_str();
        if conditions.is_none_or(|all| !all.iter().any(|c| same(&c))) {
            let condition = json!({
                "type": kind, "status": status, "lastTransitionTime": now, "reason": reason, "message": message,
            });
            set_condition(namespace, condition);
        }
    };
    set("NamespaceDeletionDiscoveryFailure", ("ResourcesDiscovered", "All resources successfully discovered"), None);
    let parsed = "All legacy kube types successfully parsed";
    set("NamespaceDeletionGroupVersionParsingFailure", ("ParsedGroupVersions", parsed), None);
    let deleted = "All content successfully deleted, may be waiting on finalization";
    set("NamespaceDeletionContentFailure", ("ContentDeleted", deleted), None);
    let remain = (!left.resources.is_empty()).then(|| {
        let text = list(&left.resources, "has");
        ("SomeResourcesRemain", format!("Some resources are remaining: {text}"))
    });
    set("NamespaceContentRemaining", ("ContentRemoved", "All content successfully removed"), remain);
    let held = (!left.finalizers.is_empty()).then(|| {
        let text = list(&left.finalizers, "in");
        ("SomeFinalizersRemain", format!("Some content in the namespace has finalizers remaining: {text}"))
    });
    let finished = "All content-preserving finalizers finished";
    set("NamespaceFinalizersRemaining", ("ContentHasNoFinalizers", finished), held);
}
