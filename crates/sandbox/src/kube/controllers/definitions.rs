//! CustomResourceDefinitions become effective, and take their resources with them when they go.

use std::sync::Arc;

use serde_json::{Value, json};

use super::super::definition::{CLEANUP, kinds};
use super::super::delete::set_condition;
use super::super::object::{finalizers, is_deleting, remove_finalizer};
use super::super::options::DeleteOptions;
use super::super::store::Key;
use super::super::world::World;
use super::{begin_deletion, put_or_release};
use crate::machinery::field::same;

/// Where definitions are kept.
pub const CRDS: &str = "customresourcedefinitions.apiextensions.k8s.io";

pub fn settle(world: &mut World, now: &str, name: &str) {
    let Some(definition) = world.store.get(CRDS, "", name).cloned() else {
        if world.kinds.iter().any(|k| k.custom.as_ref().is_some_and(|c| c.definition == name)) {
            world.kinds.remove_definition(name);
            world.documents = None;
        }
        return;
    };
    if is_deleting(&definition) {
        clean_up(world, now, name, &definition);
        return;
    }
    let accepted = accept(world, now, name, &definition);
    let established = accepted["status"]["conditions"]
        .as_array()
        .is_some_and(|all| all.iter().any(|c| c["type"] == "Established" && c["status"] == "True"));
    let is_served = world.kinds.by_store(name).is_some();
    if !established || is_served && same(&accepted["spec"], &served_spec(world, name)) {
        store_status(world, name, &definition, accepted);
        return;
    }
    store_status(world, name, &definition, accepted.clone());
    world.kinds.remove_definition(name);
    for kind in kinds(&accepted) {
        world.kinds.insert(kind);
    }
    world.served.insert(name.to_owned(), Arc::new(accepted["spec"].clone()));
    world.documents = None;
    // The real server prunes and fills in defaults whenever it reads; here it is done once.
    if let Some(kind) = world.kinds.by_store(name)
        && let Some(custom) = &kind.custom
    {
        world.store.reread(name, |object| {
            custom.schema.prune(object);
            custom.schema.default(object);
        });
    }
}

/// The spec that the served resources were made from.
fn served_spec(world: &World, name: &str) -> Value {
    world.served.get(name).map(|spec| (**spec).clone()).unwrap_or_default()
}

fn store_status(world: &mut World, name: &str, before: &Value, after: Value) {
    if !same(before, &after) {
        world.store.put(CRDS, (String::new(), name.to_owned()), after);
    }
}

/// The definition with its names accepted, or not.
fn accept(world: &World, now: &str, name: &str, definition: &Value) -> Value {
    let mut accepted = definition.clone();
    let spec = &definition["spec"];
    let names = &spec["names"];
    let clash = world.kinds.iter().find(|kind| {
        kind.custom.as_ref().is_none_or(|c| c.definition != name)
            && spec["group"] == kind.group.as_str()
            && (names["plural"] == kind.plural.as_str() || names["kind"] == kind.kind.as_str())
    });
    let was = |kind: &str, status: &str| {
        let all = definition["status"]["conditions"].as_array();
        all.is_some_and(|all| all.iter().any(|c| c["type"] == kind && c["status"] == status))
    };
    let mut set = |kind: &str, status: &str, reason: &str, message: &str| {
        if !was(kind, status) {
            let condition = json!({
                "type": kind, "status": status, "lastTransitionTime": now, "reason": reason, "message": message,
            });
            set_condition(&mut accepted, condition);
        }
    };
    if let Some(clash) = clash {
        let message = format!("\"{}\" is already in use", clash.plural);
        set("NamesAccepted", "False", "PluralConflict", &message);
        if !was("Established", "True") {
            set("Established", "False", "NotAccepted", "not all names are accepted");
        }
        return accepted;
    }
    set("NamesAccepted", "True", "NoConflicts", "no conflicts found");
    let message = "the initial names have been accepted";
    set("Established", "True", "InitialNamesAccepted", message);
    accepted["status"]["acceptedNames"] = names.clone();
    let versions = spec["versions"].as_array().into_iter().flatten();
    for version in versions.filter(|v| v["storage"] == true) {
        if let Some(stored) = accepted["status"]["storedVersions"].as_array_mut()
            && !stored.contains(&version["name"])
        {
            stored.push(version["name"].clone());
        }
    }
    accepted
}

fn clean_up(world: &mut World, now: &str, name: &str, definition: &Value) {
    if !finalizers(definition).contains(&CLEANUP) {
        return;
    }
    let instances: Vec<Key> = world.store.list(name, None).map(|(key, _)| key.clone()).collect();
    for key in instances {
        begin_deletion(world, now, name, &key, &DeleteOptions::background());
    }
    if world.store.list(name, None).next().is_none() {
        let mut released = definition.clone();
        remove_finalizer(&mut released, CLEANUP);
        world.kinds.remove_definition(name);
        world.served.remove(name);
        world.documents = None;
        put_or_release(world, CRDS, &(String::new(), name.to_owned()), released);
    }
}
