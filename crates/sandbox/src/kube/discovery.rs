//! What the server says that it serves: the older lists, the aggregated document, OpenAPI.
//!
//! Never names a resource that can't be used.

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::kinds::{Kind, Kinds, group_version};

/// `/version`.
#[must_use]
pub fn version() -> Value {
    json!({
        "major": "1", "minor": "37", "emulationMajor": "1", "emulationMinor": "37", "minCompatibilityMajor": "1",
        "minCompatibilityMinor": "36", "gitVersion": "v1.37.2+sandbox", "gitCommit": "", "gitTreeState": "",
        "buildDate": "1970-01-01T00:00:00Z", "goVersion": "", "compiler": "rustc", "platform": "linux/amd64",
    })
}

/// `/api`.
#[must_use]
pub fn core_versions(address: &str) -> Value {
    json!({
        "kind": "APIVersions", "versions": ["v1"],
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": address}],
    })
}

/// `/apis`.
#[must_use]
pub fn groups(kinds: &Kinds) -> Value {
    let groups: Vec<Value> = kinds.groups().iter().map(|name| group_entry(kinds, name)).collect();
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
}

/// `/apis/<group>`; `None` if there is no such group.
#[must_use]
pub fn group(kinds: &Kinds, name: &str) -> Option<Value> {
    if name.is_empty() || kinds.versions(name).is_empty() {
        return None;
    }
    let mut group = json!({"kind": "APIGroup", "apiVersion": "v1"});
    let entry = group_entry(kinds, name);
    for (key, value) in entry.as_object().into_iter().flatten() {
        group[key] = value.clone();
    }
    Some(group)
}

fn group_entry(kinds: &Kinds, name: &str) -> Value {
    let versions: Vec<Value> = kinds
        .versions(name)
        .iter()
        .map(|version| json!({"groupVersion": group_version(name, version), "version": version}))
        .collect();
    let preferred = versions.first().cloned().unwrap_or_default();
    json!({"name": name, "versions": versions, "preferredVersion": preferred})
}

/// `/api/v1`, `/apis/<group>/<version>`; `None` if there is no such version.
#[must_use]
pub fn resources(kinds: &Kinds, group: &str, version: &str) -> Option<Value> {
    let mut list = Vec::new();
    for kind in of_version(kinds, group, version) {
        list.push(resource(kind));
        for name in &kind.subresources {
            list.push(subresource(kind, name));
        }
    }
    if list.is_empty() {
        return None;
    }
    let mut found = json!({"kind": "APIResourceList"});
    if !group.is_empty() {
        found["apiVersion"] = json!("v1");
    }
    found["groupVersion"] = json!(group_version(group, version));
    found["resources"] = json!(list);
    Some(found)
}

fn of_version<'a>(kinds: &'a Kinds, group: &'a str, version: &'a str) -> impl Iterator<Item = &'a Kind> {
    let all = kinds.iter().map(std::convert::AsRef::as_ref);
    all.filter(move |k| k.group == group && k.version == version)
}

fn resource(kind: &Kind) -> Value {
    let mut entry = json!({
        "name": kind.plural, "singularName": kind.singular, "namespaced": kind.namespaced, "kind": kind.kind,
        "verbs": kind.verbs,
    });
    if !kind.short_names.is_empty() {
        entry["shortNames"] = json!(kind.short_names);
    }
    if !kind.categories.is_empty() {
        entry["categories"] = json!(kind.categories);
    }
    if !kind.store.is_empty() {
        entry["storageVersionHash"] = json!(hash(kind));
    }
    entry
}

fn hash(kind: &Kind) -> String {
    use base64::Engine as _;
    let digest = Sha256::digest(format!("{}/{}/{}", kind.group, kind.version, kind.kind));
    let first: Vec<u8> = digest.iter().take(8).copied().collect();
    base64::engine::general_purpose::STANDARD.encode(first)
}

fn subresource_verbs(name: &str) -> &'static [&'static str] {
    match name {
        "finalize" => &["update"],
        "token" => &["create"],
        _ => &["get", "patch", "update"],
    }
}

fn subresource(kind: &Kind, name: &str) -> Value {
    let mut entry = json!({
        "name": format!("{}/{name}", kind.plural), "singularName": "", "namespaced": kind.namespaced, "kind": kind.kind,
    });
    if name == "token" {
        entry["group"] = json!("authentication.k8s.io");
        entry["version"] = json!("v1");
        entry["kind"] = json!("TokenRequest");
    }
    entry["verbs"] = json!(subresource_verbs(name));
    entry
}

/// The aggregated document of `/api` (`core`) or `/apis`.
#[must_use]
pub fn aggregated(kinds: &Kinds, core: bool) -> Value {
    let groups = if core { vec![String::new()] } else { kinds.groups() };
    let items: Vec<Value> = groups
        .iter()
        .map(|group| {
            let versions: Vec<Value> =
                kinds.versions(group).iter().map(|v| aggregated_version(kinds, group, v)).collect();
            let metadata = if group.is_empty() { json!({}) } else { json!({"name": group}) };
            json!({"metadata": metadata, "versions": versions})
        })
        .collect();
    json!({"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items})
}

fn aggregated_version(kinds: &Kinds, group: &str, version: &str) -> Value {
    let resources: Vec<Value> = of_version(kinds, group, version).map(aggregated_resource).collect();
    json!({"version": version, "resources": resources, "freshness": "Current"})
}

fn aggregated_resource(kind: &Kind) -> Value {
    let scope = if kind.namespaced { "Namespaced" } else { "Cluster" };
    let response = json!({"group": kind.group, "version": kind.version, "kind": kind.kind});
    let mut entry = json!({
        "resource": kind.plural, "responseKind": response, "scope": scope, "singularResource": kind.singular,
        "verbs": kind.verbs,
    });
    if !kind.short_names.is_empty() {
        entry["shortNames"] = json!(kind.short_names);
    }
    if !kind.categories.is_empty() {
        entry["categories"] = json!(kind.categories);
    }
    let subresources: Vec<Value> = kind
        .subresources
        .iter()
        .map(|name| {
            let response = match name.as_str() {
                "token" => json!({"group": "authentication.k8s.io", "version": "v1", "kind": "TokenRequest"}),
                _ => response.clone(),
            };
            json!({"subresource": name, "responseKind": response, "verbs": subresource_verbs(name)})
        })
        .collect();
    if !subresources.is_empty() {
        entry["subresources"] = json!(subresources);
    }
    entry
}
