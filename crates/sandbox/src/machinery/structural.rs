//! The rules that a custom resource's schema must hold to, with the words in which a server refuses the others.
//!
//! Works on the schema as written, so that a forbidden keyword is named where it stands. Never looks at objects.

use serde_json::{Map, Value, json};

use super::field::{FieldError, child, index, key};
use super::schema::{Additional, Structural, go_regex};

mod nested;

const TYPES: [&str; 6] = ["array", "boolean", "integer", "number", "object", "string"];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Level {
    Root,
    Item,
    Field,
}

/// Checks a whole schema; the errors are in order of their text, as the real server sorts them.
pub(super) fn check(schema: &Value, path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    match schema.as_object() {
        Some(map) => node(map, Level::Root, path, &mut errors),
        None => errors.push(FieldError::required(path, "schemas are required")),
    }
    errors.sort_by_key(ToString::to_string);
    errors.dedup();
    errors
}

/// Checks that each default is itself a value that the schema knows and allows.
pub(super) fn check_defaults(schema: &Structural, path: &str, errors: &mut Vec<FieldError>) {
    if let Some(default) = &schema.default {
        let here = child(path, "default");
        let mut pruned = default.clone();
        let unknown = schema.prune_value(&mut pruned);
        if !unknown.is_empty() {
            errors.push(FieldError::invalid(&here, default.clone(), "must be pruned"));
        }
        let mut whole = default.clone();
        schema.default(&mut whole);
        errors.extend(schema.validate_at(&whole, None, &here));
    }
    for (name, inner) in &schema.properties {
        check_defaults(inner, &key(&child(path, "properties"), name), errors);
    }
    if let Some(items) = &schema.items {
        check_defaults(items, &child(path, "items"), errors);
    }
    if let Additional::Schema(inner) = &schema.additional {
        check_defaults(inner, &child(path, "additionalProperties"), errors);
    }
}

fn set(map: &Map<String, Value>, name: &str) -> bool {
    match map.get(name) {
        None | Some(Value::Null | Value::Bool(false)) => false,
        Some(Value::String(s)) => !s.is_empty(),
        Some(Value::Array(a)) => !a.is_empty(),
        Some(_) => true,
    }
}

fn kind(map: &Map<String, Value>) -> &str {
    map.get("type").and_then(Value::as_str).unwrap_or_default()
}

fn node(map: &Map<String, Value>, level: Level, path: &str, errors: &mut Vec<FieldError>) {
    keywords(map, path, errors);
    types(map, level, path, errors);
    lists(map, path, errors);
    object_meta(map, level, path, errors);
    values(map, path, errors);
    rules(map, path, errors);

    if kind(map) == "array" && !set(map, "items") {
        errors.push(FieldError::required(child(path, "items"), "must be specified"));
    }
    if let Some(items) = map.get("items").and_then(Value::as_object) {
        node(items, Level::Item, &child(path, "items"), errors);
    }
    if let Some(fields) = map.get("properties").and_then(Value::as_object) {
        for (name, field) in fields {
            let here = key(&child(path, "properties"), name);
            // The root's metadata is implicit and needs no type.
            if level == Level::Root && name == "metadata" {
                continue;
            }
            if let Some(field) = field.as_object() {
                node(field, Level::Field, &here, errors);
            }
        }
    }
    if let Some(values) = map.get("additionalProperties").and_then(Value::as_object) {
        node(values, Level::Field, &child(path, "additionalProperties"), errors);
    }
    nested::nested_values(map, path, errors);
}

