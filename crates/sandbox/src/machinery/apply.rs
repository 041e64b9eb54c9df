//! Server-side apply and the tracking of who owns which field (`metadata.managedFields`).
//!
//! Flow of `apply`: merge the configuration into the live object, give up what the manager applied before and no longer
//! does unless another owns it, find conflicts with others' fields, write the owners down. `track` writes them down for
//! creates, updates and patches, which never conflict.
//!
//! Never checks resource versions or schemas.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::{Map, Value, json};

use super::field::{child, quote, same};
use super::fieldset::FieldSet;
use super::merge::{compare, merge, paths_of, remove, with_fields};
use super::shapes::Shapes;

/// Fields of every object that nobody owns.
const UNOWNED: &[&[&str]] = &[
    &["f:apiVersion"],
    &["f:kind"],
    &["f:metadata", "f:name"],
    &["f:metadata", "f:namespace"],
    &["f:metadata", "f:creationTimestamp"],
    &["f:metadata", "f:selfLink"],
    &["f:metadata", "f:uid"],
    &["f:metadata", "f:generation"],
    &["f:metadata", "f:managedFields"],
    &["f:metadata", "f:resourceVersion"],
    &["f:metadata", "f:deletionTimestamp"],
    &["f:metadata", "f:deletionGracePeriodSeconds"],
];

/// More managers by update than this are merged, the oldest first.
const MOST_UPDATERS: usize = 10;

/// One owner: who, how, through what.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Owner {
    manager: String,
    is_apply: bool,
    subresource: String,
    /// Empty for appliers: a manager's configuration is one, whichever version it is written in.
    api_version: String,
}

#[derive(Clone, Debug, PartialEq)]
struct Entry {
    set: FieldSet,
    api_version: String,
    time: String,
}

type Owners = BTreeMap<Owner, Entry>;

/// A field that another manager owns with another value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// The other manager, as in messages: `"kubectl-client-side-apply" using v1`.
    pub manager: String,
    /// The field, e.g. `.spec.replicas`.
    pub field: String,
}

impl Conflict {
    /// The entry for `Status.details.causes`.
    #[must_use]
    pub fn to_cause(&self) -> Value {
        json!({"reason": "FieldManagerConflict", "message": self.to_string(), "field": self.field})
    }
}

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "conflict with {}", self.manager)
    }
}

/// The message of a `Status` for conflicts: `Apply failed with 1 conflict: …`.
#[must_use]
pub fn conflict_message(conflicts: &[Conflict]) -> String {
    if let [one] = conflicts {
        return format!("Apply failed with 1 conflict: {one}: {}", one.field);
    }
    let mut by_manager: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for conflict in conflicts {
        by_manager.entry(&conflict.manager).or_default().push(&conflict.field);
    }
    let mut lines = Vec::new();
    for (manager, fields) in by_manager {
        lines.push(format!("conflicts with {manager}:"));
        lines.extend(fields.into_iter().map(|field| format!("- {field}")));
    }
    format!("Apply failed with {} conflicts: {}", conflicts.len(), lines.join("\n"))
}

/// Applies a configuration and returns the object that results; without `live`, a new one.
///
/// # Errors
/// The fields that other managers own with other values, unless `force`.
#[expect(clippy::too_many_arguments, reason = "these are the parameters of an apply request")]
pub fn apply(
    live: Option<&Value>,
    config: &Value,
    manager: &str,
    force: bool,
    subresource: Option<&str>,
    api_version: &str,
    shapes: &dyn Shapes,
    time: &str,
) -> Result<Value, Vec<Conflict>> {
    let unreachable = shapes.out_of_reach(subresource);
    let config = without(config, &unreachable);
    let nothing = skeleton(&config);
    let before = live.map_or_else(|| nothing.clone(), without_managers);
    let mut owners = live.map(owners_of).unwrap_or_default();
    if let (Some(live), true) = (live, owners.is_empty()) {
        own_before_first_apply(live, shapes, &mut owners);
    }
    let former = owners.clone();
    let me = Owner {
        manager: manager.to_owned(),
        is_apply: true,
        subresource: subresource.unwrap_or_default().to_owned(),
        api_version: String::new(),
    };

    let last = owners.remove(&me);
    let mine = owned(paths_of(&config, shapes), &unreachable);
    let entry = Entry {
        set: mine,
        api_version: api_version.to_owned(),
        time: last.as_ref().map_or(time, |l| &l.time).to_owned(),
    };
    owners.insert(me.clone(), entry);
    let merged = merge(&before, &config, shapes);
    let merged = match &last {
        Some(last) => give_up(&merged, &last.set, &owners, shapes),
        None => merged,
    };

    let changes = compare(&before, &merged, shapes);
    let touched = changes.modified.union(&changes.added);
    let mut conflicts = Vec::new();
    for (owner, entry) in owners.iter_mut().filter(|(owner, _)| **owner != me) {
        let taken = entry.set.intersection(&touched);
        conflicts.extend(taken.paths().into_iter().map(|field| Conflict { manager: describe(owner), field }));
        entry.set = entry.set.difference(&taken).difference(&changes.removed);
    }
    if !force && !conflicts.is_empty() {
        return Err(conflicts);
    }
    owners.retain(|_, entry| !entry.set.is_empty());
    let unchanged = live.is_some() && same(&before, &merged) && sets(&owners) == sets(&former);
    if !unchanged && let Some(entry) = owners.get_mut(&me) {
        time.clone_into(&mut entry.time);
    }
    let mut result = if unchanged { before } else { merged };
    write_owners(&mut result, &owners);
    Ok(result)
}

