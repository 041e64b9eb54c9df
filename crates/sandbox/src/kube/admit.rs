//! Whether an object may be stored: metadata as for every object, then what its kind asks for.
//!
//! Never changes anything, never looks at other objects; conditions on the store (namespaces, versions) are `write`'s.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::definition;
use super::kinds::Kind;
use super::names;
use super::object::{finalizers, is_deleting, meta, owners};
use crate::machinery::cel::check_object_among;
use crate::machinery::field::{FieldError, FieldErrorKind, child, index, key, same};

/// A Secret's or ConfigMap's data may not be larger.
const DATA_LIMIT: usize = 1024 * 1024;
const IMMUTABLE: &str = "field is immutable";
const WHEN_IMMUTABLE: &str = "field is immutable when `immutable` is set";
const RBAC: &str = "rbac.authorization.k8s.io";

/// What is wrong with a new object.
#[must_use]
pub fn create(kind: &Kind, object: &Value) -> Vec<FieldError> {
    let mut errors = metadata(kind, object);
    errors.extend(specific(kind, object, None, &errors));
    errors
}

/// What is wrong with the new state of an object.
#[must_use]
pub fn update(kind: &Kind, new: &Value, old: &Value) -> Vec<FieldError> {
    let mut errors = metadata_update(new, old);
    errors.extend(common_metadata(new));
    errors.extend(specific(kind, new, Some(old), &errors));
    errors
}

/// By which rule a kind's names are made.
fn name_rule(kind: &Kind) -> fn(&str) -> Vec<String> {
    match kind.kind.as_str() {
        "Namespace" if kind.custom.is_none() => names::label,
        _ if kind.group == RBAC => names::path_segment,
        _ => names::subdomain,
    }
}

fn metadata(kind: &Kind, object: &Value) -> Vec<FieldError> {
    let rule = name_rule(kind);
    let invalid = |name: &str, value: &str, texts: Vec<String>| -> Vec<FieldError> {
        let path = child("metadata", name);
        texts.into_iter().map(|t| FieldError::invalid(path.as_str(), value, t)).collect()
    };
    let (name, prefix) = (meta(object, "name"), meta(object, "generateName"));
    let mut errors = Vec::new();
    if !prefix.is_empty() {
        // What comes after the prefix is good, so a hyphen at its end is too.
        errors.extend(invalid("generateName", prefix, rule(&format!("{prefix}a"))));
    }
    if name.is_empty() {
        errors.push(FieldError::required("metadata.name", "name or generateName is required"));
    } else {
        errors.extend(invalid("name", name, rule(name)));
    }
    let namespace = meta(object, "namespace");
    if kind.namespaced {
        errors.extend(invalid("namespace", namespace, names::label(namespace)));
    } else if !namespace.is_empty() {
        errors.push(FieldError::forbidden("metadata.namespace", "not allowed on this type"));
    }
    errors.extend(common_metadata(object));
    errors
}

fn common_metadata(object: &Value) -> Vec<FieldError> {
    let meta = &object["metadata"];
    let mut errors = names::labels(&meta["labels"], "metadata.labels");
    errors.extend(names::annotations(&meta["annotations"], "metadata.annotations"));
    errors.extend(names::owner_references(owners(object), "metadata.ownerReferences"));
    errors.extend(names::finalizers(&finalizers(object), "metadata.finalizers"));
    errors
}

fn metadata_update(new: &Value, old: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if is_deleting(old) {
        let before = finalizers(old);
        let mut added: Vec<String> =
            finalizers(new).into_iter().filter(|f| !before.contains(f)).map(|f| format!("{f:?}")).collect();
        if !added.is_empty() {
            added.sort();
            let added = added.join(", ");
            let text = format!(
                "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{added}}}"
            );
            errors.push(FieldError::forbidden("metadata.finalizers", text));
        }
    }
    for name in ["name", "namespace", "uid", "deletionTimestamp", "deletionGracePeriodSeconds"] {
        let (new, old) = (&new["metadata"][name], &old["metadata"][name]);
        if !same(new, old) {
            errors.push(FieldError::invalid(child("metadata", name), new.clone(), IMMUTABLE));
        }
    }
    errors
}

