//! Defaults are filled in and unknown fields taken out, as on the way into the store.
//!
//! Never validates; a value of the wrong type passes through untouched for `validate` to name.

use serde_json::{Map, Value};

use super::field::{child, index};
use super::schema::{Additional, Structural};

/// The fields of ObjectMeta; others under `metadata` are dropped, whatever the schema says.
const OBJECT_META: &[&str] = &[
    "annotations",
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "finalizers",
    "generateName",
    "generation",
    "labels",
    "managedFields",
    "name",
    "namespace",
    "ownerReferences",
    "resourceVersion",
    "selfLink",
    "uid",
];

impl Structural {
    /// Fills in defaults: for absent fields, and for `null` where it is no value.
    pub fn default(&self, value: &mut Value) {
        match value {
            Value::Object(map) => {
                for (name, schema) in &self.properties {
                    let Some(default) = &schema.default else { continue };
                    if map.get(name).is_none_or(|v| v.is_null() && !schema.nullable) {
                        map.insert(name.clone(), default.clone());
                    }
                }
                for (name, value) in map.iter_mut() {
                    let Some(schema) = self.field(name) else { continue };
                    if let (Value::Null, false, Some(default)) = (&*value, schema.nullable, &schema.default) {
                        *value = default.clone();
                    }
                    schema.default(value);
                }
            }
            Value::Array(items) => {
                let Some(schema) = &self.items else { return };
                for item in items {
                    if let (Value::Null, false, Some(default)) = (&*item, schema.nullable, &schema.default) {
                        *item = default.clone();
                    }
                    schema.default(item);
                }
            }
            _ => {}
        }
    }

    /// Removes `null` from fields and map entries where it is no value; what has a default took it before. In lists it stays.
    pub fn drop_nulls(&self, value: &mut Value) {
        match value {
            Value::Object(map) => {
                map.retain(|name, value| {
                    let empty = |schema: &Self| value.is_null() && !schema.nullable && schema.default.is_none();
                    !self.field(name).is_some_and(empty)
                });
                for (name, value) in map.iter_mut() {
                    if let Some(schema) = self.field(name) {
                        schema.drop_nulls(value);
                    }
                }
            }
            Value::Array(items) => {
                let Some(schema) = &self.items else { return };
                items.iter_mut().for_each(|item| schema.drop_nulls(item));
            }
            _ => {}
        }
    }

    /// Removes what the schema does not know from a whole object and returns the paths of what it removed, in order.
    pub fn prune(&self, object: &mut Value) -> Vec<String> {
        let mut removed = Vec::new();
        prune(object, Some(self), "", true, &mut removed);
        removed.sort();
        removed
    }

    /// As [`prune`](Self::prune), for a value that is no object of its own, e.g. a default.
    pub(crate) fn prune_value(&self, value: &mut Value) -> Vec<String> {
        let mut removed = Vec::new();
        prune(value, Some(self), "", false, &mut removed);
        removed.sort();
        removed
    }
}

fn prune(value: &mut Value, schema: Option<&Structural>, path: &str, is_object: bool, removed: &mut Vec<String>) {
    match value {
        Value::Object(map) => prune_map(map, schema, path, is_object, removed),
        Value::Array(items) => {
            // Without a schema nothing is known of the elements, unless unknown fields are kept.
            let keep_all = schema.is_some_and(|s| s.preserve_unknown && s.items.is_none());
            if keep_all {
                return;
            }
            let item_schema = schema.and_then(|s| s.items.as_deref());
            for (i, item) in items.iter_mut().enumerate() {
                prune(item, item_schema, &index(path, i), false, removed);
            }
        }
        _ => {}
    }
}

fn prune_map(
    map: &mut Map<String, Value>,
    schema: Option<&Structural>,
    path: &str,
    is_object: bool,
    removed: &mut Vec<String>,
) {
    let is_object = is_object || schema.is_some_and(|s| s.embedded);
    let names: Vec<String> = map.keys().cloned().collect();
    for name in names {
        let here = child(path, &name);
        if is_object && matches!(name.as_str(), "apiVersion" | "kind" | "metadata") {
            if name == "metadata" {
                prune_meta(map.get_mut("metadata"), &here, removed);
            }
            continue;
        }
        let known = schema.is_some_and(|s| s.properties.contains_key(&name));
        let (keep, below) = match schema {
            Some(s) if known => (true, s.properties.get(&name)),
            Some(s) if s.preserve_unknown => match &s.additional {
                Additional::Schema(inner) => (true, Some(inner.as_ref())),
                _ => continue,
            },
            Some(s) => match &s.additional {
                Additional::None => (false, None),
                Additional::Any => (true, None),
                Additional::Schema(inner) => (true, Some(inner.as_ref())),
            },
            None => (false, None),
        };
        if !keep {
            map.shift_remove(&name);
            removed.push(here);
        } else if let Some(value) = map.get_mut(&name) {
            prune(value, below, &here, false, removed);
        }
    }
}

