//! Objects by their shapes: which paths an object sets, what differs between two, one merged into another, paths removed.
//!
//! Never knows who owns a path; that is `apply`.

use serde_json::{Map, Value};

use super::field::same;
use super::fieldset::{FieldSet, field, keyed, valued};
use super::shapes::{ListShape, Shapes};

/// Paths that came, changed and went between two objects.
#[derive(Debug, Default)]
pub(super) struct Difference {
    pub added: FieldSet,
    pub modified: FieldSet,
    pub removed: FieldSet,
}

/// A place in an object: names for the shapes, elements for the sets.
#[derive(Clone, Debug, Default)]
struct At {
    names: Vec<String>,
    elements: Vec<String>,
}

impl At {
    fn field(&self, name: &str) -> Self {
        let mut at = self.clone();
        at.names.push(name.to_owned());
        at.elements.push(field(name));
        at
    }

    fn element(&self, element: &str) -> Self {
        let mut at = self.clone();
        at.names.push("*".to_owned());
        at.elements.push(element.to_owned());
        at
    }
}

/// The element by which a value of a list is known; `None` for lists that are taken as a whole.
fn element_of(shapes: &dyn Shapes, names: &[String], shape: &ListShape, value: &Value) -> Option<String> {
    match shape {
        ListShape::Atomic => None,
        ListShape::Set => Some(valued(value)),
        ListShape::Map(keys) => {
            let mut found = Map::new();
            for key in keys {
                let given = value.get(key).cloned().or_else(|| shapes.key_default(names, key));
                found.insert(key.clone(), given.unwrap_or(Value::Null));
            }
            Some(keyed(&found))
        }
    }
}

fn elements<'a>(shapes: &dyn Shapes, names: &[String], items: &'a [Value]) -> Option<Vec<(String, &'a Value)>> {
    let shape = shapes.list(names);
    items.iter().map(|item| Some((element_of(shapes, names, &shape, item)?, item))).collect()
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(map) => map.is_empty(),
        _ => false,
    }
}

/// Every path that an object sets.
pub(super) fn paths_of(value: &Value, shapes: &dyn Shapes) -> FieldSet {
    let mut set = FieldSet::default();
    collect(value, shapes, &At::default(), &mut set);
    set
}

fn collect(value: &Value, shapes: &dyn Shapes, at: &At, set: &mut FieldSet) {
    match value {
        Value::Object(map) if !shapes.atomic_map(&at.names) => {
            for (name, below) in map {
                let here = at.field(name);
                collect(below, shapes, &here, set);
                if is_empty(below) || !shapes.is_field(&at.names, name) {
                    set.insert(&here.elements);
                }
            }
        }
        Value::Array(items) => match elements(shapes, &at.names, items) {
            Some(elements) => {
                for (element, item) in elements {
                    let here = at.element(&element);
                    collect(item, shapes, &here, set);
                    set.insert(&here.elements);
                }
                if items.is_empty() {
                    set.insert(&at.elements);
                }
            }
            None => set.insert(&at.elements),
        },
        _ => set.insert(&at.elements),
    }
}

/// What changes from `old` to `new`.
pub(super) fn compare(old: &Value, new: &Value, shapes: &dyn Shapes) -> Difference {
    let mut out = Difference::default();
    differ(Some(old), Some(new), shapes, &At::default(), &mut out);
    out
}