/// `others`: what is wrong with the metadata.
fn specific(kind: &Kind, new: &Value, old: Option<&Value>, others: &[FieldError]) -> Vec<FieldError> {
    if let Some(custom) = &kind.custom {
        let errors = check_object_among(others, &custom.schema, &custom.rules, new, old);
        return custom_resource(kind, new, errors);
    }
    let mut errors = required(kind, new, old);
    errors.extend(match kind.kind.as_str() {
        "Secret" => secret(new, old),
        "ConfigMap" => config_map(new, old),
        "Lease" => lease(new),
        "Event" => event(kind, new, old),
        "ClusterRole" => rules(new, false),
        "Role" => rules(new, true),
        "ClusterRoleBinding" => binding(new, old, false),
        "RoleBinding" => binding(new, old, true),
        "CustomResourceDefinition" => definition::check(new, old),
        "Deployment" | "StatefulSet" | "DaemonSet" => workload(new, old),
        _ => Vec::new(),
    });
    errors
}

fn custom_resource(kind: &Kind, object: &Value, mut errors: Vec<FieldError>) -> Vec<FieldError> {
    let found = object["kind"].as_str().unwrap_or_default();
    if found != kind.kind {
        let text = format!("must be {}", kind.kind);
        errors.insert(0, FieldError::invalid("kind", found, text));
    }
    errors
}

/// Fields of a built-in kind that its schema requires, below `spec`; others have words of their own.
fn required(kind: &Kind, new: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let Some(fields) = &kind.fields else { return Vec::new() };
    if matches!(kind.kind.as_str(), "CustomResourceDefinition" | "Event") || kind.group == RBAC {
        return Vec::new();
    }
    let mut errors = fields.validate(new, old);
    errors.retain(|e| e.kind == FieldErrorKind::Required && e.path.starts_with("spec."));
    errors
}

fn decoded<'a>(data: &'a Value, name: &str) -> Option<Vec<u8>> {
    let text: &'a str = data[name].as_str()?;
    STANDARD.decode(text).ok()
}

fn data_keys(data: &Value, path: &str, decode: bool) -> (Vec<FieldError>, usize) {
    let (mut errors, mut size) = (Vec::new(), 0);
    for (name, value) in data.as_object().into_iter().flatten() {
        let texts = names::config_key(name);
        let at = key(path, name);
        errors.extend(texts.into_iter().map(|t| FieldError::invalid(at.as_str(), name.as_str(), t)));
        let text = value.as_str().unwrap_or_default();
        size += if decode { text.len() / 4 * 3 } else { text.len() };
    }
    (errors, size)
}

fn frozen(new: &Value, old: Option<&Value>, names: &[&str]) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let Some(old) = old.filter(|o| o["immutable"] == true) else { return errors };
    if new["immutable"] != true {
        errors.push(FieldError::forbidden("immutable", WHEN_IMMUTABLE));
    }
    for name in names {
        if !same(&new[*name], &old[*name]) {
            errors.push(FieldError::forbidden(*name, WHEN_IMMUTABLE));
        }
    }
    errors
}

fn secret(new: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if let Some(old) = old
        && !same(&new["type"], &old["type"])
    {
        errors.push(FieldError::invalid("type", new["type"].clone(), IMMUTABLE));
    }
    errors.extend(frozen(new, old, &["data"]));
    let data = &new["data"];
    let (keys, size) = data_keys(data, "data", true);
    errors.extend(keys);
    if size > DATA_LIMIT {
        errors.push(FieldError::too_long("data", DATA_LIMIT as u64));
    }
    let missing = |name: &str| FieldError::required(key("data", name), "");
    match new["type"].as_str().unwrap_or_default() {
        "kubernetes.io/dockerconfigjson" => errors.extend(json_key(data, ".dockerconfigjson")),
        "kubernetes.io/dockercfg" => errors.extend(json_key(data, ".dockercfg")),
        "kubernetes.io/basic-auth" if data["username"].is_null() && data["password"].is_null() => {
            errors.extend([missing("username"), missing("password")]);
        }
        "kubernetes.io/ssh-auth" if decoded(data, "ssh-privatekey").is_none_or(|k| k.is_empty()) => {
            errors.push(missing("ssh-privatekey"));
        }
        "kubernetes.io/tls" => {
            let absent = ["tls.crt", "tls.key"].into_iter().filter(|k| data[*k].is_null());
            errors.extend(absent.map(missing));
        }
        "kubernetes.io/service-account-token" => {
            let name = "kubernetes.io/service-account.name";
            if new["metadata"]["annotations"][name].as_str().is_none_or(str::is_empty) {
                errors.push(FieldError::required(key("metadata.annotations", name), ""));
            }
        }
        _ => {}
    }
    errors
}

/// A key that must hold a JSON object.
fn json_key(data: &Value, name: &str) -> Option<FieldError> {
    let at = key("data", name);
    let Some(bytes) = decoded(data, name) else {
        return Some(FieldError::required(at, ""));
    };
    let error = serde_json::from_slice::<Map<String, Value>>(&bytes).err()?;
    Some(FieldError::invalid(at, "<secret contents redacted>", error.to_string()))
}

