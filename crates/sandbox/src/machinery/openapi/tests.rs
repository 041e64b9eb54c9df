use serde_json::{Value, json};

use super::*;

fn schema() -> Value {
    json!({
        "description": "One token.",
        "type": "object",
        "required": ["spec"],
        "properties": {
            "spec": {"description": "What is wanted.", "type": "object", "properties": {"label": {"type": "string"}}},
            "metadata": {"type": "object"},
        },
    })
}

fn resources(schema: &Value) -> Vec<ApiResource<'_>> {
    let builtin = |group, version, kind, plural, namespaced| ApiResource {
        group,
        version,
        kind,
        plural,
        namespaced,
        status: false,
        schema: None,
    };
    vec![
        builtin("", "v1", "Secret", "secrets", true),
        builtin("", "v1", "Namespace", "namespaces", false),
        builtin("apps", "v1", "Deployment", "deployments", true),
        ApiResource {
            group: "oat-operator.dev",
            version: "v1alpha1",
            kind: "OrganizationAccessToken",
            plural: "organizationaccesstokens",
            namespaced: true,
            status: true,
            schema: Some(schema),
        },
    ]
}

#[test]
fn each_group_and_version_has_a_document_and_the_index_knows_it() {
    let schema = schema();
    let documents = documents(&resources(&schema));
    let keys: Vec<&str> = documents.keys().map(String::as_str).collect();
    assert_eq!(keys, ["api/v1", "apis/apps/v1", "apis/oat-operator.dev/v1alpha1"]);
    let index = index(&documents);
    let url = index["paths"]["apis/oat-operator.dev/v1alpha1"]["serverRelativeURL"].as_str().unwrap();
    let hash = url.strip_prefix("/openapi/v3/apis/oat-operator.dev/v1alpha1?hash=").unwrap();
    assert!(hash.len() == 64 && hash.bytes().all(|b| b.is_ascii_hexdigit()), "{hash}");

    let mut other = schema.clone();
    other["description"] = json!("Another.");
    let changed = super::index(&super::documents(&resources(&other)));
    assert_ne!(changed["paths"]["apis/oat-operator.dev/v1alpha1"], index["paths"]["apis/oat-operator.dev/v1alpha1"]);
    assert_eq!(changed["paths"]["api/v1"], index["paths"]["api/v1"]);
}

#[test]
fn a_custom_kind_has_its_schema_with_what_every_object_has() {
    let schema = schema();
    let documents = documents(&resources(&schema));
    let schemas = &documents["apis/oat-operator.dev/v1alpha1"]["components"]["schemas"];
    let kind = &schemas["dev.oat-operator.v1alpha1.OrganizationAccessToken"];
    assert_eq!(
        kind["x-kubernetes-group-version-kind"],
        json!([{"group": "oat-operator.dev", "kind": "OrganizationAccessToken", "version": "v1alpha1"}])
    );
    assert_eq!(kind["properties"]["spec"]["properties"]["label"], json!({"type": "string"}));
    assert_eq!(
        kind["properties"]["metadata"]["allOf"][0]["$ref"],
        "#/components/schemas/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
    );
    assert_eq!(kind["properties"]["kind"]["type"], "string");
    assert_eq!(schemas["dev.oat-operator.v1alpha1.OrganizationAccessTokenList"]["required"], json!(["items"]));
}

/// kubectl looks for this before it leaves validation to the server.
#[test]
fn patch_operations_say_that_fields_are_validated() {
    let schema = schema();
    let documents = documents(&resources(&schema));
    for (document, path, gvk) in [
        (
            "api/v1",
            "/api/v1/namespaces/{namespace}/secrets/{name}",
            json!({"group": "", "kind": "Secret", "version": "v1"}),
        ),
        ("api/v1", "/api/v1/namespaces/{name}", json!({"group": "", "kind": "Namespace", "version": "v1"})),
        (
            "apis/oat-operator.dev/v1alpha1",
            "/apis/oat-operator.dev/v1alpha1/namespaces/{namespace}/organizationaccesstokens/{name}",
            json!({"group": "oat-operator.dev", "kind": "OrganizationAccessToken", "version": "v1alpha1"}),
        ),
        (
            "apis/oat-operator.dev/v1alpha1",
            "/apis/oat-operator.dev/v1alpha1/namespaces/{namespace}/organizationaccesstokens/{name}/status",
            json!({"group": "oat-operator.dev", "kind": "OrganizationAccessToken", "version": "v1alpha1"}),
        ),
    ] {
        let patch = &documents[document]["paths"][path]["patch"];
        assert_eq!(patch["x-kubernetes-group-version-kind"], gvk, "{path}");
        let has = |name: &str| {
            patch["parameters"].as_array().unwrap().iter().any(|p| p["name"] == name && p["in"] == "query")
        };
        assert!(has("fieldValidation") && has("dryRun") && has("force"), "{path}");
        assert!(patch["requestBody"]["content"]["application/apply-patch+yaml"].is_object());
        let strategic = patch["requestBody"]["content"].get("application/strategic-merge-patch+json").is_some();
        assert_eq!(strategic, document == "api/v1", "{path}");
    }
    assert!(documents["api/v1"]["paths"].get("/api/v1/namespaces/{namespace}/secrets/{name}/status").is_none());
}