fn differ(old: Option<&Value>, new: Option<&Value>, shapes: &dyn Shapes, at: &At, out: &mut Difference) {
    match (old, new) {
        (None, Some(_)) if !shapes.always_there(&at.names) => out.added.insert(&at.elements),
        (Some(_), None) => out.removed.insert(&at.elements),
        _ => {}
    }
    let some = old.or(new);
    let maps = [old, new].iter().all(|v| v.is_none_or(Value::is_object)) && some.is_some_and(Value::is_object);
    let lists = [old, new].iter().all(|v| v.is_none_or(Value::is_array)) && some.is_some_and(Value::is_array);
    if maps && !shapes.atomic_map(&at.names) {
        let get = |v: Option<&'_ Value>, name: &str| v.and_then(|v| v.get(name)).cloned();
        let names = |v: Option<&Value>| {
            v.and_then(Value::as_object).map(|m| m.keys().cloned().collect::<Vec<_>>()).unwrap_or_default()
        };
        let mut all = names(old);
        all.extend(names(new).into_iter().filter(|n| old.and_then(|o| o.get(n)).is_none()));
        for name in all {
            differ(get(old, &name).as_ref(), get(new, &name).as_ref(), shapes, &at.field(&name), out);
        }
        return;
    }
    if lists {
        let of = |v: Option<&'_ Value>| {
            let items = v.and_then(Value::as_array).cloned().unwrap_or_default();
            elements(shapes, &at.names, &items)
                .map(|found| found.into_iter().map(|(e, v)| (e, v.clone())).collect::<Vec<_>>())
        };
        if let (Some(before), Some(after)) = (of(old), of(new)) {
            for (element, item) in &before {
                let other = after.iter().find(|(e, _)| e == element).map(|(_, v)| v);
                differ(Some(item), other, shapes, &at.element(element), out);
            }
            for (element, item) in after.iter().filter(|(e, _)| !before.iter().any(|(b, _)| b == e)) {
                differ(None, Some(item), shapes, &at.element(element), out);
            }
            return;
        }
    }
    if let (Some(old), Some(new)) = (old, new)
        && !same(old, new)
    {
        out.modified.insert(&at.elements);
    }
}

/// Sets in `live` what `config` sets.
pub(super) fn merge(live: &Value, config: &Value, shapes: &dyn Shapes) -> Value {
    merge_at(live, config, shapes, &mut Vec::new())
}

fn merge_at(live: &Value, config: &Value, shapes: &dyn Shapes, names: &mut Vec<String>) -> Value {
    match (live, config) {
        (Value::Object(a), Value::Object(b)) if !shapes.atomic_map(names) => {
            let mut out = a.clone();
            for (name, value) in b {
                names.push(name.clone());
                let merged = a.get(name).map_or_else(|| value.clone(), |old| merge_at(old, value, shapes, names));
                names.pop();
                out.insert(name.clone(), merged);
            }
            Value::Object(out)
        }
        (Value::Array(a), Value::Array(b)) => {
            let (Some(old), Some(new)) = (elements(shapes, names, a), elements(shapes, names, b)) else {
                return config.clone();
            };
            merge_lists(&old, &new, |old, new| {
                names.push("*".to_owned());
                let merged = merge_at(old, new, shapes, names);
                names.pop();
                merged
            })
        }
        _ => config.clone(),
    }
}

/// In the order of `new`, with what only `old` has kept before what followed it.
fn merge_lists(
    old: &[(String, &Value)],
    new: &[(String, &Value)],
    mut merge: impl FnMut(&Value, &Value) -> Value,
) -> Value {
    let is_new = |element: &String| new.iter().any(|(e, _)| e == element);
    let mut out = Vec::new();
    let mut next = 0;
    for (element, value) in new {
        let Some(found) = old.iter().position(|(e, _)| e == element) else {
            out.push((*value).clone());
            continue;
        };
        while next < found {
            if let Some((e, kept)) = old.get(next)
                && !is_new(e)
            {
                out.push((*kept).clone());
            }
            next += 1;
        }
        next = next.max(found + 1);
        out.push(old.get(found).map_or_else(|| (*value).clone(), |(_, before)| merge(before, value)));
    }
    out.extend(old.iter().skip(next).filter(|(e, _)| !is_new(e)).map(|(_, kept)| (*kept).clone()));
    Value::Array(out)
}

/// Takes paths out of an object; what is emptied by that goes, too.
pub(super) fn remove(value: &Value, paths: &FieldSet, shapes: &dyn Shapes) -> Value {
    remove_at(value, paths, shapes, &mut Vec::new()).unwrap_or_else(|| Value::Object(Map::new()))
}