fn config_map(new: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = frozen(new, old, &["data", "binaryData"]);
    let (keys, size) = data_keys(&new["data"], "data", false);
    let (binary_keys, binary_size) = data_keys(&new["binaryData"], "binaryData", true);
    errors.extend(keys);
    errors.extend(binary_keys);
    for name in new["data"].as_object().into_iter().flatten().map(|(name, _)| name) {
        if !new["binaryData"][name].is_null() {
            let text = "duplicate of key present in binaryData";
            errors.push(FieldError::invalid(key("data", name), name.as_str(), text));
        }
    }
    if size + binary_size > DATA_LIMIT {
        errors.push(FieldError::too_long("[]", DATA_LIMIT as u64));
    }
    errors
}

fn lease(new: &Value) -> Vec<FieldError> {
    let spec = &new["spec"];
    let mut errors = Vec::new();
    if spec["leaseDurationSeconds"].as_i64().is_some_and(|n| n <= 0) {
        let value = spec["leaseDurationSeconds"].clone();
        errors.push(FieldError::invalid("spec.leaseDurationSeconds", value, "must be greater than 0"));
    }
    if spec["leaseTransitions"].as_i64().is_some_and(|n| n < 0) {
        let value = spec["leaseTransitions"].clone();
        errors.push(FieldError::invalid("spec.leaseTransitions", value, "must be greater than or equal to 0"));
    }
    errors
}

/// Events are stored, and checked, in the shape of the core group.
fn event(kind: &Kind, new: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let text = |name: &str| new[name].as_str().unwrap_or_default();
    let about = new["involvedObject"]["namespace"].as_str().unwrap_or_default();
    let namespace = meta(new, "namespace");
    let mut errors = Vec::new();
    let elsewhere = || FieldError::invalid("involvedObject.namespace", about, "does not match event.namespace");
    if new["eventTime"].is_null() {
        let wrong = if about.is_empty() { namespace != "default" } else { about != namespace };
        errors.extend(wrong.then(elsewhere));
    } else {
        let wrong = about.is_empty() && namespace != "default" && namespace != "kube-system";
        errors.extend(wrong.then(elsewhere));
        let controller = if kind.group.is_empty() { "reportingComponent" } else { "reportingController" };
        for (name, path, most) in [
            ("reportingComponent", controller, usize::MAX),
            ("reportingInstance", "reportingInstance", 128),
            ("action", "action", 128),
            ("reason", "reason", 128),
        ] {
            if text(name).is_empty() {
                errors.push(FieldError::required(path, ""));
            } else if text(name).len() > most {
                errors.push(FieldError::invalid(path, "", format!("can have at most {most} characters")));
            }
        }
        let problems = names::qualified_name(text("reportingComponent"));
        let value = text("reportingComponent");
        errors.extend(problems.into_iter().map(|m| FieldError::invalid(controller, value, m)));
        if text("message").len() > 1024 {
            errors.push(FieldError::invalid("message", "", "can have at most 1024 characters"));
        }
    }
    if !kind.group.is_empty() {
        errors.extend(new_event(new, old));
    }
    errors
}

/// What `events.k8s.io/v1` asks for beyond that.
fn new_event(new: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let series = &new["series"];
    if series.is_object() && old.is_none_or(|old| !same(series, &old["series"])) {
        if series["count"].as_i64().unwrap_or_default() < 2 {
            errors.push(FieldError::invalid("series.count", "", "should be at least 2"));
        }
        if series["lastObservedTime"].is_null() {
            errors.push(FieldError::required("series.lastObservedTime", ""));
        }
    }
    let Some(old) = old else {
        if new["eventTime"].is_null() {
            errors.push(FieldError::required("eventTime", ""));
        }
        let kind = new["type"].as_str().unwrap_or_default();
        if kind != "Normal" && kind != "Warning" {
            errors.push(FieldError::invalid("type", "", format!("has invalid value: {kind}")));
        }
        for name in ["firstTimestamp", "lastTimestamp", "count", "source"] {
            let value = &new[name];
            let unset = value.is_null() || value == &json!(0) || value == &json!({});
            if !unset {
                errors.push(FieldError::invalid(name, "", "needs to be unset"));
            }
        }
        return errors;
    };
    for name in [
        "involvedObject",
        "reason",
        "message",
        "source",
        "firstTimestamp",
        "lastTimestamp",
        "count",
        "type",
        "eventTime",
        "action",
        "related",
        "reportingComponent",
        "reportingInstance",
    ] {
        if !same(&new[name], &old[name]) {
            let path = if name == "reportingComponent" { "reportingController" } else { name };
            errors.push(FieldError::invalid(path, new[name].clone(), IMMUTABLE));
        }
    }
    errors
}

