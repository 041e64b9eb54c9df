//! Patches: JSON Patch (RFC 6902), JSON Merge Patch (RFC 7386) and the strategic merge patch of built-in kinds.
//!
//! Never validates what results, never tracks fields.

use std::fmt;

use serde_json::{Map, Value};

use super::field::{same, sorted_json};
use super::shapes::{PatchMerge, Shapes};

const SET_ORDER: &str = "$setElementOrder/";
const DELETE_FROM: &str = "$deleteFromPrimitiveList/";
const RETAIN_KEYS: &str = "$retainKeys";
const DIRECTIVE: &str = "$patch";

/// Why a patch does not apply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PatchError {
    /// The patch is no patch (400, `BadRequest`).
    Malformed(String),
    /// The patch does not fit the object (422, `Invalid`), e.g. a failed test.
    DoesNotApply(String),
}

impl PatchError {
    /// The HTTP status that a server answers with.
    #[must_use]
    pub fn code(&self) -> u16 {
        match self {
            Self::Malformed(_) => 400,
            Self::DoesNotApply(_) => 422,
        }
    }
}

impl fmt::Display for PatchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(text) | Self::DoesNotApply(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for PatchError {}

/// Applies RFC 6902 operations, all or none.
///
/// # Errors
/// Where the patch is no list of operations, or an operation does not apply.
pub fn json(object: &Value, patch: &Value) -> Result<Value, PatchError> {
    let operations: json_patch::Patch = serde_json::from_value(patch.clone())
        .map_err(|e| PatchError::Malformed(format!("error decoding patch: {e}")))?;
    let mut out = object.clone();
    for operation in operations.0 {
        let path = operation.path().to_string();
        // A null that is not there is equal to null.
        if let json_patch::PatchOperation::Test(test) = &operation
            && test.value.is_null()
            && out.pointer(&path).is_none()
        {
            continue;
        }
        let name = match &operation {
            json_patch::PatchOperation::Add(_) => "add",
            json_patch::PatchOperation::Remove(_) => "remove",
            json_patch::PatchOperation::Replace(_) => "replace",
            json_patch::PatchOperation::Move(_) => "move",
            json_patch::PatchOperation::Copy(_) => "copy",
            json_patch::PatchOperation::Test(_) => "test",
        };
        json_patch::patch(&mut out, &[operation]).map_err(|e| {
            PatchError::DoesNotApply(match e.kind {
                json_patch::PatchErrorKind::TestFailed => format!("testing value {path} failed: test failed"),
                json_patch::PatchErrorKind::InvalidPointer | json_patch::PatchErrorKind::InvalidFromPointer => {
                    format!("{name} operation does not apply: doc is missing path: \"{path}\": missing value")
                }
                kind => format!("{name} operation does not apply: {kind}"),
            })
        })?;
    }
    Ok(out)
}

/// Applies an RFC 7386 merge patch.
///
/// # Errors
/// Where the patch is no object.
pub fn merge(object: &Value, patch: &Value) -> Result<Value, PatchError> {
    if !patch.is_object() {
        return Err(PatchError::Malformed("Invalid JSON Patch".to_owned()));
    }
    let mut out = object.clone();
    merge_into(&mut out, patch);
    Ok(out)
}

/// As `json_patch::merge`, but fields keep their order.
fn merge_into(value: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *value = patch.clone();
        return;
    };
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    let Value::Object(map) = value else { return };
    for (name, change) in patch {
        if change.is_null() {
            map.shift_remove(name);
        } else {
            merge_into(map.entry(name.clone()).or_insert(Value::Null), change);
        }
    }
}

/// Applies a strategic merge patch.
///
/// # Errors
/// Where a directive is unknown, or an element lacks the key it is merged by.
pub fn strategic(object: &Value, patch: &Value, shapes: &dyn Shapes) -> Result<Value, PatchError> {
    let (Value::Object(object), Value::Object(patch)) = (object, patch) else {
        return Err(PatchError::Malformed("cannot restore slice from map".to_owned()));
    };
    let merged = merge_maps(object, patch, shapes, &mut Vec::new())?;
    Ok(Value::Object(merged))
}

fn unknown_directive(value: &Value) -> PatchError {
    PatchError::DoesNotApply(format!("unknown patch type found: {}", value.as_str().unwrap_or(&sorted_json(value))))
}