fn remove_at(value: &Value, paths: &FieldSet, shapes: &dyn Shapes, names: &mut Vec<String>) -> Option<Value> {
    if paths.children.is_empty() {
        return Some(value.clone());
    }
    match value {
        Value::Object(map) => {
            let mut out = Map::new();
            for (name, below) in map {
                names.push(name.clone());
                let kept = match paths.children.get(&field(name)) {
                    Some(gone) if gone.member => None,
                    Some(some) => remove_at(below, some, shapes, names),
                    None => Some(below.clone()),
                };
                names.pop();
                if let Some(kept) = kept {
                    out.insert(name.clone(), kept);
                }
            }
            (!out.is_empty() || map.is_empty()).then_some(Value::Object(out))
        }
        Value::Array(items) => {
            let Some(elements) = elements(shapes, names, items) else {
                return Some(value.clone());
            };
            let mut out = Vec::new();
            for (element, item) in elements {
                names.push("*".to_owned());
                let kept = match paths.children.get(&element) {
                    Some(gone) if gone.member => None,
                    Some(some) => remove_at(item, some, shapes, names),
                    None => Some(item.clone()),
                };
                names.pop();
                out.extend(kept);
            }
            (!out.is_empty() || items.is_empty()).then_some(Value::Array(out))
        }
        scalar => Some(scalar.clone()),
    }
}

/// Adds the declared fields on the way to each path.
pub(super) fn with_fields(set: &FieldSet, shapes: &dyn Shapes) -> FieldSet {
    with_fields_at(set, shapes, &mut Vec::new())
}