/// Writes down who owns what after a create (`live` is `None`), an update or a patch. Where nothing changed, no time does.
pub fn track(
    live: Option<&Value>,
    new: &mut Value,
    manager: &str,
    subresource: Option<&str>,
    api_version: &str,
    shapes: &dyn Shapes,
    time: &str,
) {
    let given = new.pointer("/metadata/managedFields").and_then(Value::as_array).cloned();
    if given.as_ref().is_some_and(|g| g.len() == 1 && g.iter().all(|e| e == &json!({}))) {
        // The documented way to give up all tracking.
        *new = without_managers(new);
        return;
    }
    let mut owners = owners_of(new);
    if owners.is_empty() {
        owners = live.map(owners_of).unwrap_or_default();
    }
    let after = without_managers(new);
    if live.is_some() && owners.is_empty() {
        *new = after;
        return;
    }
    let before = live.map_or_else(|| skeleton(new), without_managers);
    let changes = compare(&before, &after, shapes);
    let unreachable = shapes.out_of_reach(subresource);
    let mine = owned(changes.modified.union(&changes.added), &unreachable);
    for entry in owners.values_mut() {
        entry.set = entry.set.difference(&mine).difference(&changes.removed);
    }
    if !mine.is_empty() {
        let me = Owner {
            manager: manager.to_owned(),
            is_apply: false,
            subresource: subresource.unwrap_or_default().to_owned(),
            api_version: api_version.to_owned(),
        };
        let set = owners.get(&me).map_or_else(|| mine.clone(), |previous| previous.set.union(&mine));
        owners.insert(me, Entry { set, api_version: api_version.to_owned(), time: time.to_owned() });
    }
    owners.retain(|_, entry| !entry.set.is_empty());
    merge_oldest_updaters(&mut owners);
    *new = after;
    write_owners(new, &owners);
}

/// The object without its `managedFields`.
#[must_use]
pub fn without_managers(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(Value::Object(meta)) = object.get_mut("metadata") {
        meta.shift_remove("managedFields");
    }
    object
}

/// What is there before anything is.
fn skeleton(object: &Value) -> Value {
    let mut out = json!({"metadata": {}});
    for name in ["apiVersion", "kind"] {
        if let Some(value) = object.get(name) {
            out[name] = value.clone();
        }
    }
    out
}

fn without(config: &Value, names: &[&str]) -> Value {
    let mut config = without_managers(config);
    if let Value::Object(map) = &mut config {
        for name in names {
            map.shift_remove(*name);
        }
    }
    config
}

/// A set without what nobody owns and what this request can't reach.
fn owned(mut set: FieldSet, unreachable: &[&str]) -> FieldSet {
    for path in UNOWNED {
        set.remove_below(path);
    }
    for name in unreachable {
        set.remove_below(&[&format!("f:{name}")]);
    }
    if let Some(meta) = set.children.get_mut("f:metadata") {
        meta.member = false;
        if meta.is_empty() {
            set.children.remove("f:metadata");
        }
    }
    set.member = false;
    set
}

/// What was there before the first apply belongs to someone, so that it conflicts.
fn own_before_first_apply(live: &Value, shapes: &dyn Shapes, owners: &mut Owners) {
    let api_version = live.get("apiVersion").and_then(Value::as_str).unwrap_or_default().to_owned();
    let set = owned(paths_of(&without_managers(live), shapes), &[]);
    let time = live.pointer("/metadata/creationTimestamp").and_then(Value::as_str).unwrap_or_default().to_owned();
    let owner = Owner {
        manager: "before-first-apply".to_owned(),
        is_apply: false,
        subresource: String::new(),
        api_version: api_version.clone(),
    };
    if !set.is_empty() {
        owners.insert(owner, Entry { set, api_version, time });
    }
}

