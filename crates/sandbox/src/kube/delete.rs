//! Deleting: preconditions, finalizers, and the objects that can't go at once.
//!
//! Never deletes dependents or a namespace's contents; that is `controllers`' work.

use serde_json::{Value, json};

use super::definition::CLEANUP;
use super::failure::{Failure, success};
use super::kinds::Kind;
use super::object::{add_finalizer, finalizers, generation, is_deleting, meta, remove_finalizer, set_meta};
use super::options::{DeleteOptions, Propagation};
use super::store::Key;
use super::world::World;
use super::write::present;
use crate::machinery::field::same;

/// Namespaces that can't be deleted.
const IMMORTAL: &[&str] = &["default", "kube-system", "kube-public"];
/// While dependents lose their reference to an owner.
pub const ORPHAN: &str = "orphan";
/// While dependents go before their owner.
pub const FOREGROUND: &str = "foregroundDeletion";

/// Deletes one object, or begins to. The answer is the object if it is still there, else a `Status`.
///
/// # Errors
/// 404, and 409 if a precondition does not hold.
pub fn delete(world: &mut World, now: &str, kind: &Kind, key: &Key, options: &DeleteOptions) -> Result<Value, Failure> {
    let name = key.1.as_str();
    if kind.store == "namespaces" && IMMORTAL.contains(&name) {
        return Err(Failure::forbidden("", "namespaces", name, "this namespace may not be deleted"));
    }
    let Some(existing) = world.store.get(&kind.store, &key.0, name).cloned() else {
        return Err(Failure::not_found(&kind.group, &kind.plural, name));
    };
    check_preconditions(kind, &existing, options)?;
    let mut object = (*existing).clone();
    propagate(&mut object, options.propagation);
    if kind.store == "customresourcedefinitions.apiextensions.k8s.io" && !is_deleting(&object) {
        add_finalizer(&mut object, CLEANUP);
        let condition = json!({
            "type": "Terminating", "status": "True", "lastTransitionTime": now, "reason": "InstanceDeletionPending",
            "message": "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon",
        });
        set_condition(&mut object, condition);
    }
    let is_namespace = kind.store == "namespaces";
    let held = is_namespace && object["spec"]["finalizers"].as_array().is_some_and(|f| !f.is_empty());
    if finalizers(&object).is_empty() && !held {
        if !options.dry_run {
            world.store.delete(&kind.store, key);
        }
        return Ok(success(&kind.group, &kind.plural, name, meta(&existing, "uid")));
    }
    if !is_deleting(&object) {
        set_meta(&mut object, "deletionTimestamp", now);
        if is_namespace {
            object["status"]["phase"] = json!("Terminating");
        } else {
            set_meta(&mut object, "deletionGracePeriodSeconds", 0);
            if generation(&object) > 0 {
                let next = generation(&object) + 1;
                set_meta(&mut object, "generation", next);
            }
        }
    }
    if same(&object, &existing) || options.dry_run {
        return Ok(present(kind, &object));
    }
    Ok(present(kind, &world.store.put(&kind.store, key.clone(), object)))
}

fn check_preconditions(kind: &Kind, existing: &Value, options: &DeleteOptions) -> Result<(), Failure> {
    // The real server names the kind here, not the resource.
    let conflict = |why: &str| Err(Failure::conflict(&kind.group, &kind.kind, meta(existing, "name"), why));
    let (uid, version) = (meta(existing, "uid"), meta(existing, "resourceVersion"));
    match &options.uid {
        Some(asked) if asked != uid => {
            return conflict(&format!(
                "the UID in the precondition ({asked}) does not match the UID in record ({uid}). The object might have \
                 been deleted and then recreated"
            ));
        }
        _ => {}
    }
    match &options.version {
        Some(asked) if asked != version => conflict(&format!(
            "the ResourceVersion in the precondition ({asked}) does not match the ResourceVersion in record ({version}). \
             The object might have been modified"
        )),
        _ => Ok(()),
    }
}

fn propagate(object: &mut Value, propagation: Propagation) {
    match propagation {
        Propagation::Unsaid => {}
        Propagation::Background => {
            remove_finalizer(object, ORPHAN);
            remove_finalizer(object, FOREGROUND);
        }
        Propagation::Foreground => {
            remove_finalizer(object, ORPHAN);
            add_finalizer(object, FOREGROUND);
        }
        Propagation::Orphan => {
            remove_finalizer(object, FOREGROUND);
            add_finalizer(object, ORPHAN);
        }
    }
}

/// Adds or replaces a condition of a type.
pub fn set_condition(object: &mut Value, condition: Value) {
    let status = &mut object["status"];
    if !status["conditions"].is_array() {
        status["conditions"] = json!([]);
    }
    if let Value::Array(conditions) = &mut status["conditions"] {
        conditions.retain(|c| c["type"] != condition["type"]);
        conditions.push(condition);
    }
}