fn rules(new: &Value, namespaced: bool) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for (i, rule) in new["rules"].as_array().into_iter().flatten().enumerate() {
        let at = index("rules", i);
        let empty = |name: &str| rule[name].as_array().is_none_or(Vec::is_empty);
        let missing = |name: &str, text: &str| FieldError::required(child(&at, name), text);
        if empty("verbs") {
            errors.push(missing("verbs", "verbs must contain at least one value"));
        }
        if empty("nonResourceURLs") {
            if empty("apiGroups") {
                errors.push(missing("apiGroups", "resource rules must supply at least one api group"));
            }
            if empty("resources") {
                errors.push(missing("resources", "resource rules must supply at least one resource"));
            }
            continue;
        }
        let (path, urls) = (child(&at, "nonResourceURLs"), rule["nonResourceURLs"].clone());
        if namespaced {
            let text = "namespaced rules cannot apply to non-resource URLs";
            errors.push(FieldError::invalid(path.as_str(), urls.clone(), text));
        }
        if !(empty("apiGroups") && empty("resources") && empty("resourceNames")) {
            let text = "rules cannot apply to both regular resources and non-resource URLs";
            errors.push(FieldError::invalid(path, urls, text));
        }
    }
    let rule = &new["aggregationRule"];
    if rule.is_object() && rule["clusterRoleSelectors"].as_array().is_none_or(Vec::is_empty) {
        let text = "at least one clusterRoleSelector required if aggregationRule is non-nil";
        errors.push(FieldError::required("aggregationRule.clusterRoleSelectors", text));
    }
    errors
}

fn binding(new: &Value, old: Option<&Value>, namespaced: bool) -> Vec<FieldError> {
    let strings = |list: &[&str]| -> Vec<String> { list.iter().map(|s| (*s).to_owned()).collect() };
    let role = &new["roleRef"];
    let text = |value: &Value, name: &str| value[name].as_str().unwrap_or_default().to_owned();
    let mut errors = Vec::new();
    if role["apiGroup"] != RBAC {
        errors.push(FieldError::not_supported("roleRef.apiGroup", text(role, "apiGroup"), &strings(&[RBAC])));
    }
    let kinds: &[&str] = if namespaced { &["Role", "ClusterRole"] } else { &["ClusterRole"] };
    if !kinds.contains(&text(role, "kind").as_str()) {
        errors.push(FieldError::not_supported("roleRef.kind", text(role, "kind"), &strings(kinds)));
    }
    if text(role, "name").is_empty() {
        errors.push(FieldError::required("roleRef.name", ""));
    }
    for (i, subject) in new["subjects"].as_array().into_iter().flatten().enumerate() {
        let at = index("subjects", i);
        if text(subject, "name").is_empty() {
            errors.push(FieldError::required(child(&at, "name"), ""));
        }
        let group = text(subject, "apiGroup");
        let wanted = match subject["kind"].as_str().unwrap_or_default() {
            "ServiceAccount" => {
                if !namespaced && text(subject, "namespace").is_empty() {
                    errors.push(FieldError::required(child(&at, "namespace"), ""));
                }
                ""
            }
            "User" | "Group" => RBAC,
            other => {
                let supported = strings(&["ServiceAccount", "User", "Group"]);
                errors.push(FieldError::not_supported(child(&at, "kind"), other, &supported));
                continue;
            }
        };
        if group != wanted {
            errors.push(FieldError::not_supported(child(&at, "apiGroup"), group, &strings(&[wanted])));
        }
    }
    if let Some(old) = old
        && !same(role, &old["roleRef"])
    {
        errors.push(FieldError::invalid("roleRef", role.clone(), IMMUTABLE));
    }
    errors
}

fn workload(new: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let (selector, labels) = (&new["spec"]["selector"], &new["spec"]["template"]["metadata"]["labels"]);
    let wanted = selector["matchLabels"].as_object();
    let matches = wanted.is_none_or(|w| w.iter().all(|(k, v)| labels.get(k) == Some(v)));
    if !matches {
        let text = "`selector` does not match template `labels`";
        errors.push(FieldError::invalid("spec.template.metadata.labels", labels.clone(), text));
    }
    if let Some(old) = old
        && !same(selector, &old["spec"]["selector"])
    {
        errors.push(FieldError::invalid("spec.selector", selector.clone(), IMMUTABLE));
    }
    errors
}
