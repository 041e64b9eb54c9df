//! Sets of field paths, as `managedFields` holds them (`fieldsV1`), and their algebra.
//!
//! Never knows objects or schemas; `apply` builds sets from objects.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::field::{quote, sorted_json};

/// A set of paths, as a tree. An element of a path is written as in `fieldsV1`: `f:name`, `k:{"name":"x"}`, `v:"x"`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldSet {
    /// The path that ends here is in the set.
    pub member: bool,
    /// What lies below.
    pub children: BTreeMap<String, FieldSet>,
}

/// A field of an object or an entry of a map.
#[must_use]
pub fn field(name: &str) -> String {
    format!("f:{name}")
}

/// An element of a map list.
#[must_use]
pub fn keyed(keys: &Map<String, Value>) -> String {
    format!("k:{}", sorted_json(&Value::Object(keys.clone())))
}

/// An element of a set.
#[must_use]
pub fn valued(value: &Value) -> String {
    format!("v:{}", sorted_json(value))
}

impl FieldSet {
    /// Reads `fieldsV1`.
    #[must_use]
    pub fn from_json(value: &Value) -> Self {
        let mut set = Self::default();
        for (element, below) in value.as_object().into_iter().flatten() {
            if element == "." {
                set.member = true;
                continue;
            }
            let mut child = Self::from_json(below);
            // A leaf is a member; a path with paths below it is one only if it says so.
            child.member = child.member || child.children.is_empty();
            set.children.insert(element.clone(), child);
        }
        set
    }

    /// Writes `fieldsV1`.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let mut map = Map::new();
        if self.member && !self.children.is_empty() {
            map.insert(".".to_owned(), Value::Object(Map::new()));
        }
        for (element, child) in &self.children {
            map.insert(element.clone(), child.to_json());
        }
        Value::Object(map)
    }

    /// Whether no path is in the set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        !self.member && self.children.values().all(Self::is_empty)
    }

    /// Adds a path.
    pub fn insert(&mut self, path: &[String]) {
        match path {
            [] => self.member = true,
            [first, rest @ ..] => self.children.entry(first.clone()).or_default().insert(rest),
        }
    }

    /// Takes out whatever begins with this path.
    pub fn remove_below(&mut self, path: &[&str]) {
        match path {
            [] => {}
            [last] => {
                self.children.remove(*last);
            }
            [first, rest @ ..] => {
                if let Some(child) = self.children.get_mut(*first) {
                    child.remove_below(rest);
                    if child.is_empty() {
                        self.children.remove(*first);
                    }
                }
            }
        }
    }

    /// Paths in either.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        let mut out = self.clone();
        out.member |= other.member;
        for (element, child) in &other.children {
            let merged = out.children.get(element).map_or_else(|| child.clone(), |mine| mine.union(child));
            out.children.insert(element.clone(), merged);
        }
        out
    }

    /// Paths here and not there.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Self {
        let children = self.children.iter().filter_map(|(element, child)| {
            let left = other.children.get(element).map_or_else(|| child.clone(), |theirs| child.difference(theirs));
            (!left.is_empty()).then(|| (element.clone(), left))
        });
        Self { member: self.member && !other.member, children: children.collect() }
    }

    /// Paths in both.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        let children = self.children.iter().filter_map(|(element, child)| {
            let both = child.intersection(other.children.get(element)?);
            (!both.is_empty()).then(|| (element.clone(), both))
        });
        Self { member: self.member && other.member, children: children.collect() }
    }

    /// Every path, written as in a conflict: `.spec.containers[name="x"].image`.
    #[must_use]
    pub fn paths(&self) -> Vec<String> {
        let mut out = Vec::new();
        self.collect_paths("", &mut out);
        out
    }

    fn collect_paths(&self, prefix: &str, out: &mut Vec<String>) {
        if self.member && !prefix.is_empty() {
            out.push(prefix.to_owned());
        }
        for (element, child) in &self.children {
            child.collect_paths(&format!("{prefix}{}", written(element)), out);
        }
    }
}