fn prune_meta(meta: Option<&mut Value>, path: &str, removed: &mut Vec<String>) {
    let Some(Value::Object(map)) = meta else { return };
    let unknown: Vec<String> = map.keys().filter(|k| !OBJECT_META.contains(&k.as_str())).cloned().collect();
    for name in unknown {
        map.shift_remove(&name);
        removed.push(child(path, &name));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn schema(value: Value) -> Structural {
        Structural::parse(&value).unwrap()
    }

    #[track_caller]
    fn pruned(schema: Value, object: Value, left: Value, removed: &[&str]) {
        let schema = self::schema(schema);
        let mut object = object;
        assert_eq!(schema.prune(&mut object), removed);
        assert_eq!(object, left);
    }

    #[track_caller]
    fn defaulted(properties: Value, object: Value, expected: Value) {
        let schema = self::schema(json!({"type": "object", "properties": properties}));
        let mut object = object;
        schema.default(&mut object);
        assert_eq!(object, expected);
        schema.default(&mut object);
        assert_eq!(object, expected, "once more changes nothing");
    }

    #[test]
    fn absent_fields_get_their_defaults() {
        let p = json!({"a": {"type": "integer", "default": 1}});
        defaulted(p.clone(), json!({}), json!({"a": 1}));
        defaulted(p.clone(), json!({"a": 2}), json!({"a": 2}));
        defaulted(p.clone(), json!({"a": 0}), json!({"a": 0}));
        defaulted(p.clone(), json!({"a": null}), json!({"a": 1}));
        defaulted(p, json!({"b": null}), json!({"b": null, "a": 1}));
        let p = json!({"a": {"type": "integer", "default": 1, "nullable": true}});
        defaulted(p, json!({"a": null}), json!({"a": null}));
    }

    #[test]
    fn defaults_reach_into_objects_that_are_there_or_default_themselves() {
        let inner = json!({"type": "object", "properties": {"b": {"type": "string", "default": "x"}}});
        defaulted(json!({"a": inner}), json!({}), json!({}));
        defaulted(json!({"a": inner}), json!({"a": {}}), json!({"a": {"b": "x"}}));
        let mut with_default = inner.clone();
        with_default["default"] = json!({});
        defaulted(json!({"a": with_default}), json!({}), json!({"a": {"b": "x"}}));
        defaulted(json!({"a": with_default}), json!({"a": {"b": "y"}}), json!({"a": {"b": "y"}}));
    }

    #[test]
    fn null_is_no_value_where_the_schema_does_not_say_so() {
        let text = json!({"type": "string"});
        let schema = Structural::parse(&json!({"type": "object", "properties": {
            "a": text, "n": {"type": "string", "nullable": true}, "l": {"type": "array", "items": text},
            "m": {"type": "object", "additionalProperties": text},
        }}))
        .unwrap();
        let mut value = json!({"a": null, "n": null, "l": [null], "m": {"x": null, "y": "z"}, "unknown": null});
        schema.drop_nulls(&mut value);
        assert_eq!(value, json!({"n": null, "l": [null], "m": {"y": "z"}, "unknown": null}));
    }

    #[test]
    fn defaults_reach_into_lists_and_maps() {
        let item = json!({"type": "object", "properties": {"b": {"type": "integer", "default": 5}}});
        defaulted(
            json!({"l": {"type": "array", "items": item}}),
            json!({"l": [{}, {"b": 1}]}),
            json!({"l": [{"b": 5}, {"b": 1}]}),
        );
        defaulted(
            json!({"m": {"type": "object", "additionalProperties": item}}),
            json!({"m": {"x": {}, "y": {"b": 1}}}),
            json!({"m": {"x": {"b": 5}, "y": {"b": 1}}}),
        );
        defaulted(
            json!({"m": {"type": "object", "additionalProperties": {"type": "integer", "default": 3}}}),
            json!({"m": {"x": null, "y": 1}}),
            json!({"m": {"x": 3, "y": 1}}),
        );
    }

    #[test]
    fn values_of_the_wrong_type_are_left_alone() {
        defaulted(
            json!({"a": {"type": "object", "properties": {"b": {"type": "integer", "default": 1}}}}),
            json!({"a": "text"}),
            json!({"a": "text"}),
        );
    }

    #[test]
    fn unknown_fields_go_and_are_named() {
        let s = json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {
            "a": {"type": "integer"},
            "l": {"type": "array", "items": {"type": "object", "properties": {"b": {"type": "integer"}}}},
        }}}});
        pruned(
            s.clone(),
            json!({"apiVersion": "v1", "kind": "K", "metadata": {"name": "n"}, "spec": {"a": 1}}),
            json!({"apiVersion": "v1", "kind": "K", "metadata": {"name": "n"}, "spec": {"a": 1}}),
            &[],
        );
        pruned(
            s.clone(),
            json!({"spec": {"z": 1, "a": 1, "foo": {"x": 1}}, "other": 1}),
            json!({"spec": {"a": 1}}),
            &["other", "spec.foo", "spec.z"],
        );
        pruned(
            s.clone(),
            json!({"spec": {"l": [{"b": 1, "c": 2}, {"c": 3}]}}),
            json!({"spec": {"l": [{"b": 1}, {}]}}),
            &["spec.l[0].c", "spec.l[1].c"],
        );
        pruned(s, json!({"spec": "text"}), json!({"spec": "text"}), &[]);
    }

    #[test]
    fn metadata_keeps_what_every_object_has() {
        pruned(
            json!({"type": "object"}),
            json!({"metadata": {"name": "n", "labels": {"any": "x"}, "label": {}, "zone": 1}}),
            json!({"metadata": {"name": "n", "labels": {"any": "x"}}}),
            &["metadata.label", "metadata.zone"],
        );
    }

    #[test]
    fn places_that_keep_unknown_fields_do() {
        let s = json!({"type": "object", "properties": {"any": {
            "type": "object", "x-kubernetes-preserve-unknown-fields": true,
            "properties": {"known": {"type": "object", "properties": {"a": {"type": "integer"}}}},
        }}});
        pruned(
            s,
            json!({"any": {"x": {"deep": [{"y": 1}]}, "known": {"a": 1, "b": 2}}}),
            json!({"any": {"x": {"deep": [{"y": 1}]}, "known": {"a": 1}}}),
            &["any.known.b"],
        );
        pruned(
            json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true}),
            json!({"whatever": {"a": 1}}),
            json!({"whatever": {"a": 1}}),
            &[],
        );
        pruned(
            json!({"type": "object", "properties": {"any": {"x-kubernetes-preserve-unknown-fields": true}}}),
            json!({"any": [{"a": 1}]}),
            json!({"any": [{"a": 1}]}),
            &[],
        );
    }

    #[test]
    fn maps_keep_their_keys() {
        pruned(
            json!({"type": "object", "properties": {"m": {"type": "object", "additionalProperties":
                {"type": "object", "properties": {"a": {"type": "integer"}}}}}}),
            json!({"m": {"x": {"a": 1, "b": 1}, "y": {}}}),
            json!({"m": {"x": {"a": 1}, "y": {}}}),
            &["m.x.b"],
        );
        pruned(
            json!({"type": "object", "properties": {"m": {"type": "object", "additionalProperties": true}}}),
            json!({"m": {"x": 1}}),
            json!({"m": {"x": 1}}),
            &[],
        );
    }

    #[test]
    fn an_embedded_object_keeps_its_type_and_metadata() {
        pruned(
            json!({"type": "object", "properties": {"e": {
                "type": "object", "x-kubernetes-embedded-resource": true,
                "properties": {"spec": {"type": "object", "properties": {"a": {"type": "integer"}}}},
            }}}),
            json!({"e": {"apiVersion": "v1", "kind": "K", "metadata": {"name": "x", "nope": 1}, "spec": {"a": 1, "b": 2}, "c": 1}}),
            json!({"e": {"apiVersion": "v1", "kind": "K", "metadata": {"name": "x"}, "spec": {"a": 1}}}),
            &["e.c", "e.metadata.nope", "e.spec.b"],
        );
    }
}
