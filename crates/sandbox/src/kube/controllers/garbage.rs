//! Dependents follow their owners: after them, before them, or not at all, as the deletion of the owner asked.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::Value;

use super::super::delete::{FOREGROUND, ORPHAN};
use super::super::object::{drop_meta, finalizers, is_deleting, meta, owners, remove_finalizer, set_meta};
use super::super::options::{DeleteOptions, Propagation};
use super::super::store::Key;
use super::super::world::World;
use super::{begin_deletion, put_or_release};

/// An object's place.
type Place = (String, Key);

/// `gone`: uids of objects that are no more, and `owner:` uids of those that may have been waiting.
pub fn settle(world: &mut World, now: &str, objects: &BTreeSet<Place>, gone: &BTreeSet<String>) {
    let mut look_at: Vec<Place> = objects.iter().cloned().collect();
    for uid in gone {
        match uid.strip_prefix("owner:") {
            Some(owner) => look_at.extend(by_uid(world, owner)),
            None => look_at.extend(dependents(world, uid).into_iter().map(|(place, _)| place)),
        }
    }
    for (store, key) in look_at {
        let Some(object) = world.store.get(&store, &key.0, &key.1).cloned() else { continue };
        if is_deleting(&object) {
            finish(world, now, &store, &key, &object);
        } else if !owners(&object).is_empty() {
            follow(world, now, &store, &key, &object);
        }
    }
}

fn by_uid(world: &World, uid: &str) -> Option<Place> {
    let mut all = world.store.everything();
    all.find(|(.., object)| meta(object, "uid") == uid).map(|(store, key, _)| (store.clone(), key.clone()))
}

/// The objects that name an owner.
fn dependents(world: &World, uid: &str) -> Vec<(Place, Arc<Value>)> {
    let all = world.store.everything();
    all.filter(|(.., object)| owners(object).iter().any(|o| o["uid"] == uid))
        .map(|(store, key, object)| ((store.clone(), key.clone()), object.clone()))
        .collect()
}

/// How an owner is.
#[derive(PartialEq)]
enum Owner {
    Alive,
    /// It goes when its dependents have gone.
    Waiting,
    Gone,
    /// Of a kind that is not known, or where it can't be: nothing is concluded.
    Unknown,
}

fn owner(world: &World, dependent: &Key, reference: &Value) -> Owner {
    let text = |name: &str| reference[name].as_str().unwrap_or_default();
    let Some(kind) = world.kinds.by_kind(text("apiVersion"), text("kind")) else {
        return Owner::Unknown;
    };
    let namespace = if kind.namespaced { dependent.0.as_str() } else { "" };
    if kind.namespaced && namespace.is_empty() {
        return Owner::Unknown;
    }
    match world.store.get(&kind.store, namespace, text("name")) {
        Some(found) if meta(found, "uid") == text("uid") => {
            if is_deleting(found) && finalizers(found).contains(&FOREGROUND) { Owner::Waiting } else { Owner::Alive }
        }
        _ => Owner::Gone,
    }
}

/// A dependent without a living owner goes; one that has another lets go of those that are gone.
fn follow(world: &mut World, now: &str, store: &str, key: &Key, object: &Value) {
    let states: Vec<Owner> = owners(object).iter().map(|o| owner(world, key, o)).collect();
    let (waiting, gone) = (states.contains(&Owner::Waiting), states.contains(&Owner::Gone));
    if !waiting && !gone {
        return;
    }
    let stays = |state: &Owner| matches!(state, Owner::Alive | Owner::Unknown);
    if states.iter().any(stays) {
        let kept: Vec<Value> = owners(object)
            .iter()
            .zip(&states)
            .filter(|(_, state)| stays(state))
            .map(|(owner, _)| owner.clone())
            .collect();
        let mut changed = object.clone();
        set_meta(&mut changed, "ownerReferences", kept);
        world.store.put(store, key.clone(), changed);
        return;
    }
    let own = finalizers(object);
    let propagation = if own.contains(&ORPHAN) {
        Propagation::Orphan
    } else if own.contains(&FOREGROUND) || waiting && !dependents(world, meta(object, "uid")).is_empty() {
        Propagation::Foreground
    } else {
        Propagation::Background
    };
    let options = DeleteOptions { propagation, ..DeleteOptions::background() };
    begin_deletion(world, now, store, key, &options);
}

/// Does what an object in deletion waits for.
fn finish(world: &mut World, now: &str, store: &str, key: &Key, object: &Value) {
    let uid = meta(object, "uid").to_owned();
    let held = finalizers(object);
    if held.contains(&ORPHAN) {
        for ((store, key), dependent) in dependents(world, &uid) {
            let mut changed = (*dependent).clone();
            let kept: Vec<Value> = owners(&dependent).iter().filter(|o| o["uid"] != uid.as_str()).cloned().collect();
            if kept.is_empty() {
                drop_meta(&mut changed, "ownerReferences");
            } else {
                set_meta(&mut changed, "ownerReferences", kept);
            }
            world.store.put(&store, key, changed);
        }
        release(world, store, key, object, ORPHAN);
    } else if held.contains(&FOREGROUND) {
        for ((store, key), dependent) in dependents(world, &uid) {
            if !is_deleting(&dependent) {
                follow(world, now, &store, &key, &dependent);
            }
        }
        let blocks = |dependent: &Value| {
            let mut references = owners(dependent).iter();
            references.any(|o| o["uid"] == uid.as_str() && o["blockOwnerDeletion"] == true)
        };
        if !dependents(world, &uid).iter().any(|(_, d)| blocks(d)) {
            release(world, store, key, object, FOREGROUND);
        }
    }
}

fn release(world: &mut World, store: &str, key: &Key, object: &Value, finalizer: &str) {
    let mut released = object.clone();
    remove_finalizer(&mut released, finalizer);
    put_or_release(world, store, key, released);
}