/// Removes what was applied last time, is not now, and nobody else owns.
fn give_up(merged: &Value, last: &FieldSet, owners: &Owners, shapes: &dyn Shapes) -> Value {
    let mut managed = FieldSet::default();
    for entry in owners.values() {
        managed = managed.union(&entry.set);
    }
    let managed = with_fields(&managed, shapes);
    let last = with_fields(last, shapes);
    let there = with_fields(&paths_of(merged, shapes), shapes);
    let gone = there.difference(&managed).intersection(&last);
    remove(merged, &gone, shapes)
}

/// What of the owners decides whether anything changed; times do not.
fn sets(owners: &Owners) -> Vec<(&Owner, &FieldSet, &str)> {
    owners.iter().map(|(owner, entry)| (owner, &entry.set, entry.api_version.as_str())).collect()
}

fn describe(owner: &Owner) -> String {
    let mut text = quote(&owner.manager);
    if !owner.subresource.is_empty() {
        text = format!("{text} with subresource {}", quote(&owner.subresource));
    }
    if !owner.is_apply {
        text = format!("{text} using {}", owner.api_version);
    }
    text
}

fn owners_of(object: &Value) -> Owners {
    let mut owners = Owners::new();
    let entries = object.pointer("/metadata/managedFields").and_then(Value::as_array);
    for entry in entries.into_iter().flatten() {
        let text = |name: &str| entry.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let is_apply = text("operation") == "Apply";
        let owner = Owner {
            manager: text("manager"),
            is_apply,
            subresource: text("subresource"),
            api_version: if is_apply { String::new() } else { text("apiVersion") },
        };
        let set = entry.get("fieldsV1").map(FieldSet::from_json).unwrap_or_default();
        if !set.is_empty() {
            owners.insert(owner, Entry { set, api_version: text("apiVersion"), time: text("time") });
        }
    }
    owners
}

fn write_owners(object: &mut Value, owners: &Owners) {
    let mut entries: Vec<(&Owner, &Entry)> = owners.iter().collect();
    entries.sort_by_key(|(owner, entry)| {
        (
            !owner.is_apply,
            entry.time.clone(),
            owner.manager.clone(),
            entry.api_version.clone(),
            owner.subresource.clone(),
        )
    });
    let entries: Vec<Value> = entries
        .into_iter()
        .map(|(owner, entry)| {
            let mut out = Map::new();
            out.insert("apiVersion".to_owned(), json!(entry.api_version));
            out.insert("fieldsType".to_owned(), json!("FieldsV1"));
            out.insert("fieldsV1".to_owned(), entry.set.to_json());
            out.insert("manager".to_owned(), json!(owner.manager));
            out.insert("operation".to_owned(), json!(if owner.is_apply { "Apply" } else { "Update" }));
            if !owner.subresource.is_empty() {
                out.insert("subresource".to_owned(), json!(owner.subresource));
            }
            if !entry.time.is_empty() {
                out.insert("time".to_owned(), json!(entry.time));
            }
            Value::Object(out)
        })
        .collect();
    let Some(map) = object.as_object_mut() else { return };
    let meta = map.entry("metadata").or_insert_with(|| json!({}));
    if let Value::Object(meta) = meta
        && !entries.is_empty()
    {
        meta.insert("managedFields".to_owned(), Value::Array(entries));
    }
}

/// Keeps the list from growing without end: the oldest updaters become one.
fn merge_oldest_updaters(owners: &mut Owners) {
    let mut updaters: Vec<(String, Owner)> =
        owners.iter().filter(|(o, _)| !o.is_apply).map(|(o, e)| (e.time.clone(), o.clone())).collect();
    if updaters.len() <= MOST_UPDATERS {
        return;
    }
    updaters.sort();
    let mut excess = updaters.len() - MOST_UPDATERS;
    for (time, owner) in updaters {
        let bucket = Owner { manager: "ancient-changes".to_owned(), ..owner.clone() };
        if owner == bucket {
            continue;
        }
        let Some(entry) = owners.remove(&owner) else { continue };
        let is_new = !owners.contains_key(&bucket);
        let merged = owners.entry(bucket).or_insert_with(|| Entry { set: FieldSet::default(), ..entry.clone() });
        merged.set = merged.set.union(&entry.set);
        merged.time = merged.time.clone().max(time);
        // The first of a bucket makes room for itself only.
        if is_new {
            continue;
        }
        excess -= 1;
        if excess == 0 {
            return;
        }
    }
}

/// The managers of an object and the paths that each owns, for whoever wants to look.
#[must_use]
pub fn ownership(object: &Value) -> BTreeMap<String, Vec<String>> {
    let mut out: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (owner, entry) in owners_of(object) {
        out.entry(child(&owner.manager, &owner.subresource).trim_end_matches('.').to_owned())
            .or_default()
            .extend(entry.set.paths());
    }
    out
}

#[cfg(test)]
mod tests;