fn merge_maps(
    original: &Map<String, Value>,
    patch: &Map<String, Value>,
    shapes: &dyn Shapes,
    names: &mut Vec<String>,
) -> Result<Map<String, Value>, PatchError> {
    match patch.get(DIRECTIVE).map(|d| (d, d.as_str())) {
        None | Some((_, Some("merge"))) => {}
        Some((_, Some("replace"))) => return Ok(stripped(patch)),
        Some((_, Some("delete"))) => return Ok(Map::new()),
        Some((other, _)) => return Err(unknown_directive(other)),
    }
    let mut out = original.clone();
    if let Some(Value::Array(retained)) = patch.get(RETAIN_KEYS) {
        let keep = |name: &String| retained.iter().any(|r| r.as_str() == Some(name));
        if let Some(extra) = patch.keys().find(|name| !name.starts_with('$') && !keep(name)) {
            let text = format!("$retainKeys doesn't contain {extra}, which the patch sets");
            return Err(PatchError::DoesNotApply(text));
        }
        out.retain(|name, _| keep(name));
    }
    for (name, gone) in patch.iter().filter_map(|(n, v)| Some((n.strip_prefix(DELETE_FROM)?, v))) {
        if let (Some(Value::Array(items)), Value::Array(gone)) = (out.get_mut(name), gone) {
            items.retain(|item| !gone.iter().any(|g| same(g, item)));
        }
    }
    for (name, change) in patch.iter().filter(|(name, _)| !name.starts_with('$')) {
        names.push(name.clone());
        let merged = merge_field(out.get(name), change, shapes, names);
        names.pop();
        match merged? {
            Some(value) => out.insert(name.clone(), value),
            None => out.shift_remove(name),
        };
    }
    // An order may come without a list of its own.
    for (name, order) in patch.iter().filter_map(|(n, v)| Some((n.strip_prefix(SET_ORDER)?, v))) {
        names.push(name.to_owned());
        let key = shapes.patch_key(names);
        names.pop();
        if let (Some(Value::Array(items)), Value::Array(order), Some(key)) = (out.get_mut(name), order, key) {
            let server = original.get(name).and_then(Value::as_array).cloned().unwrap_or_default();
            *items = ordered(std::mem::take(items), order, &server, &key);
        }
    }
    Ok(out)
}

/// What becomes of one field; `None` removes it.
fn merge_field(
    original: Option<&Value>,
    change: &Value,
    shapes: &dyn Shapes,
    names: &mut Vec<String>,
) -> Result<Option<Value>, PatchError> {
    let merged = match (original, change) {
        (_, Value::Null) => return Ok(None),
        (Some(Value::Object(old)), Value::Object(new)) => {
            let deleted = new.get(DIRECTIVE).and_then(Value::as_str) == Some("delete");
            let merged = merge_maps(old, new, shapes, names)?;
            if deleted {
                return Ok(None);
            }
            Value::Object(merged)
        }
        (Some(Value::Array(old)), Value::Array(new)) => match shapes.patch_key(names) {
            Some(PatchMerge::Key(key)) => Value::Array(merge_lists(old, new, key, shapes, names)?),
            Some(PatchMerge::Primitive) => {
                let mut out = old.clone();
                for item in new {
                    if !out.iter().any(|o| same(o, item)) {
                        out.push(item.clone());
                    }
                }
                Value::Array(out)
            }
            None => change.clone(),
        },
        (None, Value::Object(new)) if new.get(DIRECTIVE).and_then(Value::as_str) == Some("delete") => return Ok(None),
        _ => without_directives(change),
    };
    Ok(Some(merged))
}

fn merge_lists(
    original: &[Value],
    patch: &[Value],
    key: &str,
    shapes: &dyn Shapes,
    names: &mut Vec<String>,
) -> Result<Vec<Value>, PatchError> {
    let directive = |item: &Value| item.get(DIRECTIVE).and_then(Value::as_str).map(str::to_owned);
    if patch.iter().any(|item| directive(item).as_deref() == Some("replace")) {
        let rest = patch.iter().filter(|item| directive(item).is_none());
        return Ok(rest.map(without_directives).collect());
    }
    let mut out = original.to_vec();
    for item in patch {
        let Some(wanted) = item.get(key) else {
            let text = format!("map: {} does not contain declared merge key: {key}", sorted_json(item));
            return Err(PatchError::DoesNotApply(text));
        };
        let found = out.iter().position(|o| o.get(key).is_some_and(|k| same(k, wanted)));
        match (item.get(DIRECTIVE).map(|d| (d, d.as_str())), found) {
            (Some((_, Some("delete"))), _) => out.retain(|o| o.get(key).is_none_or(|k| !same(k, wanted))),
            (None | Some((_, Some("merge"))), Some(at)) => {
                names.push("*".to_owned());
                let merged = match (out.get(at), item) {
                    (Some(Value::Object(old)), Value::Object(new)) => {
                        merge_maps(old, new, shapes, names).map(Value::Object)
                    }
                    _ => Ok(item.clone()),
                };
                names.pop();
                if let (Some(slot), merged) = (out.get_mut(at), merged?) {
                    *slot = merged;
                }
            }
            (None | Some((_, Some("merge"))), None) => out.push(without_directives(item)),
            (Some((other, _)), _) => return Err(unknown_directive(other)),
        }
    }
    Ok(out)
}

