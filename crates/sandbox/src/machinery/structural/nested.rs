//! What `allOf`, `anyOf`, `oneOf` and `not` may say in a structural schema: constraints on values that are declared elsewhere.
//!
//! Never builds anything; it only finds what is not allowed.

use serde_json::{Map, Value, json};

use super::super::field::{FieldError, child, index, key};
use super::{set, values};

/// What stands under `allOf` and its like may only constrain values, never shape them.
pub(super) fn nested_values(map: &Map<String, Value>, path: &str, errors: &mut Vec<FieldError>) {
    let either = json!([{"type": "integer"}, {"type": "string"}]);
    let int_or_string = set(map, "x-kubernetes-int-or-string");
    for name in ["allOf", "anyOf", "oneOf"] {
        let Some(branches) = map.get(name).and_then(Value::as_array) else {
            continue;
        };
        if name == "anyOf" && int_or_string && map.get(name) == Some(&either) {
            continue;
        }
        for (i, branch) in branches.iter().enumerate() {
            let branch_is_either = name == "allOf" && i == 0 && int_or_string && branch.get("anyOf") == Some(&either);
            nested(branch, branch_is_either, &index(&child(path, name), i), errors);
        }
    }
    if let Some(not) = map.get("not") {
        nested(not, false, &child(path, "not"), errors);
    }
    complete(map, map, (path, path), errors);
}

fn nested(branch: &Value, skip_any_of: bool, path: &str, errors: &mut Vec<FieldError>) {
    let Some(map) = branch.as_object() else { return };
    let empty = ["type", "title", "description", "x-kubernetes-list-map-keys", "x-kubernetes-validations"];
    let undefined =
        ["additionalProperties", "default", "externalDocs", "x-kubernetes-list-type", "x-kubernetes-map-type"];
    let falsy = [
        "nullable",
        "x-kubernetes-preserve-unknown-fields",
        "x-kubernetes-embedded-resource",
        "x-kubernetes-int-or-string",
    ];
    for (names, word) in [(&empty[..], "empty"), (&undefined[..], "undefined"), (&falsy[..], "false")] {
        for name in names {
            let present = if word == "undefined" { map.contains_key(*name) } else { set(map, name) };
            if present {
                errors.push(FieldError::forbidden(child(path, name), format!("must be {word} to be structural")));
            }
        }
    }
    values(map, path, errors);
    for name in ["allOf", "anyOf", "oneOf"] {
        if name == "anyOf" && skip_any_of {
            continue;
        }
        for (i, inner) in map.get(name).and_then(Value::as_array).into_iter().flatten().enumerate() {
            nested(inner, false, &index(&child(path, name), i), errors);
        }
    }
    if let Some(not) = map.get("not") {
        nested(not, false, &child(path, "not"), errors);
    }
    if let Some(items) = map.get("items") {
        nested(items, false, &child(path, "items"), errors);
    }
    for (name, field) in map.get("properties").and_then(Value::as_object).into_iter().flatten() {
        let here = key(&child(path, "properties"), name);
        if name == "metadata" {
            errors.push(FieldError::forbidden(&here, "must not be specified in a nested context"));
        }
        nested(field, false, &here, errors);
    }
}

/// Every field that a nested validation speaks of is declared outside of it.
fn complete(
    branch: &Map<String, Value>,
    declared: &Map<String, Value>,
    paths: (&str, &str),
    errors: &mut Vec<FieldError>,
) {
    let (outer_path, branch_path) = paths;
    let mut each = |inner: &Value, here: String| {
        if let Some(inner) = inner.as_object() {
            complete_fields(inner, declared, (outer_path, &here), errors);
            complete(inner, declared, (outer_path, &here), errors);
        }
    };
    for name in ["allOf", "anyOf", "oneOf"] {
        for (i, inner) in branch.get(name).and_then(Value::as_array).into_iter().flatten().enumerate() {
            each(inner, index(&child(branch_path, name), i));
        }
    }
    if let Some(not) = branch.get("not") {
        each(not, child(branch_path, "not"));
    }
}

fn complete_fields(
    inner: &Map<String, Value>,
    declared: &Map<String, Value>,
    (outer_path, inner_path): (&str, &str),
    errors: &mut Vec<FieldError>,
) {
    let missing = |at: String, named: String| FieldError::required(at, format!("because it is defined in {named}"));
    for (name, field) in inner.get("properties").and_then(Value::as_object).into_iter().flatten() {
        let at = key(&child(outer_path, "properties"), name);
        let named = key(&child(inner_path, "properties"), name);
        match declared.get("properties").and_then(|p| p.get(name)).and_then(Value::as_object) {
            Some(outer) => {
                if let Some(field) = field.as_object() {
                    complete_fields(field, outer, (&at, &named), errors);
                }
            }
            None => errors.push(missing(at, named)),
        }
    }
    if let Some(items) = inner.get("items").and_then(Value::as_object) {
        let (at, named) = (child(outer_path, "items"), child(inner_path, "items"));
        match declared.get("items").and_then(Value::as_object) {
            Some(outer) => complete_fields(items, outer, (&at, &named), errors),
            None => errors.push(missing(at, named)),
        }
    }
}
