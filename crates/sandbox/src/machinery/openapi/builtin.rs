//! The schemas of built-in kinds: from k8s-openapi's descriptions of them, in the dialect of a Kubernetes API server.
//!
//! Never holds a schema of its own.

use std::collections::BTreeMap;

use k8s_openapi::schemars::generate::SchemaSettings;
use k8s_openapi::schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value, json};

use super::super::schema::Structural;

/// A kind and how its schema is made.
type Maker = fn(&mut SchemaGenerator) -> String;

/// Adds a type and all that it refers to; returns its name.
fn make<T: JsonSchema>(generator: &mut SchemaGenerator) -> String {
    generator.subschema_for::<T>();
    T::schema_name().into_owned()
}

macro_rules! kinds {
    ($($kind:ty),* $(,)?) => {
        fn maker(group: &str, version: &str, kind: &str) -> Option<Maker> {
            use k8s_openapi::Resource;
            $(if (group, version, kind) == (<$kind as Resource>::GROUP, <$kind as Resource>::VERSION, <$kind as Resource>::KIND) {
                return Some(make::<$kind>);
            })*
            None
        }
    };
}

kinds! {
    k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration,
    k8s_openapi::api::admissionregistration::v1::ValidatingAdmissionPolicy,
    k8s_openapi::api::admissionregistration::v1::ValidatingAdmissionPolicyBinding,
    k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration,
    k8s_openapi::api::apps::v1::DaemonSet,
    k8s_openapi::api::apps::v1::Deployment,
    k8s_openapi::api::apps::v1::ReplicaSet,
    k8s_openapi::api::apps::v1::StatefulSet,
    k8s_openapi::api::batch::v1::CronJob,
    k8s_openapi::api::batch::v1::Job,
    k8s_openapi::api::coordination::v1::Lease,
    k8s_openapi::api::core::v1::ConfigMap,
    k8s_openapi::api::core::v1::Event,
    k8s_openapi::api::core::v1::Namespace,
    k8s_openapi::api::core::v1::Node,
    k8s_openapi::api::core::v1::Pod,
    k8s_openapi::api::core::v1::Secret,
    k8s_openapi::api::core::v1::Service,
    k8s_openapi::api::core::v1::ServiceAccount,
    k8s_openapi::api::networking::v1::NetworkPolicy,
    k8s_openapi::api::policy::v1::PodDisruptionBudget,
    k8s_openapi::api::rbac::v1::ClusterRole,
    k8s_openapi::api::rbac::v1::ClusterRoleBinding,
    k8s_openapi::api::rbac::v1::Role,
    k8s_openapi::api::rbac::v1::RoleBinding,
    k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
}

/// `events.k8s.io` names its kind as the core does, so it is told apart here.
fn find(group: &str, version: &str, kind: &str) -> Option<Maker> {
    match (group, version, kind) {
        ("events.k8s.io", "v1", "Event") => Some(make::<k8s_openapi::api::events::v1::Event>),
        _ => maker(group, version, kind),
    }
}

fn generator() -> SchemaGenerator {
    SchemaSettings::openapi3().with(|s| s.definitions_path = "#/components/schemas".into()).into_generator()
}

/// The name of a kind's schema, and the schemas that it needs with its own among them.
pub(super) fn component(group: &str, version: &str, kind: &str) -> Option<(String, Map<String, Value>)> {
    let mut generator = generator();
    let name = find(group, version, kind)?(&mut generator);
    Some((name, definitions(&mut generator)))
}

/// The schemas of metadata, which custom resources refer to.
pub(super) fn metadata_schemas() -> Map<String, Value> {
    let mut generator = generator();
    make::<k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta>(&mut generator);
    make::<k8s_openapi::apimachinery::pkg::apis::meta::v1::ListMeta>(&mut generator);
    definitions(&mut generator)
}

fn definitions(generator: &mut SchemaGenerator) -> Map<String, Value> {
    let mut out: Map<String, Value> = generator.take_definitions(true).into_iter().collect();
    for (name, schema) in &mut out {
        in_dialect(schema);
        loosen(name, schema);
    }
    out
}

/// OpenAPI 3.0 knows nothing beside a `$ref`: a reference with a description becomes an `allOf`.
fn in_dialect(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            if map.len() > 1
                && let Some(Value::String(target)) = map.get("$ref").cloned()
            {
                map.shift_remove("$ref");
                map.insert("allOf".to_owned(), json!([{"$ref": target}]));
            }
            map.values_mut().for_each(in_dialect);
        }
        Value::Array(items) => items.iter_mut().for_each(in_dialect),
        _ => {}
    }
}

/// Metadata is required of Rust values only; what may hold anything says so.
fn loosen(name: &str, schema: &mut Value) {
    let Some(map) = schema.as_object_mut() else { return };
    if let Some(Value::Array(required)) = map.get_mut("required") {
        required.retain(|field| field != "metadata");
        if required.is_empty() {
            map.shift_remove("required");
        }
    }
    let holds_anything = [".JSON", ".RawExtension", ".FieldsV1"].iter().any(|end| name.ends_with(end));
    if holds_anything {
        if name.ends_with(".JSON") {
            map.shift_remove("type");
        }
        map.insert("x-kubernetes-preserve-unknown-fields".to_owned(), json!(true));
    }
}

/// A built-in kind as a structural schema, to prune and to validate as far as types go. Where schemas refer to themselves,
/// anything is let through.
#[must_use]
pub fn builtin_schema(group: &str, version: &str, kind: &str) -> Option<Structural> {
    let (name, definitions) = component(group, version, kind)?;
    let definitions: BTreeMap<String, Value> = definitions.into_iter().collect();
    let whole = inline(&json!({"$ref": format!("#/components/schemas/{name}")}), &definitions, &mut Vec::new());
    Some(Structural::build(&whole))
}

fn inline(schema: &Value, definitions: &BTreeMap<String, Value>, open: &mut Vec<String>) -> Value {
    let target = schema
        .get("$ref")
        .or_else(|| schema.pointer("/allOf/0/$ref"))
        .and_then(Value::as_str)
        .and_then(|r| r.strip_prefix("#/components/schemas/"));
    if let Some(target) = target {
        let again = open.iter().any(|name| name == target);
        let Some(definition) = definitions.get(target).filter(|_| !again) else {
            return json!({"x-kubernetes-preserve-unknown-fields": true});
        };
        open.push(target.to_owned());
        let out = inline(definition, definitions, open);
        open.pop();
        return out;
    }
    // A choice of shapes is no structural schema; it stays open.
    let Some(map) = schema.as_object().filter(|map| !map.contains_key("oneOf") && !map.contains_key("anyOf")) else {
        return json!({"x-kubernetes-preserve-unknown-fields": true});
    };
    let mut out = map.clone();
    for (name, value) in &mut out {
        match (name.as_str(), &mut *value) {
            ("properties", Value::Object(fields)) => {
                for field in fields.values_mut() {
                    *field = nullable(inline(field, definitions, open));
                }
            }
            ("items" | "additionalProperties", Value::Object(_)) => *value = inline(value, definitions, open),
            _ => {}
        }
    }
    Value::Object(out)
}

/// A built-in field that is null is one that is not there.
fn nullable(mut schema: Value) -> Value {
    schema["nullable"] = json!(true);
    schema
}