/// Puts elements in the order that the patch asks for; what only the server has keeps its place among its own.
fn ordered(items: Vec<Value>, order: &[Value], server: &[Value], key: &PatchMerge) -> Vec<Value> {
    let id = |item: &Value| match key {
        PatchMerge::Key(key) => item.get(*key).cloned().unwrap_or(Value::Null),
        PatchMerge::Primitive => item.clone(),
    };
    let place = |list: &[Value], item: &Value| list.iter().position(|other| same(&id(other), &id(item)));
    let (mut wanted, only_server): (Vec<Value>, Vec<Value>) =
        items.into_iter().partition(|item| place(order, item).is_some());
    wanted.sort_by_key(|item| place(order, item));
    let mut out = Vec::new();
    let mut rest = only_server.into_iter().peekable();
    for item in wanted {
        let here = place(server, &item);
        while rest.peek().is_some_and(|other| here.is_none_or(|here| place(server, other).is_some_and(|p| p < here))) {
            out.extend(rest.next());
        }
        out.push(item);
    }
    out.extend(rest);
    out
}

fn stripped(map: &Map<String, Value>) -> Map<String, Value> {
    map.iter().filter(|(name, _)| !name.starts_with('$')).map(|(n, v)| (n.clone(), without_directives(v))).collect()
}

