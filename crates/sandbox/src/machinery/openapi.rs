//! OpenAPI v3 documents, one per group and version, as `/openapi/v3` serves them: schemas and the operations by which
//! kubectl finds kinds (`explain`) and learns that the server validates fields (`apply`).
//!
//! Reading order: `ApiResource`, `documents`, `index`; the built-in kinds' schemas are in `builtin`.
//!
//! Never says anything of a kind that the caller did not list.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

mod builtin;

pub use builtin::builtin_schema;

const OBJECT_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";
const LIST_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta";
const API_VERSION: &str = "APIVersion defines the versioned schema of this representation of an object. Servers should convert \
recognized schemas to the latest internal value, and may reject unrecognized values. More info: \
https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#resources";
const KIND: &str = "Kind is a string value representing the REST resource this object represents. Servers may infer this from \
the endpoint the client submits requests to. Cannot be updated. In CamelCase. More info: \
https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#types-kinds";
const METADATA: &str = "Standard object's metadata. More info: \
https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata";

/// One kind that the server serves.
#[derive(Clone, Debug)]
pub struct ApiResource<'a> {
    /// API group; empty for the core.
    pub group: &'a str,
    /// Version.
    pub version: &'a str,
    /// Kind.
    pub kind: &'a str,
    /// Plural name, as in paths.
    pub plural: &'a str,
    /// Whether objects stand in namespaces.
    pub namespaced: bool,
    /// Whether `status` is a subresource.
    pub status: bool,
    /// `openAPIV3Schema` of a custom resource; `None` for a built-in kind.
    pub schema: Option<&'a Value>,
}

impl ApiResource<'_> {
    /// `api/v1` or `apis/<group>/<version>`: the key in the index and the document's place.
    #[must_use]
    pub fn root(&self) -> String {
        if self.group.is_empty() {
            format!("api/{}", self.version)
        } else {
            format!("apis/{}/{}", self.group, self.version)
        }
    }

    /// The name of the kind's schema, e.g. `dev.oat-operator.v1alpha1.Organization`.
    #[must_use]
    pub fn component(&self) -> String {
        if self.schema.is_none()
            && let Some((name, _)) = builtin::component(self.group, self.version, self.kind)
        {
            return name;
        }
        let mut reversed: Vec<&str> = self.group.split('.').filter(|part| !part.is_empty()).collect();
        reversed.reverse();
        reversed.extend([self.version, self.kind]);
        reversed.join(".")
    }

    fn gvk(&self) -> Value {
        json!({"group": self.group, "kind": self.kind, "version": self.version})
    }
}