fn references(value: &Value, out: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            for (name, value) in map {
                match value {
                    Value::String(target) if name == "$ref" => out.push(target.clone()),
                    other => references(other, out),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|v| references(v, out)),
        _ => {}
    }
}

#[test]
fn every_reference_leads_somewhere() {
    let schema = schema();
    for (root, document) in documents(&resources(&schema)) {
        let mut found = Vec::new();
        references(&document, &mut found);
        assert!(!found.is_empty(), "{root}");
        for target in found {
            let name = target.strip_prefix("#/components/schemas/").unwrap_or_else(|| panic!("{root}: {target}"));
            assert!(document["components"]["schemas"].get(name).is_some(), "{root}: {name}");
        }
    }
}

#[test]
fn built_in_kinds_bring_what_they_need() {
    let schema = schema();
    let documents = documents(&resources(&schema));
    let schemas = &documents["apis/apps/v1"]["components"]["schemas"];
    for name in [
        "io.k8s.api.apps.v1.Deployment",
        "io.k8s.api.core.v1.PodSpec",
        "io.k8s.api.core.v1.Container",
        "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta",
    ] {
        assert!(schemas.get(name).is_some(), "{name}");
    }
    let secret = &documents["api/v1"]["components"]["schemas"]["io.k8s.api.core.v1.Secret"];
    assert_eq!(secret["x-kubernetes-group-version-kind"], json!([{"group": "", "kind": "Secret", "version": "v1"}]));
    assert_eq!(secret.get("required"), None, "metadata is not required on the wire");
    assert!(secret["properties"]["data"]["description"].as_str().is_some_and(|d| d.contains("base64")));
}

#[test]
fn names_of_operations_are_unique() {
    let schema = schema();
    for document in documents(&resources(&schema)).values() {
        let mut ids: Vec<&str> = Vec::new();
        for path in document["paths"].as_object().unwrap().values() {
            ids.extend(path.as_object().unwrap().values().filter_map(|o| o["operationId"].as_str()));
        }
        let all = ids.len();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), all);
    }
}

#[test]
fn built_in_objects_can_be_pruned_and_checked() {
    for (group, version, kind, mut object, unknown) in [
        ("", "v1", "Secret", json!({"metadata": {"name": "x"}, "data": {"a": "YQ=="}, "type": "Opaque"}), vec![]),
        ("", "v1", "Secret", json!({"metadata": {"name": "x"}, "dta": {"a": "YQ=="}}), vec!["dta"]),
        (
            "",
            "v1",
            "ServiceAccount",
            json!({"imagePullSecrets": [{"name": "a", "nme": "b"}]}),
            vec!["imagePullSecrets[0].nme"],
        ),
        (
            "apps",
            "v1",
            "Deployment",
            json!({"spec": {"selector": {"matchLabels": {"a": "b"}}, "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "resources": {"limits": {"cpu": 1, "memory": "1Gi"}}, "imge": "x"}]}}}}),
            vec!["spec.template.spec.containers[0].imge"],
        ),
        (
            "apiextensions.k8s.io",
            "v1",
            "CustomResourceDefinition",
            json!({"spec": {"group": "g", "names": {"kind": "K", "plural": "ks"}, "scope": "Namespaced", "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object", "properties": {"a": {"type": "string", "default": "x"}}}}}]}}),
            vec![],
        ),
        (
            "events.k8s.io",
            "v1",
            "Event",
            json!({"eventTime": "2026-11-25T06:00:00.000000Z", "regarding": {"kind": "K"}, "note": "n"}),
            vec![],
        ),
        (
            "coordination.k8s.io",
            "v1",
            "Lease",
            json!({"spec": {"holderIdentity": "me", "leaseTransitions": 1}}),
            vec![],
        ),
        (
            "rbac.authorization.k8s.io",
            "v1",
            "ClusterRole",
            json!({"rules": [{"verbs": ["get"], "verb": "x"}]}),
            vec!["rules[0].verb"],
        ),
    ] {
        let schema = builtin_schema(group, version, kind).unwrap_or_else(|| panic!("{kind}"));
        let found = schema.prune(&mut object);
        assert_eq!(found, unknown, "{kind}");
        assert_eq!(schema.validate(&object, None), [], "{kind}");
    }
    let secret = builtin_schema("", "v1", "Secret").unwrap();
    let errors = secret.validate(&json!({"data": {"a": 1}}), None);
    assert_eq!(errors.iter().map(|e| e.path.as_str()).collect::<Vec<_>>(), ["data.a"]);
    assert!(builtin_schema("", "v1", "Unheard").is_none());
}
