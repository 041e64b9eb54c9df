//! Reading and writing the metadata of objects that are plain JSON.
//!
//! Never checks anything: a field that is missing or of another type reads as absent.

use serde_json::{Map, Value, json};

/// A string in `metadata`, empty if absent.
#[must_use]
pub fn meta<'a>(object: &'a Value, name: &str) -> &'a str {
    object["metadata"][name].as_str().unwrap_or_default()
}

/// Changes `metadata`, which is made if absent.
pub fn edit_meta(object: &mut Value, edit: impl FnOnce(&mut Map<String, Value>)) {
    if !object.is_object() {
        *object = json!({});
    }
    if !object["metadata"].is_object() {
        object["metadata"] = json!({});
    }
    if let Value::Object(map) = &mut object["metadata"] {
        edit(map);
    }
}

/// Sets a field of `metadata`.
pub fn set_meta(object: &mut Value, name: &str, value: impl Into<Value>) {
    let value = value.into();
    edit_meta(object, |meta| {
        meta.insert(name.to_owned(), value);
    });
}

/// Removes a field of `metadata`.
pub fn drop_meta(object: &mut Value, name: &str) {
    edit_meta(object, |meta| {
        meta.shift_remove(name);
    });
}

/// Removes a top-level field.
pub fn drop_field(object: &mut Value, name: &str) {
    if let Value::Object(map) = object {
        map.shift_remove(name);
    }
}

/// Takes over a top-level field from another object, or its absence.
pub fn copy_field(to: &mut Value, from: &Value, name: &str) {
    match from.get(name) {
        Some(value) => to[name] = value.clone(),
        None => drop_field(to, name),
    }
}

/// `metadata.finalizers`.
#[must_use]
pub fn finalizers(object: &Value) -> Vec<&str> {
    let list = object["metadata"]["finalizers"].as_array();
    list.into_iter().flatten().filter_map(Value::as_str).collect()
}

/// `metadata.ownerReferences`.
#[must_use]
pub fn owners(object: &Value) -> &[Value] {
    object["metadata"]["ownerReferences"].as_array().map_or(&[], Vec::as_slice)
}

/// Whether deletion has begun.
#[must_use]
pub fn is_deleting(object: &Value) -> bool {
    object["metadata"]["deletionTimestamp"].is_string()
}

/// `metadata.generation`, 0 if absent.
#[must_use]
pub fn generation(object: &Value) -> u64 {
    object["metadata"]["generation"].as_u64().unwrap_or_default()
}

/// Adds a finalizer that is not there yet.
pub fn add_finalizer(object: &mut Value, name: &str) {
    if !finalizers(object).contains(&name) {
        edit_meta(object, |meta| {
            let list = meta.entry("finalizers").or_insert_with(|| json!([]));
            if let Value::Array(list) = list {
                list.push(json!(name));
            }
        });
    }
}

/// Removes a finalizer.
pub fn remove_finalizer(object: &mut Value, name: &str) {
    let rest: Vec<&str> = finalizers(object).into_iter().filter(|f| *f != name).collect();
    if rest.is_empty() {
        drop_meta(object, "finalizers");
    } else {
        let rest = json!(rest);
        set_meta(object, "finalizers", rest);
    }
}

/// Removes fields of `metadata` that are empty, as a typed object has them not.
pub fn drop_empty_meta(object: &mut Value) {
    let empty = |v: &Value| match v {
        Value::Null => true,
        Value::String(s) => s.is_empty(),
        Value::Array(a) => a.is_empty(),
        Value::Object(o) => o.is_empty(),
        _ => false,
    };
    edit_meta(object, |meta| meta.retain(|_, v| !empty(v)));
}