fn with_fields_at(set: &FieldSet, shapes: &dyn Shapes, names: &mut Vec<String>) -> FieldSet {
    let mut out = FieldSet { member: set.member, ..FieldSet::default() };
    for (element, child) in &set.children {
        let name = element.strip_prefix("f:");
        let declared = name.is_some_and(|name| shapes.is_field(names, name));
        names.push(name.unwrap_or("*").to_owned());
        let mut below = with_fields_at(child, shapes, names);
        names.pop();
        below.member |= declared;
        out.children.insert(element.clone(), below);
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::shapes::BuiltinShapes;
    use super::*;

    fn pod() -> BuiltinShapes {
        BuiltinShapes::new("Pod")
    }

    #[test]
    fn an_object_sets_its_leaves() {
        for (kind, object, set) in [
            ("ConfigMap", json!({"data": {"a": "1", "b": "2"}}), json!({"f:data": {"f:a": {}, "f:b": {}}})),
            ("ConfigMap", json!({"data": {}}), json!({"f:data": {}})),
            (
                "ConfigMap",
                json!({"metadata": {"labels": {"x": "y"}, "finalizers": ["a"]}}),
                json!({"f:metadata": {"f:finalizers": {"v:\"a\"": {}}, "f:labels": {"f:x": {}}}}),
            ),
            (
                "Pod",
                json!({"spec": {"containers": [{"name": "c", "image": "i", "args": ["x"]}]}}),
                json!({"f:spec": {"f:containers": {"k:{\"name\":\"c\"}": {".": {}, "f:args": {}, "f:image": {}, "f:name": {}}}}}),
            ),
            (
                "Pod",
                json!({"spec": {"containers": [{"name": "c", "ports": [{"containerPort": 80}]}]}}),
                json!({"f:spec": {"f:containers": {"k:{\"name\":\"c\"}": {".": {}, "f:name": {}, "f:ports": {"k:{\"containerPort\":80,\"protocol\":\"TCP\"}": {".": {}, "f:containerPort": {}}}}}}}),
            ),
            ("Pod", json!({"spec": {"nodeSelector": {"a": "b"}}}), json!({"f:spec": {"f:nodeSelector": {}}})),
            ("Role", json!({"rules": [{"verbs": ["get"]}]}), json!({"f:rules": {}})),
        ] {
            assert_eq!(paths_of(&object, &BuiltinShapes::new(kind)).to_json(), set, "{object}");
        }
    }

    #[test]
    fn differences_are_found_by_key() {
        let old = json!({"spec": {"containers": [{"name": "a", "image": "1"}, {"name": "b", "image": "2"}]}});
        let new = json!({"spec": {"containers": [{"name": "b", "image": "3"}, {"name": "c"}], "nodeName": "n"}});
        let d = compare(&old, &new, &pod());
        assert_eq!(
            d.added.to_json(),
            json!({"f:spec": {"f:containers": {"k:{\"name\":\"c\"}": {".": {}, "f:name": {}}}, "f:nodeName": {}}})
        );
        assert_eq!(d.modified.to_json(), json!({"f:spec": {"f:containers": {"k:{\"name\":\"b\"}": {"f:image": {}}}}}));
        assert_eq!(
            d.removed.to_json(),
            json!({"f:spec": {"f:containers": {"k:{\"name\":\"a\"}": {".": {}, "f:image": {}, "f:name": {}}}}})
        );
        let d = compare(&new, &new, &pod());
        assert!(d.added.is_empty() && d.modified.is_empty() && d.removed.is_empty());
    }

    #[test]
    fn merging_keeps_what_the_other_does_not_speak_of() {
        for (live, config, merged) in [
            (json!({"spec": {"a": 1, "b": 2}}), json!({"spec": {"b": 3}}), json!({"spec": {"a": 1, "b": 3}})),
            (
                json!({"spec": {"containers": [{"name": "a", "image": "1"}, {"name": "b"}]}}),
                json!({"spec": {"containers": [{"name": "c"}, {"name": "a", "image": "2"}]}}),
                json!({"spec": {"containers": [{"name": "c"}, {"name": "a", "image": "2"}, {"name": "b"}]}}),
            ),
            (
                json!({"spec": {"containers": [{"name": "x"}, {"name": "a"}]}}),
                json!({"spec": {"containers": [{"name": "a"}, {"name": "n"}]}}),
                json!({"spec": {"containers": [{"name": "x"}, {"name": "a"}, {"name": "n"}]}}),
            ),
            (
                json!({"metadata": {"finalizers": ["a"]}}),
                json!({"metadata": {"finalizers": ["b"]}}),
                json!({"metadata": {"finalizers": ["b", "a"]}}),
            ),
            (
                json!({"spec": {"nodeSelector": {"a": "b"}}}),
                json!({"spec": {"nodeSelector": {"c": "d"}}}),
                json!({"spec": {"nodeSelector": {"c": "d"}}}),
            ),
            (
                json!({"spec": {"tolerations": [1]}}),
                json!({"spec": {"tolerations": [2]}}),
                json!({"spec": {"tolerations": [2]}}),
            ),
        ] {
            assert_eq!(merge(&live, &config, &pod()), merged);
        }
    }

    #[test]
    fn removal_takes_paths_and_what_they_leave_empty() {
        let object = json!({"data": {"a": "1", "b": "2"}, "metadata": {"name": "x", "finalizers": ["a", "b"]}});
        for (paths, left) in [
            (
                json!({"f:data": {"f:a": {}}}),
                json!({"data": {"b": "2"}, "metadata": {"name": "x", "finalizers": ["a", "b"]}}),
            ),
            (json!({"f:data": {"f:a": {}, "f:b": {}}}), json!({"metadata": {"name": "x", "finalizers": ["a", "b"]}})),
            (
                json!({"f:metadata": {"f:finalizers": {"v:\"a\"": {}}}}),
                json!({"data": {"a": "1", "b": "2"}, "metadata": {"name": "x", "finalizers": ["b"]}}),
            ),
            (json!({"f:metadata": {}}), json!({"data": {"a": "1", "b": "2"}})),
            (json!({"f:nothing": {}}), object.clone()),
        ] {
            assert_eq!(
                remove(&object, &FieldSet::from_json(&paths), &BuiltinShapes::new("ConfigMap")),
                left,
                "{paths}"
            );
        }
    }

    #[test]
    fn declared_fields_on_the_way_are_added() {
        let set = FieldSet::from_json(&json!({"f:metadata": {"f:labels": {"f:a": {}}}}));
        assert_eq!(
            with_fields(&set, &pod()).to_json(),
            json!({"f:metadata": {".": {}, "f:labels": {".": {}, "f:a": {}}}})
        );
    }
}