fn written(element: &str) -> String {
    match element.split_once(':') {
        Some(("f", name)) => format!(".{name}"),
        Some(("k", keys)) => {
            let keys: Value = serde_json::from_str(keys).unwrap_or_default();
            let mut pairs: Vec<(&String, &Value)> = keys.as_object().into_iter().flatten().collect();
            pairs.sort_by_key(|(name, _)| *name);
            let pairs: Vec<String> =
                pairs.iter().map(|(name, value)| format!("{name}={}", sorted_json(value))).collect();
            format!("[{}]", pairs.join(","))
        }
        Some(("v", value)) => format!("[={value}]"),
        Some(("i", at)) => format!("[{at}]"),
        _ => format!("[{}]", quote(element)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn set(value: Value) -> FieldSet {
        FieldSet::from_json(&value)
    }

    #[test]
    fn sets_are_written_as_they_are_read() {
        for text in [
            json!({}),
            json!({"f:a": {}}),
            json!({"f:a": {"f:b": {}}}),
            json!({"f:a": {".": {}, "f:b": {}}}),
            json!({"f:l": {"k:{\"name\":\"x\"}": {".": {}, "f:image": {}}, "v:\"y\"": {}}}),
        ] {
            assert_eq!(set(text.clone()).to_json(), text);
        }
    }

    #[test]
    fn the_algebra_is_that_of_sets() {
        let a = json!({"f:a": {".": {}, "f:b": {}, "f:c": {}}});
        let b = json!({"f:a": {"f:b": {}}, "f:d": {}});
        for (left, right, union, difference, intersection) in [
            (
                a.clone(),
                b.clone(),
                json!({"f:a": {".": {}, "f:b": {}, "f:c": {}}, "f:d": {}}),
                json!({"f:a": {".": {}, "f:c": {}}}),
                json!({"f:a": {"f:b": {}}}),
            ),
            (
                b.clone(),
                a.clone(),
                json!({"f:a": {".": {}, "f:b": {}, "f:c": {}}, "f:d": {}}),
                json!({"f:d": {}}),
                json!({"f:a": {"f:b": {}}}),
            ),
            (a.clone(), json!({}), a.clone(), a.clone(), json!({})),
            (a.clone(), a.clone(), a.clone(), json!({}), a.clone()),
            (
                json!({"f:a": {}}),
                json!({"f:a": {"f:b": {}}}),
                json!({"f:a": {".": {}, "f:b": {}}}),
                json!({"f:a": {}}),
                json!({}),
            ),
        ] {
            let (l, r) = (set(left), set(right));
            assert_eq!(l.union(&r).to_json(), union);
            assert_eq!(l.difference(&r).to_json(), difference);
            assert_eq!(l.intersection(&r).to_json(), intersection);
        }
        assert!(set(json!({})).is_empty());
        assert!(!set(json!({"f:a": {}})).is_empty());
    }

    #[test]
    fn paths_read_as_in_conflicts() {
        let paths = set(json!({
            "f:data": {"f:x": {}},
            "f:metadata": {"f:finalizers": {"v:\"a/b\"": {}}, "f:labels": {".": {}, "f:app.kubernetes.io/name": {}}},
            "f:spec": {"f:ports": {"k:{\"containerPort\":80,\"protocol\":\"TCP\"}": {".": {}, "f:name": {}}}},
        }))
        .paths();
        assert_eq!(
            paths,
            [
                ".data.x",
                ".metadata.finalizers[=\"a/b\"]",
                ".metadata.labels",
                ".metadata.labels.app.kubernetes.io/name",
                ".spec.ports[containerPort=80,protocol=\"TCP\"]",
                ".spec.ports[containerPort=80,protocol=\"TCP\"].name",
            ]
        );
    }

    #[test]
    fn branches_can_be_taken_out() {
        let mut s = set(json!({"f:a": {"f:b": {"f:c": {}}, "f:d": {}}, "f:e": {}}));
        s.remove_below(&["f:a", "f:b"]);
        assert_eq!(s.to_json(), json!({"f:a": {"f:d": {}}, "f:e": {}}));
        s.remove_below(&["f:a", "f:d"]);
        assert_eq!(s.to_json(), json!({"f:e": {}}));
        s.remove_below(&["f:nothing", "f:here"]);
        assert_eq!(s.to_json(), json!({"f:e": {}}));
    }
}