/// What a patch sets where nothing was: its values without its directives.
fn without_directives(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let kept = stripped(map).into_iter().filter(|(_, v)| !v.is_null());
            Value::Object(kept.collect())
        }
        Value::Array(items) => {
            let kept = items.iter().filter(|item| item.get(DIRECTIVE).and_then(Value::as_str) != Some("delete"));
            Value::Array(kept.map(without_directives).collect())
        }
        scalar => scalar.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::shapes::BuiltinShapes;
    use super::*;

    #[test]
    fn json_patches() {
        let object = json!({"a": 1, "b": {"c": [1, 2]}, "d/e": 3, "f~g": 4});
        for (patch, result) in [
            (json!([]), Ok(object.clone())),
            (
                json!([{"op": "add", "path": "/x", "value": 1}]),
                Ok(json!({"a": 1, "b": {"c": [1, 2]}, "d/e": 3, "f~g": 4, "x": 1})),
            ),
            (
                json!([{"op": "add", "path": "/b/c/-", "value": 3}]),
                Ok(json!({"a": 1, "b": {"c": [1, 2, 3]}, "d/e": 3, "f~g": 4})),
            ),
            (
                json!([{"op": "add", "path": "/b/c/0", "value": 0}]),
                Ok(json!({"a": 1, "b": {"c": [0, 1, 2]}, "d/e": 3, "f~g": 4})),
            ),
            (
                json!([{"op": "remove", "path": "/d~1e"}, {"op": "remove", "path": "/f~0g"}]),
                Ok(json!({"a": 1, "b": {"c": [1, 2]}})),
            ),
            (
                json!([{"op": "replace", "path": "/a", "value": 2}, {"op": "test", "path": "/a", "value": 2}]),
                Ok(json!({"a": 2, "b": {"c": [1, 2]}, "d/e": 3, "f~g": 4})),
            ),
            (json!([{"op": "test", "path": "/nothing", "value": null}]), Ok(object.clone())),
            (json!([{"op": "test", "path": "/a", "value": 2}]), Err((422, "testing value /a failed: test failed"))),
            (
                json!([{"op": "remove", "path": "/x"}]),
                Err((422, "remove operation does not apply: doc is missing path: \"/x\": missing value")),
            ),
            (
                json!([{"op": "replace", "path": "/x/y", "value": 1}]),
                Err((422, "replace operation does not apply: doc is missing path: \"/x/y\": missing value")),
            ),
            (
                json!([{"op": "add", "path": "/x/y", "value": 1}]),
                Err((422, "add operation does not apply: doc is missing path: \"/x/y\": missing value")),
            ),
        ] {
            let found = json(&object, &patch);
            assert_eq!(
                found.as_ref().map_err(|e| (e.code(), e.to_string())),
                result.as_ref().map_err(|(c, t)| (*c, (*t).to_owned())),
                "{patch}"
            );
        }
        for broken in [json!({}), json!([{"op": "jump", "path": "/a"}]), json!([{"path": "/a"}]), json!("x")] {
            assert_eq!(json(&object, &broken).map_err(|e| e.code()), Err(400), "{broken}");
        }
    }

    /// The table of RFC 7386, appendix A, as far as a patch is an object.
    #[test]
    fn merge_patches() {
        for (object, patch, result) in [
            (json!({"a": "b"}), json!({"a": "c"}), json!({"a": "c"})),
            (json!({"a": "b"}), json!({"b": "c"}), json!({"a": "b", "b": "c"})),
            (json!({"a": "b"}), json!({"a": null}), json!({})),
            (json!({"a": "b", "b": "c"}), json!({"a": null}), json!({"b": "c"})),
            (json!({"a": ["b"]}), json!({"a": "c"}), json!({"a": "c"})),
            (json!({"a": "c"}), json!({"a": ["b"]}), json!({"a": ["b"]})),
            (json!({"a": {"b": "c"}}), json!({"a": {"b": "d", "c": null}}), json!({"a": {"b": "d"}})),
            (json!({"a": [{"b": "c"}]}), json!({"a": [1]}), json!({"a": [1]})),
            (json!({"e": null}), json!({"a": 1}), json!({"e": null, "a": 1})),
            (json!([1, 2]), json!({"a": "b", "c": null}), json!({"a": "b"})),
            (json!({}), json!({"a": {"bb": {"ccc": null}}}), json!({"a": {"bb": {}}})),
        ] {
            assert_eq!(merge(&object, &patch), Ok(result), "{patch}");
        }
        assert_eq!(merge(&json!({}), &json!([])).map_err(|e| e.code()), Err(400));
    }

    #[test]
    fn a_merge_patch_leaves_the_order_of_fields() {
        let out = merge(&json!({"z": 1, "y": 2, "x": 3}), &json!({"z": null, "a": 1})).unwrap();
        assert_eq!(out.to_string(), r#"{"y":2,"x":3,"a":1}"#);
    }

    #[track_caller]
    fn check(kind: &str, object: Value, patch: Value, result: Value) {
        assert_eq!(strategic(&object, &patch, &BuiltinShapes::new(kind)), Ok(result), "{patch}");
    }

    #[test]
    fn strategic_patches_merge_maps_and_keyed_lists() {
        check(
            "ConfigMap",
            json!({"data": {"a": "1", "b": "2"}}),
            json!({"data": {"a": null, "c": "3"}}),
            json!({"data": {"b": "2", "c": "3"}}),
        );
        let containers = json!({"spec": {"containers": [{"name": "a", "image": "1"}, {"name": "b", "image": "2"}]}});
        check(
            "Pod",
            containers.clone(),
            json!({"spec": {"containers": [{"name": "b", "image": "3"}]}}),
            json!({"spec": {"containers": [{"name": "a", "image": "1"}, {"name": "b", "image": "3"}]}}),
        );
        check(
            "Pod",
            containers.clone(),
            json!({"spec": {"containers": [{"name": "c"}]}}),
            json!({"spec": {"containers": [{"name": "a", "image": "1"}, {"name": "b", "image": "2"}, {"name": "c"}]}}),
        );
        check(
            "Pod",
            containers.clone(),
            json!({"spec": {"containers": [{"name": "a", "$patch": "delete"}]}}),
            json!({"spec": {"containers": [{"name": "b", "image": "2"}]}}),
        );
        check(
            "Pod",
            containers.clone(),
            json!({"spec": {"containers": [{"$patch": "replace"}, {"name": "z"}]}}),
            json!({"spec": {"containers": [{"name": "z"}]}}),
        );
        check("Pod", containers.clone(), json!({"spec": {"containers": null}}), json!({"spec": {}}));
        check(
            "Role",
            json!({"rules": [{"verbs": ["get"]}]}),
            json!({"rules": [{"verbs": ["list"]}]}),
            json!({"rules": [{"verbs": ["list"]}]}),
        );
        check(
            "ServiceAccount",
            json!({"imagePullSecrets": [{"name": "a"}], "secrets": [{"name": "s"}]}),
            json!({"imagePullSecrets": [{"name": "b"}], "secrets": [{"name": "s", "$patch": "delete"}]}),
            json!({"imagePullSecrets": [{"name": "b"}], "secrets": []}),
        );
        check(
            "Service",
            json!({"spec": {"ports": [{"port": 80, "name": "a"}]}}),
            json!({"spec": {"ports": [{"port": 80, "targetPort": 8080}]}}),
            json!({"spec": {"ports": [{"port": 80, "name": "a", "targetPort": 8080}]}}),
        );
    }

    #[test]
    fn strategic_directives_on_maps() {
        let object = json!({"metadata": {"labels": {"a": "1"}}, "spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}});
        check(
            "Deployment",
            object.clone(),
            json!({"metadata": {"labels": {"$patch": "replace", "b": "2"}}}),
            json!({"metadata": {"labels": {"b": "2"}}, "spec": object["spec"]}),
        );
        check(
            "Deployment",
            object.clone(),
            json!({"metadata": {"labels": {"$patch": "delete"}}}),
            json!({"metadata": {}, "spec": object["spec"]}),
        );
        check(
            "Deployment",
            object.clone(),
            json!({"metadata": {"labels": {"$patch": "merge", "b": "2"}}}),
            json!({"metadata": {"labels": {"a": "1", "b": "2"}}, "spec": object["spec"]}),
        );
        check(
            "Deployment",
            object.clone(),
            json!({"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}}),
            json!({"metadata": object["metadata"], "spec": {"strategy": {"type": "Recreate"}}}),
        );
        check(
            "Deployment",
            json!({"metadata": {}}),
            json!({"metadata": {"labels": {"$patch": "replace", "b": "2", "c": null}}}),
            json!({"metadata": {"labels": {"b": "2"}}}),
        );
    }

    #[test]
    fn strategic_lists_of_scalars() {
        let object = json!({"metadata": {"finalizers": ["a", "b"]}});
        check(
            "Secret",
            object.clone(),
            json!({"metadata": {"finalizers": ["c", "a"]}}),
            json!({"metadata": {"finalizers": ["a", "b", "c"]}}),
        );
        check(
            "Secret",
            object.clone(),
            json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["a"]}}),
            json!({"metadata": {"finalizers": ["b"]}}),
        );
        check(
            "Secret",
            object,
            json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["b"], "$setElementOrder/finalizers": ["c", "a"], "finalizers": ["c"]}}),
            json!({"metadata": {"finalizers": ["c", "a"]}}),
        );
    }

    #[test]
    fn strategic_patches_may_order_elements() {
        let list = |names: &[&str]| json!({"spec": {"containers": names.iter().map(|n| json!({"name": n})).collect::<Vec<_>>()}});
        let order = |names: &[&str]| names.iter().map(|n| json!({"name": n})).collect::<Vec<_>>();
        check(
            "Pod",
            list(&["a", "b", "c"]),
            json!({"spec": {"$setElementOrder/containers": order(&["c", "a", "b"])}}),
            list(&["c", "a", "b"]),
        );
        check(
            "Pod",
            list(&["a", "server", "b"]),
            json!({"spec": {"$setElementOrder/containers": order(&["new", "a", "b"]), "containers": [{"name": "new"}]}}),
            list(&["server", "new", "a", "b"]),
        );
        check(
            "Pod",
            list(&["a", "b"]),
            json!({"spec": {"$setElementOrder/containers": order(&["b"]), "containers": [{"name": "a", "$patch": "delete"}]}}),
            list(&["b"]),
        );
    }

    #[test]
    fn strategic_patches_that_make_no_sense_are_refused() {
        let shapes = BuiltinShapes::new("Pod");
        for (object, patch, text) in [
            (
                json!({"spec": {"containers": [{"name": "a"}]}}),
                json!({"spec": {"containers": [{"image": "x"}]}}),
                "map: {\"image\":\"x\"} does not contain declared merge key: name",
            ),
            (json!({"spec": {"a": 1}}), json!({"spec": {"$patch": "explode"}}), "unknown patch type found: explode"),
            (
                json!({"spec": {"containers": [{"name": "a"}]}}),
                json!({"spec": {"containers": [{"name": "a", "$patch": "x"}]}}),
                "unknown patch type found: x",
            ),
            (
                json!({"spec": {"a": 1}}),
                json!({"spec": {"$retainKeys": ["a"], "b": 1}}),
                "$retainKeys doesn't contain b, which the patch sets",
            ),
        ] {
            assert_eq!(strategic(&object, &patch, &shapes), Err(PatchError::DoesNotApply(text.to_owned())));
        }
        assert_eq!(strategic(&json!({}), &json!([]), &shapes).map_err(|e| e.code()), Err(400));
    }
}