/// The documents, by their keys in the index.
#[must_use]
pub fn documents(resources: &[ApiResource<'_>]) -> BTreeMap<String, Value> {
    let mut by_root: BTreeMap<String, Vec<&ApiResource<'_>>> = BTreeMap::new();
    for resource in resources {
        by_root.entry(resource.root()).or_default().push(resource);
    }
    by_root.into_iter().map(|(root, resources)| (root, document(&resources))).collect()
}

/// What `/openapi/v3` answers: where the documents are, each with a hash of its content.
#[must_use]
pub fn index(documents: &BTreeMap<String, Value>) -> Value {
    let mut paths = Map::new();
    for (root, document) in documents {
        let hash: String = Sha256::digest(document.to_string()).iter().take(32).map(|b| format!("{b:02X}")).collect();
        paths.insert(root.clone(), json!({"serverRelativeURL": format!("/openapi/v3/{root}?hash={hash}")}));
    }
    json!({"paths": paths})
}

fn document(resources: &[&ApiResource<'_>]) -> Value {
    let mut schemas = Map::new();
    let mut paths = Map::new();
    for resource in resources {
        add_schemas(resource, &mut schemas);
        add_paths(resource, &mut paths);
    }
    schemas.sort_keys();
    paths.sort_keys();
    json!({
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": "v1.37.0"},
        "paths": paths,
        "components": {"schemas": schemas},
    })
}

fn reference(component: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{component}")})
}

fn add_schemas(resource: &ApiResource<'_>, schemas: &mut Map<String, Value>) {
    let component = resource.component();
    schemas.extend(builtin::metadata_schemas());
    let mut schema = match resource.schema {
        Some(schema) => custom_schema(schema),
        None => {
            let Some((_, definitions)) = builtin::component(resource.group, resource.version, resource.kind) else {
                return;
            };
            schemas.extend(definitions);
            schemas.remove(&component).unwrap_or_default()
        }
    };
    schema["x-kubernetes-group-version-kind"] = json!([resource.gvk()]);
    schemas.insert(component.clone(), schema);
    let list = json!({
        "description": format!("{} is a list of {}", list_kind(resource), resource.kind),
        "type": "object",
        "required": ["items"],
        "properties": {
            "apiVersion": {"description": API_VERSION, "type": "string"},
            "items": {"description": format!("List of {}.", resource.plural), "type": "array", "items": {"allOf": [reference(&component)]}},
            "kind": {"description": KIND, "type": "string"},
            "metadata": {"description": METADATA, "allOf": [reference(LIST_META)]},
        },
        "x-kubernetes-group-version-kind": [{"group": resource.group, "kind": list_kind(resource), "version": resource.version}],
    });
    schemas.insert(format!("{component}List"), list);
}

fn list_kind(resource: &ApiResource<'_>) -> String {
    format!("{}List", resource.kind)
}

/// A custom resource's schema with what every object has.
fn custom_schema(schema: &Value) -> Value {
    let mut schema = schema.clone();
    if !schema.get("properties").is_some_and(Value::is_object) {
        schema["properties"] = json!({});
    }
    if let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) {
        properties.insert("apiVersion".to_owned(), json!({"description": API_VERSION, "type": "string"}));
        properties.insert("kind".to_owned(), json!({"description": KIND, "type": "string"}));
        properties.insert("metadata".to_owned(), json!({"description": METADATA, "allOf": [reference(OBJECT_META)]}));
        properties.sort_keys();
    }
    schema
}

fn add_paths(resource: &ApiResource<'_>, paths: &mut Map<String, Value>) {
    let root = format!("/{}", resource.root());
    let plural = resource.plural;
    let collection = if resource.namespaced {
        format!("{root}/namespaces/{{namespace}}/{plural}")
    } else {
        format!("{root}/{plural}")
    };
    if resource.namespaced {
        paths.insert(format!("{root}/{plural}"), json!({"get": operation(resource, "list", "ForAllNamespaces")}));
    }
    let in_namespace = if resource.namespaced { vec![path_parameter("namespace")] } else { Vec::new() };
    paths.insert(
        collection.clone(),
        json!({
            "delete": operation(resource, "deletecollection", ""),
            "get": operation(resource, "list", ""),
            "parameters": in_namespace,
            "post": operation(resource, "post", ""),
        }),
    );
    let mut named = vec![path_parameter("name")];
    named.extend(in_namespace);
    paths.insert(
        format!("{collection}/{{name}}"),
        json!({
            "delete": operation(resource, "delete", ""),
            "get": operation(resource, "get", ""),
            "parameters": named,
            "patch": operation(resource, "patch", ""),
            "put": operation(resource, "put", ""),
        }),
    );
    if resource.status {
        paths.insert(
            format!("{collection}/{{name}}/status"),
            json!({
                "get": operation(resource, "get", "Status"),
                "parameters": named,
                "patch": operation(resource, "patch", "Status"),
                "put": operation(resource, "put", "Status"),
            }),
        );
    }
}

fn path_parameter(name: &str) -> Value {
    let description = match name {
        "namespace" => "object name and auth scope, such as for teams and projects",
        _ => "name of the object",
    };
    json!({"name": name, "in": "path", "description": description, "required": true, "schema": {"type": "string", "uniqueItems": true}})
}

fn query(name: &str, kind: &str, description: &str) -> Value {
    json!({"name": name, "in": "query", "description": description, "schema": {"type": kind, "uniqueItems": true}})
}

fn operation(resource: &ApiResource<'_>, action: &str, suffix: &str) -> Value {
    let component = resource.component();
    let answer = match action {
        "list" => reference(&format!("{component}List")),
        "delete" | "deletecollection" => json!({"type": "object"}),
        _ => reference(&component),
    };
    let content = |schema: &Value, types: &[&str]| -> Map<String, Value> {
        types.iter().map(|t| ((*t).to_owned(), json!({"schema": schema}))).collect()
    };
    let verb = match action {
        "post" => "create",
        "put" => "replace",
        "get" => "read",
        "deletecollection" => "deleteCollection",
        other => other,
    };
    let mut out = json!({
        "operationId": format!("{verb}{}{}{suffix}", title(resource), resource.kind),
        "x-kubernetes-action": action,
        "x-kubernetes-group-version-kind": resource.gvk(),
        "parameters": parameters(action),
        "responses": {"200": {"description": "OK", "content": content(&answer, &["application/json", "application/yaml"])}},
    });
    let body = match action {
        "post" | "put" => Some(content(&reference(&component), &["*/*"])),
        "patch" => {
            let mut types =
                vec!["application/json-patch+json", "application/merge-patch+json", "application/apply-patch+yaml"];
            if resource.schema.is_none() {
                types.push("application/strategic-merge-patch+json");
            }
            Some(content(&json!({"type": "object"}), &types))
        }
        _ => None,
    };
    if let Some(body) = body {
        out["requestBody"] = json!({"content": body, "required": true});
    }
    out
}

/// `OatOperatorDevV1alpha1`, `CoreV1`.
fn title(resource: &ApiResource<'_>) -> String {
    let group = if resource.group.is_empty() { "core" } else { resource.group.trim_end_matches(".k8s.io") };
    let parts = group.split(['.', '-']).chain([resource.version]);
    parts
        .map(|part| {
            let mut letters = part.chars();
            letters.next().map(|first| first.to_uppercase().chain(letters).collect::<String>()).unwrap_or_default()
        })
        .collect()
}

fn parameters(action: &str) -> Vec<Value> {
    let writes = matches!(action, "post" | "put" | "patch");
    let mut out = vec![query("pretty", "string", "If 'true', then the output is pretty printed.")];
    if writes || action == "delete" {
        out.push(query("dryRun", "string", "When present, indicates that modifications should not be persisted."));
    }
    if writes {
        out.push(query(
            "fieldManager",
            "string",
            "fieldManager is a name associated with the actor or entity that is making these changes.",
        ));
        out.push(query(
            "fieldValidation",
            "string",
            "fieldValidation instructs the server on how to handle objects in the request containing unknown or duplicate \
             fields. Valid values are: Ignore, Warn, Strict.",
        ));
    }
    if action == "patch" {
        out.push(query(
            "force",
            "boolean",
            "Force is going to \"force\" Apply requests. It means user will re-acquire conflicting fields owned by other people.",
        ));
    }
    if matches!(action, "list" | "deletecollection") {
        out.push(query(
            "fieldSelector",
            "string",
            "A selector to restrict the list of returned objects by their fields.",
        ));
        out.push(query(
            "labelSelector",
            "string",
            "A selector to restrict the list of returned objects by their labels.",
        ));
        out.push(query("limit", "integer", "limit is a maximum number of responses to return for a list call."));
        out.push(query("continue", "string", "The continue option should be set when retrieving more results."));
        out.push(query(
            "resourceVersion",
            "string",
            "resourceVersion sets a constraint on what resource versions a request may be served from.",
        ));
    }
    if action == "list" {
        out.push(query("watch", "boolean", "Watch for changes to the described resources."));
    }
    out
}

#[cfg(test)]
mod tests;