/// Keywords of JSON Schema that no custom resource may use.
fn keywords(map: &Map<String, Value>, path: &str, errors: &mut Vec<FieldError>) {
    for name in ["$ref", "additionalItems", "definitions", "dependencies", "id", "patternProperties"] {
        if set(map, name) {
            errors.push(FieldError::forbidden(child(path, name), format!("{name} is not supported")));
        }
    }
    if map.get("uniqueItems") == Some(&Value::Bool(true)) {
        errors.push(FieldError::forbidden(
            child(path, "uniqueItems"),
            "uniqueItems cannot be set to true since the runtime complexity becomes quadratic",
        ));
    }
    if map.get("additionalProperties") == Some(&Value::Bool(false)) {
        errors.push(FieldError::forbidden(
            child(path, "additionalProperties"),
            "additionalProperties cannot be set to false",
        ));
    }
    if set(map, "additionalProperties")
        && map.get("properties").and_then(Value::as_object).is_some_and(|p| !p.is_empty())
    {
        errors.push(FieldError::forbidden(
            child(path, "additionalProperties"),
            "additionalProperties and properties are mutual exclusive",
        ));
    }
    if map.get("items").is_some_and(Value::is_array) {
        errors.push(FieldError::forbidden(child(path, "items"), "items must be a schema object and not an array"));
    }
    if let Some(preserve) = map.get("x-kubernetes-preserve-unknown-fields")
        && preserve == &Value::Bool(false)
    {
        errors.push(FieldError::invalid(
            child(path, "x-kubernetes-preserve-unknown-fields"),
            false,
            "must be true or undefined",
        ));
    }
    if let Some(map_type) = map.get("x-kubernetes-map-type").and_then(Value::as_str) {
        let here = child(path, "x-kubernetes-map-type");
        if !matches!(map_type, "granular" | "atomic") {
            errors.push(FieldError::not_supported(here, map_type, &["atomic".to_owned(), "granular".to_owned()]));
        } else if kind(map) != "object" {
            errors.push(FieldError::invalid(
                child(path, "type"),
                kind(map),
                "must be object if x-kubernetes-map-type is specified",
            ));
        }
    }
}

fn types(map: &Map<String, Value>, level: Level, path: &str, errors: &mut Vec<FieldError>) {
    let here = child(path, "type");
    let (int_or_string, preserve) =
        (set(map, "x-kubernetes-int-or-string"), set(map, "x-kubernetes-preserve-unknown-fields"));
    let embedded = set(map, "x-kubernetes-embedded-resource");
    let found = kind(map);
    if found == "null" {
        errors.push(FieldError::forbidden(&here, "type cannot be set to null, use nullable as an alternative"));
    } else if !found.is_empty() && !TYPES.contains(&found) {
        let supported: Vec<String> = TYPES.iter().map(|t| (*t).to_owned()).collect();
        errors.push(FieldError::not_supported(&here, found, &supported));
    }
    if embedded && found != "object" {
        let detail = "must be object if x-kubernetes-embedded-resource is true";
        errors.push(if found.is_empty() {
            FieldError::required(&here, detail)
        } else {
            FieldError::invalid(&here, found, detail)
        });
    } else if found.is_empty() && !int_or_string && !preserve {
        errors.push(FieldError::required(
            &here,
            match level {
                Level::Root => "must not be empty at the root",
                Level::Item => "must not be empty for specified array items",
                Level::Field => "must not be empty for specified object fields",
            },
        ));
    }
    if level == Level::Root && !found.is_empty() && found != "object" {
        errors.push(FieldError::invalid(&here, found, "must be object at the root"));
    }
    if level == Level::Root && set(map, "additionalProperties") {
        errors.push(FieldError::forbidden(child(path, "additionalProperties"), "must not be used at the root"));
    }
    if int_or_string && !found.is_empty() {
        errors.push(FieldError::invalid(&here, found, "must be empty if x-kubernetes-int-or-string is true"));
    }
    for (other, is_set) in [("preserve-unknown-fields", preserve), ("embedded-resource", embedded)] {
        if int_or_string && is_set {
            errors.push(FieldError::invalid(
                child(path, &format!("x-kubernetes-{other}")),
                true,
                "must be false if x-kubernetes-int-or-string is true",
            ));
        }
    }
    if embedded && set(map, "additionalProperties") {
        errors.push(FieldError::forbidden(
            child(path, "additionalProperties"),
            "must not be used if x-kubernetes-embedded-resource is set",
        ));
    }
    if embedded && !preserve && map.get("properties").and_then(Value::as_object).is_none_or(Map::is_empty) {
        errors.push(FieldError::required(
            child(path, "properties"),
            "must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields",
        ));
    }
}

fn lists(map: &Map<String, Value>, path: &str, errors: &mut Vec<FieldError>) {
    let keys_path = child(path, "x-kubernetes-list-map-keys");
    let keys: Vec<&str> = map
        .get("x-kubernetes-list-map-keys")
        .and_then(Value::as_array)
        .map(|a| a.iter().filter_map(Value::as_str).collect())
        .unwrap_or_default();
    let Some(list_type) = map.get("x-kubernetes-list-type").and_then(Value::as_str) else {
        if !keys.is_empty() {
            errors.push(FieldError::required(
                child(path, "x-kubernetes-list-type"),
                "must be map if x-kubernetes-list-map-keys is non-empty",
            ));
        }
        return;
    };
    if !matches!(list_type, "atomic" | "set" | "map") {
        let supported = ["atomic", "set", "map"].map(str::to_owned);
        errors.push(FieldError::not_supported(child(path, "x-kubernetes-list-type"), list_type, &supported));
        return;
    }
    if kind(map) != "array" {
        let detail = "must be array if x-kubernetes-list-type is specified";
        errors.push(if kind(map).is_empty() {
            FieldError::required(child(path, "type"), detail)
        } else {
            FieldError::invalid(child(path, "type"), kind(map), detail)
        });
        return;
    }
    let items = map.get("items").and_then(Value::as_object);
    match list_type {
        "map" => map_list(&keys, items, path, errors),
        _ if !keys.is_empty() => {
            errors
                .push(FieldError::forbidden(&keys_path, "must not be specified unless x-kubernetes-list-type is map"));
        }
        "set" => {
            let Some(items) = items else { return };
            let atomic = |name: &str| items.get(name).and_then(Value::as_str) == Some("atomic");
            let (wrong, field) = match kind(items) {
                "object" => (!atomic("x-kubernetes-map-type"), "map"),
                "array" => (items.get("x-kubernetes-list-type").is_some() && !atomic("x-kubernetes-list-type"), "list"),
                _ => (false, ""),
            };
            if wrong {
                errors.push(FieldError::invalid(
                    child(&child(path, "items"), &format!("x-kubernetes-{field}-type")),
                    Value::Null,
                    "must be atomic as item of a list with x-kubernetes-list-type=set",
                ));
            }
        }
        _ => {}
    }
}

fn map_list(keys: &[&str], items: Option<&Map<String, Value>>, path: &str, errors: &mut Vec<FieldError>) {
    let keys_path = child(path, "x-kubernetes-list-map-keys");
    if keys.is_empty() {
        errors.push(FieldError::required(&keys_path, "must not be empty if x-kubernetes-list-type is map"));
    }
    let Some(items) = items else { return };
    if kind(items) != "object" {
        errors.push(FieldError::invalid(
            child(&child(path, "items"), "type"),
            kind(items),
            "must be object if parent array's x-kubernetes-list-type is map",
        ));
        return;
    }
    for (i, name) in keys.iter().enumerate() {
        if keys[..i].contains(name) {
            errors.push(FieldError::duplicate(index(&keys_path, i), *name));
        }
        let Some(field) = items.get("properties").and_then(|p| p.get(*name)).and_then(Value::as_object) else {
            errors.push(FieldError::invalid(
                index(&keys_path, i),
                *name,
                "entries must all be names of item properties",
            ));
            continue;
        };
        let here = key(&child(&child(path, "items"), "properties"), name);
        if matches!(kind(field), "object" | "array") {
            errors.push(FieldError::invalid(
                child(&here, "type"),
                kind(field),
                "must be a scalar type if parent array's x-kubernetes-list-type is map",
            ));
        }
        let required = items.get("required").and_then(Value::as_array).is_some_and(|r| r.contains(&json!(name)));
        if !required && !set(field, "default") {
            errors.push(FieldError::required(
                child(&here, "default"),
                "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property",
            ));
        }
        if set(field, "nullable") {
            errors.push(FieldError::forbidden(
                child(&here, "nullable"),
                "this property is in x-kubernetes-list-map-keys, so it cannot be nullable",
            ));
        }
    }
}

/// What a schema may say about `apiVersion`, `kind` and `metadata` of a whole object.
fn object_meta(map: &Map<String, Value>, level: Level, path: &str, errors: &mut Vec<FieldError>) {
    let Some(fields) = map.get("properties").and_then(Value::as_object) else {
        return;
    };
    if level != Level::Root && !set(map, "x-kubernetes-embedded-resource") {
        return;
    }
    for (name, wanted) in [("apiVersion", "string"), ("kind", "string"), ("metadata", "object")] {
        let Some(field) = fields.get(name).and_then(Value::as_object) else {
            continue;
        };
        let here = key(&child(path, "properties"), name);
        if kind(field) != wanted {
            errors.push(FieldError::invalid(child(&here, "type"), kind(field), format!("must be {wanted}")));
        }
        let restricts_more = field.iter().any(|(k, v)| match k.as_str() {
            "type" | "description" => false,
            "properties" => v.as_object().is_some_and(|p| p.keys().any(|k| k != "name" && k != "generateName")),
            _ => true,
        });
        if name == "metadata" && level == Level::Root && restricts_more {
            errors.push(FieldError::forbidden(
                here,
                "must not specify anything other than name and generateName, but metadata is implicitly specified",
            ));
        }
    }
}

/// Constraints on values: the pattern compiles, and the rules' texts are there.
fn values(map: &Map<String, Value>, path: &str, errors: &mut Vec<FieldError>) {
    if let Some(pattern) = map.get("pattern").and_then(Value::as_str)
        && let Err(error) = go_regex(pattern)
    {
        let cause = error.to_string().lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
        errors.push(FieldError::invalid(
            child(path, "pattern"),
            pattern,
            format!("must be a valid regular expression, but isn't: {cause}"),
        ));
    }
}

fn rules(map: &Map<String, Value>, path: &str, errors: &mut Vec<FieldError>) {
    let Some(rules) = map.get("x-kubernetes-validations").and_then(Value::as_array) else {
        return;
    };
    let here = child(path, "x-kubernetes-validations");
    for (i, rule) in rules.iter().enumerate() {
        let here = index(&here, i);
        let get = |name: &str| rule.get(name).and_then(Value::as_str).unwrap_or_default();
        if get("rule").trim().is_empty() {
            errors.push(FieldError::required(child(&here, "rule"), "rule is not specified"));
        }
        let message = get("message");
        if !message.is_empty() && message.trim().is_empty() {
            errors.push(FieldError::invalid(
                child(&here, "message"),
                message,
                "message must be non-empty if specified",
            ));
        } else if message.contains('\n') {
            errors.push(FieldError::invalid(child(&here, "message"), message, "message must not contain line breaks"));
        } else if message.is_empty() && get("rule").contains('\n') {
            errors.push(FieldError::required(
                child(&here, "message"),
                "message must be specified if rule contains line breaks",
            ));
        }
        let reasons = ["FieldValueRequired", "FieldValueInvalid", "FieldValueForbidden", "FieldValueDuplicate"];
        let reason = get("reason");
        if !reason.is_empty() && !reasons.contains(&reason) {
            errors.push(FieldError::not_supported(child(&here, "reason"), reason, &reasons.map(str::to_owned)));
        }
    }
}

#[cfg(test)]
mod tests;
